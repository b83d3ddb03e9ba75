"""The registry's metrics: those that it counts, and those that are read out of Postgres at a scrape.

The latter are the same at every registry. A scrape touches as much of the tables with a million clients as with one.
"""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Final

import asyncpg
from prometheus_client import Counter
from prometheus_client.core import Metric

from services.registry.captures import SCHEMA_MISSING, Captures
from services.registry.consumers import SettlementObserver
from services.registry.runs import Runs
from services.registry.schedule import Schedule
from services.registry.statistics import ClientTotals, Statistics
from shared.contracts.messages import Outcome, PullOutcome, Reason
from shared.observing.metrics import Metrics, gauge, gauges

_NOT_ALLOWED: Final = (asyncpg.InvalidAuthorizationSpecificationError, asyncpg.InsufficientPrivilegeError)


class SettlementMetrics(SettlementObserver):
    """Counts outcomes as they are told; one that is told twice counts twice."""

    def __init__(self, metrics: Metrics) -> None:
        self._settled = Counter(
            "pullsync_pulls_settled_total",
            "Outcomes of pulls, as pullers and ingests told them.",
            ["outcome", "reason"],
            registry=metrics.registry,
        )
        for outcome in (Outcome.NOTHING, Outcome.STORED):
            self._settled.labels(outcome, "")
        self._settled.labels(Outcome.STORED, Reason.UNACKNOWLEDGED)
        for reason in Reason:
            self._settled.labels(Outcome.FAILED, reason)

    def settled(self, outcomes: Sequence[PullOutcome]) -> None:
        """As the observer has it."""
        tally = Tally((outcome.outcome, outcome.reason) for outcome in outcomes)
        for (outcome, reason), number in tally.items():
            self._settled.labels(outcome, reason or "").inc(number)


class RegistryGauges:
    """What is read at a scrape."""

    def __init__(self, *, statistics: Statistics, schedule: Schedule, runs: Runs, captures: Captures) -> None:
        self._statistics = statistics
        self._schedule = schedule
        self._runs = runs
        self._captures = captures

    async def read(self) -> list[Metric]:
        """As it is now; one statement after the other, so that a scrape takes one connection at a time.

        Raises:
            asyncpg.PostgresError, OSError: Postgres is away.
        """
        found = list(_of_clients(await self._statistics.clients()))
        scheduler = await self._schedule.get()
        found.append(gauge("pullsync_scheduler_running", "Whether the timer runs.", scheduler.running))
        interval = "Seconds between two pulls of a client that has no interval of its own."
        found.append(gauge("pullsync_scheduler_interval_seconds", interval, scheduler.sync_interval_s))
        unfinished = await self._runs.unfinished()
        found.append(gauge("pullsync_sync_runs_unfinished", "Sync runs that wait for clients.", unfinished))
        found.extend([each async for each in self._of_captures()])
        return found

    async def _of_captures(self) -> AsyncIterator[Metric]:
        """Nothing before ingest has made its tables, and nothing where the registry may not read what is published."""
        try:
            totals = await self._captures.totals()
        except (*SCHEMA_MISSING, *_NOT_ALLOWED):
            return
        yield gauge("pullsync_quarantined_items", "Items in quarantine.", totals.quarantined)


def _of_clients(totals: ClientTotals) -> Iterator[Metric]:
    states = {
        "active": totals.active,
        "failing": totals.failing,
        "inactive": totals.inactive,
        "paused": totals.paused,
    }
    yield gauges("pullsync_clients", "Registered clients, each in one state.", "state", states.items())
    yield gauge("pullsync_pulls_in_flight", "Clients whose lease a pull holds.", totals.in_flight)
    yield gauge("pullsync_captures_pending", "Captures that clients held after their last pulls.", totals.pending)
    yield gauge("pullsync_schedule_lag_seconds", "How late the most overdue client is.", totals.lag_s)
