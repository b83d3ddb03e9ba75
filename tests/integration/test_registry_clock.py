"""A database clock that was wrong: no stored moment is believed further ahead than its rule allows."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Final

import pytest

from dev.database import Database
from services.registry.clock import Clock, Corrected
from tests.registry_parts import INTERVAL_S, QUERIES, SPACING, TIMES, Registry, failed, outcome, registry_over

NOTHING: Final = Corrected(clients=0, demands=0, runs=0)
DAY: Final = timedelta(days=1)


@pytest.fixture
async def registry(database: Database) -> AsyncIterator[Registry]:
    """Its timer runs; it has no clients."""
    async with registry_over(database, running=True) as registry:
        yield registry


@pytest.fixture
def clock(registry: Registry) -> Clock:
    """What bounds its times."""
    return Clock(pool=registry.pool, queries=QUERIES, times=TIMES, nudge_spacing=SPACING)


async def was_ahead(registry: Registry, by: timedelta = DAY) -> None:
    """As if all that was written had been written while the clock was so far ahead."""
    await registry.let_pass(-by)
    await registry.pool.execute("UPDATE registry.sync_runs SET created_at = created_at + $1::interval", by)
    await registry.pool.execute("UPDATE registry.scheduler SET last_cleanup = last_cleanup + $1::interval", by)


async def wait_s(registry: Registry, user: str = "ash") -> float:
    """Seconds until the client is due."""
    record = await registry.record(user)
    return float((record["next_pull_at"] - record["read_at"]).total_seconds())


async def test_a_client_that_waits_for_its_slot_gets_another(registry: Registry, clock: Clock) -> None:
    """Within its interval, its own one if it has one."""
    await registry.register("ash", "misty")
    await registry.clients.set_interval("misty", 600)
    await registry.leases.settle([outcome(target) for target in await registry.leases.claim_due(2)])
    await was_ahead(registry)
    assert await clock.correct() == Corrected(clients=2, demands=0, runs=0)
    assert 0 < await wait_s(registry) <= INTERVAL_S
    assert 0 < await wait_s(registry, "misty") <= 600
    assert await clock.correct() == NOTHING


@pytest.mark.parametrize("failures", [1, 3, 30])
async def test_a_backoff_is_no_longer_than_its_cap(registry: Registry, clock: Clock, failures: int) -> None:
    """One that is within it stays."""
    await registry.register("ash")
    for _ in range(failures):
        await registry.make_due()
        await registry.leases.settle([failed(await registry.only_due())])
    assert await clock.correct() == NOTHING
    await was_ahead(registry)
    assert (await clock.correct()).clients == 1
    assert 0 < await wait_s(registry) <= INTERVAL_S


async def test_a_probe_is_no_further_than_its_interval(registry: Registry, clock: Clock) -> None:
    """A quarter more at the most, as the settlement gives it."""
    await registry.register("ash")
    await registry.pool.execute("UPDATE registry.clients SET failures = 1, inactive_since = now()")
    await registry.leases.settle([failed(await registry.only_due())])
    assert await clock.correct() == NOTHING
    await was_ahead(registry)
    assert (await clock.correct()).clients == 1


async def test_a_lease_that_is_too_long_ends(registry: Registry, clock: Clock) -> None:
    """Its client is pulled anew; doubled leases are not too long."""
    await registry.register("ash")
    for _ in range(8):
        target = await registry.only_due()
        assert await clock.correct() == NOTHING
        await registry.let_leases_end()
    target = await registry.only_due()
    await was_ahead(registry)
    assert (await clock.correct()).clients == 1
    assert (await registry.record())["pull_id"] is None
    await registry.leases.settle([failed(target)])
    assert (await registry.record())["failures"] == 0


async def test_a_demand_of_the_future_is_for_now(registry: Registry, clock: Clock) -> None:
    """One that a nudge booked within its spacing stays booked."""
    await registry.register("ash")
    await registry.nudges.nudge("ash")
    await registry.leases.settle([outcome(await registry.only_demanded())])
    await registry.nudges.nudge("ash")
    assert await clock.correct() == NOTHING
    assert await registry.demanded() == []
    await was_ahead(registry)
    assert (await clock.correct()).demands == 1
    assert len(await registry.demanded()) == 1


async def test_a_nudge_does_not_wait_for_one_of_the_future(registry: Registry) -> None:
    """What the clock wrote a day ahead is no booking."""
    await registry.register("ash")
    await registry.nudges.nudge("ash")
    await registry.leases.settle([outcome(await registry.only_demanded())])
    await registry.nudges.nudge("ash")
    await was_ahead(registry)
    nudged = await registry.nudges.nudge("ash")
    assert nudged.due_in_s == 0
    assert len(await registry.demanded()) == 1


async def test_a_run_of_the_future_ends(registry: Registry, clock: Clock) -> None:
    """It waits for pulls that begin after it, and they all seem to begin before."""
    await registry.register("ash")
    run_id = await registry.runs.start("sync-all", since=None)
    await was_ahead(registry)
    assert (await clock.correct()).runs == 1
    await registry.finish()
    assert not await registry.is_open(run_id)


async def test_a_demand_is_not_lost_to_a_pull_that_seems_to_begin_later(registry: Registry) -> None:
    """The pull was claimed while the clock was ahead, and the demand came after it was right again."""
    await registry.register("ash")
    target = await registry.only_due()
    await registry.pool.execute("UPDATE registry.clients SET claimed_at = claimed_at + $1::interval", DAY)
    run_id = await registry.runs.start("sync-all", since=None)
    await registry.leases.settle([outcome(target)])
    assert await registry.is_open(run_id)
    assert len(await registry.demanded()) == 1
    assert (await registry.record())["last_pull_at"] <= (await registry.record())["read_at"]


async def test_pulls_of_the_future_are_not_among_those_of_now(registry: Registry) -> None:
    """Or a timer that stands still would seem to work for a day."""
    await registry.register("ash")
    await registry.leases.settle([outcome(await registry.only_due())])
    await registry.pool.execute("UPDATE registry.pull_minutes SET minute = minute + $1::interval", DAY)
    assert (await registry.statistics.pulls()).pulls == 0


async def lost(registry: Registry) -> None:
    """A client that was silent for the whole retention, and was tried a moment ago."""
    await registry.register("ash")
    await registry.pool.execute(
        """UPDATE registry.clients SET failures = 9, last_pull_at = now(), updated_at = now() - interval '60 days',
               inactive_since = now() - interval '59 days'"""
    )


@pytest.mark.parametrize("jump", [DAY, timedelta(days=400), -DAY, timedelta(minutes=11), timedelta(minutes=-2)])
async def test_nothing_is_removed_when_the_clock_jumped(registry: Registry, jump: timedelta) -> None:
    """The cleanup after that, in which the clock went on, removes again."""
    await registry.cleanup.now()
    await lost(registry)
    await registry.pool.execute("UPDATE registry.scheduler SET clock_seen_at = clock_seen_at - $1::interval", jump)
    cleaned = await registry.cleanup.now()
    assert (cleaned.removed, cleaned.clock_jumped) == (0, True)
    assert (await registry.record())["user_id"] == "ash"
    assert (await registry.cleanup.now()).removed == 1


async def test_a_clock_that_goes_on_is_believed(registry: Registry) -> None:
    """Minutes between two looks are as they should be."""
    await registry.cleanup.now()
    await lost(registry)
    await registry.pool.execute("UPDATE registry.scheduler SET clock_seen_at = clock_seen_at - interval '9 minutes'")
    assert (await registry.cleanup.now()).removed == 1


async def test_a_cleanup_of_the_future_does_not_keep_the_next_away(registry: Registry) -> None:
    """It was written a day ahead."""
    await registry.cleanup.now()
    await was_ahead(registry)
    assert await registry.pool.fetchval(QUERIES["begin_cleanup"], timedelta(hours=1))
    assert not await registry.pool.fetchval(QUERIES["begin_cleanup"], timedelta(hours=1))


async def test_silence_is_counted_from_now_at_the_latest(registry: Registry) -> None:
    """A success of the year to come would keep a silent client active for a year."""
    await registry.register("ash")
    await registry.leases.settle([failed(await registry.only_due())])
    await registry.let_pass(-timedelta(days=365))
    await registry.cleanup.now()
    record = await registry.record()
    assert (record["last_success_at"], record["inactive_since"]) == (None, None)
    await registry.let_pass(timedelta(days=2))
    assert (await registry.cleanup.now()).marked_inactive == 1
