"""The bounds of the HTTP reader one by one, with times that a test can wait for.

The server is uvicorn as `shared.serving.server` configures it, over a small app, on a real socket.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Final

import httpx
import pytest
import structlog
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from shared.serving import bounded_http
from shared.serving.bounded_http import HEAD_BYTES, HEADERS
from shared.serving.bounded_http import bounded_http as protocol
from shared.serving.connection_places import FOR_THIS_MACHINE
from tests.attacker import DEADLINE_S, MIB, attack, endless, request, trickle
from tests.waiting import eventually

LARGE = 64 * MIB


class App:
    """What it saw."""

    def __init__(self) -> None:
        self.requests = 0
        self.disconnects = 0
        self.running = 0
        self.waiting = 0
        self.app = Starlette(
            routes=[
                Route("/", self.plain, methods=["GET", "POST"]),
                Route("/body", self.body, methods=["POST"]),
                Route("/large", self.large),
                Route("/stream", self.stream, methods=["POST"]),
            ]
        )

    async def plain(self, _request: Request) -> Response:
        """Reads no body."""
        self.requests += 1
        return PlainTextResponse("here")

    async def body(self, request: Request) -> Response:
        """Waits for a body of any size and speed."""
        self.waiting += 1
        while True:
            message = await request.receive()
            if message["type"] == "http.disconnect":
                self.disconnects += 1
            if message["type"] == "http.disconnect" or not message.get("more_body"):
                self.waiting -= 1
                return PlainTextResponse("read")

    async def large(self, _request: Request) -> Response:
        """More than any socket holds."""
        return PlainTextResponse(b" " * LARGE)

    async def stream(self, _request: Request) -> Response:
        """Answers before the body is there, for ever."""

        async def parts() -> AsyncIterator[bytes]:
            self.running += 1
            try:
                while True:
                    yield b" "
                    await asyncio.sleep(0.01)
            finally:
                self.running -= 1

        return StreamingResponse(parts())


@pytest.fixture
def app() -> App:
    """Not yet served."""
    return App()


@asynccontextmanager
async def serving(app: App, *, connections: int = 100, per_address: int = 100) -> AsyncIterator[int]:
    """The app on a free port; the port."""
    http = protocol(connections=connections, connections_per_address=per_address)
    config = uvicorn.Config(app.app, http=http, lifespan="off", log_config=None, ws="none", access_log=False)
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        task = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            yield listener.getsockname()[1]
        finally:
            server.should_exit = True
            await task


@pytest.fixture
async def port(app: App) -> AsyncIterator[int]:
    """Of the app."""
    async with serving(app) as listening:
        yield listening


async def assert_serves(port: int) -> None:
    """Whatever was done to it."""
    assert (await attack(port, [request("GET", "/", "connection: close")])).status == 200


@pytest.mark.parametrize(("headers", "status"), [(HEADERS - 2, 200), (HEADERS - 1, 431)])
async def test_the_number_of_headers_is_exact(app: App, port: int, headers: int, status: int) -> None:
    """Also when all of them come in one packet; `host` and `connection` count."""
    head = request("GET", "/", "connection: close", *["a: b"] * headers)
    assert len(head) < HEAD_BYTES
    assert (await attack(port, [head])).status == status
    assert app.requests == (status == 200)


@pytest.mark.parametrize("many", [False, True], ids=["in one packet", "in many"])
@pytest.mark.parametrize(("size", "status"), [(HEAD_BYTES - 200, 200), (HEAD_BYTES + 200, 431)])
@pytest.mark.parametrize("where", ["path", "value", "name"])
async def test_the_size_of_a_head_is_bounded(  # noqa: PLR0917, RUF100 - each parameter is one of the cases
    port: int, where: str, size: int, status: int, *, many: bool
) -> None:
    """Wherever the bytes are, and however they come."""
    name, value, query = ("x" * size if where == each else "x" for each in ("name", "value", "path"))
    head = request("GET", f"/?{query}", "connection: close", f"{name}: {value}")

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(head), 1_000):
            yield head[start : start + 1_000]
            await asyncio.sleep(0)

    assert (await attack(port, pieces() if many else [head])).status == status
    await assert_serves(port)


async def test_a_refusal_is_heard_by_who_still_writes(port: int) -> None:
    """To close on him would reset the connection, and he would not know why."""
    url = f"http://127.0.0.1:{port}/"
    async with httpx.AsyncClient(trust_env=False) as http:
        for _ in range(20):
            answer = await http.get(url, headers={"x-large": "x" * 5 * MIB})
            assert (answer.status_code, answer.headers["connection"]) == (431, "close")
            assert answer.json()["title"] == "Request Header Fields Too Large"


async def test_one_connection_serves_many_requests(app: App, port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The time for a head begins anew with each; so does its size."""
    monkeypatch.setattr(bounded_http, "HEAD_S", 0.3)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for number in range(1, 9):
        writer.write(request("GET", "/", f"x-large: {'x' * 10_000}"))
        await reader.readuntil(b"here")
        assert app.requests == number
        await asyncio.sleep(0.1)
    assert await reader.read() == b""  # and an idle one is ended
    writer.close()


async def test_a_second_head_that_is_slow_is_given_up(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first was good."""
    monkeypatch.setattr(bounded_http, "HEAD_S", 0.3)
    heard = await attack(port, trickle(request("GET", "/") + b"GET / HT", b"x", every_s=0.05))
    assert heard.status == 200
    assert b"HTTP/1.1 408 " in heard.text


@pytest.mark.parametrize("first", [b"", request("GET", "/"), request("POST", "/", "content-length: 2") + b"12"])
async def test_a_slow_body_is_given_up(app: App, port: int, monkeypatch: pytest.MonkeyPatch, first: bytes) -> None:
    """408 as long as nothing was answered, and the app hears that nobody is there; also behind a good request."""
    monkeypatch.setattr(bounded_http, "BODY_S", 0.3)
    head = request("POST", "/body", "content-length: 1000")
    heard = await attack(port, trickle(first + head, b"x", every_s=0.05))
    assert b"HTTP/1.1 408 " in heard.text
    assert heard.problem["status"] == 408
    assert app.disconnects == 1


async def test_a_body_that_comes_in_time_is_read(app: App, port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then an answer that takes longer than head and body may is not cut off."""
    monkeypatch.setattr(bounded_http, "BODY_S", 0.2)
    monkeypatch.setattr(bounded_http, "HEAD_S", 0.2)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request("POST", "/stream", "content-length: 2") + b"12")
    for _ in range(60):
        await reader.readuntil(b"1\r\n \r\n")
    assert app.running == 1
    writer.close()

    async def ended() -> bool:
        return app.running == 0

    await eventually(ended)


@pytest.mark.parametrize("path", ["/", "/stream"])
async def test_a_slow_body_that_nobody_reads_ends_the_connection(
    app: App, port: int, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    """It was answered already, so there is nothing more to say."""
    monkeypatch.setattr(bounded_http, "_LINGER_S" if path == "/" else "BODY_S", 0.3)
    heard = await attack(port, trickle(request("POST", path, "content-length: 1000"), b"x", every_s=0.05))
    assert heard.status == 200
    assert heard.text.count(b"HTTP/1.1") == 1

    async def ended() -> bool:
        return app.running == 0

    await eventually(ended)


async def test_who_does_not_take_an_answer_is_cut_off(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer would lie in memory for as long as he likes."""
    monkeypatch.setattr(bounded_http, "ANSWER_S", 0.3)
    async with asyncio.timeout(DEADLINE_S):
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1)
        writer.write(request("GET", "/large"))
        await reader.readexactly(1)

        async def knock() -> None:
            while True:
                writer.write(b"x")
                await writer.drain()
                await asyncio.sleep(0.05)

        with pytest.raises(ConnectionError):
            await knock()
    writer.close()


async def test_who_takes_an_answer_slowly_gets_all_of_it(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """As long as it is fast enough."""
    monkeypatch.setattr(bounded_http, "ANSWER_S", 0.2)
    taken = 0
    async with asyncio.timeout(DEADLINE_S):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request("GET", "/large", "connection: close"))
        while part := await reader.read(2 * MIB):
            taken += len(part)
            await asyncio.sleep(0.01)
    writer.close()
    assert taken > LARGE


def pipelined() -> Iterable[bytes]:
    """Requests without end that nobody waits for."""
    return endless(b"", request("GET", "/") * 1_000)


async def test_pipelined_requests_are_served_one_by_one(app: App, port: int) -> None:
    """What comes beside the one that is served waits in the sender's own buffers."""

    async def pour() -> None:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            for piece in pipelined():
                writer.write(piece)
                await writer.drain()
        finally:
            writer.transport.abort()

    pouring = asyncio.create_task(pour())

    async def many() -> bool:
        return app.requests > 500

    await eventually(many)
    await assert_serves(port)
    pouring.cancel()
    await asyncio.wait([pouring])


Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]

FULL: Final = 2 + FOR_THIS_MACHINE
"""Of a server of two connections, for who calls from this machine."""


@asynccontextmanager
async def connected(
    port: int, sent: bytes, count: int, *, source: str = "127.0.0.1"
) -> AsyncIterator[list[Connection]]:
    """So many connections from there, one after the other, on each of which this was sent."""
    found = []
    for _ in range(count):
        found.append(await asyncio.open_connection("127.0.0.1", port, local_addr=(source, 0)))
        found[-1][1].write(sent)
    try:
        yield found
    finally:
        for _, writer in found:
            writer.close()


BUSY: Final = request("POST", "/body", "content-length: 2")
"""It waits for its body."""


async def all_are_taken(app: App, count: int) -> None:
    """So many requests wait for their bodies."""

    async def waiting() -> bool:
        return app.waiting == count

    await eventually(waiting)


@pytest.mark.parametrize("bounds", [(2, 100), (100, 2)], ids=["in all", "of one address"])
async def test_connections_above_the_bound_are_told_so(app: App, bounds: tuple[int, int]) -> None:
    """The others go on, and a place becomes free with the first that ends."""
    connections, per_address = bounds
    async with serving(app, connections=connections, per_address=per_address) as port:
        async with connected(port, BUSY, FULL) as busy:
            await all_are_taken(app, FULL)
            heard = await attack(port, [])
            assert (heard.status, heard.problem["title"]) == (503, "Service Unavailable")
            assert "connections are open" in heard.problem["detail"]
            busy[0][1].write(b"12")
            await busy[0][0].readuntil(b"read")
            await assert_serves(port)

        async def free() -> bool:
            return (await attack(port, [request("GET", "/", "connection: close")])).status == 200

        await eventually(free)


@pytest.mark.parametrize("sent", [b"", b"G", request("GET", "/")], ids=["silent", "half a head", "answered"])
@pytest.mark.parametrize("bounds", [(2, 100), (100, 2)], ids=["in all", "of one address"])
async def test_idle_connections_make_room(app: App, bounds: tuple[int, int], sent: bytes) -> None:
    """The oldest goes, be it after an answer: whoever comes is served, however many there are."""
    connections, per_address = bounds
    async with (
        serving(app, connections=connections, per_address=per_address) as port,
        connected(port, sent, FULL) as idle,
    ):

        async def answered() -> bool:
            return app.requests == (FULL if sent.endswith(b"\r\n\r\n") else 0)

        await eventually(answered)
        for _ in range(3):
            await assert_serves(port)
        heard = await idle[0][0].read()
        assert (b"503" in heard) == (sent == b"G")
        async with connected(port, sent, 5 * FULL):
            await assert_serves(port)


async def test_who_is_served_does_not_make_room(app: App) -> None:
    """His request has come; those that are idle go, also when they are younger."""
    async with serving(app, connections=2) as port, connected(port, BUSY, FULL - 1) as busy:
        await all_are_taken(app, FULL - 1)
        async with connected(port, b"G", 20):
            await assert_serves(port)
            for reader, writer in busy:
                writer.write(b"12")
                await reader.readuntil(b"read")


async def test_who_is_refused_makes_room(app: App) -> None:
    """He is heard for a moment more, but not at the cost of others."""
    async with serving(app, connections=2) as port, connected(port, b"nonsense\r\n\r\n", FULL) as refused:
        for reader, _ in refused:
            await reader.readuntil(b"\r\n\r\n")
        await assert_serves(port)


@pytest.mark.parametrize(
    "head",
    [
        request("POST", "/body", "content-length: 2", "transfer-encoding: chunked"),
        request("POST", "/body", "transfer-encoding: chunked", "content-length: 2"),
        request("POST", "/body", "transfer-encoding: chunked").replace(b"HTTP/1.1", b"HTTP/1.0"),
    ],
    ids=["length first", "length last", "HTTP/1.0"],
)
async def test_two_lengths_of_a_body_are_refused(app: App, port: int, head: bytes) -> None:
    """What follows would be another request to one server, and a part of the body to another."""
    heard = await attack(port, [head + b"0\r\n\r\n" + request("GET", "/")])
    assert heard.text.count(b"HTTP/1.1 ") == 1
    assert (heard.status, "Transfer-Encoding" in heard.problem["detail"]) == (400, True)
    assert (app.requests, app.waiting) == (0, 0)


async def test_refusals_do_not_fill_the_log(port: int, caplog: pytest.LogCaptureFixture) -> None:
    """One line for each kind, however many there are."""
    with structlog.testing.capture_logs() as logged:
        for _ in range(20):
            await attack(port, [b"nonsense\r\n\r\n"])
            await attack(port, [b"x" * 2 * HEAD_BYTES])
    assert [(line["event"], line["status"]) for line in logged] == [("request_refused", 400), ("request_refused", 431)]
    assert caplog.records == []


async def test_a_stop_does_not_wait_for_who_was_refused(app: App) -> None:
    """He may still be writing."""
    async with serving(app) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"nonsense\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
    writer.close()
