"""Whoever talks to our servers in bytes, and means no good."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterable, AsyncIterator, Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

DEADLINE_S: Final = 60.0
MIB: Final = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """What a server said until it ended the connection, and how much it was sent until then."""

    text: bytes
    sent_bytes: int

    @property
    def status(self) -> int | None:
        """Of the first answer; None when there was none."""
        return int(self.text.split(b" ", 2)[1]) if self.text else None

    @property
    def problem(self) -> dict[str, Any]:
        """The body of the last answer."""
        found: dict[str, Any] = json.loads(self.text.rpartition(b"\r\n\r\n")[2])
        return found


async def attack(port: int, pieces: Iterable[bytes] | AsyncIterable[bytes]) -> Heard:
    """Send these, however the server takes it, and listen until it ends the connection.

    Raises:
        TimeoutError: it did not within the deadline.
    """
    async with asyncio.timeout(DEADLINE_S):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        sent_bytes = 0

        async def send() -> None:
            nonlocal sent_bytes
            with suppress(OSError):
                async for piece in _each(pieces):
                    writer.write(piece)
                    await writer.drain()
                    sent_bytes += len(piece)

        sending = asyncio.create_task(send())
        heard = bytearray()
        with suppress(OSError):
            while part := await reader.read(MIB):
                heard += part
        sending.cancel()
        await asyncio.wait([sending])
        writer.close()
        return Heard(text=bytes(heard), sent_bytes=sent_bytes)


async def _each(pieces: Iterable[bytes] | AsyncIterable[bytes]) -> AsyncIterator[bytes]:
    if isinstance(pieces, AsyncIterable):
        async for piece in pieces:
            yield piece
    else:
        for piece in pieces:
            yield piece


def request(method: str, path: str, *headers: str) -> bytes:
    """The head of a request."""
    return "\r\n".join([f"{method} {path} HTTP/1.1", "host: localhost", *headers, "", ""]).encode()


async def trickle(head: bytes, drop: bytes, *, every_s: float) -> AsyncIterator[bytes]:
    """Always a little more, so that no wait for one piece is long."""
    yield head
    while True:
        await asyncio.sleep(every_s)
        yield drop


def endless(head: bytes, piece: bytes) -> Iterable[bytes]:
    """The same for ever, as fast as it is taken."""
    yield head
    while True:
        yield piece
