"""What `pullsync doctor` takes out of the settings of its environment: whom to trust, and the registry's own token."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
import trustme

from cli.doctor import here
from cli.session import Session
from cli.settings import CliSettings
from tests.certificates import context, tls_server, written

NODES = json.dumps([{"name": "rabbit@a", "running": True}])
ANSWER = f"HTTP/1.1 200 OK\r\nContent-Length: {len(NODES)}\r\nConnection: close\r\n\r\n{NODES}".encode()
READ, OPERATE, ADMIN = (f"{letter}-0123456789abcdef" for letter in "roa")


@pytest.fixture(autouse=True)
def _elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without what the developer has set."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SECRETS_DIR", "")
    for name in ("OPERATOR_TOKENS", "REGISTRY_PORT", *(name.upper() for name in CliSettings.model_fields)):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("trusts", [True, False])
async def test_the_management_api_is_trusted_by_the_services_authority(
    trusts: bool,  # noqa: FBT001 - pytest's
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """As the registry trusts it; another authority's is refused."""
    authority = trustme.CA()
    believed = authority if trusts else trustme.CA()
    monkeypatch.setenv("TLS_CA_FILE", str(written(believed, tmp_path)))
    async with tls_server(context(authority.issue_cert("localhost")), ANSWER) as port:
        monkeypatch.setenv("RABBITMQ_MANAGEMENT_URL", f"https://me:secret@localhost:{port}")
        found = await asyncio.to_thread(here.look, Session().settings)
    assert found.management is not None
    assert found.management.answer == (json.loads(NODES) if trusts else None)
    assert ("TLS_CA_FILE must name" in str(found.management.error)) is not trusts


@pytest.mark.parametrize("variable", ["PULLSYNC_CA_FILE", "TLS_CA_FILE"])
async def test_the_registry_is_trusted_by_either_authority(
    variable: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The operator's own, or where the services' settings are, theirs."""
    authority = trustme.CA()
    monkeypatch.setenv(variable, str(written(authority, tmp_path)))
    async with tls_server(context(authority.issue_cert("localhost")), ANSWER) as port:
        monkeypatch.setenv("PULLSYNC_URL", f"https://localhost:{port}")

        def ask() -> object:
            with Session().registry() as registry:
                return registry.get("/health")

        assert await asyncio.to_thread(ask) == json.loads(NODES)


@pytest.mark.parametrize(
    ("tokens", "url", "found"),
    [
        (f"admin:{ADMIN},read:{READ},operate:{OPERATE}", "http://localhost:8000", READ),
        (f"admin:{ADMIN},operate:{OPERATE}", "http://127.0.0.1:8000", OPERATE),
        (f"read:{READ},read:{ADMIN}", "http://localhost:8000", READ),
        ("", "http://localhost:8000", None),
        ("nonsense", "http://localhost:8000", None),
        (f"read:{READ}", "http://localhost:8001", None),
        (f"read:{READ}", "https://registry.example:8000", None),
    ],
)
def test_the_registry_that_is_set_up_here_is_shown_its_own_token(
    tokens: str, url: str, found: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one with the fewest rights, and no other registry any."""
    monkeypatch.setenv("OPERATOR_TOKENS", tokens)
    assert here.token_of_the_registry(url) == found


def test_a_token_of_ones_own_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    """The registry's own is shown only where there is none."""
    monkeypatch.setenv("PULLSYNC_TOKEN", ADMIN)
    with Session().registry(otherwise=READ) as registry:
        assert registry._http.headers["authorization"] == f"Bearer {ADMIN}"  # noqa: SLF001 - what is sent
    monkeypatch.delenv("PULLSYNC_TOKEN")
    with Session().registry(otherwise=READ) as registry:
        assert registry.has_token
