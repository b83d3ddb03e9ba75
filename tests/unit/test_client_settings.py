"""The client's settings have the names and defaults that the user's own document has."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from dev.certificates import Authority
from services.client.settings import ClientSettings
from shared.settings import load_settings

if TYPE_CHECKING:
    from collections.abc import Mapping

NAMES = {name.upper() for name in ClientSettings.model_fields}


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Neither this machine's environment nor its `.env` plays a part."""
    for name in NAMES & set(os.environ):
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def read(monkeypatch: pytest.MonkeyPatch, variables: Mapping[str, str]) -> ClientSettings:
    """The settings in such an environment."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return load_settings(ClientSettings)


def test_nothing_has_to_be_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """The defaults are those of the original client, but that pages of other origins may not call it."""
    settings = read(monkeypatch, {})
    assert settings.model_dump() == {
        "client_host": "127.0.0.1",
        "client_port": 3001,
        "client_url": None,
        "client_user_id": "user_1",
        "client_take_over_from": (),
        "client_registration_token": None,
        "client_cors_origins": (),
        "client_hosts": (),
        "client_database": Path("client-data/captures.sqlite3"),
        "client_import_file": Path("client-sync-data.json"),
        "client_retention_days": 30,
        "client_registration_check": 30.0,
        "client_nudge": False,
        "client_metrics_tokens": (),
        "backend_url": "http://localhost:8000",
        "log_level": "info",
        "log_format": "auto",
        "otel_exporter_otlp_endpoint": None,
        "otel_exporter_otlp_headers": "",
        "otel_traces_sampler": "parentbased_always_on",
        "otel_traces_sampler_arg": 1.0,
        "tls_ca_file": None,
    }
    assert settings.public_url == "http://localhost:3001"


def test_everything_can_be_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Each name is read; trailing slashes are dropped, and origins are a list with commas."""
    variables = {
        "CLIENT_HOST": "0.0.0.0",
        "CLIENT_PORT": "4000",
        "CLIENT_URL": "https://example.org/ash/",
        "CLIENT_USER_ID": "ash",
        "CLIENT_TAKE_OVER_FROM": "misty, of the lake, brock,",
        "CLIENT_CORS_ORIGINS": "https://A.example, capacitor://localhost",
        "CLIENT_HOSTS": "ash.lan, Ash.",
        "CLIENT_DATABASE": "/data/x.sqlite3",
        "CLIENT_IMPORT_FILE": "/data/old.json",
        "CLIENT_RETENTION_DAYS": "7",
        "CLIENT_REGISTRATION_CHECK": "0.5",
        "CLIENT_NUDGE": "true",
        "CLIENT_REGISTRATION_TOKEN": " of-registration ",
        "CLIENT_METRICS_TOKENS": "one-of-the-metrics, another-of-metrics",
        "BACKEND_URL": "https://api.example.org/",
        "LOG_LEVEL": "DEBUG",
        "LOG_FORMAT": "json",
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector.example:4318/",
        "OTEL_EXPORTER_OTLP_HEADERS": "authorization=Bearer%20x",
        "OTEL_TRACES_SAMPLER": "traceidratio",
        "OTEL_TRACES_SAMPLER_ARG": "0.1",
        "TLS_CA_FILE": str(tmp_path / "ca.crt"),
    }
    (tmp_path / "ca.crt").write_text(Authority.new("a CA").certificate_pem)
    assert set(variables) == NAMES
    settings = read(monkeypatch, variables)
    assert settings.model_dump() == {
        "client_host": "0.0.0.0",
        "client_port": 4000,
        "client_url": "https://example.org/ash",
        "client_user_id": "ash",
        "client_take_over_from": ("misty", "of the lake", "brock"),
        "client_cors_origins": ("https://a.example", "capacitor://localhost"),
        "client_hosts": ("ash.lan", "ash"),
        "client_database": Path("/data/x.sqlite3"),
        "client_import_file": Path("/data/old.json"),
        "client_retention_days": 7,
        "client_registration_check": 0.5,
        "client_nudge": True,
        "client_registration_token": "of-registration",
        "client_metrics_tokens": ("one-of-the-metrics", "another-of-metrics"),
        "backend_url": "https://api.example.org",
        "log_level": "debug",
        "log_format": "json",
        "otel_exporter_otlp_endpoint": "http://collector.example:4318",
        "otel_exporter_otlp_headers": "authorization=Bearer%20x",
        "otel_traces_sampler": "traceidratio",
        "otel_traces_sampler_arg": 0.1,
        "tls_ca_file": tmp_path / "ca.crt",
    }
    assert settings.public_url == "https://example.org/ash"


def test_the_address_follows_the_port(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without CLIENT_URL, the client is where it listens; an empty variable counts as not set."""
    settings = read(monkeypatch, {"CLIENT_PORT": "4000", "CLIENT_URL": "", "CLIENT_IMPORT_FILE": ""})
    assert settings.public_url == "http://localhost:4000"
    assert settings.client_import_file == Path("client-sync-data.json")


def test_a_dotenv_file_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """It gives what the environment does not, and may hold other services' variables."""
    Path(".env").write_text("CLIENT_PORT=4000\nCLIENT_USER_ID=ash\nDATABASE_URL=postgresql://x\n", encoding="utf-8")
    settings = read(monkeypatch, {"CLIENT_USER_ID": "misty"})
    assert (settings.client_port, settings.client_user_id) == (4000, "misty")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CLIENT_PORT", "0"),
        ("CLIENT_PORT", "65536"),
        ("CLIENT_PORT", "three"),
        ("BACKEND_URL", "localhost:8000"),
        ("BACKEND_URL", "ftp://localhost"),
        ("CLIENT_URL", "not a url"),
        ("CLIENT_USER_ID", "a\nb"),
        ("CLIENT_USER_ID", "x" * 256),
        ("CLIENT_RETENTION_DAYS", "0"),
        ("CLIENT_REGISTRATION_CHECK", "0"),
        ("CLIENT_REGISTRATION_CHECK", "nan"),
        ("CLIENT_REGISTRATION_CHECK", "inf"),
        ("CLIENT_NUDGE", "sometimes"),
        ("LOG_LEVEL", "loud"),
        ("CLIENT_CORS_ORIGINS", "localhost:8100"),
        ("CLIENT_CORS_ORIGINS", "http://localhost:8100/"),
        ("CLIENT_CORS_ORIGINS", "http://*.example"),
        ("CLIENT_CORS_ORIGINS", "null"),
        ("CLIENT_HOSTS", "http://a.lan"),
        ("CLIENT_HOSTS", "a.lan:3001"),
        ("CLIENT_HOSTS", "*"),
    ],
)
def test_a_bad_setting_is_one_line_and_status_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, value: str
) -> None:
    """The line names the variable and shows what was found."""
    with pytest.raises(SystemExit) as stopped:
        read(monkeypatch, {name: value})
    assert stopped.value.code == 2
    [line] = capsys.readouterr().err.splitlines()
    assert name in line
    assert repr(value) in line


@pytest.mark.parametrize("none", ["none", "", " , "])
def test_no_page_and_no_name_can_be_said(monkeypatch: pytest.MonkeyPatch, none: str) -> None:
    """As the registry takes it; and all pages by name."""
    settings = read(monkeypatch, {"CLIENT_CORS_ORIGINS": none, "CLIENT_HOSTS": none})
    assert (settings.client_cors_origins, settings.client_hosts) == ((), ())
    assert read(monkeypatch, {"CLIENT_CORS_ORIGINS": "*"}).client_cors_origins == ("*",)
