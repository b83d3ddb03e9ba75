"""Settings: what is read, and how each bad one is told."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from services.ingest.settings import IngestSettings
from services.puller.settings import PullerSettings
from services.registry.settings import RegistrySettings
from shared.settings import ServiceSettings, load_settings

SERVICES: list[type[ServiceSettings]] = [PullerSettings, IngestSettings]


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Neither this machine's environment nor its `.env` plays a part."""
    names = {name.upper() for settings in SERVICES for name in settings.model_fields}
    for name in names & {name.upper() for name in os.environ}:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("settings", SERVICES)
def test_nothing_has_to_be_set(settings: type[ServiceSettings]) -> None:
    """The defaults are for one machine."""
    assert load_settings(settings).log_level == "info"


def test_everything_can_be_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names in capitals; lists with commas; a trailing slash is dropped; the level's case does not matter."""
    for name, value in {
        "BACKEND_URL": "http://registry:8000/",
        "PULL_SYNC_NETWORKS": " public, loopback,",
        "PULL_SYNC_PORTS": " 80, 1024 - 65535,",
        "PULL_SYNC_TIMEOUT": "2.5",
        "LOG_LEVEL": "DEBUG",
    }.items():
        monkeypatch.setenv(name, value)
    settings = load_settings(PullerSettings)
    assert settings.backend_url == "http://registry:8000"
    assert settings.pull_sync_networks == {"public", "loopback"}
    assert settings.pull_sync_ports == (range(80, 81), range(1_024, 65_536))
    assert (settings.pull_sync_timeout, settings.log_level) == (2.5, "debug")


def test_the_environment_wins_over_the_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """And what only the file has is read from it."""
    (tmp_path / ".env").write_text("PULLER_PORT=9001\nPULL_SYNC_CONCURRENCY=7\nUNKNOWN=1\n")
    monkeypatch.setenv("PULLER_PORT", "9002")
    settings = load_settings(PullerSettings)
    assert (settings.puller_port, settings.pull_sync_concurrency) == (9002, 7)


BAD = [
    ("RABBITMQ_URL", "http://localhost"),
    ("BACKEND_URL", "localhost:8000"),
    ("PULLER_PORT", "0"),
    ("PULLER_PORT", "65536"),
    ("PULLER_PORT", "http"),
    ("PULL_SYNC_TIMEOUT", "0"),
    ("PULL_SYNC_TIMEOUT", "nan"),
    ("PULL_SYNC_TIMEOUT", "inf"),
    ("PULL_SYNC_CONCURRENCY", "0"),
    ("PULL_SYNC_BODY_LIMIT_BYTES", "1"),
    ("PULL_SYNC_NETWORKS", "internet"),
    ("PULL_SYNC_PORTS", "http"),
    ("PULL_SYNC_PORTS", "0"),
    ("PULL_SYNC_PORTS", "80,65536"),
    ("PULL_SYNC_PORTS", "443-80"),
    ("PULL_SYNC_PORTS", "80-"),
    ("PULL_SYNC_PORTS", "\u0668\u0660"),
    ("PULL_SYNC_PORTS", ","),
    ("PULL_SYNC_CA_FILE", "no/such/file.pem"),
    ("PULL_SYNC_CA_FILE", "/dev/null"),
    ("PULL_SYNC_CA_FILE", "/"),
    ("LOG_LEVEL", "loud"),
]


@pytest.mark.parametrize(("name", "value"), BAD)
def test_a_bad_setting_is_named(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Status 2 and a line with name, problem and what was found; nothing else."""
    monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit) as caught:
        load_settings(PullerSettings)
    output = capsys.readouterr()
    (line,) = output.err.splitlines()
    assert caught.value.code == 2
    assert line.startswith(f"setting {name}")
    assert value in line
    assert output.out == ""


def test_each_bad_setting_has_a_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """All of them are told at once."""
    for name, value in (("PULLER_PORT", "x"), ("PULL_SYNC_TIMEOUT", "-1"), ("LOG_LEVEL", "")):
        monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit):
        load_settings(PullerSettings)
    lines = capsys.readouterr().err.splitlines()
    assert {line.split()[1].rstrip(":") for line in lines} == {"PULLER_PORT", "PULL_SYNC_TIMEOUT", "LOG_LEVEL"}
    assert len(lines) == 3


def test_a_file_that_is_no_text_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Status 2 and one line, no stack trace."""
    (tmp_path / ".env").write_bytes(b"PULLER_PORT=\xff\xfe\n")
    with pytest.raises(SystemExit) as caught:
        load_settings(PullerSettings)
    assert caught.value.code == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


MISTYPED = [
    "mysql://pullsync:secret-word@localhost/pullsync",
    "pullsync:secret-word@localhost/pullsync",
    "{scheme}://pullsync:secret-word/2@localhost/pullsync",
    "{scheme}://pullsync:1/secret-word@localhost/pullsync",
    "{scheme}://pullsync:1?secret-word@localhost/pullsync",
    "{scheme}://pullsync:1#secret-word@localhost/pullsync",
    "{scheme}://pullsync:[secret-word@localhost/pullsync",
    "{scheme}://pullsync:secret-word@localhost:65536/pullsync",
    "http://localhost/pullsync?user=u&password=secret-word",
]


@pytest.mark.parametrize("mistyped", MISTYPED)
@pytest.mark.parametrize(
    ("settings", "name", "scheme"),
    [(IngestSettings, "DATABASE_URL", "postgresql"), (PullerSettings, "RABBITMQ_URL", "amqp")],
)
def test_no_password_is_shown(
    settings: type[ServiceSettings],
    name: str,
    scheme: str,
    mistyped: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A mistyped scheme, or a character that a URL can't have there, does not put the password into the log."""
    monkeypatch.setenv(name, mistyped.format(scheme=scheme))
    with pytest.raises(SystemExit):
        load_settings(settings)
    told = capsys.readouterr().err
    assert "secret-word" not in told
    assert told.startswith(f"setting {name}: ")


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:a%2Fb@db-1:5432,db-2:5432/pullsync?target_session_attrs=read-write",
        "postgresql://u@[::1]:5432/pullsync?sslmode=verify-full",
        "postgres:///pullsync?host=/run/postgresql",
    ],
)
def test_addresses_that_libpq_knows_are_taken(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Several hosts, IPv6, a socket, a password with what must be escaped."""
    monkeypatch.setenv("DATABASE_URL", url)
    assert load_settings(IngestSettings).database_url == url


UNVERIFIED = [
    ("DATABASE_URL", "postgresql://db/p?sslmode=verify-full&sslrootcert=/ca.crt", "sslrootcert"),
    ("DATABASE_URL", "postgresql://db/p?sslcert=", "sslcert"),
    ("DATABASE_URL", "postgresql://db/p?sslmode=verify", "verify-full"),
    ("RABBITMQ_URL", "amqps://mq/?no_verify_ssl=1", "no_verify_ssl"),
    ("RABBITMQ_URL", "amqps://mq/?cafile=/ca.crt&heartbeat=5", "cafile"),
]


@pytest.mark.parametrize(("name", "url", "word"), UNVERIFIED)
def test_a_url_does_not_say_who_is_trusted(
    name: str, url: str, word: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """TLS_CA_FILE does: what a URL says of it would be ignored, or turn verification off."""
    monkeypatch.setenv(name, url)
    with pytest.raises(SystemExit):
        load_settings(IngestSettings)
    assert word in capsys.readouterr().err.partition("; found")[0]


@pytest.mark.parametrize("content", [None, "", "no certificate"])
def test_authorities_that_cannot_be_read_are_told(
    content: str | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The file is read at the start, so that a mistake is told there."""
    path = tmp_path / "ca.crt"
    if content is not None:
        path.write_text(content)
    monkeypatch.setenv("TLS_CA_FILE", str(path))
    with pytest.raises(SystemExit):
        load_settings(PullerSettings)
    assert capsys.readouterr().err.startswith("setting TLS_CA_FILE: ")


def test_no_authorities_are_those_of_the_system(monkeypatch: pytest.MonkeyPatch) -> None:
    """`TLS_CA_FILE=` is as if it were not there."""
    monkeypatch.setenv("TLS_CA_FILE", "")
    assert load_settings(PullerSettings).tls_ca_file is None


def test_some_network_must_be_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    """`PULL_SYNC_NETWORKS=` is a mistake."""
    monkeypatch.setenv("PULL_SYNC_NETWORKS", "")
    with pytest.raises(SystemExit):
        load_settings(PullerSettings)


def test_an_empty_ca_file_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """As docker compose hands over what is not set."""
    monkeypatch.setenv("PULL_SYNC_CA_FILE", "")
    assert load_settings(PullerSettings).pull_sync_ca_file is None


@pytest.mark.parametrize("settings", [RegistrySettings, PullerSettings, IngestSettings])
def test_whoever_calls_clients_keeps_the_same_rules(settings: type[ServiceSettings]) -> None:
    """Registry, puller and ingest agree on where clients may live, by default as by what can be set."""
    rules = {"pull_sync_networks", "pull_sync_ports", "pull_sync_ca_file"}
    assert rules <= set(settings.model_fields)
    assert {name: settings.model_fields[name].default for name in rules} == {
        name: PullerSettings.model_fields[name].default for name in rules
    }
