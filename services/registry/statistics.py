"""Numbers over all clients and the pulls of the last minutes. They are counted as things happen, and added up here."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

import asyncpg
from pydantic import BaseModel, ConfigDict

from shared.contracts.times import UtcDatetime
from shared.postgres.database import fetch_one

RECENT: Final = timedelta(minutes=5)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientTotals:
    """Numbers over all clients. Each is active, failing, inactive or paused."""

    registered: int
    failing: int
    inactive: int
    paused: int
    in_flight: int
    pending: int
    """Captures that clients still held after their last pulls."""
    stored: int
    lag_s: float
    """How late the most overdue client is; 0 when none is."""

    @property
    def active(self) -> int:
        """Clients whose last pull went well, or that are new."""
        return self.registered - self.failing - self.inactive - self.paused


@dataclass(frozen=True, slots=True, kw_only=True)
class PullTotals:
    """Numbers over the pulls that ended within `RECENT`, to the minute."""

    pulls: int
    succeeded: int
    stored: int
    median_s: float | None
    p99_s: float | None
    """Durations, too high by 19 % at most; None when there were no pulls."""
    failures: Mapping[str, int]
    """By reason."""


class PullMinute(BaseModel):
    """The pulls that ended within one minute."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    minute: UtcDatetime
    """When it began."""
    pulls: int
    failed: int
    failed_by_reason: dict[str, int]
    stored_captures: int
    duration_median_s: float | None
    duration_p99_s: float | None
    """Each is at most 19 % too high; null when there were no pulls."""


class Statistics:
    """The time to answer does not grow with the clients."""

    def __init__(self, *, pool: asyncpg.Pool, queries: Mapping[str, str]) -> None:
        self._pool = pool
        self._queries = queries

    async def clients(self) -> ClientTotals:
        """As they are now."""
        return ClientTotals(**dict(await fetch_one(self._pool, self._queries["client_totals"])))

    async def pulls(self) -> PullTotals:
        """Of the last minutes."""
        totals = await fetch_one(self._pool, self._queries["pull_totals"], RECENT)
        failures = await self._pool.fetch(self._queries["pull_failures"], RECENT)
        return PullTotals(**dict(totals), failures={row["reason"]: row["pulls"] for row in failures})

    async def minutes(self) -> list[PullMinute]:
        """Of the last hour: 60, the oldest first, those without pulls too. The last one goes on."""
        rows = await self._pool.fetch(self._queries["pull_minutes_of_an_hour"])
        return [
            PullMinute.model_validate({**row, "failed_by_reason": json.loads(row["failed_by_reason"])}) for row in rows
        ]
