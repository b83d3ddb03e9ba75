"""Undoing a fault while others go on."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import asyncpg
import httpx

from dev.servers.errors import DevError

AWAY: Final = (asyncpg.PostgresError, asyncpg.InterfaceError, httpx.HTTPError, OSError, DevError)
"""What is raised when the server that is asked is away."""
_WITHIN_S: Final = 150.0
_PAUSE_S: Final = 0.5


async def insist(work: Callable[[], Awaitable[None]]) -> None:
    """Repeat `work` until the server that it needs is there, lest one fault outlast the run because of another.

    Raises:
        TimeoutError: it never was.
    """
    async with asyncio.timeout(_WITHIN_S):
        while True:
            try:
                await work()
            except AWAY:
                await asyncio.sleep(_PAUSE_S)
            else:
                return
