"""The registry's parts over one database, without its HTTP API, and what tests often ask of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, Final, Protocol
from uuid import UUID

import asyncpg
import msgspec

from services.registry.cleanup import Cleanup, SilenceLimits
from services.registry.clients import Clients
from services.registry.domain import NewClient, Run
from services.registry.holders import Holders
from services.registry.leases import Leases, LeaseTimes
from services.registry.nudges import Nudges
from services.registry.pulls import Pulls
from services.registry.runs import Runs
from services.registry.schedule import Schedule
from services.registry.statistics import ClientTotals, Statistics
from shared.contracts.messages import Outcome, PullOutcome, PullTarget, Reason
from shared.postgres.database import make_pool
from shared.postgres.sql import load_queries

QUERIES: Final = load_queries("services.registry")
DEADLINE_S: Final = 20.0
INTERVAL_S: Final = 30
LEASE: Final = timedelta(seconds=120)
BACKOFF_CAP_S: Final = 900
PROBE_INTERVAL_S: Final = 3_600
TIMES: Final = LeaseTimes(lease=LEASE, backoff_cap_s=BACKOFF_CAP_S, probe_interval_s=PROBE_INTERVAL_S)
SILENCE: Final = SilenceLimits(
    inactive_after=timedelta(days=1), probe_interval_s=PROBE_INTERVAL_S, retention=timedelta(days=30)
)
SPACING: Final = timedelta(seconds=10)

_COUNT_CLIENTS: Final = """
    SELECT count(*) AS registered,
           count(*) FILTER (WHERE failures > 0 AND inactive_since IS NULL AND NOT paused) AS failing,
           count(*) FILTER (WHERE inactive_since IS NOT NULL AND NOT paused) AS inactive,
           count(*) FILTER (WHERE paused) AS paused,
           count(*) FILTER (WHERE pull_id IS NOT NULL) AS in_flight,
           coalesce(sum(pending), 0)::bigint AS pending,
           coalesce(sum(stored), 0)::bigint AS stored
    FROM registry.clients
"""


class Database(Protocol):
    """What these tests need of the fixture `database`."""

    @property
    def registry_url(self) -> str:
        """Where the registry's schema is."""


class Registry:
    """The registry's parts over one database, and what tests often ask of them."""

    def __init__(self, pool: asyncpg.Pool, *, burst: int = 1) -> None:
        self.pool = pool
        self.clients = Clients(pool=pool, queries=QUERIES)
        self.schedule = Schedule(pool=pool, queries=QUERIES)
        self.cleanup = self.another_cleanup()
        self.runs = Runs(pool=pool, queries=QUERIES)
        self.nudges = Nudges(pool=pool, queries=QUERIES, spacing=SPACING, burst=burst)
        self.statistics = Statistics(pool=pool, queries=QUERIES)
        self.pulls = Pulls(pool=pool, queries=QUERIES)
        self.leases = Leases(pool=pool, queries=QUERIES, in_flight=10_000, times=TIMES)
        self.holders = Holders(pool=pool, queries=QUERIES, lease=LEASE)

    def another_cleanup(self) -> Cleanup:
        """The cleanup of one more registry over the same database."""
        return Cleanup(
            pool=self.pool, queries=QUERIES, interval=timedelta(hours=1), silence=SILENCE, history=timedelta(days=7)
        )

    async def register(self, *users: str) -> None:
        """Each of them, at an address of its own."""
        for user in users:
            await self.clients.register(NewClient(user_id=user, client_url=f"http://{user}:3001"))

    async def register_many(self, number: int) -> None:
        """Clients `user_00001` and so on, due now, as fast as it goes."""
        await self.pool.execute(
            """INSERT INTO registry.clients (user_id, client_url, client_type, capabilities)
               SELECT 'user_' || lpad(n::text, 5, '0'), 'http://localhost:' || n, 'web', '{}'
               FROM generate_series(1, $1::integer) AS n""",
            number,
        )

    async def demanded(self) -> list[PullTarget]:
        """Claim all that is demanded."""
        return [target for targets in (await self.leases.claim_demanded()).values() for target in targets]

    async def only_demanded(self) -> PullTarget:
        """Claim the one client that is demanded."""
        [target] = await self.demanded()
        return target

    async def only_due(self) -> PullTarget:
        """Claim the one client that is due by the timer."""
        [target] = await self.leases.claim_due(10)
        return target

    async def is_open(self, run_id: UUID) -> bool:
        """Whether the run goes on."""
        return (await self.runs.get(run_id)).finished_at is None

    async def finish(self) -> None:
        """Serve demands until there are none."""
        async with asyncio.timeout(DEADLINE_S):
            while targets := await self.demanded():
                await self.leases.settle([outcome(target) for target in targets])

    async def record(self, user: str = "ash") -> asyncpg.Record:
        """All columns of one client."""
        row = await self.pool.fetchrow("SELECT *, now() AS read_at FROM registry.clients WHERE user_id = $1", user)
        assert row is not None
        return row

    async def let_leases_end(self) -> None:
        """As if the time of every lease had passed: everything of it moves into the past together."""
        await self.pool.execute(
            """UPDATE registry.clients SET claimed_at = claimed_at - (next_pull_at - now()), next_pull_at = now()
               WHERE pull_id IS NOT NULL"""
        )

    async def make_due(self) -> None:
        """As if the time had come for every client that no pull holds."""
        await self.pool.execute(
            """UPDATE registry.clients SET next_pull_at = now() WHERE user_id = ANY (ARRAY (
                   SELECT user_id FROM registry.clients WHERE pull_id IS NULL ORDER BY user_id FOR UPDATE))"""
        )

    async def let_pass(self, passed: timedelta) -> None:
        """As if so much time had passed: all that is known of clients moves into the past."""
        await self.pool.execute(
            """UPDATE registry.clients SET
                   registered_at = registered_at - $1::interval, updated_at = updated_at - $1,
                   next_pull_at = next_pull_at - $1,
                   claimed_at = claimed_at - $1, demanded_at = demanded_at - $1, last_pull_at = last_pull_at - $1,
                   last_success_at = last_success_at - $1, inactive_since = inactive_since - $1,
                   nudged_at = nudged_at - $1, nudges_spaced_until = nudges_spaced_until - $1""",
            passed,
        )

    async def totals(self) -> tuple[ClientTotals, dict[str, int]]:
        """What the registry says of its clients, and a plain count of the table, in one moment."""
        async with self.pool.acquire() as connection, connection.transaction(isolation="repeatable_read"):
            said = await connection.fetchrow(QUERIES["client_totals"])
            counted = await connection.fetchrow(_COUNT_CLIENTS)
        assert said is not None
        assert counted is not None
        return ClientTotals(**dict(said)), dict(counted)

    async def assert_counted(self) -> None:
        """What the registry says of its clients is what a plain count of the table finds."""
        said, counted = await self.totals()
        assert {name: getattr(said, name) for name in counted} == counted


@asynccontextmanager
async def registry_over(database: Database, *, running: bool = False, burst: int = 1) -> AsyncIterator[Registry]:
    """The parts over a database without clients, with a timer that runs or not; nudges are spaced beyond a burst."""
    async with make_pool(database.registry_url, service="test", max_size=20) as pool:
        registry = Registry(pool, burst=burst)
        await registry.schedule.ensure(INTERVAL_S)
        await pool.execute("UPDATE registry.scheduler SET running = $1, sync_interval_s = $2", running, INTERVAL_S)
        yield registry


async def ended_or_blocked(registry: Registry, task: asyncio.Task[Any]) -> None:
    """Return when the task has ended, or when some statement waits for another's lock."""
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    async with asyncio.timeout(DEADLINE_S):
        while not task.done() and not await registry.pool.fetchval(waiting):
            pass


async def at_once(*works: Callable[[], Awaitable[object]]) -> list[BaseException]:
    """Do all of them side by side; what went wrong."""
    results = await asyncio.gather(*(work() for work in works), return_exceptions=True)
    return [result for result in results if isinstance(result, BaseException)]


def outcome(target: PullTarget, **changes: Any) -> PullOutcome:
    """A pull that went well and found nothing, but for the changes."""
    shape = {
        "pull_id": target.pull_id,
        "user_id": target.user_id,
        "outcome": Outcome.NOTHING,
        "duration_s": 0.25,
        **changes,
    }
    return msgspec.convert(shape, PullOutcome)


def failed(target: PullTarget, reason: Reason = Reason.TIMEOUT) -> PullOutcome:
    """A pull that ran into a timeout, or into something else."""
    return outcome(target, outcome=Outcome.FAILED, reason=reason, error="no whole answer within 15 s")


def figures(run: Run) -> tuple[int, int, int, int]:
    """Requested, settled, failed, stored."""
    return run.requested, run.settled, run.failed, run.stored
