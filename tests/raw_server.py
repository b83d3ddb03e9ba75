"""A server that answers bytes as they are, or does worse: what a hostile client may be."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

Answer = bytes | Callable[[asyncio.StreamWriter], Awaitable[None]]

OK: Final = b"HTTP/1.1 200 OK\r\n"
GOOD: Final = OK + b"content-length: 2\r\n\r\n{}"


@asynccontextmanager
async def served(answer: Answer, *, before_the_request: bool = False) -> AsyncIterator[str]:
    """The URL of a server that reads a request and then does this, whatever the request was."""
    talks: set[asyncio.Task[Any] | None] = set()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        talks.add(asyncio.current_task())
        # Python 3.11 logs a trace for a handler that is cancelled, which happens to each of them at the end.
        with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            if not before_the_request:
                await reader.readuntil(b"\r\n\r\n")
            if isinstance(answer, bytes):
                writer.write(answer)
                await writer.drain()
            else:
                await answer(writer)
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for talk_under_way in filter(None, talks):
            talk_under_way.cancel()
        await asyncio.gather(*filter(None, talks))
        await server.wait_closed()


async def wait_for_ever(writer: asyncio.StreamWriter) -> None:
    """Answer nothing until the other side has gone."""
    await writer.wait_closed()


async def endless_body(writer: asyncio.StreamWriter) -> None:
    """A body without an end, as fast as it is taken."""
    writer.write(OK + b"\r\n")
    while True:
        writer.write(b"x" * 65_536)
        await writer.drain()


async def endless_headers(writer: asyncio.StreamWriter) -> None:
    """Headers without an end."""
    writer.write(OK)
    while True:
        writer.write(b"x-header: value\r\n" * 1_000)
        await writer.drain()


async def endless_hints(writer: asyncio.StreamWriter) -> None:
    """Preliminary answers without an end."""
    while True:
        writer.write(b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n" * 10)
        await writer.drain()
        await asyncio.sleep(0.01)


def trickle(head: bytes, drop: bytes) -> Callable[[asyncio.StreamWriter], Awaitable[None]]:
    """Always a little more, so that no wait for one piece is long."""

    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(head)
        while True:
            writer.write(drop)
            await writer.drain()
            await asyncio.sleep(0.01)

    return answer


def reset_after(data: bytes) -> Callable[[asyncio.StreamWriter], Awaitable[None]]:
    """Send this, and then reset the connection."""

    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        await writer.drain()
        plug: Any = writer.get_extra_info("socket")
        plug.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()

    return answer
