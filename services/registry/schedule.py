"""The timer's settings, kept in Postgres, so that they hold for every replica and after a restart."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from typing import Final

import asyncpg

from services.registry.domain import Scheduler
from shared.postgres.database import fetch_one

_LONGEST_S: Final = 10.0
_POLL_S: Final = 0.02


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

        The interval is told first. Settlements that read the former one are waited for, and nothing is locked
        meanwhile; only then is it known who else waits for a slot. May be repeated.
        """
        await self._pool.execute(self._queries["set_interval"], interval_s)
        told_at = await self._pool.fetchval(self._queries["moment"])
        with suppress(TimeoutError):  # what hangs for so long must not keep all others where they are
            async with asyncio.timeout(_LONGEST_S):
                await self._changes_ended(told_at)
        await self._pool.execute(self._queries["move_to_slots"])

    async def _changes_ended(self, begun_before: datetime) -> None:
        while True:
            if not await self._pool.fetchval(self._queries["changes_begun_before"], begun_before):
                return
            await asyncio.sleep(_POLL_S)
