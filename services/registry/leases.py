"""Leases on clients in Postgres: handing them out, ending them. See `queries/leases.sql` for the rules."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

import asyncpg
from msgspec.structs import replace

from services.registry.holders import Claimant
from services.registry.runs import log_finished
from shared.contracts.encoding import encoded
from shared.contracts.messages import CompletePull, Outcome, PullOutcome, PullTarget
from shared.contracts.times import in_utc
from shared.observing import tracing
from shared.postgres.database import fetch_one

COMPLETE_IN_FLIGHT: Final = 100
"""Most leases at once for complete runs: such an answer is large, and nobody waits for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseTimes:
    """How long a lease lasts, and how long a client that failed is left alone."""

    lease: timedelta
    backoff_cap_s: int
    probe_interval_s: int
    """Between two pulls of an inactive client, more or less."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What a demanded pull shall read: pending captures newer than `since`, or everything."""

    since: datetime | None = None
    complete: CompletePull | None = None
    run_id: UUID | None = None
    """Of a complete run; other pulls are for all runs that wait for the client."""


class Leases:
    """A client has one lease at most; every pull that ends is settled once, whatever is repeated."""

    def __init__(self, *, pool: asyncpg.Pool, queries: Mapping[str, str], in_flight: int, times: LeaseTimes) -> None:
        self._pool = pool
        self._queries = queries
        self._in_flight = in_flight
        self._times = times

    async def claim_due(
        self, limit: int, *, ahead: timedelta = timedelta(0), claimant: Claimant | None = None
    ) -> list[PullTarget]:
        """Lease up to `limit` clients that are due, or will be so soon; none while the timer is stopped.

        Without a `claimant` the leases have no holder, and end only by themselves.
        """
        began_ns = time.time_ns()
        limits = (limit, self._times.lease, ahead)
        rows = await self._pool.fetch(self._queries["claim_due"], *limits, *_holder(claimant))
        targets = [replace(_target(row), due_in_s=row["due_in_s"]) for row in rows]
        return tracing.claimed(targets, began_ns=began_ns)

    async def claim_demanded(self, claimant: Claimant | None = None) -> dict[Asked, list[PullTarget]]:
        """Lease the clients that someone wants pulled, by what their pulls shall read.

        It takes two numbers of the claimant's, its own and the next.
        """
        began_ns = time.time_ns()
        targets: dict[Asked, list[PullTarget]] = {}
        limits = (self._in_flight, self._times.lease)
        for row in await self._pool.fetch(self._queries["claim_demanded"], *limits, *_holder(claimant)):
            since = None if row["pull_since"] is None else in_utc(row["pull_since"])
            targets.setdefault(Asked(since=since), []).append(_target(row))
        of_complete = (COMPLETE_IN_FLIGHT, self._times.lease, self._in_flight)
        for row in await self._pool.fetch(self._queries["claim_complete"], *of_complete, *_holder(claimant, 1)):
            complete = CompletePull(asked_at=row["claimed_at"], delete_unknown=row["delete_unknown"])
            target = replace(_target(row), after=row["compared_until"])
            targets.setdefault(Asked(complete=complete, run_id=row["pull_run"]), []).append(target)
        return {asked: tracing.claimed(claims, began_ns=began_ns) for asked, claims in targets.items()}

    async def release(self, pull_ids: Sequence[UUID]) -> None:
        """Give leases back whose pulls were not asked for, or whose outcome nobody was told."""
        await self._pool.execute(self._queries["release"], list(pull_ids))

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
            [encoded(outcome.difference).decode() if outcome.difference else None for outcome in outcomes],
        ]
        times = (self._times.backoff_cap_s, self._times.probe_interval_s)
        retry = [outcome.retry_after_s for outcome in outcomes]
        row = await fetch_one(self._pool, self._queries["settle"], *columns, *times, *_kept(outcomes), retry)
        log_finished(json.loads(row["runs"]))
        return bool(row["demanded"])


def _holder(claimant: Claimant | None, plus: int = 0) -> tuple[UUID | None, int | None]:
    return (None, None) if claimant is None else (claimant.holder_id, claimant.number + plus)


def _kept(outcomes: Sequence[PullOutcome]) -> list[list[Any]]:
    """What the history has beside `settle`'s other columns, each pull once. Most find nothing, and are not kept."""
    worth = {outcome.pull_id: outcome for outcome in outcomes if _is_worth_keeping(outcome)}
    kept = worth.values()
    return [
        list(worth),
        [outcome.user_id for outcome in kept],
        [outcome.outcome for outcome in kept],
        [outcome.duplicates for outcome in kept],
        [outcome.quarantined for outcome in kept],
    ]


def _is_worth_keeping(outcome: PullOutcome) -> bool:
    """Whether it failed, or some capture's way leads through it."""
    if outcome.outcome is not Outcome.STORED:
        return outcome.outcome is Outcome.FAILED
    return bool(outcome.stored or outcome.duplicates or outcome.quarantined)


def _target(row: Any) -> PullTarget:
    return PullTarget(
        pull_id=row["pull_id"],
        user_id=row["user_id"],
        client_url=row["client_url"],
        token_generation=row["token_generation"],
        lease_expires_at=row["lease_expires_at"],
    )
