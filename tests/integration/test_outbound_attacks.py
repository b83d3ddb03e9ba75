"""Attacks by way of a client's URL on the parts that call it: real sockets, and look-ups as an attacker has them."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import uuid4

import pytest

from services.ingest.client_api import ClientApi as IngestApi
from services.puller.client_api import ClientApi as PullerApi
from services.registry.errors import RefusedError
from services.registry.probe import ClientProbe
from shared.contracts.messages import Acknowledgement, PullTarget, Reason
from shared.outbound.client_http import ClientCallError, ClientHttp, Network, OutboundPolicy
from tests.name_server import Names
from tests.raw_server import GOOD, OK, served

METADATA: Final = "169.254.169.254"
HEALTHY: Final = b'{"status": "healthy"}'
HEALTH: Final = OK + b"content-length: %d\r\n\r\n" % len(HEALTHY) + HEALTHY


@dataclass
class Server:
    """Counts who comes."""

    port: int = 0
    connections: int = 0


@asynccontextmanager
async def listening(answer: bytes = HEALTH, host: str = "127.0.0.1") -> AsyncIterator[Server]:
    """A server that answers so to everything."""
    server = Server()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server.connections += 1
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()
        writer.close()

    listener = await asyncio.start_server(talk, host, 0)
    async with listener:
        server.port = listener.sockets[0].getsockname()[1]
        yield server


def calling(*networks: Network) -> ClientHttp:
    """As registry, puller and ingest call."""
    return ClientHttp(policy=OutboundPolicy(frozenset(networks)), timeout_s=5.0, body_limit_bytes=65_536)


async def fetched(http: ClientHttp, url: str) -> bytes:
    """The answer's body."""
    async with http.get(url) as body:
        return body


async def refusal(http: ClientHttp, url: str) -> ClientCallError:
    """How the call fails."""
    with pytest.raises(ClientCallError) as caught:
        await fetched(http, url)
    return caught.value


def target(url: str) -> PullTarget:
    """To be pulled."""
    expires = datetime.now(UTC) + timedelta(hours=1)
    return PullTarget(pull_id=uuid4(), user_id="user_1", client_url=url, lease_expires_at=expires)


REBOUND: Final[dict[str, tuple[Network, ...]]] = {
    METADATA: ("public", "private", "loopback"),
    f"::ffff:{METADATA}": ("public", "private", "loopback"),
    "fd00:ec2::254": ("public", "private", "loopback"),
    "0.0.0.0": ("public", "private", "loopback"),
    "224.0.0.1": ("public", "private", "loopback"),
    "10.0.0.1": ("public", "loopback"),
    "8.8.8.8": ("private", "loopback"),
}
"""Where a name leads to at last, and the networks that are allowed."""


@pytest.mark.parametrize(("rebound", "networks"), REBOUND.items())
async def test_dns_rebinding_between_registration_and_pull(
    rebound: str, networks: tuple[Network, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The name leads to a healthy client when it registers, and elsewhere when it is pulled and acknowledged."""
    names = Names({"rebinding.test": [["127.0.0.1"], [rebound]]})
    names.install(monkeypatch)
    async with listening() as client:
        url = f"http://rebinding.test:{client.port}"
        async with calling(*networks) as registry:
            await ClientProbe(http=registry).check(url, user_id="user_1")
        async with calling(*networks) as puller:
            with pytest.raises(ClientCallError) as pulled:
                async with PullerApi(http=puller).sync_data(target(url), since=None):
                    pass
        async with calling(*networks) as ingest:
            with pytest.raises(ClientCallError) as acknowledged:
                await IngestApi(http=ingest).acknowledge(
                    Acknowledgement(user_id="ash", client_url=url, capture_ids=("a",), outcome=None)
                )
        assert [pulled.value.reason, acknowledged.value.reason] == [Reason.FORBIDDEN_ADDRESS] * 2
        assert (client.connections, names.lookups["rebinding.test"]) == (1, 3)


async def test_dns_rebinding_between_look_up_and_connect(monkeypatch: pytest.MonkeyPatch) -> None:
    """The address that was checked is the one that is connected to: a name is looked up once for a call."""
    names = Names({"rebinding.test": [["127.0.0.1"], [METADATA]]})
    names.install(monkeypatch)
    asked: list[str] = []
    permits = OutboundPolicy.permits

    def remember(policy: OutboundPolicy, address: str) -> bool:
        asked.append(address)
        return permits(policy, address)

    monkeypatch.setattr(OutboundPolicy, "permits", remember)
    async with listening() as client, calling("loopback") as http:
        assert await fetched(http, f"http://rebinding.test:{client.port}/") == HEALTHY
        assert client.connections == 1
    assert names.lookups["rebinding.test"] == 1
    assert asked == ["127.0.0.1"]


async def test_a_name_with_a_forbidden_and_a_permitted_address(monkeypatch: pytest.MonkeyPatch) -> None:
    """No connection to the forbidden one is begun, in whatever order they come."""
    for addresses in ([METADATA, "127.0.0.1"], ["127.0.0.1", METADATA], ["::1", METADATA, "127.0.0.1"]):
        Names({"both.test": [addresses]}).install(monkeypatch)
        made: list[str] = []
        open_socket = OutboundPolicy.open_socket

        def remember(policy: OutboundPolicy, addr_info: tuple[object, ...], keep: list[str] = made) -> socket.socket:
            opened = open_socket(policy, addr_info)  # type: ignore[arg-type] # noqa: B023 - the same in each round
            keep.append(str(addr_info[4][0]))  # type: ignore[index] # it is an address
            return opened

        with monkeypatch.context() as patch:
            patch.setattr(OutboundPolicy, "open_socket", remember)
            async with listening() as client, calling("loopback") as http:
                assert await fetched(http, f"http://both.test:{client.port}/") == HEALTHY
        assert made
        assert METADATA not in made


SPELLINGS: Final = {
    "decimal": "2130706433",
    "octal": "0177.0.0.1",
    "octal, whole": "017700000001",
    "hexadecimal": "0x7f000001",
    "hexadecimal, by parts": "0x7f.0x0.0x0.0x1",
    "short": "127.1",
    "trailing dot": "127.0.0.1.",
    "name, trailing dot": "localhost.",
    "name, capitals": "LOCALHOST",
    "full-width digits": "\uff11\uff12\uff17.0.0.1",
    "ideographic dots": "127\u30020\u30020\u30021",
    "mapped": "[::ffff:127.0.0.1]",
    "mapped, in hexadecimal": "[::ffff:7f00:1]",
    "NAT64": "[64:ff9b::7f00:1]",
    "6to4": "[2002:7f00:1::]",
    "Teredo": "[2001:0:4136:e378:8000:63bf:80ff:fffe]",
    "IPv6 loopback": "[::1]",
    "unspecified": "0.0.0.0",
    "unspecified, short": "0",
    "unspecified, IPv6": "[::]",
}


@pytest.mark.parametrize("host", SPELLINGS.values(), ids=SPELLINGS)
async def test_loopback_by_another_spelling(host: str) -> None:
    """A server of this machine is not reached where loopback is forbidden."""
    async with listening() as ours, calling("public", "private") as http:
        error = await refusal(http, f"http://{host}:{ours.port}/")
    assert error.reason in {Reason.FORBIDDEN_ADDRESS, Reason.CONNECT}
    assert ours.connections == 0


@pytest.mark.parametrize("host", ["b\u00fccher.test", "xn--bcher-kva.test", "B\u00dcCHER.test", "b\u00fccher.test."])
async def test_a_name_in_another_script(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is looked up as it is encoded, whoever asks, and the policy is asked about where that leads to."""
    answers = [["127.0.0.1"]]
    Names({"xn--bcher-kva.test": answers, "xn--bcher-kva.test.": answers}).install(monkeypatch)
    async with listening() as client:
        url = f"http://{host}:{client.port}"
        async with calling("loopback") as http:
            await ClientProbe(http=http).check(url, user_id="user_1")
        async with calling("public") as http:
            assert (await refusal(http, url)).reason is Reason.FORBIDDEN_ADDRESS
        assert client.connections == 1


@pytest.mark.parametrize("host", ["\u2603" * 63 + ".test", "\ud800.test", "a\u200bb.test", "\u2100.test"], ids=ascii)
async def test_a_name_that_can_not_be_encoded(host: str) -> None:
    """It is a failed call, and nobody is asked for it."""
    async with calling("loopback") as http:
        error = await refusal(http, f"http://{host}:3001/")
    assert error.reason is Reason.CONNECT
    assert str(error).isprintable()


async def test_credentials_in_a_url_are_not_sent() -> None:
    """Also where the registration did not see them: in a message, or a record from before."""
    async with listening() as client, calling("loopback") as http:
        for user in ("user:secret", "user", ":secret"):
            error = await refusal(http, f"http://{user}@127.0.0.1:{client.port}/")
            assert error.reason is Reason.FORBIDDEN_ADDRESS
    assert client.connections == 0


@pytest.mark.parametrize("scheme", ["ftp", "file", "ws", "wss", "gopher", "unix", "data", "javascript", ""])
async def test_another_scheme_is_not_called(scheme: str) -> None:
    """Though the HTTP stack would call some of them."""
    async with listening() as client, calling("loopback") as http:
        error = await refusal(http, f"{scheme}://127.0.0.1:{client.port}/")
        assert error.reason is Reason.FORBIDDEN_ADDRESS
    assert client.connections == 0


async def test_an_odd_port_is_not_called(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its name is not even looked up; the registration is refused with what to look at."""
    names = Names({"mail.test": [["127.0.0.1"]]})
    names.install(monkeypatch)
    async with calling("loopback") as http:
        assert (await refusal(http, "http://mail.test:25/")).reason is Reason.FORBIDDEN_ADDRESS
        with pytest.raises(RefusedError, match=r"is not called: forbidden_address: its port 25 may .* PULL_SYNC_PORTS"):
            await ClientProbe(http=http).check("http://mail.test:25", user_id="user_1")
    assert names.lookups["mail.test"] == 0


async def test_a_port_that_is_left_out_is_not_called() -> None:
    """The setting keeps the services off a server of one's own."""
    async with listening() as ours:
        ports = (range(1_024, ours.port), range(ours.port + 1, 65_536))
        policy = OutboundPolicy(frozenset({"loopback"}), ports=ports)
        async with ClientHttp(policy=policy, timeout_s=5.0, body_limit_bytes=1_024) as http:
            error = await refusal(http, f"http://127.0.0.1:{ours.port}/")
            assert error.reason is Reason.FORBIDDEN_ADDRESS
        assert ours.connections == 0


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_not_followed(status: int) -> None:
    """Not to a place that may be called either: it would be called without having been asked who it is."""
    async with listening() as other:
        location = f"http://127.0.0.1:{other.port}/"
        answer = f"HTTP/1.1 {status} Go\r\nlocation: {location}\r\ncontent-length: 0\r\n\r\n"
        async with served(answer.encode()) as url, calling("loopback") as http:
            error = await refusal(http, url)
        assert (error.reason, other.connections) == (Reason.HTTP_STATUS, 0)
        assert "redirects are not followed" in str(error)


@pytest.mark.parametrize("name", ["refused.test", "forbidden.test", "nowhere.test"])
async def test_an_error_does_not_tell_where_a_name_leads_to(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever registers a client would learn the addresses of this network by it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    names: dict[str, list[list[str]]] = {
        "refused.test": [["127.0.0.1", "127.0.0.9"]],
        "forbidden.test": [["10.9.8.7"]],
        "nowhere.test": [[]],
    }
    Names(names).install(monkeypatch)
    async with calling("loopback") as http:
        with pytest.raises(RefusedError) as caught:
            await ClientProbe(http=http).check(f"http://{name}:{port}", user_id="user_1")
    told = str(caught.value)
    assert name in told
    assert "127.0.0" not in told
    assert "10.9.8.7" not in told


async def test_no_proxy_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would look the name up by itself, and call what is forbidden."""
    async with served(GOOD) as proxy, calling("loopback") as http:
        for variable in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(variable, proxy)
        monkeypatch.delenv("no_proxy", raising=False)
        error = await refusal(http, "http://10.0.0.1:3001/")
    assert error.reason is Reason.FORBIDDEN_ADDRESS


@pytest.mark.parametrize(
    "answer", [b"\x00\xff\x1b[2J\r\n\r\n", OK + b"\x1b[2J\x07: x\r\n\r\n", b"\xe2\x80\xae HTTP\r\n\r\n"]
)
async def test_an_error_that_quotes_a_client_is_one_visible_line(answer: bytes) -> None:
    """It stands in lists, logs and answers: what a client sent can't break, move or turn them."""
    async with served(answer) as url, calling("loopback") as http:
        error = await refusal(http, url)
    assert str(error).isprintable()
    assert str(ClientCallError(Reason.CONNECT, "a\n\x1b[2J\u202e" * 100)).isprintable()


SECRET: Final = b"hunter2"
TALKATIVE: Final = {
    "another protocol": b"-ERR unknown command, secret=hunter2\r\n\r\n",
    "a bad header": OK + b"hunter2 no header\r\n\r\n",
    "a bad status": b"HTTP/1.1 hunter2 OK\r\n\r\n",
    "a refusal": b"HTTP/1.1 401 hunter2\r\ncontent-length: 7\r\n\r\nhunter2",
    "a bad chunk": OK + b"transfer-encoding: chunked\r\n\r\nhunter2\r\n",
    "an answer that is cut off": OK + b"content-length: 100\r\n\r\nhunter2",
    "a coding": OK + b"content-encoding: hunter2\r\ncontent-length: 7\r\n\r\nhunter2",
    "no health": OK + b'content-length: 20\r\n\r\n{"secret":"hunter2"}',
    "no JSON": OK + b"content-length: 7\r\n\r\nhunter2",
}
"""What a server of our own may answer to whoever registers its address as a client's."""


@pytest.mark.parametrize("answer", TALKATIVE.values(), ids=TALKATIVE)
async def test_a_registration_does_not_read_out_what_answers(answer: bytes) -> None:
    """Neither whoever registers an address is told a byte of it, nor a client that reads its record later."""
    async with served(answer) as url, calling("loopback") as http:
        with pytest.raises(RefusedError) as registered:
            await ClientProbe(http=http).check(url, user_id="user_1")
        with pytest.raises(ClientCallError) as pulled:
            async with PullerApi(http=http).sync_data(target(url), since=None):
                pass
    for told in (str(registered.value), pulled.value.sentence):
        assert SECRET.decode() not in told


async def test_the_log_has_what_answered(capsys: pytest.CaptureFixture[str]) -> None:
    """An operator sees what his client really said."""
    async with served(TALKATIVE["another protocol"]) as url, calling("loopback") as http:
        with pytest.raises(RefusedError, match="bad_payload: the answer is not HTTP"):
            await ClientProbe(http=http).check(url, user_id="user_1")
    assert SECRET.decode() in capsys.readouterr().out
