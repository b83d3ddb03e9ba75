"""Leases on clients in Postgres: handing them out, ending them. See `queries.sql` for the rules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import asyncpg

from shared.database import fetch_one
from shared.messages import PullOutcome, PullTarget


class Leases:
    """A client has one lease at most; every pull that ends is settled once, whatever is repeated."""

    def __init__(
        self, *, pool: asyncpg.Pool, queries: Mapping[str, str], lease: timedelta, in_flight: int, backoff_cap_s: int
    ) -> None:
        self._pool = pool
        self._queries = queries
        self._lease = lease
        self._in_flight = in_flight
        self._backoff_cap_s = backoff_cap_s

    async def claim_due(self, limit: int) -> list[PullTarget]:
        """Lease up to `limit` clients that are due; none while the timer is stopped."""
        return [_target(row) for row in await self._pool.fetch(self._queries["claim_due"], limit, self._lease)]

    async def claim_demanded(self) -> dict[datetime | None, list[PullTarget]]:
        """Lease the clients that someone wants pulled, by the time that their pull shall go back to."""
        rows = await self._pool.fetch(self._queries["claim_demanded"], self._in_flight, self._lease)
        targets: dict[datetime | None, list[PullTarget]] = {}
        for row in rows:
            targets.setdefault(row["pull_since"], []).append(_target(row))
        return targets

    async def release(self, targets: Sequence[PullTarget]) -> None:
        """Give leases back whose pulls were not asked for."""
        await self._pool.execute(self._queries["release"], [target.pull_id for target in targets])

    async def settle(self, outcomes: Sequence[PullOutcome]) -> bool:
        """End the leases of these pulls. True when some client shall be pulled again at once. May be repeated."""
        columns: list[list[Any]] = [
            [outcome.pull_id for outcome in outcomes],
            [outcome.stored for outcome in outcomes],
            [outcome.pending for outcome in outcomes],
            [outcome.more_pending for outcome in outcomes],
            [outcome.reason for outcome in outcomes],
            [outcome.error for outcome in outcomes],
            [outcome.duration_s for outcome in outcomes],
        ]
        row = await fetch_one(self._pool, self._queries["settle"], *columns, self._backoff_cap_s)
        return bool(row["demanded"])


def _target(row: Any) -> PullTarget:
    return PullTarget(
        pull_id=row["pull_id"],
        user_id=row["user_id"],
        client_url=row["client_url"],
        lease_expires_at=row["lease_expires_at"],
    )
