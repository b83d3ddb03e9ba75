"""The timer's settings, kept in Postgres, so that they hold for every replica and after a restart."""

from __future__ import annotations

from collections.abc import Mapping

import asyncpg

from services.registry.domain import Scheduler
from shared.database import fetch_one


class Schedule:
    """What is set here pullers see at their next claim."""

    def __init__(self, *, pool: asyncpg.Pool, queries: Mapping[str, str]) -> None:
        self._pool = pool
        self._queries = queries

    async def ensure(self, default_interval_s: int) -> None:
        """Make the settings when there are none yet."""
        await self._pool.execute(self._queries["ensure_scheduler"], default_interval_s)

    async def get(self) -> Scheduler:
        """As they are now."""
        return Scheduler(**dict(await fetch_one(self._pool, self._queries["scheduler"])))

    async def set_running(self, *, running: bool) -> None:
        """Let the timer claim clients, or not. Pulls on demand are not concerned."""
        await self._pool.execute(self._queries["set_running"], running)

    async def set_interval(self, interval_s: int) -> None:
        """Pull every client each `interval_s` seconds from now on, but for those that have an interval of their own.

        The interval is told first. Settlements that read the former one are waited for, in a transaction that holds
        nothing else; only then is it known who else waits for a slot. May be repeated.
        """
        await self._pool.execute(self._queries["set_interval"], interval_s)
        async with self._pool.acquire() as connection, connection.transaction():
            await connection.execute(self._queries["await_changes"])
        await self._pool.execute(self._queries["move_to_slots"])
