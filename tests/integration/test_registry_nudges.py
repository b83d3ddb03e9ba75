"""Nudges on real SQL: a pull soon, never many, and none that is lost, whatever else wants or holds the client."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from services.registry.dispatcher import Dispatcher
from services.registry.errors import UnknownClientError
from services.registry.nudges import NotPulledError, Nudged, NudgedTooOftenError
from shared.contracts.messages import PullTarget
from shared.rabbitmq.broker import Publisher
from tests.registry_parts import SPACING, Database, Registry, at_once, failed, outcome, registry_over
from tests.waiting import eventually


@pytest.fixture
async def registry(database: Database) -> AsyncIterator[Registry]:
    """With `ash`, who waits for a slot that is far away; the timer runs."""
    async with registry_over(database, running=True) as registry:
        await registry.schedule.set_interval(86_400)
        await registry.register("ash")
        await registry.leases.settle([outcome(await registry.only_due())])
        assert await registry.demanded() == []
        yield registry


async def serve(registry: Registry) -> int:
    """Pull all that is demanded until nothing is; how many pulls."""
    pulls = 0
    while targets := await registry.demanded():
        pulls += len(targets)
        await registry.leases.settle([outcome(target) for target in targets])
    return pulls


async def test_a_nudge_makes_the_client_due_now(registry: Registry) -> None:
    """All that is pending is asked for, and when that pull has settled nothing is left to do."""
    nudged = await registry.nudges.nudge("ash")
    assert nudged.due_in_s == 0
    assert nudged.due_at <= (await registry.record())["read_at"]
    [(asked, [target])] = (await registry.leases.claim_demanded()).items()
    assert asked.since is None
    assert await registry.leases.settle([outcome(target)]) is False
    assert await registry.demanded() == []


async def test_some_nudges_are_served_at_once(database: Database) -> None:
    """As many as a burst has, each by a pull of its own; then they are spaced, and each spacing gives one back."""
    async with registry_over(database, running=True, burst=3) as registry:
        await registry.schedule.set_interval(86_400)
        await registry.register("ash")
        await registry.leases.settle([outcome(await registry.only_due())])
        for _ in range(3):
            last = await registry.nudges.nudge("ash")
            assert last.due_in_s == 0
            assert await serve(registry) == 1
        booked = await registry.nudges.nudge("ash")
        assert SPACING.total_seconds() - 5 < booked.due_in_s <= SPACING.total_seconds()
        with pytest.raises(NudgedTooOftenError):
            await registry.nudges.nudge("ash")
        assert await serve(registry) == 0
        await registry.let_pass(SPACING)
        assert await serve(registry) == 1
        await registry.let_pass(2 * SPACING)
        assert [(await registry.nudges.nudge("ash")).due_in_s == 0 for _ in range(3)] == [True, True, False]


async def test_a_second_nudge_is_served_at_the_end_of_the_spacing(registry: Registry) -> None:
    """Once, and not before; a third one is told how long to wait."""
    first = await registry.nudges.nudge("ash")
    assert await serve(registry) == 1
    second = await registry.nudges.nudge("ash")
    assert second.due_at == first.due_at + SPACING
    assert 0 < second.due_in_s <= SPACING.total_seconds()
    with pytest.raises(NudgedTooOftenError) as refused:
        await registry.nudges.nudge("ash")
    assert refused.value.retry_after_s is not None
    assert 0 < refused.value.retry_after_s <= second.due_in_s
    assert await serve(registry) == 0
    await registry.let_pass(SPACING)
    assert await serve(registry) == 1


async def test_after_a_pause_a_nudge_is_due_at_once_again(registry: Registry) -> None:
    """The spacing is counted from the last pull for a nudge, booked or not."""
    await registry.nudges.nudge("ash")
    await serve(registry)
    await registry.let_pass(SPACING)
    assert (await registry.nudges.nudge("ash")).due_in_s == 0
    assert await serve(registry) == 1


async def test_the_spacing_counts_from_a_booked_pull(registry: Registry) -> None:
    """Two pulls for nudges are never nearer than the spacing."""
    await registry.nudges.nudge("ash")
    await serve(registry)
    booked = await registry.nudges.nudge("ash")
    await registry.let_pass(SPACING)
    assert await serve(registry) == 1
    assert (await registry.nudges.nudge("ash")).due_at == booked.due_at  # which has moved into the past as well


async def test_a_nudge_during_a_pull_is_followed_by_another(registry: Registry) -> None:
    """The pull under way may have read the client before the capture for which the nudge came."""
    await registry.pool.execute("UPDATE registry.clients SET next_pull_at = now()")
    target = await registry.only_due()
    assert (await registry.nudges.nudge("ash")).due_in_s == 0
    assert await registry.demanded() == []
    assert await registry.leases.settle([outcome(target)]) is True
    assert await serve(registry) == 1


async def test_a_nudge_during_a_pull_on_demand_is_followed_by_another(registry: Registry) -> None:
    """The demand that is being served does not stand for the nudge that came later."""
    await registry.runs.start("sync-all", since=None)
    target = await registry.only_demanded()
    await registry.nudges.nudge("ash")
    assert await registry.leases.settle([outcome(target)]) is True
    assert await serve(registry) == 1


async def test_a_nudge_during_a_pull_that_fails_is_served(registry: Registry) -> None:
    """Whatever becomes of the pull under way."""
    await registry.pool.execute("UPDATE registry.clients SET next_pull_at = now()")
    target = await registry.only_due()
    await registry.nudges.nudge("ash")
    assert await registry.leases.settle([failed(target)]) is True
    assert await serve(registry) == 1


async def test_a_nudge_asks_for_all_even_when_a_limited_pull_has_more(registry: Registry) -> None:
    """The pages that follow a pull of recent captures are of everything, once somebody wants everything."""
    await registry.runs.start("sync-recent", since=(await registry.record())["read_at"])
    limited = await registry.only_demanded()
    await registry.nudges.nudge("ash")
    await registry.leases.settle([outcome(limited, more_pending=True)])
    [(asked, _)] = (await registry.leases.claim_demanded()).items()
    assert asked.since is None


@pytest.mark.parametrize("claimed", [False, True])
async def test_a_booking_does_not_put_off_what_is_due(registry: Registry, *, claimed: bool) -> None:
    """The first nudge's pull is due whether or not a second nudge came before somebody claimed it."""
    await registry.pool.execute("UPDATE registry.clients SET next_pull_at = now()")
    under_way = await registry.only_due() if claimed else None
    await registry.nudges.nudge("ash")
    await registry.nudges.nudge("ash")
    if under_way is not None:
        await registry.leases.settle([outcome(under_way)])
    assert await serve(registry) == 1
    await registry.let_pass(SPACING)
    assert await serve(registry) == 1


async def test_nudges_without_end_do_not_keep_a_client_from_its_pull(registry: Registry) -> None:
    """A nudge at each end of the spacing, just before somebody claims: the client is served all the same."""
    await registry.nudges.nudge("ash")
    for _ in range(5):
        await registry.nudges.nudge("ash")
        await registry.let_pass(SPACING)
    assert len(await registry.demanded()) == 1


async def test_a_booking_does_not_put_off_a_run(registry: Registry) -> None:
    """A run demands a pull now; the booked one comes in addition."""
    await registry.nudges.nudge("ash")
    await serve(registry)
    await registry.nudges.nudge("ash")
    run_id = await registry.runs.start("sync-all", since=None)
    assert await serve(registry) == 1
    assert not await registry.is_open(run_id)
    await registry.let_pass(SPACING)
    assert await serve(registry) == 1


async def test_a_booking_does_not_put_off_the_next_page(registry: Registry) -> None:
    """Who has more is pulled again at once, and at the end of the spacing."""
    await registry.nudges.nudge("ash")
    target = await registry.only_demanded()
    await registry.nudges.nudge("ash")
    assert await registry.leases.settle([outcome(target, more_pending=True)]) is True
    assert await serve(registry) == 1
    await registry.let_pass(SPACING)
    assert await serve(registry) == 1


async def test_many_nudges_at_once_are_two_pulls(registry: Registry) -> None:
    """Over many connections, with a puller at work all the time: one now, one booked, and all others are refused."""
    pulls: list[PullTarget] = []
    taken: list[Nudged] = []

    async def nudge() -> None:
        taken.append(await registry.nudges.nudge("ash"))

    async def pull() -> None:
        for _ in range(10):
            targets = await registry.demanded()
            pulls.extend(targets)
            await registry.leases.settle([outcome(target) for target in targets])

    errors = await at_once(*[nudge] * 60, pull, *[nudge] * 60, pull)
    assert {type(error) for error in errors} == {NudgedTooOftenError}
    assert len(taken) == 2
    now = len(pulls) + await serve(registry)
    await registry.let_pass(SPACING)
    assert (now, await serve(registry)) == (1, 1)


async def test_a_nudge_of_an_unknown_client(registry: Registry) -> None:
    """It is an error, and not a client."""
    with pytest.raises(UnknownClientError):
        await registry.nudges.nudge("misty")


async def test_nobody_is_nudged_while_the_timer_is_stopped(registry: Registry) -> None:
    """Nothing is kept for later: the client is told, and may try again."""
    await registry.schedule.set_running(running=False)
    with pytest.raises(NotPulledError):
        await registry.nudges.nudge("ash")
    await registry.schedule.set_running(running=True)
    assert await registry.demanded() == []
    assert (await registry.nudges.nudge("ash")).due_in_s == 0


async def test_a_paused_client_is_not_nudged_and_loses_what_was_booked(registry: Registry) -> None:
    """Also when it was nudged just before."""
    await registry.nudges.nudge("ash")
    await registry.nudges.nudge("ash")
    await registry.clients.pause("ash")
    with pytest.raises(NotPulledError):
        await registry.nudges.nudge("ash")
    await registry.clients.resume("ash")
    await registry.let_pass(SPACING)
    assert await registry.demanded() == []


async def test_a_failing_or_inactive_client_is_due_at_once(registry: Registry) -> None:
    """It says that it is there: neither the backoff nor the probing makes it wait, and a success ends both."""
    await registry.nudges.nudge("ash")
    await registry.leases.settle([failed(await registry.only_demanded())])
    await registry.pool.execute("UPDATE registry.clients SET inactive_since = now(), failures = 9")
    await registry.let_pass(SPACING)
    assert (await registry.nudges.nudge("ash")).due_in_s == 0
    await registry.leases.settle([outcome(await registry.only_demanded())])
    assert (await registry.clients.get("ash")).state == "active"


async def test_a_cancelled_run_does_not_take_a_nudge_with_it(registry: Registry) -> None:
    """Not that of before the run either, when no pull has begun since."""
    await registry.nudges.nudge("ash")
    run_id = await registry.runs.start("sync-all", since=None)
    await registry.runs.cancel(run_id)
    assert await serve(registry) == 1


async def test_a_cancelled_run_takes_its_demand_although_there_was_a_nudge_once(registry: Registry) -> None:
    """A nudge that was served wants nothing more."""
    await registry.nudges.nudge("ash")
    await serve(registry)
    await registry.let_pass(timedelta(hours=1))
    await registry.runs.cancel(await registry.runs.start("sync-all", since=None))
    assert await registry.demanded() == []


class Silent(Publisher):
    """Keeps what is published to itself."""

    def __init__(self) -> None:
        """Without a broker."""
        self.published = 0

    async def publish(self, *_message: object, **_options: object) -> None:
        """Count it."""
        self.published += 1


async def test_the_dispatcher_asks_for_a_nudge_when_it_is_woken(registry: Registry) -> None:
    """Woken now for one that is due, and later for one that is booked."""
    publisher = Silent()
    dispatcher = Dispatcher(leases=registry.leases, holders=registry.holders, publisher=publisher)
    running = asyncio.create_task(dispatcher.run())
    try:
        nudged = await registry.nudges.nudge("ash")
        dispatcher.wake(in_s=nudged.due_in_s)

        async def was_asked() -> bool:
            return publisher.published == 1

        await eventually(was_asked)
    finally:
        running.cancel()
        await asyncio.wait([running])
    assert (await registry.clients.get("ash")).in_flight
