"""One reading for all who ask: how often it is made, and what they get when it fails or one of them has gone."""

from __future__ import annotations

import asyncio

import pytest
from structlog.contextvars import bound_contextvars, get_contextvars

from services.registry.live.once import ReadOnce

FOR_EVER = 1e9


class Well:
    """Counts how often it is asked; it answers when it is let."""

    def __init__(self) -> None:
        self.asked = 0
        self.open = asyncio.Event()
        self.fault: Exception | None = None
        self.contexts: list[dict[str, object]] = []

    async def read(self) -> int:
        """The number of the reading, or the fault."""
        self.asked += 1
        number = self.asked
        self.contexts.append(get_contextvars())
        await self.open.wait()
        if self.fault is not None:
            raise self.fault
        return number


async def test_who_asks_meanwhile_gets_the_same() -> None:
    """There is one reading at a time, and it serves later ones until it is too old."""
    well = Well()
    once = ReadOnce(well.read, every_s=FOR_EVER)
    asking = [asyncio.create_task(once.get()) for _ in range(9)]
    await asyncio.sleep(0)
    well.open.set()
    assert await asyncio.gather(*asking) == [1] * 9
    assert await once.get() == 1
    assert well.asked == 1


async def test_what_is_too_old_is_read_again() -> None:
    """But not while a reading is under way, however long that takes."""
    well = Well()
    once = ReadOnce(well.read, every_s=0.0)
    asking = []
    for _ in range(9):
        asking.append(asyncio.create_task(once.get()))
        await asyncio.sleep(0)
    assert well.asked == 1
    well.open.set()
    assert await asyncio.gather(*asking) == [1] * 9
    assert await once.get() == 2


async def test_a_failure_is_everybodys() -> None:
    """Also of those who ask later, so that what is away is not asked more often than what is there."""
    well = Well()
    well.open.set()
    well.fault = OSError("away")
    once = ReadOnce(well.read, every_s=FOR_EVER)
    for _ in range(3):
        with pytest.raises(OSError, match="away"):
            await once.get()
    assert well.asked == 1


async def test_who_goes_leaves_the_reading_to_the_others() -> None:
    """Be it the one for whom it began."""
    well = Well()
    once = ReadOnce(well.read, every_s=FOR_EVER)
    first = asyncio.create_task(once.get())
    second = asyncio.create_task(once.get())
    await asyncio.sleep(0)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    well.open.set()
    assert await second == 1


async def test_lines_of_a_reading_have_nobodys_ids() -> None:
    """It is made for several."""
    well = Well()
    well.open.set()
    with bound_contextvars(request_id="of the first"):
        await ReadOnce(well.read, every_s=FOR_EVER).get()
    assert well.contexts == [{}]
