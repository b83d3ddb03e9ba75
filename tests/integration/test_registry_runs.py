"""Sync runs on real SQL: which pull settles which run's part, and that no run is left open for ever."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

import asyncpg
import pytest

from services.registry.errors import UnknownRunError
from shared.contracts.messages import PullTarget
from tests.registry_parts import (
    DEADLINE_S,
    QUERIES,
    Database,
    Registry,
    ended_or_blocked,
    failed,
    figures,
    outcome,
    registry_over,
)

RECENT = datetime(2026, 1, 31, 12, tzinfo=UTC)


@pytest.fixture
async def registry(database: Database) -> AsyncIterator[Registry]:
    """Over a database without clients, whose timer is stopped: only demands are served."""
    async with registry_over(database) as registry:
        yield registry


@dataclass(frozen=True)
class StartingRun:
    """A run in the middle of the transaction that starts it."""

    run_id: UUID
    connection: asyncpg.pool.PoolConnectionProxy

    async def demand(self) -> None:
        """The last step before its end."""
        await self.connection.execute(QUERIES["demand_run_clients"], self.run_id, None)


@asynccontextmanager
async def starting_run(registry: Registry) -> AsyncIterator[StartingRun]:
    """A full run that has its parts; on leaving it is committed. The pulls are demanded when the test says so."""
    async with registry.pool.acquire() as connection, connection.transaction():
        run_id: UUID = await connection.fetchval(QUERIES["start_run"], "sync-all", None, False)
        await connection.execute(QUERIES["add_run_clients"], run_id)
        await connection.execute(QUERIES["count_run_clients"], run_id)
        yield StartingRun(run_id, connection)


async def test_a_run_over_no_clients_is_finished(registry: Registry) -> None:
    """There is nothing to wait for."""
    run = await registry.runs.wait(await registry.runs.start("sync-all", since=None), at_most_s=0)
    assert run.finished_at is not None
    assert figures(run) == (0, 0, 0, 0)


async def test_a_run_ends_when_each_client_has_settled(registry: Registry) -> None:
    """Not before; and it counts what was stored and who failed, by name."""
    await registry.register("ash", "misty", "brock")
    run_id = await registry.runs.start("sync-all", since=None)
    targets = {target.user_id: target for target in await registry.demanded()}
    assert set(targets) == {"ash", "misty", "brock"}
    await registry.leases.settle([outcome(targets["ash"], stored=2)])
    await registry.leases.settle([failed(targets["misty"])])
    run = await registry.runs.get(run_id)
    assert (figures(run), run.finished_at) == ((3, 2, 1, 2), None)
    await registry.leases.settle([outcome(targets["brock"], stored=3)])
    run = await registry.runs.wait(run_id, at_most_s=0)
    assert figures(run) == (3, 3, 1, 5)
    assert run.finished_at is not None
    assert run.finished_at > run.created_at
    [failure] = await registry.runs.clients(run_id, after="", limit=10, outcome="failed")
    assert (failure.user_id, failure.client_url, failure.reason) == ("misty", "http://misty:3001", "timeout")


async def test_waiting_for_a_run_ends_with_it(registry: Registry) -> None:
    """Who waits is told soon after the last settlement, wherever that came in."""
    await registry.register("ash")
    run_id = await registry.runs.start("sync-all", since=None)
    waiting = asyncio.create_task(registry.runs.wait(run_id, at_most_s=DEADLINE_S))
    assert (await registry.runs.wait(run_id, at_most_s=0)).finished_at is None
    await registry.leases.settle([outcome(await registry.only_demanded())])
    assert (await waiting).finished_at is not None


async def test_an_unknown_run_is_an_error(registry: Registry) -> None:
    """It is told apart from one that goes on."""
    with pytest.raises(UnknownRunError):
        await registry.runs.get(UUID(int=0))


async def test_a_pull_that_began_before_the_run_does_not_settle_it(registry: Registry) -> None:
    """It may have read the client before the capture for which somebody asked; the client is pulled once more."""
    await registry.register("ash")
    await registry.schedule.set_running(running=True)
    [earlier] = await registry.leases.claim_due(1)
    run_id = await registry.runs.start("sync-all", since=None)
    assert await registry.demanded() == []  # one pull at a time
    assert await registry.leases.settle([outcome(earlier)]) is True
    assert await registry.is_open(run_id)
    await registry.leases.settle([outcome(await registry.only_demanded())])
    assert not await registry.is_open(run_id)


async def test_a_pull_of_the_timer_that_began_after_the_run_settles_it(registry: Registry) -> None:
    """Whoever asked for it; the client is not pulled once more."""
    await registry.register("ash")
    await registry.schedule.set_running(running=True)
    run_id = await registry.runs.start("sync-all", since=None)
    [target] = await registry.leases.claim_due(1)
    assert await registry.leases.settle([outcome(target, stored=1)]) is False
    assert figures(await registry.runs.get(run_id)) == (1, 1, 0, 1)
    assert not await registry.is_open(run_id)
    assert await registry.demanded() == []


async def test_a_limited_pull_does_not_settle_a_full_run(registry: Registry) -> None:
    """A full run that starts during a pull of recent captures gets a full pull of its own."""
    await registry.register("ash")
    recent = await registry.runs.start("sync-recent", since=RECENT)
    [(asked, [limited])] = (await registry.leases.claim_demanded()).items()
    assert asked.since == RECENT
    full = await registry.runs.start("sync-all", since=None)
    await registry.leases.settle([outcome(limited)])
    assert (await registry.is_open(recent), await registry.is_open(full)) == (False, True)
    [(asked, [target])] = (await registry.leases.claim_demanded()).items()
    assert asked.since is None
    await registry.leases.settle([outcome(target)])
    assert not await registry.is_open(full)


async def test_a_pull_from_further_back_settles_a_limited_run(registry: Registry) -> None:
    """What goes back further has read all that the run asks for; what goes back less has not."""
    await registry.register("ash")
    hours = [RECENT - timedelta(hours=n) for n in (2, 1, 3)]
    runs = [await registry.runs.start("sync-all", since=since) for since in hours]
    [(asked, [target])] = (await registry.leases.claim_demanded()).items()
    assert asked.since == min(hours)
    await registry.leases.settle([outcome(target)])
    assert [await registry.is_open(run) for run in runs] == [False] * 3
    await registry.pool.execute("UPDATE registry.clients SET demanded_at = now(), demanded_since = $1", RECENT)
    target = await registry.only_demanded()
    later = await registry.runs.start("sync-all", since=RECENT + timedelta(hours=1))
    assert await registry.leases.settle([outcome(target)]) is True
    assert await registry.is_open(later)


async def test_runs_share_pulls(registry: Registry) -> None:
    """Two runs that start together cost one pull of each client, and both count it."""
    await registry.register("ash", "misty")
    runs = await asyncio.gather(*(registry.runs.start("sync-all", since=None) for _ in range(2)))
    targets = await registry.demanded()
    assert len(targets) == 2
    assert await registry.leases.settle([outcome(target, stored=4) for target in targets]) is False
    assert await registry.demanded() == []
    for run_id in runs:
        assert figures(await registry.runs.get(run_id)) == (2, 2, 0, 8)
        assert not await registry.is_open(run_id)


async def test_a_client_with_more_keeps_its_part_open(registry: Registry) -> None:
    """A run ends when a client has nothing left, and counts every page."""
    await registry.register("ash", "misty")
    run_id = await registry.runs.start("sync-recent", since=RECENT)
    ash, misty = sorted(await registry.demanded(), key=lambda target: target.user_id)
    await registry.leases.settle([outcome(misty, stored=1)])
    for page in range(3):
        assert await registry.leases.settle([outcome(ash, stored=10, more_pending=True)]) is True
        assert figures(await registry.runs.get(run_id)) == (2, 1, 0, 1 + 10 * (page + 1))
        [(asked, [ash])] = (await registry.leases.claim_demanded()).items()
        assert asked.since == RECENT
    assert await registry.leases.settle([outcome(ash, stored=5)]) is False
    assert figures(await registry.runs.get(run_id)) == (2, 2, 0, 36)
    assert not await registry.is_open(run_id)


async def test_a_client_that_fails_in_the_middle_ends_its_part(registry: Registry) -> None:
    """What was stored before counts, and the client is among the failed."""
    await registry.register("ash")
    run_id = await registry.runs.start("sync-all", since=None)
    await registry.leases.settle([outcome(await registry.only_demanded(), stored=10, more_pending=True)])
    await registry.leases.settle([failed(await registry.only_demanded())])
    assert figures(await registry.runs.get(run_id)) == (1, 1, 1, 10)
    assert not await registry.is_open(run_id)


async def test_a_repeated_settlement_counts_once_in_a_run(registry: Registry) -> None:
    """Messages may come twice, also at once."""
    await registry.register("ash", "misty")
    run_id = await registry.runs.start("sync-all", since=None)
    first, _ = await registry.demanded()
    await asyncio.gather(*(registry.leases.settle([outcome(first, stored=1)]) for _ in range(8)))
    assert figures(await registry.runs.get(run_id)) == (2, 1, 0, 1)


async def test_a_lost_pull_is_made_up_for(registry: Registry) -> None:
    """The demand outlives the lease, so the run ends all the same."""
    await registry.register("ash")
    run_id = await registry.runs.start("sync-all", since=None)
    await registry.only_demanded()
    assert await registry.demanded() == []
    await registry.pool.execute("UPDATE registry.clients SET next_pull_at = now()")
    await registry.leases.settle([outcome(await registry.only_demanded())])
    assert not await registry.is_open(run_id)


async def test_unregistering_settles_what_waits_for_the_client(registry: Registry) -> None:
    """The run ends, with the client among the failed, and a late outcome changes nothing."""
    await registry.register("ash", "misty")
    run_id = await registry.runs.start("sync-all", since=None)
    ash, misty = sorted(await registry.demanded(), key=lambda target: target.user_id)
    await registry.leases.settle([outcome(misty, stored=1)])
    await registry.clients.unregister("ash")
    await registry.leases.settle([outcome(ash, stored=1)])
    assert figures(await registry.runs.get(run_id)) == (2, 2, 1, 1)
    [failure] = await registry.runs.clients(run_id, after="", limit=10, outcome="failed")
    assert (failure.user_id, failure.reason) == ("ash", "unregistered")
    assert not await registry.is_open(run_id)


async def test_removing_silent_clients_settles_what_waits_for_them(registry: Registry) -> None:
    """Only who had no success for the whole retention goes, and no run waits for him."""
    await registry.register("silent", "new", "lively")
    await registry.pool.execute(
        """UPDATE registry.clients SET updated_at = now() - interval '40 days', failures = 50,
               inactive_since = CASE user_id WHEN 'silent' THEN now() - interval '39 days' END,
               last_success_at = CASE user_id WHEN 'lively' THEN now() - interval '2 days' END,
               last_pull_at = now() - interval '1 hour'
           WHERE user_id <> 'new'"""
    )
    run_id = await registry.runs.start("sync-all", since=None)
    assert (await registry.cleanup.now()).removed == 1
    assert [client.user_id for client in await registry.clients.page(after="", limit=10)] == ["lively", "new"]
    assert figures(await registry.runs.get(run_id)) == (3, 1, 1, 0)
    await registry.finish()
    assert not await registry.is_open(run_id)


async def test_a_client_that_leaves_while_a_run_starts_does_not_keep_it_open(registry: Registry) -> None:
    """Whichever of the two is first, the run ends."""
    await registry.register("ash", "misty")
    async with starting_run(registry) as run:
        leaving = asyncio.create_task(registry.clients.unregister("ash"))
        await ended_or_blocked(registry, leaving)
        await run.demand()
    await leaving
    await registry.finish()
    assert not await registry.is_open(run.run_id)


async def test_a_limited_pull_that_begins_while_a_full_run_starts_does_not_keep_it_open(registry: Registry) -> None:
    """Such a pull does not satisfy the run, so the client stays in demand."""
    await registry.register("ash")
    await registry.runs.start("sync-recent", since=RECENT)
    async with starting_run(registry) as run:
        limited = await registry.demanded()
        await run.demand()
    await registry.leases.settle([outcome(target) for target in limited])
    await registry.finish()
    assert not await registry.is_open(run.run_id)


@pytest.mark.parametrize("settled_first", [True, False])
async def test_a_pull_that_is_settled_while_a_run_starts_does_not_keep_it_open(
    registry: Registry, *, settled_first: bool
) -> None:
    """The settlement can't see the run yet, so the client is pulled once more."""
    await registry.register("ash")
    await registry.schedule.set_running(running=True)
    async with starting_run(registry) as run:
        targets = await registry.leases.claim_due(1)
        if not settled_first:
            await run.demand()
        settling = asyncio.create_task(settle(registry, targets))
        await ended_or_blocked(registry, settling)
        if settled_first:
            await run.demand()
    await settling
    await registry.schedule.set_running(running=False)
    await registry.finish()
    assert not await registry.is_open(run.run_id)


async def settle(registry: Registry, targets: list[PullTarget]) -> None:
    """Pulls that found nothing."""
    await registry.leases.settle([outcome(target) for target in targets])


async def test_many_settlements_at_once_of_runs_that_overlap(registry: Registry) -> None:
    """Settlements of several messages touch the same runs at once: none of them fails, and the figures add up."""
    users = [f"user_{n:03}" for n in range(200)]
    await registry.register(*users)
    for _ in range(3):
        runs = await asyncio.gather(*(registry.runs.start("sync-all", since=None) for _ in range(6)))
        targets = await registry.demanded()
        chunks = [targets[start::20] for start in range(20)]
        await asyncio.gather(
            *(registry.leases.settle([outcome(target, stored=1) for target in chunk]) for chunk in chunks)
        )
        await registry.finish()
        for run_id in runs:
            assert figures(await registry.runs.get(run_id)) == (200, 200, 0, 200)
            assert not await registry.is_open(run_id)


async def test_old_runs_are_forgotten_and_open_ones_kept(registry: Registry) -> None:
    """Only what ended long ago goes, with its parts."""
    await registry.register("ash")
    done = await registry.runs.start("sync-all", since=None)
    await registry.finish()
    await registry.pool.execute("UPDATE registry.sync_runs SET finished_at = now() - interval '8 days'")
    going_on = await registry.runs.start("sync-all", since=None)
    await registry.pool.execute("UPDATE registry.sync_runs SET created_at = now() - interval '9 days'")
    await registry.cleanup.now()
    with pytest.raises(UnknownRunError):
        await registry.runs.get(done)
    assert await registry.is_open(going_on)
    assert await registry.pool.fetchval("SELECT count(*) FROM registry.sync_run_clients") == 1
