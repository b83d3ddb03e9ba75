"""Waiting for a condition, with a deadline."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import asyncpg

_POLL_S = 0.05


async def eventually(condition: Callable[[], Awaitable[bool]], *, deadline_s: float = 30.0) -> None:
    """Return as soon as `condition` holds.

    Raises:
        AssertionError: it did not hold within `deadline_s`.
    """
    loop = asyncio.get_running_loop()
    end = loop.time() + deadline_s
    while not await condition():
        name = getattr(condition, "__qualname__", repr(condition))
        assert loop.time() < end, f"not true within {deadline_s:g} s: {name}"
        await asyncio.sleep(_POLL_S)


async def some_wait(pool: asyncpg.Pool) -> bool:
    """Whether somebody in Postgres waits for a lock of somebody else."""
    return bool(await pool.fetchval("SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)"))
