"""Settings as files: each can be one, what is wrong with one is told, and what is in one never is."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import shared.secret_files
from services.ingest.settings import IngestSettings
from services.puller.settings import PullerSettings
from services.registry.settings import RegistrySettings
from shared.settings import ServiceSettings, load_settings

WORD = "a-secret-word"


@pytest.fixture
def secrets(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The folder that SECRETS_DIR names; nothing else is set."""
    for settings in (RegistrySettings, PullerSettings, IngestSettings):
        for name in settings.model_fields:
            monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "secrets"
    folder.mkdir()
    monkeypatch.setenv("SECRETS_DIR", str(folder))
    return folder


def refusal(settings: type[ServiceSettings], capsys: pytest.CaptureFixture[str]) -> str:
    """What is said by settings that can't be had; they end with status 2, and never tell what is in a file."""
    with pytest.raises(SystemExit) as caught:
        load_settings(settings)
    assert caught.value.code == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert WORD not in output.err
    return output.err


def as_text(value: object) -> str:
    """As a user writes it."""
    if isinstance(value, frozenset):
        return ",".join(sorted(value))
    if isinstance(value, tuple):
        return ",".join(f"{ports.start}-{ports.stop - 1}" for ports in value)
    return str(value)


@pytest.mark.parametrize("settings", [RegistrySettings, PullerSettings, IngestSettings])
def test_every_setting_can_be_a_file(settings: type[ServiceSettings], secrets: Path) -> None:
    """Files with what is the default anyway are all taken, and so is another value in one of them."""
    defaults = settings()
    for name in settings.model_fields:
        value = getattr(defaults, name)
        if value not in (None, (), ""):
            (secrets / name.upper()).write_text(f"{as_text(value)}\n")
    assert load_settings(settings) == defaults
    (secrets / "LOG_LEVEL").write_text("debug")
    assert load_settings(settings).log_level == "debug"


def test_a_file_wins_over_the_environment_and_that_over_dotenv(
    secrets: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Each of the three is read, in this order; a name in small letters counts as well."""
    (secrets / "puller_port").write_text("1001")
    for name in ("PULLER_PORT", "PULL_SYNC_CONCURRENCY"):
        monkeypatch.setenv(name, "1002")
    (tmp_path / ".env").write_text("PULLER_PORT=1003\nPULL_SYNC_CONCURRENCY=1003\nPULL_SYNC_BODY_LIMIT_BYTES=1024\n")
    settings = load_settings(PullerSettings)
    assert (settings.puller_port, settings.pull_sync_concurrency) == (1001, 1002)
    assert settings.pull_sync_body_limit_bytes == 1024


def test_other_files_are_left_alone(secrets: Path) -> None:
    """Certificates, keys, folders, the settings of others."""
    (secrets / "ca.crt").write_bytes(b"\xff")
    (secrets / "OTHER_SETTING").touch()
    (secrets / "kubernetes.io").mkdir()
    assert load_settings(PullerSettings) == PullerSettings()


def test_the_usual_folder_is_read_unless_another_is_named(
    secrets: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Where there is one; and none at all when SECRETS_DIR is empty."""
    monkeypatch.setattr(shared.secret_files, "USUAL", tmp_path / "run")
    monkeypatch.delenv("SECRETS_DIR")
    (secrets / "LOG_LEVEL").write_text("error")
    assert load_settings(PullerSettings).log_level == "info"
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "LOG_LEVEL").write_text("debug")
    assert load_settings(PullerSettings).log_level == "debug"
    monkeypatch.setenv("SECRETS_DIR", str(secrets))
    assert load_settings(PullerSettings).log_level == "error"
    monkeypatch.setenv("SECRETS_DIR", "")
    assert load_settings(PullerSettings).log_level == "info"


def test_links_within_the_folder_are_followed(secrets: Path) -> None:
    """As Kubernetes lays secrets out."""
    (secrets / "..data").mkdir()
    (secrets / "..data" / "LOG_LEVEL").write_text("debug")
    (secrets / "LOG_LEVEL").symlink_to("..data/LOG_LEVEL")
    assert load_settings(PullerSettings).log_level == "debug"


def _empty(path: Path) -> None:
    path.write_text(" \n")


def _folder(path: Path) -> None:
    path.mkdir()


def _no_text(path: Path) -> None:
    path.write_bytes(WORD.encode() + b"\xff")


def _dangling(path: Path) -> None:
    path.symlink_to("gone")


def _circle(path: Path) -> None:
    path.symlink_to(path.name)


def _outside(path: Path) -> None:
    other = path.parent.parent / "elsewhere"
    other.write_text(WORD)
    path.symlink_to(other)


def _twice(path: Path) -> None:
    path.write_text(WORD)
    path.with_name(path.name.lower()).write_text(WORD)


BAD = [
    (_empty, "is empty"),
    (_folder, "is no file"),
    (os.mkfifo, "is no file"),
    (_no_text, "is not UTF-8"),
    (_dangling, "can't be read: No such file or directory"),
    (_circle, "can't be read: "),
    (_outside, "leads out of its folder"),
    (_twice, "has 2 files for RABBITMQ_URL"),
]


@pytest.mark.parametrize(("make", "told"), BAD)
def test_a_bad_file_is_named(make: object, told: str, secrets: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One line with the file and what is wrong with it."""
    assert callable(make)
    make(secrets / "RABBITMQ_URL")
    (line,) = refusal(PullerSettings, capsys).splitlines()
    assert told in line
    assert str(secrets) in line
    assert "RABBITMQ_URL" in line


def test_a_file_that_we_may_not_read_is_named(
    secrets: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the user who must be able to; tried by the refusal itself, as root may read everything."""
    path = secrets / "RABBITMQ_URL"
    path.write_text(WORD)
    path.chmod(0)
    if os.geteuid() == 0:
        monkeypatch.setattr(Path, "read_text", _refused)
    (line,) = refusal(PullerSettings, capsys).splitlines()
    assert line == f"the file {path} can't be read: Permission denied; user {os.geteuid()} must be able to"


def _refused(*_: object, **__: object) -> str:
    raise PermissionError(13, "Permission denied")


def test_each_bad_file_has_a_line(secrets: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """All of them are told at once."""
    _empty(secrets / "RABBITMQ_URL")
    _folder(secrets / "PULLER_PORT")
    assert len(refusal(PullerSettings, capsys).splitlines()) == 2


def test_a_folder_that_is_not_there_is_told(
    secrets: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whoever names one means it."""
    monkeypatch.setenv("SECRETS_DIR", str(secrets / "gone"))
    (line,) = refusal(PullerSettings, capsys).splitlines()
    assert line.startswith(f"the folder of secrets {secrets / 'gone'} can't be read: No such file or directory")
    assert "SECRETS_DIR" in line


@pytest.mark.parametrize("value", [WORD, f"mysql://{WORD}", f"amqp://u:{WORD}/3@host/", f"amqps://{WORD}:x:y/"])
def test_what_a_bad_file_says_is_not_shown(value: str, secrets: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Only which setting it is, what it must be, and that a file gives it."""
    (secrets / "RABBITMQ_URL").write_text(value)
    (line,) = refusal(PullerSettings, capsys).splitlines()
    assert line.startswith("setting RABBITMQ_URL: ")
    assert line.endswith(", in the file of that name")
