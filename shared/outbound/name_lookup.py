"""Looks up clients' names, in threads of its own: dead name servers hold up neither other names nor the process."""

from __future__ import annotations

import asyncio
import socket
from functools import partial
from typing import Any, Final

from aiohttp.abc import AbstractResolver, ResolveResult

from shared.daemon_thread import in_daemon_thread

_AT_ONCE: Final = 256
"""The system's look-up can't be cancelled and may take half a minute, so a thread may outlive its call."""
_NUMERIC: Final = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV


class NameLookup(AbstractResolver):
    """The system's look-up, one short-lived thread for each, at most 256 at once.

    Neither the end of the loop nor that of the process waits for a name server. Nothing is kept: the connector
    remembers what was found, and asks once for many who ask together.
    """

    def __init__(self, *, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._room = asyncio.Semaphore(_AT_ONCE)

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """The addresses of a name, as they are: whether they may be called is asked when one is.

        Raises:
            OSError: there are none, or (TimeoutError) they did not come within the timeout.
        """
        look_up = partial(_look_up, host, port, family)
        try:
            async with asyncio.timeout(self._timeout_s):
                found = await in_daemon_thread(look_up, room=self._room)
        except UnicodeError as error:  # a label that is empty, too long, or not to be written
            message = f"not a name: {error}"
            raise OSError(message) from error
        return [_result(host, kind, protocol, address) for kind, _, protocol, _, address in found]

    async def close(self) -> None:
        """Nothing is open: threads that still wait for a name server end by themselves, and are not waited for."""


def _look_up(host: str, port: int, family: int) -> list[tuple[Any, ...]]:
    """As the system has it; but a name is not to blame when there was no socket to ask a name server by."""
    try:
        return [*socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, family=family, flags=socket.AI_ADDRCONFIG)]
    except socket.gaierror:
        with socket.socket(type=socket.SOCK_DGRAM):
            raise


def _result(host: str, family: int, protocol: int, address: tuple[Any, ...]) -> ResolveResult:
    return ResolveResult(
        hostname=host, host=str(address[0]), port=int(address[1]), family=family, proto=protocol, flags=_NUMERIC
    )
