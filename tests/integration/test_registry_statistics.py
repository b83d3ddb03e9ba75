"""The numbers on real SQL: kept as things happen, and equal to what a plain count finds, whatever happened."""

from __future__ import annotations

import asyncio
import random
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Final

import asyncpg
import pytest

from dev.database import REGISTRY_ROLE
from dev.database import Database as FullDatabase
from services.registry import app
from services.registry.errors import RegistryError
from shared.contracts.messages import PullTarget, Reason
from shared.postgres.database import make_pool
from shared.postgres.migrations import migrate
from tests.registry_parts import QUERIES, Database, Registry, failed, outcome, registry_over

SEEDS: Final = range(6)
USERS: Final = [f"user_{n:02}" for n in range(30)]


@pytest.fixture
async def registry(database: Database) -> AsyncIterator[Registry]:
    """Over a database without clients, whose timer runs."""
    async with registry_over(database, running=True) as registry:
        yield registry


class Chaos:
    """Somebody who does what can be done to clients, in random order."""

    def __init__(self, registry: Registry, seed: int) -> None:
        self._registry = registry
        self._random = random.Random(seed)  # noqa: S311 - it shall be repeatable
        self._held: list[PullTarget] = []
        self._works: list[Callable[[], Awaitable[object]]] = [
            self.register,
            self.register,
            self.unregister,
            self.claim,
            self.claim,
            self.serve_demands,
            self.settle,
            self.settle,
            self.settle,
            self.release,
            self.pause,
            self.resume,
            self.nudge,
            self.run,
            self.cleanup,
            self.roll_back,
            self.age,
            self.fold,
        ]

    async def act(self, times: int) -> None:
        """So many deeds; a refusal is one as well."""
        for _ in range(times):
            try:
                await self._random.choice(self._works)()
            except RegistryError:
                continue

    def user(self) -> str:
        """Anybody."""
        return self._random.choice(USERS)

    async def register(self) -> None:
        """For the first time, or again."""
        await self._registry.register(self.user())

    async def unregister(self) -> None:
        """Also one that is paused, fails or is held."""
        await self._registry.clients.unregister(self.user())

    async def claim(self) -> None:
        """Some of those that are due."""
        self._held += await self._registry.leases.claim_due(self._random.randint(1, 8))

    async def serve_demands(self) -> None:
        """All of them."""
        self._held += await self._registry.demanded()

    async def settle(self) -> None:
        """Well or not, some twice, some with more."""
        some = self._held[:5]
        self._held = self._held[5:]
        outcomes = [
            failed(target)
            if self._random.random() < 0.4
            else outcome(
                target,
                stored=self._random.randint(0, 9),
                pending=self._random.randint(0, 9),
                more_pending=self._random.random() < 0.2,
            )
            for target in some
        ]
        await self._registry.leases.settle(outcomes + outcomes[:1])

    async def release(self) -> None:
        """As a dispatcher without a broker does."""
        await self._registry.leases.release([target.pull_id for target in self._held[:3]])
        self._held = self._held[3:]

    async def pause(self) -> None:
        """In whatever state he is."""
        await self._registry.clients.pause(self.user())

    async def resume(self) -> None:
        """Paused or not."""
        await self._registry.clients.resume(self.user())

    async def nudge(self) -> None:
        """Refused or not."""
        await self._registry.nudges.nudge(self.user())

    async def run(self) -> None:
        """Over all, and cancelled half of the time."""
        run_id = await self._registry.runs.start("sync-all", since=None)
        if self._random.random() < 0.5:
            await self._registry.runs.cancel(run_id)

    async def cleanup(self) -> None:
        """Marks and removes those that `age` has made old."""
        await self._registry.cleanup.now()

    async def fold(self) -> None:
        """After a connection has counted something, and ended."""
        async with self._registry.pool.acquire() as connection:
            await connection.execute("UPDATE registry.clients SET stored = stored + 1 WHERE user_id = $1", self.user())
            await connection.close()
        await self._registry.pool.execute(QUERIES["fold_client_counts"])

    async def age(self) -> None:
        """As if one client had been silent for so long, and everybody's time had come."""
        silent = timedelta(days=self._random.choice([0, 2, 40]))
        await self._registry.pool.execute(
            """UPDATE registry.clients SET updated_at = updated_at - $2::interval,
                   last_success_at = last_success_at - $2::interval WHERE user_id = $1""",
            self.user(),
            silent,
        )
        await self._registry.make_due()

    async def roll_back(self) -> None:
        """Changes of all kinds that come to nothing, in one transaction and in a part of one."""
        async with self._registry.pool.acquire() as connection:
            transaction = connection.transaction()
            await transaction.start()
            for user in sorted({self.user(), self.user()}):
                await connection.execute(QUERIES["pause"], user)
                await connection.execute(QUERIES["unregister"], user)
            await transaction.rollback()
            async with connection.transaction():
                inner = connection.transaction()
                await inner.start()
                await connection.execute(QUERIES["unregister"], self.user())
                await inner.rollback()


@pytest.mark.parametrize("seed", SEEDS)
async def test_what_is_kept_equals_a_plain_count_after_anything(registry: Registry, seed: int) -> None:
    """Four at once do what can be done to clients; between and after it the totals are those of the table."""
    everybody = [Chaos(registry, 100 * seed + n) for n in range(4)]
    for _ in range(5):
        await asyncio.gather(*(one.act(30) for one in everybody))
        await registry.assert_counted()
    await registry.pool.execute(QUERIES["fold_client_counts"])
    await registry.assert_counted()


async def test_the_totals_are_right_in_the_middle_of_it(registry: Registry) -> None:
    """Not only when all is quiet: each moment's totals are that moment's count."""
    everybody = asyncio.gather(*(Chaos(registry, n).act(60) for n in range(4)))
    while not everybody.done():
        await registry.assert_counted()
        await asyncio.sleep(0)
    await everybody


async def test_each_state_is_counted(registry: Registry) -> None:
    """Active, failing, inactive and paused are all there is, and exclude one another."""
    await registry.register("active", "failing", "inactive", "paused", "held")
    targets = {target.user_id: target for target in await registry.leases.claim_due(5)}
    await registry.leases.settle(
        [outcome(targets["active"], stored=4, pending=2)]
        + [failed(targets[user]) for user in ("failing", "inactive", "paused")]
    )
    await registry.pool.execute("UPDATE registry.clients SET inactive_since = now() WHERE user_id = 'inactive'")
    await registry.clients.pause("paused")
    totals = await registry.statistics.clients()
    assert (totals.registered, totals.active, totals.failing, totals.inactive, totals.paused) == (5, 2, 1, 1, 1)
    assert (totals.in_flight, totals.pending, totals.stored) == (1, 2, 4)
    listed = {client.user_id: client.state for client in await registry.clients.page(after="", limit=9)}
    assert listed == {
        "active": "active",
        "failing": "failing",
        "held": "active",
        "inactive": "inactive",
        "paused": "paused",
    }


async def test_what_ended_connections_counted_is_folded(registry: Registry, database: Database) -> None:
    """Their rows go, their numbers stay; those of connections that live are left alone."""
    await registry.register("ash")
    for n in range(3):
        connection = await asyncpg.connect(database.registry_url)
        await connection.execute(
            QUERIES["register"], f"user_{n}", "http://localhost:1", "web", [], None, None, True, False
        )
        await connection.close()
    await registry.cleanup.now()
    await registry.assert_counted()
    assert (await registry.statistics.clients()).registered == 4
    living = await registry.pool.fetchval(
        "SELECT count(*) FROM registry.client_counts WHERE backend <> 0 "
        "AND backend NOT IN (SELECT pid FROM pg_stat_activity)"
    )
    assert living == 0


async def test_a_connection_that_counts_while_another_folds(registry: Registry, database: Database) -> None:
    """A row that is folded and written to at once loses nothing: the process number may be in use again."""
    await registry.register("ash")
    async with registry.pool.acquire() as counting, registry.pool.acquire() as folding:
        await counting.execute(QUERIES["register"], "misty", "http://localhost:1", "web", [], None, None, True, False)
        await folding.execute("UPDATE registry.client_counts SET backend = -backend WHERE backend = pg_backend_pid()")
        transaction = folding.transaction()
        await transaction.start()
        await folding.execute(QUERIES["fold_client_counts"])
        await counting.execute(QUERIES["register"], "brock", "http://localhost:1", "web", [], None, None, True, False)
        await transaction.commit()
    await registry.assert_counted()
    assert database.registry_url


async def test_the_clients_of_an_older_registry_are_counted(database: FullDatabase, tmp_path: Path) -> None:
    """The migration from 0001 takes those that there are, in every state of then."""
    async with make_pool(database.admin_url, service="test", max_size=1) as admin:
        await admin.execute("DROP SCHEMA registry CASCADE")
        await admin.execute(f"CREATE SCHEMA registry AUTHORIZATION {REGISTRY_ROLE}")
    first = next(app.MIGRATIONS.glob("0001*.py"))
    shutil.copy(first, tmp_path)
    await migrate(database.registry_url, schema=app.SCHEMA, history=tmp_path)
    async with make_pool(database.registry_url, service="test", max_size=2) as pool:
        await pool.execute(
            """INSERT INTO registry.clients (user_id, client_url, client_type, capabilities, failures, pull_id, pending,
                                             stored)
               SELECT 'user_' || n, 'http://localhost:1', 'web', '{}', n % 3,
                      CASE WHEN n % 2 = 0 THEN gen_random_uuid() END, n, 2 * n
               FROM generate_series(1, 100) AS n"""
        )
    await migrate(database.registry_url, schema=app.SCHEMA, history=app.MIGRATIONS)
    async with registry_over(database, running=True) as registry:
        totals = await registry.statistics.clients()
        assert (totals.registered, totals.failing, totals.in_flight, totals.stored) == (100, 67, 50, 10_100)
        await registry.assert_counted()
        await registry.register("ash")
        await registry.assert_counted()


async def test_the_lag_is_of_the_most_overdue(registry: Registry) -> None:
    """None is none, one that is paused is not late, and one in its slot is not either."""
    assert (await registry.statistics.clients()).lag_s == 0
    await registry.register("late", "later", "paused")
    await registry.pool.execute(
        """UPDATE registry.clients SET next_pull_at = now() - make_interval(hours => CASE user_id
               WHEN 'late' THEN 1 WHEN 'later' THEN 2 ELSE 3 END)"""
    )
    await registry.clients.pause("paused")
    assert 7_200 <= (await registry.statistics.clients()).lag_s < 7_300
    targets = await registry.leases.claim_due(5)
    await registry.leases.settle([outcome(target) for target in targets])
    assert (await registry.statistics.clients()).lag_s == 0


async def test_pulls_are_counted_by_reason(registry: Registry) -> None:
    """Each once, however often it is told; what it stored, and whether it went well."""
    assert (await registry.statistics.pulls()).median_s is None
    await registry.register("a", "b", "c", "d")
    a, b, c, d = await registry.leases.claim_due(4)
    outcomes = [outcome(a, stored=5), failed(b), failed(c), failed(d, Reason.CONNECT)]
    for _ in range(2):
        await registry.leases.settle(outcomes)
    pulls = await registry.statistics.pulls()
    assert (pulls.pulls, pulls.succeeded, pulls.stored) == (4, 1, 5)
    assert pulls.failures == {"timeout": 2, "connect": 1}


async def test_pulls_of_long_ago_do_not_count(registry: Registry) -> None:
    """The numbers are of the last minutes, and the cleanup forgets those of yesterday."""
    await registry.register("ash")
    await registry.leases.settle([outcome(await registry.only_due())])
    await registry.pool.execute("UPDATE registry.pull_minutes SET minute = minute - interval '6 minutes'")
    assert (await registry.statistics.pulls()).pulls == 0
    await registry.pool.execute("UPDATE registry.pull_minutes SET minute = minute - interval '1 day'")
    await registry.cleanup.now()
    assert await registry.pool.fetchval("SELECT count(*) FROM registry.pull_minutes") == 0


async def test_the_last_hour_is_told_minute_by_minute(registry: Registry) -> None:
    """60 minutes in a row, empty ones too; each has its own pulls, reasons and durations, and older ones have gone."""
    now = await registry.pool.fetchval("SELECT date_trunc('minute', now())")
    await registry.register_many(10)
    targets = await registry.leases.claim_due(10)
    await registry.leases.settle([outcome(target, stored=2, duration_s=1.0) for target in targets[:4]])
    await _move(registry, now, now - timedelta(minutes=60))
    await registry.leases.settle(
        [outcome(targets[4], stored=3, duration_s=0.1), failed(targets[5]), failed(targets[6], Reason.CONNECT)]
    )
    await _move(registry, now, now - timedelta(minutes=59))
    await registry.leases.settle([failed(targets[7]), failed(targets[8]), outcome(targets[9], duration_s=10.0)])
    await _move(registry, now, now)
    minutes = await registry.statistics.minutes()
    while minutes[-1].pulls == 0:  # the next minute has begun
        await registry.pool.execute("UPDATE registry.pull_minutes SET minute = minute + interval '1 minute'")
        minutes = await registry.statistics.minutes()
    assert len(minutes) == 60
    assert all(later.minute - earlier.minute == timedelta(minutes=1) for earlier, later in pairwise(minutes))
    assert [minute.pulls for minute in minutes] == [3, *[0] * 58, 3]
    first, empty, last = minutes[0], minutes[1], minutes[-1]
    assert (first.failed, first.failed_by_reason, first.stored_captures) == (2, {"timeout": 1, "connect": 1}, 3)
    assert (empty.failed, empty.failed_by_reason, empty.stored_captures) == (0, {}, 0)
    assert (empty.duration_median_s, empty.duration_p99_s) == (None, None)
    assert (last.failed, last.failed_by_reason, last.stored_captures) == (2, {"timeout": 2}, 0)
    assert last.duration_median_s is not None
    assert last.duration_p99_s is not None
    assert 0.2499 <= last.duration_median_s <= 0.25 * 1.19
    assert 9.999 <= last.duration_p99_s <= 10 * 1.19


async def _move(registry: Registry, since: datetime, minute: datetime) -> None:
    """As if what was settled since then had been settled in that minute."""
    await registry.pool.execute("UPDATE registry.pull_minutes SET minute = $2 WHERE minute >= $1", since, minute)


@pytest.mark.parametrize("seed", SEEDS)
async def test_durations_are_known_within_19_percent(registry: Registry, seed: int) -> None:
    """The median and the 99th of a hundred are never too low, and at most 19 % too high."""
    chance = random.Random(seed)  # noqa: S311 - it shall be repeatable
    durations = sorted(10 ** chance.uniform(-3, 1.5) for _ in range(101))
    await registry.register_many(len(durations))
    targets = await registry.leases.claim_due(200)
    await registry.leases.settle(
        [outcome(target, duration_s=duration) for target, duration in zip(targets, durations, strict=True)]
    )
    pulls = await registry.statistics.pulls()
    assert pulls.median_s is not None
    assert pulls.p99_s is not None
    for said, exact in ((pulls.median_s, durations[50]), (pulls.p99_s, durations[99])):
        assert exact * 0.9999 <= said <= exact * 1.19


@pytest.mark.parametrize("duration_s", [0.0, -1.0, 1e-9, 1e9, 1e300, float("inf"), float("nan")])
async def test_no_duration_is_too_odd_to_settle(registry: Registry, duration_s: float) -> None:
    """One that can't be true must not keep a hundred others from being settled."""
    await registry.register("ash", "misty")
    ash, misty = await registry.leases.claim_due(2)
    await registry.leases.settle([outcome(ash, duration_s=duration_s), outcome(misty)])
    assert (await registry.statistics.pulls()).pulls == 2
