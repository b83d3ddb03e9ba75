"""A link between two parts, over TCP, that can be cut, stalled and closed. It never looks at the bytes."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Sequence
from contextlib import suppress
from random import Random
from typing import Final

from dev.servers.ports import LOOPBACK, free_port

_CHUNK_BYTES: Final = 64 * 1024
_RESET: Final = struct.pack("ii", 1, 0)
"""SO_LINGER: whatever is under way is dropped, and the other side gets a reset."""


class Link:
    """Listens on a port and passes connections on to the targets in turn, to the next one when one takes none."""

    def __init__(self, name: str, targets: Sequence[int]) -> None:
        """To these ports on 127.0.0.1."""
        self.name = name
        self.port = free_port()
        self._targets = list(targets)
        self._turn = 0
        self._server: asyncio.Server | None = None
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._pairs: set[_Pair] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def connections(self) -> int:
        """How many are open."""
        return len(self._pairs)

    async def open(self) -> None:
        """Take connections; nothing happens when it does already."""
        if self._server is None:
            self._server = await asyncio.start_server(self._take, LOOPBACK, self.port)

    async def refuse(self) -> None:
        """Take no new connections, until `open`; those that are there stay."""
        if self._server is not None:
            self._server.close()
            self._server = None

    def stall(self) -> None:
        """Let no byte through, in either direction, until `resume`; connections are still taken."""
        self._flowing.clear()

    def resume(self) -> None:
        """Let them through again, with none lost."""
        self._flowing.set()

    def cut(self, random: Random, share: float = 1.0) -> int:
        """Reset that share of the connections, at least one if there is any; how many."""
        pairs = list(self._pairs)
        chosen = random.sample(pairs, min(len(pairs), max(1, round(share * len(pairs)))))
        for pair in chosen:
            pair.reset()
        return len(chosen)

    async def close(self) -> None:
        """End it, with all that goes through it."""
        await self.refuse()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            await self._flowing.wait()
            await self._pass_on(reader, writer)
        except asyncio.CancelledError:
            pass  # the server's own callback would log it
        finally:
            writer.transport.abort()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        found = await self._connect()
        if found is None:
            return
        other_reader, other_writer = found
        pair = _Pair(writer, other_writer)
        self._pairs.add(pair)
        there = asyncio.create_task(self._copy(reader, other_writer))
        back = asyncio.create_task(self._copy(other_reader, writer))
        try:
            await asyncio.gather(there, back)
        finally:
            there.cancel()
            back.cancel()
            self._pairs.discard(pair)
            other_writer.transport.abort()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        self._turn += 1
        for offset in range(len(self._targets)):
            port = self._targets[(self._turn + offset) % len(self._targets)]
            with suppress(OSError):
                return await asyncio.open_connection(LOOPBACK, port)
        return None

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, RuntimeError):  # the latter from uvloop, for an end that is closed already
            while data := await reader.read(_CHUNK_BYTES):
                await self._flowing.wait()
                writer.write(data)
                await writer.drain()
            if writer.can_write_eof():
                writer.write_eof()
            return
        writer.transport.abort()


class _Pair:
    """The two ends of one connection."""

    def __init__(self, *writers: asyncio.StreamWriter) -> None:
        self._writers = writers

    def reset(self) -> None:
        """End both, as if the network had."""
        for writer in self._writers:
            end = writer.get_extra_info("socket")
            if end is not None:
                with suppress(OSError):
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            writer.transport.abort()
