"""Clients that speak TLS: their certificates are verified, and each refusal has its reason."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest
import trustme

from services.registry.errors import RefusedError
from services.registry.probe import ClientProbe
from shared.contracts.messages import Reason
from shared.outbound.client_http import ClientCallError, ClientHttp, OutboundPolicy
from tests.certificates import context, expired, not_yet_valid, self_signed, tls_server, written
from tests.name_server import Names
from tests.raw_server import GOOD, OK, served

LOCAL: Final = OutboundPolicy(frozenset({"loopback"}))
HEALTHY: Final = b'{"status": "healthy"}'
HEALTH: Final = OK + b"content-length: %d\r\n\r\n" % len(HEALTHY) + HEALTHY


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """Of whoever runs PullSync."""
    return trustme.CA()


@pytest.fixture
def ca_file(authority: trustme.CA, tmp_path: Path) -> Path:
    """Its certificate."""
    return written(authority, tmp_path)


def calling(ca_file: Path | None) -> ClientHttp:
    """As registry, puller and ingest call."""
    return ClientHttp(policy=LOCAL, timeout_s=5.0, body_limit_bytes=65_536, ca_file=ca_file)


async def fetched(http: ClientHttp, url: str) -> bytes:
    """The answer's body."""
    async with http.get(url) as body:
        return body


async def refusal(http: ClientHttp, url: str) -> str:
    """What is wrong with the client's TLS."""
    with pytest.raises(ClientCallError) as caught:
        await fetched(http, url)
    assert caught.value.reason is Reason.TLS
    return str(caught.value)


@pytest.mark.parametrize("host", ["127.0.0.1", "client.test", "client.test."])
async def test_a_private_authority_is_believed_by_setting(
    authority: trustme.CA, ca_file: Path, host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For names and addresses, with and without the dot of the root."""
    Names({name: [["127.0.0.1"]] for name in ("client.test", "client.test.")}).install(monkeypatch)
    server = context(authority.issue_cert("127.0.0.1", "client.test"))
    async with tls_server(server, GOOD) as port, calling(ca_file) as http:
        assert await fetched(http, f"https://{host}:{port}/") == b"{}"


async def test_a_certificate_of_an_unknown_authority_is_refused(authority: trustme.CA) -> None:
    """Without the setting only the system's authorities are believed."""
    async with tls_server(context(authority.issue_cert("127.0.0.1")), GOOD) as port, calling(None) as http:
        assert "certificate is refused: unable to get local issuer" in await refusal(http, f"https://127.0.0.1:{port}/")


Make = Callable[[trustme.CA], trustme.LeafCert]

REFUSED: Final[dict[str, tuple[Make, str]]] = {
    "expired": (lambda authority: expired(authority, "127.0.0.1"), "certificate has expired"),
    "not yet valid": (lambda authority: not_yet_valid(authority, "127.0.0.1"), "certificate is not yet valid"),
    "wrong address": (lambda authority: authority.issue_cert("127.0.0.2"), "IP address mismatch"),
    "address as a name": (lambda authority: authority.issue_cert("localhost"), "IP address mismatch"),
    "another authority": (lambda _authority: trustme.CA().issue_cert("127.0.0.1"), "unable to get local issuer"),
}


@pytest.mark.parametrize(("make", "reason"), REFUSED.values(), ids=REFUSED)
async def test_a_bad_certificate_is_refused(authority: trustme.CA, ca_file: Path, make: Make, reason: str) -> None:
    """With the reason that an operator needs, and nothing is sent."""
    async with tls_server(context(make(authority)), GOOD) as port, calling(ca_file) as http:
        told = await refusal(http, f"https://127.0.0.1:{port}/")
    assert told.startswith("its certificate is refused: ")
    assert reason in told


async def test_a_self_signed_certificate_is_refused(ca_file: Path, tmp_path: Path) -> None:
    """Whatever it says of itself: it is none that is believed."""
    async with tls_server(self_signed(trustme.CA(), tmp_path), GOOD) as port, calling(ca_file) as http:
        told = await refusal(http, f"https://127.0.0.1:{port}/")
    assert told == "its certificate is refused: self-signed certificate"


@pytest.mark.parametrize("name", ["other.test", "test", "x.client.test", "client.test.evil.test"])
async def test_a_certificate_for_another_host_is_refused(
    authority: trustme.CA, ca_file: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The name in the URL is what counts, wherever it leads to."""
    Names({"client.test": [["127.0.0.1"]]}).install(monkeypatch)
    async with tls_server(context(authority.issue_cert(name)), GOOD) as port, calling(ca_file) as http:
        assert "Hostname mismatch" in await refusal(http, f"https://client.test:{port}/")


async def test_a_name_in_another_script_has_its_certificate(
    authority: trustme.CA, ca_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For the name as it is encoded."""
    Names({"xn--bcher-kva.test": [["127.0.0.1"]]}).install(monkeypatch)
    async with tls_server(context(authority.issue_cert("xn--bcher-kva.test")), GOOD) as port, calling(ca_file) as http:
        assert await fetched(http, f"https://b\u00fccher.test:{port}/") == b"{}"


async def test_what_does_not_speak_tls_is_told(ca_file: Path) -> None:
    """It is not called without."""
    async with served(GOOD, before_the_request=True) as url, calling(ca_file) as http:
        assert await refusal(http, url.replace("http:", "https:")) == "no TLS with it: wrong version number"


async def test_a_client_with_a_bad_certificate_is_not_registered(authority: trustme.CA, ca_file: Path) -> None:
    """The sentence says what is wrong with it; one with a good certificate is asked who it is."""
    bad, good = context(expired(authority, "127.0.0.1")), context(authority.issue_cert("127.0.0.1"))
    async with tls_server(bad, HEALTH) as bad_port, tls_server(good, HEALTH) as good_port, calling(ca_file) as http:
        probe = ClientProbe(http=http)
        with pytest.raises(RefusedError, match="tls: its certificate is refused: certificate has expired"):
            await probe.check(f"https://127.0.0.1:{bad_port}", user_id="user_1")
        await probe.check(f"https://127.0.0.1:{good_port}", user_id="user_1")
