"""Cancelled runs, complete runs, and everything at once: figures add up, and no run is left open for ever."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID, uuid4

import pytest

from services.registry.domain import Run
from services.registry.errors import UnknownRunError
from services.registry.leases import COMPLETE_IN_FLIGHT, Asked
from services.registry.runs import CompleteRunUnderWayError, RunFinishedError
from shared.contracts.messages import CompletePull, PullTarget
from tests.registry_parts import (
    DEADLINE_S,
    Database,
    Registry,
    at_once,
    ended_or_blocked,
    failed,
    figures,
    outcome,
    registry_over,
)

SEEDS: Final = range(3)


@pytest.fixture
async def registry(database: Database) -> AsyncIterator[Registry]:
    """Over a database without clients, whose timer is stopped: only demands are served."""
    async with registry_over(database) as registry:
        yield registry


def assert_adds_up(run: Run) -> None:
    """An ended run has each of its clients settled once, or cancelled."""
    assert run.finished_at is not None
    assert run.requested == run.settled + run.cancelled
    assert 0 <= run.failed <= run.settled


async def assert_parts_agree(registry: Registry, run_id: UUID) -> None:
    """The run's figures are those of its parts, by a plain count."""
    run = await registry.runs.progress(run_id)
    parts = await registry.runs.clients(run_id, after="", limit=10_000)
    cancelled = sum(part.reason == "cancelled" for part in parts)
    assert run.requested == len(parts)
    assert run.settled == sum(part.settled_at is not None for part in parts) - cancelled
    assert run.failed == sum(part.reason is not None for part in parts) - cancelled
    assert run.stored == sum(part.stored for part in parts)
    assert sum(run.failed_by_reason.values()) == run.failed
    for reason, clients in run.failed_by_reason.items():
        assert clients == sum(part.reason == reason for part in parts)


def difference(until: str | None = None, **changes: Any) -> dict[str, Any]:
    """Of one page of a complete pull."""
    return {"until": until, "missing": 0, "unknown": 0, "deleted": 0, **changes}


async def only_complete(registry: Registry) -> tuple[CompletePull, PullTarget]:
    """Claim the one client that a complete run waits for, and nothing else."""
    [(asked, [target])] = (await registry.leases.claim_demanded()).items()
    assert asked.complete is not None
    return asked.complete, target


# ---------------------------------------------------------------- progress


async def test_progress_tells_why_clients_failed(registry: Registry) -> None:
    """By reason, with the rate and the time left, also for clients that were paused or left."""
    await registry.register("a", "b", "c", "d", "e", "f")
    run_id = await registry.runs.start("sync-all", since=None)
    a, b, c, *_ = sorted(await registry.demanded(), key=lambda target: target.user_id)
    await registry.leases.settle([outcome(a, stored=2), failed(b), failed(c)])
    await registry.clients.pause("d")
    await registry.clients.unregister("e")
    progress = await registry.runs.progress(run_id)
    assert progress.failed_by_reason == {"timeout": 2, "paused": 1, "unregistered": 1}
    assert (figures(progress), progress.state) == ((6, 5, 4, 2), "running")
    assert progress.rate_per_s > 0
    assert progress.time_left_s is not None
    assert progress.time_left_s >= 0
    await assert_parts_agree(registry, run_id)
    waiting = await registry.runs.clients(run_id, after="", limit=10, outcome="waiting")
    assert [part.user_id for part in waiting] == ["f"]


async def test_runs_are_listed_the_latest_first(registry: Registry) -> None:
    """Page by page, each once, also those that started in the same moment; an unknown cursor leads nowhere."""
    started = [await registry.runs.start("sync-all", since=None) for _ in range(7)]
    await registry.pool.execute("UPDATE registry.sync_runs SET created_at = $1", datetime(2026, 1, 31, tzinfo=UTC))
    latest = await registry.runs.start("sync-recent", since=None)
    seen: list[UUID] = []
    before: UUID | None = None
    while page := await registry.runs.page(before=before, limit=3):
        seen += [run.run_id for run in page]
        before = seen[-1]
    assert seen == [latest, *sorted(started, reverse=True)]
    assert await registry.runs.page(before=uuid4(), limit=3) == []


async def test_paused_clients_are_in_no_run(registry: Registry) -> None:
    """Neither in an ordinary nor in a complete one."""
    await registry.register("ash", "misty")
    await registry.clients.pause("ash")
    for run_id in (
        await registry.runs.start("sync-all", since=None),
        await registry.runs.start_complete(delete_unknown=False),
    ):
        assert [part.user_id for part in await registry.runs.clients(run_id, after="", limit=9)] == ["misty"]


# ---------------------------------------------------------------- cancelling


async def test_a_cancelled_run_wants_nothing_more(registry: Registry) -> None:
    """What was settled counts, what was waited for is cancelled, and nobody is pulled for it."""
    await registry.register("ash", "misty", "brock")
    run_id = await registry.runs.start("sync-all", since=None)
    targets = await registry.demanded()
    await registry.leases.settle([outcome(targets[0], stored=3)])
    await registry.runs.cancel(run_id)
    run = await registry.runs.get(run_id)
    assert (figures(run), run.cancelled, run.state) == ((3, 1, 0, 3), 2, "cancelled")
    assert_adds_up(run)
    await assert_parts_agree(registry, run_id)
    await registry.let_leases_end()
    assert await registry.demanded() == []


async def test_a_pull_under_way_ends_after_its_run_was_cancelled(registry: Registry) -> None:
    """The client has what it stored; the run has not."""
    await registry.register("ash")
    run_id = await registry.runs.start("sync-all", since=None)
    target = await registry.only_demanded()
    await registry.runs.cancel(run_id)
    await registry.leases.settle([outcome(target, stored=4)])
    client = await registry.clients.get("ash")
    assert (client.stored, client.in_flight) == (4, False)
    assert figures(await registry.runs.get(run_id)) == (1, 0, 0, 0)


@pytest.mark.parametrize("claimed", [True, False])
async def test_a_cancelled_run_leaves_another_its_clients(registry: Registry, *, claimed: bool) -> None:
    """Whether their pulls are under way or not, and also when those are lost."""
    await registry.register("ash", "misty")
    first = await registry.runs.start("sync-all", since=None)
    second = await registry.runs.start("sync-all", since=None)
    if claimed:
        await registry.demanded()
    await registry.runs.cancel(first)
    await registry.let_leases_end()
    await registry.finish()
    assert figures(await registry.runs.get(second)) == (2, 2, 0, 0)
    assert not await registry.is_open(second)


async def test_a_run_that_ended_or_is_unknown_is_not_cancelled(registry: Registry) -> None:
    """An error tells which; the figures stay."""
    await registry.register("ash")
    run_id = await registry.runs.start("sync-all", since=None)
    await registry.finish()
    before = await registry.runs.get(run_id)
    with pytest.raises(RunFinishedError):
        await registry.runs.cancel(run_id)
    assert (await registry.runs.get(run_id)).model_copy(update={"elapsed_s": before.elapsed_s}) == before
    with pytest.raises(UnknownRunError):
        await registry.runs.cancel(uuid4())


async def test_cancels_at_once_are_one(registry: Registry) -> None:
    """The others are told that it has ended."""
    await registry.register("ash", "misty")
    run_id = await registry.runs.start("sync-all", since=None)
    errors = await at_once(*[lambda: registry.runs.cancel(run_id)] * 10)
    assert [type(error) for error in errors] == [RunFinishedError] * 9
    assert (await registry.runs.get(run_id)).cancelled == 2


async def test_cancelling_a_complete_run_leaves_demands_alone(registry: Registry) -> None:
    """It demanded nothing, so it takes nothing back: neither a nudge nor the next page of a client."""
    await registry.schedule.set_running(running=True)
    await registry.register("ash", "misty")
    targets = {target.user_id: target for target in await registry.leases.claim_due(2)}
    await registry.leases.settle([outcome(targets["ash"], more_pending=True), outcome(targets["misty"])])
    await registry.nudges.nudge("misty")
    await registry.runs.cancel(await registry.runs.start_complete(delete_unknown=False))
    assert sorted(target.user_id for target in await registry.demanded()) == ["ash", "misty"]


@pytest.mark.parametrize("seed", SEEDS)
async def test_a_cancel_that_races_with_settlements(registry: Registry, seed: int) -> None:
    """Each client is settled or cancelled, never both; the other run is served to its end."""
    chance = random.Random(seed)  # noqa: S311 - it shall be repeatable
    await registry.register_many(200)
    for _ in range(4):
        cancelled = await registry.runs.start("sync-all", since=None)
        other = await registry.runs.start("sync-all", since=None)
        targets = await registry.demanded()
        chance.shuffle(targets)
        works: list[Callable[[], Awaitable[object]]] = [
            lambda chunk=targets[start::20]: settle(registry, chunk)  # type: ignore[misc]
            for start in range(20)
        ]
        works.insert(chance.randrange(20), lambda run=cancelled: registry.runs.cancel(run))  # type: ignore[misc]
        errors = await at_once(*works)
        assert all(isinstance(error, RunFinishedError) for error in errors)
        await registry.finish()
        for run_id in (cancelled, other):
            assert_adds_up(await registry.runs.get(run_id))
            await assert_parts_agree(registry, run_id)
        assert (await registry.runs.get(other)).settled == 200
        await registry.assert_counted()


async def settle(registry: Registry, targets: list[PullTarget]) -> None:
    """Half of them well."""
    await registry.leases.settle(
        [failed(target) if n % 2 else outcome(target, stored=1) for n, target in enumerate(targets)]
    )


# ---------------------------------------------------------------- complete runs


async def test_a_complete_run_asks_for_everything(registry: Registry) -> None:
    """Page by page, each from where the last one ended, with one order for all; differences add up."""
    await registry.register("ash")
    run_id = await registry.runs.start_complete(delete_unknown=True)
    after: list[str | None] = []
    for until in ("c1", "c2", None):
        asked, target = await only_complete(registry)
        assert asked.delete_unknown
        after.append(target.after)
        page = difference(until, missing=2, unknown=1, deleted=1, missing_examples=["x"], unknown_examples=["y"])
        assert await registry.leases.settle([outcome(target, stored=2, difference=page)]) is (until is not None)
    assert after == [None, "c1", "c2"]
    assert await registry.demanded() == []
    run = await registry.runs.get(run_id)
    assert (figures(run), run.missing, run.unknown, run.deleted) == ((1, 1, 0, 6), 6, 3, 3)
    assert run.state == "finished"
    [part] = await registry.runs.clients(run_id, after="", limit=9, outcome="differing")
    assert (part.missing, part.unknown, part.deleted) == (6, 3, 3)
    assert (part.missing_examples, part.unknown_examples) == (["x"] * 3, ["y"] * 3)


async def test_only_the_first_examples_are_kept(registry: Registry) -> None:
    """However many pages name some."""
    await registry.register("ash")
    run_id = await registry.runs.start_complete(delete_unknown=False)
    for until in ("a", "b", None):
        _, target = await only_complete(registry)
        page = difference(until, missing=15, missing_examples=[f"{until}{n}" for n in range(15)])
        await registry.leases.settle([outcome(target, difference=page)])
    [part] = await registry.runs.clients(run_id, after="", limit=9)
    assert part.missing_examples == [*(f"a{n}" for n in range(15)), *(f"b{n}" for n in range(5))]


async def test_clients_without_a_difference_are_not_listed_as_differing(registry: Registry) -> None:
    """One that has what is stored, one that failed, one whose difference is unknown, and one that differs."""
    await registry.register("equal", "failing", "missing", "unknown")
    run_id = await registry.runs.start_complete(delete_unknown=False)
    targets = {target.user_id: target for target in await registry.demanded()}
    await registry.leases.settle(
        [
            outcome(targets["equal"], difference=difference()),
            failed(targets["failing"]),
            outcome(targets["missing"], difference=difference(missing=1)),
            outcome(targets["unknown"], difference=difference(unknown=1)),
        ]
    )
    assert not await registry.is_open(run_id)
    differing = await registry.runs.clients(run_id, after="", limit=9, outcome="differing")
    assert [part.user_id for part in differing] == ["missing", "unknown"]
    assert [part.user_id for part in await registry.runs.clients(run_id, after="", limit=9, outcome="failed")] == [
        "failing"
    ]


async def test_there_is_one_complete_run_at_a_time(registry: Registry) -> None:
    """Also when ten start at once; after its end or its cancellation there may be another."""
    await registry.register("ash")
    errors = await at_once(*[lambda: registry.runs.start_complete(delete_unknown=False)] * 10)
    assert [type(error) for error in errors] == [CompleteRunUnderWayError] * 9
    [run] = await registry.runs.page(before=None, limit=9)
    assert str(run.run_id) in str(errors[0])
    await registry.runs.cancel(run.run_id)
    await registry.runs.start_complete(delete_unknown=False)
    await registry.finish()
    assert await registry.is_open(await registry.runs.start_complete(delete_unknown=False))


async def test_a_complete_run_over_nobody_is_finished(registry: Registry) -> None:
    """And does not stand in the way of the next one."""
    for _ in range(2):
        assert not await registry.is_open(await registry.runs.start_complete(delete_unknown=False))


async def test_a_lost_complete_pull_continues_where_it_was(registry: Registry) -> None:
    """What was compared before is not compared again, and its outcome, should it come after all, changes nothing."""
    await registry.register("ash")
    run_id = await registry.runs.start_complete(delete_unknown=False)
    _, target = await only_complete(registry)
    await registry.leases.settle([outcome(target, difference=difference("c1", missing=1))])
    _, lost = await only_complete(registry)
    assert await registry.demanded() == []
    await registry.let_leases_end()
    _, again = await only_complete(registry)
    assert (again.after, again.pull_id == lost.pull_id) == ("c1", False)
    await registry.leases.settle([outcome(lost, difference=difference(missing=50))])
    assert await registry.is_open(run_id)
    await registry.leases.settle([outcome(again, difference=difference(missing=1))])
    run = await registry.runs.get(run_id)
    assert (run.missing, run.settled) == (2, 1)


async def test_an_ordinary_pull_does_not_settle_a_complete_run(registry: Registry) -> None:
    """It has read what is pending only; afterwards the client is pulled for the run."""
    await registry.register("ash")
    await registry.schedule.set_running(running=True)
    run_id = await registry.runs.start_complete(delete_unknown=False)
    ordinary = await registry.only_due()
    assert await registry.demanded() == []
    await registry.leases.settle([outcome(ordinary, stored=1)])
    assert figures(await registry.runs.get(run_id)) == (1, 0, 0, 0)
    _, target = await only_complete(registry)
    await registry.leases.settle([outcome(target, difference=difference())])
    assert not await registry.is_open(run_id)


async def test_a_complete_pull_does_not_settle_an_ordinary_run(registry: Registry) -> None:
    """The demand stays, and is served by a pull of its own."""
    await registry.register("ash")
    complete = await registry.runs.start_complete(delete_unknown=False)
    _, target = await only_complete(registry)
    ordinary = await registry.runs.start("sync-all", since=None)
    assert await registry.demanded() == []
    await registry.leases.settle([outcome(target, difference=difference())])
    assert (await registry.is_open(complete), await registry.is_open(ordinary)) == (False, True)
    [(asked, [target])] = (await registry.leases.claim_demanded()).items()
    assert asked == Asked()
    await registry.leases.settle([outcome(target)])
    assert not await registry.is_open(ordinary)


async def test_a_pull_of_a_cancelled_complete_run_does_not_count_for_the_next(registry: Registry) -> None:
    """It was asked for with another order, and from another place."""
    await registry.register("ash")
    cancelled = await registry.runs.start_complete(delete_unknown=True)
    _, target = await only_complete(registry)
    await registry.runs.cancel(cancelled)
    current = await registry.runs.start_complete(delete_unknown=False)
    assert await registry.demanded() == []
    await registry.leases.settle([outcome(target, stored=1, difference=difference(missing=5))])
    for run_id, settled in ((cancelled, 0), (current, 0)):
        run = await registry.runs.get(run_id)
        assert (run.settled, run.missing) == (settled, 0)
    asked, target = await only_complete(registry)
    assert (asked.delete_unknown, target.after) == (False, None)
    await registry.leases.settle([outcome(target, difference=difference())])
    assert not await registry.is_open(current)


async def test_a_complete_pull_that_fails_settles_its_part(registry: Registry) -> None:
    """As failed, also after some pages, whose differences still count."""
    await registry.register("ash")
    run_id = await registry.runs.start_complete(delete_unknown=False)
    _, target = await only_complete(registry)
    await registry.leases.settle([outcome(target, difference=difference("c1", missing=1))])
    _, target = await only_complete(registry)
    await registry.leases.settle([failed(target)])
    run = await registry.runs.progress(run_id)
    assert (figures(run), run.missing, run.failed_by_reason) == ((1, 1, 1, 0), 1, {"timeout": 1})


async def test_complete_pulls_are_bounded(registry: Registry) -> None:
    """So many at once and no more, in the order of the ids; all are served in the end."""
    await registry.register_many(3 * COMPLETE_IN_FLIGHT)
    run_id = await registry.runs.start_complete(delete_unknown=False)
    first = await registry.demanded()
    assert len(first) == COMPLETE_IN_FLIGHT
    assert await registry.demanded() == []
    await registry.leases.settle([outcome(target, difference=difference()) for target in first[:30]])
    assert len(await registry.demanded()) == 30
    await registry.let_leases_end()
    await registry.finish()
    assert_adds_up(await registry.runs.get(run_id))


async def test_a_paused_client_is_not_compared(registry: Registry) -> None:
    """The run goes on without it; a pull of it that is under way changes nothing in the run."""
    await registry.register("ash", "misty")
    run_id = await registry.runs.start_complete(delete_unknown=False)
    targets = {target.user_id: target for target in await registry.demanded()}
    await registry.clients.pause("ash")
    await registry.leases.settle([outcome(target, difference=difference(missing=1)) for target in targets.values()])
    progress = await registry.runs.progress(run_id)
    assert (progress.settled, progress.missing, progress.failed_by_reason) == (2, 1, {"paused": 1})
    assert not await registry.is_open(run_id)


# ---------------------------------------------------------------- everything at once


class Operators:
    """What many people and services do to the same clients at once; none of it may fail but by a refusal."""

    def __init__(self, registry: Registry, seed: int) -> None:
        self.runs: list[UUID] = []
        self._registry = registry
        self._chance = random.Random(seed)  # noqa: S311 - it shall be repeatable

    def works(self) -> list[Callable[[], Awaitable[object]]]:
        """In random order."""
        works = [self.serve] * 60 + [self.start] * 8 + [self.start_complete] * 6 + [self.cancel] * 10 + [self.clean] * 8
        works += [self.set_interval] * 6 + [self.pause] * 15 + [self.leave] * 10 + [self.nudge] * 20
        self._chance.shuffle(works)
        return list(works)

    def user(self) -> str:
        """Anybody."""
        return f"user_{self._chance.randint(1, 120):05}"

    async def serve(self) -> None:
        """Claim what is wanted or due, and settle it in another order than it came."""
        targets = [*await self._registry.demanded(), *await self._registry.leases.claim_due(40)]
        self._chance.shuffle(targets)
        await settle(self._registry, targets)

    async def start(self) -> None:
        """An ordinary run."""
        self.runs.append(await self._registry.runs.start("sync-all", since=None))

    async def start_complete(self) -> None:
        """A complete one, if there is none."""
        self.runs.append(await self._registry.runs.start_complete(delete_unknown=False))

    async def cancel(self) -> None:
        """Any of them."""
        if self.runs:
            await self._registry.runs.cancel(self._chance.choice(self.runs))

    async def clean(self) -> None:
        """With some to be marked and some to be removed."""
        users = [self.user() for _ in range(6)]
        await self._registry.pool.execute(
            """UPDATE registry.clients SET updated_at = now() - interval '40 days', failures = failures + 1,
                   last_success_at = NULL, last_pull_at = now(),
                   inactive_since = CASE WHEN user_id = ANY ($2::text[]) THEN now() END
               WHERE user_id = ANY (ARRAY (
                   SELECT user_id FROM registry.clients WHERE user_id = ANY ($1::text[]) ORDER BY user_id FOR UPDATE
               ))""",
            users,
            users[:3],
        )
        await self._registry.cleanup.now()

    async def set_interval(self) -> None:
        """Moves all that wait."""
        await self._registry.schedule.set_interval(self._chance.choice([5, 30, 3_600]))

    async def pause(self) -> None:
        """And resume."""
        user = self.user()
        await self._registry.clients.pause(user)
        await self._registry.clients.resume(user)

    async def leave(self) -> None:
        """And come back."""
        user = self.user()
        await self._registry.clients.unregister(user)
        await self._registry.register(user)

    async def nudge(self) -> None:
        """Refused or not."""
        await self._registry.nudges.nudge(self.user())


@pytest.mark.parametrize("seed", SEEDS)
async def test_everything_at_once_ends_well(registry: Registry, seed: int) -> None:
    """No deadlock, no other failure; when all is served no run is open, all figures add up, and no lease is held."""
    await registry.schedule.set_running(running=True)
    await registry.register_many(120)
    operators = Operators(registry, seed)
    errors = await at_once(*operators.works())
    assert [error for error in errors if getattr(error, "status", 500) >= 500] == []
    await registry.schedule.set_running(running=False)
    await registry.let_leases_end()
    await registry.finish()
    for run_id in operators.runs:
        assert_adds_up(await registry.runs.get(run_id))
        await assert_parts_agree(registry, run_id)
    await registry.assert_counted()


async def test_a_cleanup_takes_its_locks_in_the_order_of_all(registry: Registry) -> None:
    """It marks one and removes another, while somebody who holds the other wants the one."""
    await registry.register("a-removed", "b-marked")
    await registry.pool.execute(
        """UPDATE registry.clients SET failures = 9, last_pull_at = now(),
               updated_at = now() - interval '2 days' - CASE user_id WHEN 'a-removed' THEN interval '40 days'
                                                                     ELSE interval '0' END,
               inactive_since = CASE user_id WHEN 'a-removed' THEN now() - interval '39 days' END"""
    )
    async with registry.pool.acquire() as connection, connection.transaction():
        lock = "SELECT FROM registry.clients WHERE user_id = $1 FOR UPDATE"
        await connection.execute(lock, "a-removed")
        cleaning = asyncio.create_task(registry.cleanup.now())
        await ended_or_blocked(registry, cleaning)
        await connection.execute(lock, "b-marked")
    assert (await cleaning).removed == 1


async def test_a_run_outlives_whatever_is_lost(registry: Registry) -> None:
    """Pulls vanish with a puller, with a broker or with an ingest: each client is settled exactly once all the same."""
    chance = random.Random(1)  # noqa: S311 - it shall be repeatable
    await registry.register_many(100)
    run_id = await registry.runs.start("sync-all", since=None)
    late: list[PullTarget] = []
    async with asyncio.timeout(DEADLINE_S):
        while await registry.is_open(run_id):
            targets = await registry.demanded()
            told = [target for target in targets if chance.random() < 0.5]
            await registry.leases.settle([outcome(target, stored=1) for target in (*late, *told, *told)])
            late = [target for target in targets if target not in told]
            await registry.let_leases_end()
    assert (await registry.runs.get(run_id)).settled == 100
    assert (await registry.runs.get(run_id)).stored == 100
    await assert_parts_agree(registry, run_id)


async def test_the_rate_and_the_time_left(registry: Registry) -> None:
    """From what was settled so far; nothing is said before the first."""
    await registry.register("a", "b", "c", "d")
    run_id = await registry.runs.start("sync-all", since=None)
    assert (await registry.runs.get(run_id)).time_left_s is None
    targets = await registry.demanded()
    await registry.leases.settle([outcome(targets[0])])
    await registry.pool.execute("UPDATE registry.sync_runs SET created_at = now() - $1::interval", timedelta(hours=1))
    run = await registry.runs.get(run_id)
    assert run.time_left_s is not None  # although the rate, rounded, is none
    assert 3 * 3_600 <= run.time_left_s < 3 * 3_700
