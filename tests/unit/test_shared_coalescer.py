"""The coalescer: what travels together, when, and who is told how it ended."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from shared.rabbitmq.coalescer import Coalescer, Limits


class Posted:
    """Keeps what was published; can be told to wait or to fail."""

    def __init__(self) -> None:
        self.parcels: list[list[str]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.error: Exception | None = None

    async def publish(self, items: Sequence[str]) -> None:
        """Publish, once the gate is open."""
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        self.parcels.append(list(items))


LONG_S = 60.0


def coalescer(posted: Posted, *, weight: int = 3, linger_s: float = LONG_S) -> Coalescer[str]:
    """One whose linger never ends by itself within a test, unless told."""
    return Coalescer(publish=posted.publish, limits=Limits(weight=weight, linger_s=linger_s))


async def test_a_full_message_leaves_at_once() -> None:
    """Items up to the limit travel together, in their order, without waiting for the linger."""
    posted = Posted()
    items = coalescer(posted)
    async with asyncio.timeout(5):
        await asyncio.gather(*(items.add(name) for name in "abcdef"))
    assert posted.parcels == [["a", "b", "c"], ["d", "e", "f"]]


async def test_a_lonely_item_leaves_after_the_linger() -> None:
    """It waits no longer than that for company."""
    posted = Posted()
    async with asyncio.timeout(5):
        await coalescer(posted, linger_s=0.01).add("a")
    assert posted.parcels == [["a"]]


async def test_a_message_waits_while_they_crowd() -> None:
    """As long as something comes within each linger; and not for ever."""
    posted = Posted()
    items = Coalescer(publish=posted.publish, limits=Limits(weight=10**6, linger_s=0.001, crowd=1, crowd_linger_s=0.05))
    loop = asyncio.get_running_loop()
    begun = loop.time()
    async with asyncio.timeout(20), asyncio.TaskGroup() as adding:
        while not posted.parcels:
            adding.create_task(items.add("x"))
            await asyncio.sleep(0)
        assert loop.time() - begun >= 0.05


async def test_a_message_does_not_wait_for_a_crowd_that_is_over() -> None:
    """It leaves after the first linger in which less came."""
    posted = Posted()
    items = Coalescer(publish=posted.publish, limits=Limits(weight=9, linger_s=0.01, crowd=2, crowd_linger_s=LONG_S))
    async with asyncio.timeout(5):
        await asyncio.gather(items.add("a"), items.add("b"))
    assert posted.parcels == [["a", "b"]]


async def test_an_item_that_would_overfill_a_message_opens_the_next() -> None:
    """The one before leaves as it is, at once."""
    posted = Posted()
    items = coalescer(posted)
    async with asyncio.timeout(5):
        await asyncio.gather(items.add("a", weight=2), items.add("b", weight=2), items.add("c", weight=1))
    assert sorted(posted.parcels) == [["a"], ["b", "c"]]


async def test_an_item_heavier_than_the_limit_travels_alone() -> None:
    """Whether or not a message was open."""
    posted = Posted()
    items = coalescer(posted)
    async with asyncio.timeout(5):
        await asyncio.gather(items.add("a"), items.add("heavy", weight=9), items.add("b", weight=3))
    assert sorted(posted.parcels) == [["a"], ["b"], ["heavy"]]


async def test_everyone_is_told_of_an_error() -> None:
    """Each waiter of the message gets what publishing raised; the next message is not concerned."""
    posted = Posted()
    items = coalescer(posted)
    posted.error = ConnectionError("away")
    async with asyncio.timeout(5):
        results = await asyncio.gather(*(items.add(name) for name in "abc"), return_exceptions=True)
        assert results == [posted.error] * 3
        posted.error = None
        await asyncio.gather(*(items.add(name) for name in "def"))
    assert posted.parcels == [["d", "e", "f"]]


async def test_a_cancelled_caller_takes_nobody_with_it() -> None:
    """The message that it waited for is still published, for the others."""
    posted = Posted()
    items = coalescer(posted)
    first = asyncio.create_task(items.add("a"))
    await asyncio.sleep(0)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    async with asyncio.timeout(5):
        await asyncio.gather(items.add("b"), items.add("c"))
    assert posted.parcels == [["a", "b", "c"]]


async def test_a_cancelled_caller_leaves_an_error_to_the_others() -> None:
    """An error after the cancellation reaches those who still wait."""
    posted = Posted()
    posted.gate.clear()
    items = coalescer(posted)
    calls = [asyncio.create_task(items.add(name)) for name in "abc"]
    await asyncio.sleep(0)
    calls[0].cancel()
    posted.error = ConnectionError("away")
    posted.gate.set()
    async with asyncio.timeout(5):
        results = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(result) for result in results] == [asyncio.CancelledError, ConnectionError, ConnectionError]


async def test_several_messages_are_on_their_way_at_once() -> None:
    """A message whose confirm is slow does not hold up the next one."""
    posted = Posted()
    posted.gate.clear()
    items = coalescer(posted, weight=1)
    calls = [asyncio.create_task(items.add(name)) for name in "abc"]
    await asyncio.sleep(0)
    assert not any(call.done() for call in calls)
    posted.gate.set()
    async with asyncio.timeout(5):
        await asyncio.gather(*calls)
    assert sorted(posted.parcels) == [["a"], ["b"], ["c"]]


async def test_nothing_is_lost_or_doubled_among_many() -> None:
    """A thousand items of mixed weights arrive once each, and no message is too heavy."""
    posted = Posted()
    items = coalescer(posted, weight=50, linger_s=0.001)
    names = [f"{number % 60}:{number}" for number in range(1_000)]
    async with asyncio.timeout(20):
        await asyncio.gather(*(items.add(name, weight=int(name.partition(":")[0])) for name in names))
    assert sorted(name for parcel in posted.parcels for name in parcel) == sorted(names)
    weights = [[int(name.partition(":")[0]) for name in parcel] for parcel in posted.parcels]
    assert all(sum(parcel) <= 50 or len([weight for weight in parcel if weight]) == 1 for parcel in weights)
