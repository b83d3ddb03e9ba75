"""What is said of a connection that TLS has refused, and of others."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
import structlog

import shared.patience
from dev.certificates import Authority
from shared import tls
from shared.patience import patiently
from shared.rabbitmq.broker import Outages


def refused(code: int) -> ssl.SSLCertVerificationError:
    """A certificate that OpenSSL refuses."""
    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.verify_code = code
    return error


def wrapped(error: Exception) -> Exception:
    """As libraries raise it."""
    outer = ConnectionError()
    outer.__cause__ = error
    return outer


@pytest.fixture
def ca_file(tmp_path: Path) -> Path:
    """A file with a CA."""
    path = tmp_path / "ca.crt"
    path.write_text(Authority.new("a CA").certificate_pem)
    return path


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (refused(10), "renew"),
        (refused(62), "another name"),
        (refused(20), "TLS_CA_FILE"),
        (refused(26), "replace"),
        (wrapped(refused(64)), "another name"),
        (ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER]"), "does not speak TLS"),
    ],
)
def test_a_refusal_has_a_remedy(error: Exception, told: str) -> None:
    """Whichever library has wrapped it."""
    assert told in (tls.remedy(error) or "")


@pytest.mark.parametrize("error", [OSError(), ssl.SSLEOFError(8, "EOF"), wrapped(ssl.SSLZeroReturnError(6, "closed"))])
def test_an_outage_has_none(error: Exception) -> None:
    """A server that goes away in the middle of a handshake needs nothing but time."""
    assert tls.remedy(error) is None


def test_only_urls_that_ask_for_tls_get_it(ca_file: Path) -> None:
    """The rest is left to the libraries."""
    assert tls.for_rabbitmq("amqp://mq/", ca_file) is None
    for mode in ("", "?sslmode=prefer", "?sslmode=require", "?sslmode=disable"):
        assert tls.for_postgres(f"postgresql://db/p{mode}", ca_file) is None


@pytest.mark.parametrize("trusted", [True, False])
def test_certificate_and_name_are_verified(ca_file: Path, trusted: bool) -> None:  # noqa: FBT001 - pytest's
    """By the one CA of the file, and no others; by those of the system without a file."""
    file = ca_file if trusted else None
    contexts = [
        tls.for_rabbitmq("amqps://mq/", file),
        tls.for_postgres("postgresql://db/p?sslmode=verify-full", file),
        tls.trusting(file),
    ]
    for context in contexts:
        assert context is not None
        assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
        assert context.minimum_version >= ssl.TLSVersion.TLSv1_2
        known = [ca["subject"] for ca in context.get_ca_certs()]
        assert (known == [((("commonName", "a CA"),),)]) == trusted


async def test_a_refusal_is_told_after_an_outage_and_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A database that is away comes first; each thing that is to be done is one line."""
    monkeypatch.setattr(shared.patience, "_PAUSES_S", (0.0,))
    errors = [OSError("away"), refused(20), refused(20), OSError("away"), refused(10)]

    async def step() -> None:
        if errors:
            raise errors.pop(0)

    with structlog.testing.capture_logs() as found:
        await patiently(step)
    assert [line["event"] for line in found] == ["database_away", "database_refused", "database_refused"]
    assert [line["log_level"] for line in found] == ["warning", "error", "error"]


def test_a_broker_that_is_refused_is_told_after_an_outage_and_told_once() -> None:
    """The same of RabbitMQ, until it is back."""
    outages = Outages()
    with structlog.testing.capture_logs() as found:
        for error in (OSError("away"), refused(20), refused(20), OSError("away"), refused(10)):
            outages.lost(None, wrapped(error))
        outages.over()
        outages.lost(None, OSError("away"))
    events = ["broker_lost", "broker_refused", "broker_refused", "broker_back", "broker_lost"]
    assert [line["event"] for line in found] == events


@pytest.mark.timeout(20)
def test_errors_that_come_of_each_other_are_looked_at_once() -> None:
    """As those of a connection that several tasks lose at once; to follow them for ever would hang a service."""
    first, second, third = OSError("first"), StopAsyncIteration(), ssl.SSLError(1, "wrong version number")
    first.__context__, second.__context__ = second, first
    assert tls.remedy(first) is None
    second.__cause__, third.__context__ = third, second
    assert tls.remedy(first) is not None
