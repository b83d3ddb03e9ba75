"""Where `pullsync` has its settings from, and how a bad one is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli.errors import UsageError
from cli.session import Session
from cli.settings import CliSettings, token_in

TOKEN = "t" * 20


@pytest.fixture(autouse=True)
def _elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without what the developer has set."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SECRETS_DIR", "")
    for name in CliSettings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)


def test_nothing_has_to_be_set() -> None:
    """The registry of this machine, without a token."""
    settings = Session().settings
    assert (settings.pullsync_url, settings.pullsync_token) == ("http://localhost:8000", None)


def test_a_file_of_settings_is_read(tmp_path: Path) -> None:
    """In the folder in which the command is called."""
    (tmp_path / ".env").write_text(f"PULLSYNC_URL=https://registry.example/\nPULLSYNC_TOKEN={TOKEN}\nLOG_LEVEL=x\n")
    settings = Session().settings
    assert (settings.pullsync_url, settings.pullsync_token) == ("https://registry.example", TOKEN)


def test_options_win(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Over the environment."""
    monkeypatch.setenv("PULLSYNC_URL", "http://one.example")
    monkeypatch.setenv("PULLSYNC_TOKEN", "x" * 20)
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    settings = Session(url="http://two.example", token_file=tmp_path / "token").settings
    assert (settings.pullsync_url, settings.pullsync_token) == ("http://two.example", TOKEN)


@pytest.mark.parametrize(
    "url", ["localhost:8000", "ftp://x", "http://", "http://x:y", "http://user:pw@x", "http://a b", ""]
)
def test_a_url_that_is_none_is_refused(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As an option and as a variable; an empty variable counts as not set."""
    with pytest.raises(UsageError, match="--url must be a URL"):
        _ = Session(url=url).settings
    monkeypatch.setenv("PULLSYNC_URL", url)
    if url:
        with pytest.raises(UsageError, match="setting PULLSYNC_URL: "):
            _ = Session().settings
    else:
        assert Session().settings.pullsync_url == "http://localhost:8000"


def test_a_bad_token_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only that it is bad."""
    monkeypatch.setenv("PULLSYNC_TOKEN", "hush hush\x07")
    with pytest.raises(UsageError, match="setting PULLSYNC_TOKEN: ") as raised:
        _ = Session().settings
    assert "hush" not in str(raised.value)


@pytest.mark.parametrize("content", [b"", b"two words", b"\xff\xfe", b"line\nline"])
def test_a_file_without_a_token_is_refused(content: bytes, tmp_path: Path) -> None:
    """Without showing what is in it."""
    path = tmp_path / "token"
    path.write_bytes(content)
    with pytest.raises(UsageError, match="must have a token in it, and nothing else"):
        token_in(path)


def test_a_file_that_is_missing_is_told(tmp_path: Path) -> None:
    """With its name."""
    with pytest.raises(UsageError, match="nowhere, can't be read: No such file"):
        token_in(tmp_path / "nowhere")
