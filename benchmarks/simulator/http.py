"""A small HTTP/1.1 server for simulated clients: as fast as Python allows, so that it is not what is measured."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final, cast

import httptools

from dev.servers.ports import LOOPBACK

_EVERY_LOCAL_ADDRESS: Final = "0.0.0.0"  # noqa: S104 - each client has an address in 127.0.0.0/8; see `connection_made`
_BACKLOG: Final = 4_096


@dataclass(slots=True)
class Request:
    """What was asked, once it is here as a whole."""

    transport: asyncio.Transport
    method: bytes = b""
    host: bytes = b""
    path: bytes = b""
    query: bytes = b""
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Response:
    """What is answered."""

    body: bytes
    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()

    def encoded(self) -> bytes:
        """As it goes over the wire."""
        extra = "".join(f"{name}: {value}\r\n" for name, value in self.headers)
        head = (
            f"HTTP/1.1 {self.status} {HTTPStatus(self.status).phrase}\r\ncontent-type: application/json\r\n"
            f"content-length: {len(self.body)}\r\n{extra}\r\n"
        )
        return head.encode() + self.body


Answer = Response | Awaitable[Response | None] | None
"""None is no answer at all: the connection stays open, and silent."""
Handler = Callable[[Request], Answer]


class _Connection(asyncio.Protocol):
    """One connection; requests on it come one after the other."""

    def __init__(self, handler: Handler, tasks: set[asyncio.Task[None]]) -> None:
        self._handler = handler
        self._tasks = tasks

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's has no such base
        if not str(transport.get_extra_info("peername")[0]).startswith("127."):
            self._transport.abort()  # nobody else's machine is meant to be here
        self._request = Request(self._transport)
        self._parser = httptools.HttpRequestParser(self)

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._transport.abort()

    def on_url(self, url: bytes) -> None:
        """Called by the parser."""
        self._request.path, _, self._request.query = url.partition(b"?")

    def on_header(self, name: bytes, value: bytes) -> None:
        """Called by the parser."""
        if name.lower() == b"host":
            self._request.host = value

    def on_body(self, body: bytes) -> None:
        """Called by the parser."""
        self._request.body += body

    def on_message_complete(self) -> None:
        """Called by the parser."""
        request, self._request = self._request, Request(self._transport)
        request.method = self._parser.get_method()
        answer = self._handler(request)
        if isinstance(answer, Response):
            self._transport.write(answer.encoded())
        elif answer is not None:
            task = asyncio.ensure_future(self._answer_later(answer))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _answer_later(self, answer: Awaitable[Response | None]) -> None:
        try:
            response = await answer
        except BaseException:
            self._transport.abort()
            raise
        if response is not None and not self._transport.is_closing():
            self._transport.write(response.encoded())


async def serve(handler: Handler, *, port: int, host: str = LOOPBACK) -> asyncio.Server:
    """Listen, and answer until the server is closed. A handler that raises costs the connection that it served."""
    tasks: set[asyncio.Task[None]] = set()
    loop = asyncio.get_running_loop()
    return await loop.create_server(lambda: _Connection(handler, tasks), host, port, backlog=_BACKLOG)


async def serve_everywhere(handler: Handler, *, port: int) -> asyncio.Server:
    """The same on every loopback address, 127.0.0.0/8: a host of its own for each client."""
    return await serve(handler, port=port, host=_EVERY_LOCAL_ADDRESS)
