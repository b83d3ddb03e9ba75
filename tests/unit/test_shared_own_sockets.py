"""What a service itself lacks to call a client is no failure of that client: none is told, none is backed off."""

from __future__ import annotations

import asyncio
import errno
import resource
import socket
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, Final
from uuid import uuid4

import pytest
import structlog
from structlog.testing import capture_logs

from services.ingest.acknowledge import Acknowledger
from services.ingest.client_api import ClientApi as AcknowledgingApi
from services.puller.client_api import ClientApi
from services.puller.leases import ClaimNumber
from services.puller.loop import Pulls, Timer
from services.puller.publisher import BatchPublisher
from services.puller.pull import Puller
from services.registry.errors import NoSocketError
from services.registry.probe import ClientProbe
from shared.contracts.messages import Acknowledgement, Message, PullTarget, Reason
from shared.errors import OwnLackError
from shared.outbound import own_sockets
from shared.outbound.client_http import ClientCallError, ClientHttp, OutboundPolicy
from shared.outbound.own_sockets import LASTS_S, OwnSockets, own_lack, room_for
from shared.rabbitmq.broker import Publisher
from shared.rabbitmq.settlements import Settlements
from shared.tasks import all_ended
from tests.raw_server import OK, served
from tests.unit.test_puller_timer import Registry, target

NOTHING: Final = b'{"user_id": "user_1", "captures": []}'
ANSWER: Final = OK + b"content-length: %d\r\n\r\n" % len(NOTHING) + NOTHING
LACKS: Final = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS)


class Sockets:
    """What of the system is missing."""

    def __init__(self) -> None:
        self.missing: int | None = None
        self.opened = 0


@pytest.fixture
def sockets(monkeypatch: pytest.MonkeyPatch) -> Sockets:
    """Those that clients are called by, as long as they last."""
    made, open_socket = Sockets(), OutboundPolicy.open_socket

    def opened(policy: OutboundPolicy, addr_info: Any) -> socket.socket:
        made.opened += 1
        if made.missing is not None:
            raise OSError(made.missing, "as the system says it")
        return open_socket(policy, addr_info)

    monkeypatch.setattr(OutboundPolicy, "open_socket", opened)
    return made


def client_http() -> ClientHttp:
    """HTTP to clients on this machine."""
    return ClientHttp(policy=OutboundPolicy(frozenset({"loopback"})), timeout_s=10.0, body_limit_bytes=1_024)


class Published(Publisher):
    """Keeps what was published."""

    def __init__(self) -> None:
        self.messages: list[Message] = []

    async def publish(self, message: Message, *, routing_key: str) -> None:
        """Keep it."""
        assert routing_key
        self.messages.append(message)


def puller_with(http: ClientHttp, published: Published) -> Puller:
    """The puller's parts."""
    batches, settlements = BatchPublisher(publisher=published), Settlements(publisher=published)
    return Puller(client_api=ClientApi(http=http), batches=batches, settlements=settlements)


def at(url: str) -> PullTarget:
    """A client there, under a lease."""
    return PullTarget(pull_id=uuid4(), user_id="user_1", client_url=url, lease_expires_at=datetime.now(UTC))


@pytest.mark.parametrize("number", LACKS)
async def test_a_pull_without_a_socket_tells_nothing(sockets: Sockets, number: int) -> None:
    """It raises, so that its lease is given back or its request tried again; with a socket the same client is well."""
    published = Published()
    async with served(ANSWER) as url, client_http() as http:
        puller = puller_with(http, published)
        sockets.missing = number
        with pytest.raises(OwnLackError):
            await puller.pull(at(url))
        assert published.messages == []
        assert not await http.sockets.suffice()
        sockets.missing = None
        await puller.pull(at(url))
        assert len(published.messages) == 1


@pytest.mark.parametrize("number", LACKS)
async def test_an_acknowledgement_without_a_socket_is_no_try(sockets: Sockets, number: int) -> None:
    """It is neither put off nor given up, and its message is held."""
    published = Published()
    sockets.missing = number
    told = Acknowledgement(user_id="ash", client_url="http://127.0.0.1:3001", capture_ids=("a",), outcome=None)
    async with client_http() as http:
        acknowledger = Acknowledger(client_api=AcknowledgingApi(http=http), publisher=published)
        with pytest.raises(OwnLackError):
            await acknowledger.tell(told, attempts=0)
    assert published.messages == []


async def test_a_registration_without_a_socket_is_put_off(sockets: Sockets) -> None:
    """503 and when to come again, and no word against the client."""
    sockets.missing = errno.EMFILE
    async with client_http() as http:
        with pytest.raises(NoSocketError) as refused:
            await ClientProbe(http=http).check("http://127.0.0.1:3001", user_id="ash")
    assert (refused.value.status, refused.value.retry_after_s) == (503, 5)


async def test_an_answer_that_no_thread_can_read_is_not_to_blame(monkeypatch: pytest.MonkeyPatch) -> None:
    """Large answers are read in threads, of which there may be no more."""

    def start(_thread: object) -> None:
        message = "can't start new thread"
        raise RuntimeError(message)

    large = b'{"user_id": "user_1", "captures": []%s}' % (b" " * 100_000)
    published = Published()
    answer = OK + b"content-length: %d\r\n\r\n" % len(large) + large
    http = ClientHttp(policy=OutboundPolicy(frozenset({"loopback"})), timeout_s=10.0, body_limit_bytes=1_000_000)
    async with served(answer) as url, http:
        monkeypatch.setattr("shared.daemon_thread.Thread.start", start)
        with pytest.raises(OwnLackError):
            await puller_with(http, published).pull(at(url))
        with pytest.raises(OwnLackError):  # names are looked up in threads, too
            await puller_with(http, published).pull(at("http://client.example:3001"))
    assert published.messages == []


async def test_a_name_is_not_to_blame_when_nobody_can_be_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a descriptor the system's look-up says the same as of a name that does not exist."""

    def look_up(*_: object, **__: object) -> list[object]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    def no_socket(*_: object, **__: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    async with client_http() as http:
        with pytest.raises(ClientCallError) as failed:
            async with http.get("http://client.example:3001/"):
                pass
        assert failed.value.reason is Reason.CONNECT
        with monkeypatch.context() as patched:
            patched.setattr(socket, "socket", no_socket)
            with pytest.raises(OwnLackError):
                async with http.get("http://client.example:3001/"):
                    pass


def test_an_address_that_can_not_be_had_is_its_clients_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    """As an IPv6 one on a machine without IPv6; only when no port is left at all it is ours."""
    error = OSError(errno.EADDRNOTAVAIL, "Cannot assign requested address")
    assert own_lack(error) is None
    monkeypatch.setattr(own_sockets, "_has_local_port", lambda: False)
    assert own_lack(error) is error


def test_one_lack_among_several_addresses_counts() -> None:
    """The error for all of them has no number of its own."""
    assert own_lack(OSError("Multiple exceptions: [Errno 111] Connect call failed, [Errno 24] Too many open files"))
    assert not own_lack(OSError("Multiple exceptions: [Errno 111] Connect call failed, [Errno 113] No route to host"))


@pytest.mark.parametrize("error", [OSError(errno.ECONNREFUSED, "refused"), socket.gaierror(socket.EAI_AGAIN, "again")])
def test_what_clients_are_to_blame_for_is_no_lack(error: OSError) -> None:
    """Such as nobody who listens, or a name server that does not answer."""
    assert own_lack(error) is None


@pytest.fixture
def logged(monkeypatch: pytest.MonkeyPatch) -> Iterator[Sequence[Any]]:
    """What is logged there."""
    monkeypatch.setattr(own_sockets, "log", structlog.get_logger())
    with capture_logs() as lines:
        yield lines


async def test_a_lack_is_told_once_with_what_to_do(logged: Sequence[Any]) -> None:
    """However many calls meet it; and its end. It is counted for each."""
    now, lacks = 100.0, 0

    def count() -> None:
        nonlocal lacks
        lacks += 1

    own = OwnSockets(clock=lambda: now)
    own.on_lack = count
    assert await own.suffice()
    for _ in range(50):
        own.lacking(OSError(errno.EMFILE, "Too many open files"))
        own.called()  # others still get through
    assert (lacks, await own.suffice()) == (50, False)
    assert [line["event"] for line in logged] == ["own_sockets_lacking"]
    assert "PULL_SYNC_CONCURRENCY" in logged[0]["remedy"]
    assert "ulimit -n" in logged[0]["remedy"]
    now += LASTS_S
    assert await own.suffice(), "it is tried again"
    own.called()
    assert [line["event"] for line in logged] == ["own_sockets_lacking", "own_sockets_suffice"]


@pytest.mark.parametrize(
    ("limit", "room"), [(1_048_576, 500), (1_024, 500), (512, 256), (64, 32), (2, 1), (resource.RLIM_INFINITY, 500)]
)
def test_no_more_is_called_than_there_are_descriptors_for(
    monkeypatch: pytest.MonkeyPatch, logged: Sequence[Any], limit: int, room: int
) -> None:
    """What is left over is for servers and for callers of the health; a service with fewer says so."""
    monkeypatch.setattr(resource, "getrlimit", lambda _which: (limit, limit))
    assert room_for(500) == room
    assert [line["event"] for line in logged] == (["fewer_calls_at_once"] if room < 500 else [])


class Lacking(Puller):
    """Has nothing to call anybody with."""

    def __init__(self) -> None:
        pass

    async def pull(self, *_: object) -> None:
        """Raise that."""
        raise OwnLackError


class Due(Registry):
    """One client is."""

    async def claim(self, limit: int, *, ahead_s: float, claim: ClaimNumber) -> tuple[PullTarget, ...]:
        """It."""
        await super().claim(limit, ahead_s=ahead_s, claim=claim)
        return (target("user_1"),)


async def always() -> bool:
    """All is there."""
    return True


async def test_the_timer_says_nothing_of_each_such_pull() -> None:
    """It is told once for all of them."""
    pulls = Pulls(puller=Lacking(), concurrency=10)
    with capture_logs() as lines:
        await Timer(registry=Due(), pulls=pulls, can_hand_over=always).claim()
        await pulls.drain()
        await asyncio.sleep(0)
    assert [line["event"] for line in lines] == ["claimed"]


async def test_work_that_is_tried_again_does_not_meet_itself() -> None:
    """One that fails waits for the others."""
    ended = asyncio.Event()

    async def fail() -> None:
        raise OwnLackError

    async def work() -> None:
        await asyncio.sleep(0)
        ended.set()

    with pytest.raises(OwnLackError):
        await all_ended([fail(), work()])
    assert ended.is_set()
