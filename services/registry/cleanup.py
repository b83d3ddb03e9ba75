"""Marks clients that are silent, and removes what is old: silent clients, runs, statistics, the history of pulls."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

import asyncpg
import structlog

from services.registry.pulls import Pulls
from services.registry.runs import log_finished
from shared.postgres.database import TRANSIENT

_CHECK_S: Final = 60.0
_RUNS_KEPT: Final = timedelta(days=7)
_MINUTES_KEPT: Final = timedelta(hours=24)
_JUMPED: Final = "the database's clock jumped since the last cleanup, or nobody looked at it for ten minutes"

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Cleaned:
    """How many clients a cleanup concerned."""

    marked_inactive: int
    removed: int
    clock_jumped: bool = False
    """Since the last cleanup: then this one did nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Changed:
    """Whom and what a cleanup concerned."""

    marked_inactive: Sequence[str]
    removed: Sequence[str]
    runs: Sequence[asyncpg.Record]

    def log(self) -> None:
        """A line for each client that is gone, and for each run that waited for the last of them."""
        for user_id in self.removed:
            log.info("client_removed", user_id=user_id, meaning="it was silent for the whole retention")
        log_finished(self.runs)
        log.info("cleaned_up", marked_inactive=len(self.marked_inactive), removed_clients=len(self.removed))


@dataclass(frozen=True, slots=True, kw_only=True)
class SilenceLimits:
    """When a client is taken for gone."""

    inactive_after: timedelta
    """Without success for so long it is only probed."""
    probe_interval_s: int
    retention: timedelta
    """Without success for so long it is removed, if it was probed lately."""


class Cleanup:
    """Each interval, by whichever registry comes first; and on demand. It is one transaction: done, or not begun.

    But for the history of pulls, which is long: every registry removes what is old of it at each check, a little at a
    time, so that nothing heaps up for an hour.

    What is old is told by the database's clock. When that jumped, nothing is removed until a cleanup found it going on.
    """

    def __init__(
        self,
        *,
        pool: asyncpg.Pool,
        queries: Mapping[str, str],
        interval: timedelta,
        silence: SilenceLimits,
        history: timedelta,
    ) -> None:
        self._pool = pool
        self._queries = queries
        self._interval = interval
        self._silence = silence
        self._pulls = Pulls(pool=pool, queries=queries)
        self._history = history

    async def run(self) -> None:
        """Until cancelled. What fails for a while is tried again at the next check; only the first time is logged."""
        failing = False
        while True:
            try:
                await self._clean(at_least_since=self._interval)
                if not await self._pool.fetchval(self._queries["look_at_clock"]):
                    await self._pulls.remove_old(self._history)
                failing = False
            except TRANSIENT as error:
                if not failing:
                    log.warning("cleanup_failed", problem=str(error) or type(error).__name__, retrying=True)
                failing = True
            await asyncio.sleep(_CHECK_S)

    async def now(self) -> Cleaned:
        """Clean up at once, whenever the last time was."""
        return await self._clean(at_least_since=timedelta(0)) or Cleaned(marked_inactive=0, removed=0)

    async def _clean(self, *, at_least_since: timedelta) -> Cleaned | None:
        """Clean up when it is the caller's turn, alone among all registries."""
        await self._pool.execute(self._queries["correct_silence"])
        async with self._pool.acquire() as connection, connection.transaction():
            clock_jumped = await connection.fetchval(self._queries["look_at_clock"])
            if not await connection.fetchval(self._queries["begin_cleanup"], at_least_since):
                return None
            if clock_jumped:
                await connection.execute(self._queries["forget_clock_jump"])
                log.warning("cleanup_skipped", meaning=_JUMPED)
                return Cleaned(marked_inactive=0, removed=0, clock_jumped=True)
            changed = await self._clean_clients(connection)
            await connection.execute(self._queries["remove_old_runs"], _RUNS_KEPT)
            await connection.execute(self._queries["remove_old_minutes"], _MINUTES_KEPT)
            await connection.execute(self._queries["fold_client_counts"])
        changed.log()
        return Cleaned(marked_inactive=len(changed.marked_inactive), removed=len(changed.removed))

    async def _clean_clients(self, connection: asyncpg.pool.PoolConnectionProxy) -> _Changed:
        limits = (self._silence.inactive_after, self._silence.retention)
        silent = [row["user_id"] for row in await connection.fetch(self._queries["lock_silent"], *limits)]
        marked = await connection.fetch(self._queries["mark_inactive"], self._silence.inactive_after, silent)
        silence = self._silence
        rows = await connection.fetch(
            self._queries["remove_silent"], silence.retention, silence.probe_interval_s, silent, silence.inactive_after
        )
        removed = [row["user_id"] for row in rows]
        runs = await connection.fetch(
            self._queries["abandon_parts"], removed, "unregistered", "the client was silent for too long"
        )
        return _Changed(marked_inactive=[row["user_id"] for row in marked], removed=removed, runs=runs)
