"""Bounds stored moments by the rules that wrote them: a database clock that was wrong for a minute costs a minute.

See `queries/clock.sql` for the rules. What lies in the past needs none: it is due.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

import asyncpg
import structlog

from services.registry.leases import LeaseTimes
from shared.postgres.database import TRANSIENT

_CORRECT_EVERY_S: Final = 15.0
_AT_ONCE: Final = 10_000
"""Most clients that one statement corrects."""
_MEANING: Final = "no rule puts them so far ahead: the database's clock was wrong, or a setting was larger"

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Corrected:
    """What was further ahead than its rule allows."""

    clients: int
    demands: int
    runs: int


class Clock:
    """What is known of the database's clock; each method may be repeated, and by several registries at once."""

    def __init__(
        self, *, pool: asyncpg.Pool, queries: Mapping[str, str], times: LeaseTimes, nudge_spacing: timedelta
    ) -> None:
        self._pool = pool
        self._queries = queries
        self._times = times
        self._nudge_spacing = nudge_spacing

    async def run(self) -> None:
        """Until cancelled. A database that is away is asked again."""
        while True:
            try:
                await self.correct()
            except TRANSIENT as error:
                log.debug("times_not_corrected", problem=str(error) or type(error).__name__)
            await asyncio.sleep(_CORRECT_EVERY_S)

    async def correct(self) -> Corrected:
        """Make due what waits for a moment that is further ahead than its rule allows."""
        limits = (self._times.lease, self._times.backoff_cap_s, self._times.probe_interval_s, _AT_ONCE)
        clients = portion = len(await self._pool.fetch(self._queries["correct_schedule"], *limits))
        while portion == _AT_ONCE:
            portion = len(await self._pool.fetch(self._queries["correct_schedule"], *limits))
            clients += portion
        demands = len(await self._pool.fetch(self._queries["correct_demands"], self._nudge_spacing))
        runs = len(await self._pool.fetch(self._queries["correct_runs"]))
        corrected = Corrected(clients=clients, demands=demands, runs=runs)
        if corrected != Corrected(clients=0, demands=0, runs=0):
            log.warning("times_corrected", clients=clients, demands=demands, runs=runs, meaning=_MEANING)
        return corrected
