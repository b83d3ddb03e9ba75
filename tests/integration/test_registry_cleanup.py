"""The cleanup on real SQL: once whatever the number of registries, whole or not at all, and slow to remove anybody."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import asyncpg
import pytest

from services.registry.cleanup import Cleaned, Cleanup
from tests.registry_parts import QUERIES, SILENCE, Database, Registry, failed, outcome, registry_over
from tests.waiting import eventually

NOTHING = Cleaned(marked_inactive=0, removed=0)


@pytest.fixture
async def registry(database: Database) -> AsyncIterator[Registry]:
    """With `ash`, who failed at the last pull; the timer runs."""
    async with registry_over(database, running=True) as registry:
        await registry.register("ash")
        await registry.leases.settle([failed(await registry.only_due())])
        yield registry


async def state(registry: Registry) -> str:
    """Of `ash`."""
    return (await registry.clients.get("ash")).state


async def silent(registry: Registry, *, days: int) -> None:
    """Nothing was heard of the clients for so long, though they were tried an hour ago; marked since the first day."""
    await registry.let_pass(timedelta(days=days))
    await registry.cleanup.now()
    await registry.pool.execute(
        """UPDATE registry.clients SET
               inactive_since = inactive_since - make_interval(days => $1), last_pull_at = now() - interval '1 hour'""",
        days,
    )


async def test_a_client_that_fails_for_long_is_inactive(registry: Registry) -> None:
    """Not before, and once."""
    await registry.let_pass(SILENCE.inactive_after - timedelta(minutes=1))
    assert (await registry.cleanup.now(), await state(registry)) == (NOTHING, "failing")
    await registry.let_pass(timedelta(minutes=2))
    assert await registry.cleanup.now() == Cleaned(marked_inactive=1, removed=0)
    assert await state(registry) == "inactive"
    assert await registry.cleanup.now() == NOTHING


@pytest.mark.parametrize("heard", ["a success", "a registration", "no failure", "a pause", "a pause that ended"])
async def test_others_are_not_marked(registry: Registry, heard: str) -> None:
    """Who was heard of lately, who did not fail, and who is paused or was until now."""
    await registry.let_pass(timedelta(days=2))
    if heard == "a success":
        await registry.pool.execute("UPDATE registry.clients SET last_success_at = now()")
    elif heard == "a registration":
        await registry.register("ash")
    elif heard == "no failure":
        await registry.pool.execute("UPDATE registry.clients SET failures = 0")
    else:
        await registry.clients.pause("ash")
        if heard == "a pause that ended":
            await registry.clients.resume("ash")
    assert await registry.cleanup.now() == NOTHING


async def test_a_silent_client_is_removed_after_the_retention(registry: Registry) -> None:
    """Not before."""
    await silent(registry, days=29)
    assert await registry.cleanup.now() == NOTHING
    await silent(registry, days=1)
    assert await registry.cleanup.now() == Cleaned(marked_inactive=0, removed=1)
    assert await registry.clients.page(after="", limit=9) == []
    await registry.assert_counted()


async def test_nobody_is_removed_untried(registry: Registry) -> None:
    """When the timer stood still for a year, everybody is silent."""
    await silent(registry, days=40)
    await registry.let_pass(timedelta(days=365))
    assert (await registry.cleanup.now()).removed == 0


async def test_a_client_that_is_probed_rarely_is_removed_all_the_same(registry: Registry) -> None:
    """When its interval is longer than three probes, its last pull of yesterday is lately."""
    await registry.clients.set_interval("ash", 86_400)
    await silent(registry, days=40)
    await registry.pool.execute("UPDATE registry.clients SET last_pull_at = now() - interval '1 day'")
    assert (await registry.cleanup.now()).removed == 1


async def test_paused_clients_stay(registry: Registry) -> None:
    """For years."""
    await silent(registry, days=1)
    await registry.clients.pause("ash")
    await silent(registry, days=1_000)
    assert (await registry.cleanup.now()).removed == 0
    await registry.clients.resume("ash")
    assert (await registry.cleanup.now()).removed == 0


async def test_a_client_that_is_pulled_right_now_stays(registry: Registry) -> None:
    """It may be answering, with captures that exist nowhere else."""
    await silent(registry, days=40)
    await registry.make_due()
    target = await registry.only_due()
    assert (await registry.cleanup.now()).removed == 0
    await registry.leases.settle([outcome(target, stored=1, more_pending=True)])
    assert (await state(registry), len(await registry.demanded())) == ("active", 1)


async def test_two_cleanups_at_once_are_one(registry: Registry) -> None:
    """Whichever registry comes first; the other waits, and finds it done."""
    await registry.let_pass(timedelta(days=2))
    cleanups = [registry.cleanup, *(registry.another_cleanup() for _ in range(4))]
    cleaned = await asyncio.gather(*(cleanup.now() for cleanup in cleanups))
    assert sum(each.marked_inactive for each in cleaned) == 1
    interval = timedelta(hours=1)
    await registry.pool.execute("UPDATE registry.scheduler SET last_cleanup = now() - interval '2 hours'")
    begun = await asyncio.gather(*(registry.pool.fetchval(QUERIES["begin_cleanup"], interval) for _ in range(5)))
    assert begun.count(True) == 1


async def test_a_registry_cleans_up_by_itself_once(registry: Registry) -> None:
    """Two of them run, and one cleanup is done within the interval."""
    await registry.let_pass(timedelta(days=2))
    running = [asyncio.create_task(cleanup.run()) for cleanup in (registry.cleanup, registry.another_cleanup())]
    try:

        async def was_marked() -> bool:
            return await state(registry) == "inactive"

        await eventually(was_marked)
        last = (await registry.schedule.get()).last_cleanup
        await registry.pool.execute("UPDATE registry.clients SET inactive_since = NULL")
        another = asyncio.create_task(registry.another_cleanup().run())
        running.append(another)

        async def has_looked() -> bool:
            return bool(
                await registry.pool.fetchval(
                    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state = 'active'"
                )
                == 1
            )

        await eventually(has_looked)
        assert (await registry.schedule.get()).last_cleanup == last
    finally:
        for task in running:
            task.cancel()
        await asyncio.wait(running)
    assert await state(registry) == "failing"


@pytest.mark.parametrize("broken", ["mark_inactive", "remove_silent", "remove_old_runs", "fold_client_counts"])
async def test_a_cleanup_that_fails_was_not_done(registry: Registry, broken: str) -> None:
    """Nothing of it stays, and the time of the last one is that of the last one that was done."""
    await registry.cleanup.now()
    last = (await registry.schedule.get()).last_cleanup
    assert last is not None
    await registry.let_pass(timedelta(days=2))
    failing = Cleanup(
        pool=registry.pool,
        queries={**QUERIES, broken: f"nonsense {QUERIES[broken]}"},
        interval=timedelta(0),
        silence=SILENCE,
        history=timedelta(days=7),
    )
    with pytest.raises(asyncpg.PostgresError):
        await failing.now()
    assert (await registry.schedule.get()).last_cleanup == last
    assert await state(registry) == "failing"
    assert (await registry.cleanup.now()).marked_inactive == 1
    done = (await registry.schedule.get()).last_cleanup
    assert done is not None
    assert done > last


async def test_removing_ends_what_waits_for_the_client(registry: Registry) -> None:
    """In ordinary and in complete runs."""
    await silent(registry, days=40)
    runs = [
        await registry.runs.start("sync-all", since=None),
        await registry.runs.start_complete(delete_unknown=False),
    ]
    assert (await registry.cleanup.now()).removed == 1
    for run_id in runs:
        progress = await registry.runs.progress(run_id)
        assert (progress.state, progress.failed_by_reason) == ("finished", {"unregistered": 1})


async def test_one_failure_after_a_long_standstill_removes_nobody(registry: Registry) -> None:
    """The timer was stopped for the whole retention; the first pull after it fails, as pulls do now and then.

    The client is marked as inactive, and has again as long to answer as it takes to become that.
    """
    await registry.make_due()
    await registry.leases.settle([outcome(await registry.only_due())])
    await registry.let_pass(timedelta(days=40))
    await registry.leases.settle([failed(await registry.only_due())])
    assert await registry.cleanup.now() == Cleaned(marked_inactive=1, removed=0)
    assert await registry.cleanup.now() == NOTHING
