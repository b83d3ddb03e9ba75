"""What is committed together, what beside each other, and who waits for whom."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from typing import Any, Final, cast
from uuid import uuid4

import pytest

from services.ingest.incoming import ReceivedPull
from services.ingest.store import CaptureStore
from services.ingest.writer import GROUP_ROWS, GROUPS_AT_ONCE, WORTH_ROWS, Writer
from shared.contracts.messages import PulledCapture
from shared.tasks import running

NOW: Final = datetime(2026, 1, 31, 12, tzinfo=UTC)


class SlowStore:
    """Commits when it is told to, and notes the rows of each commit."""

    def __init__(self) -> None:
        self.begun: list[int] = []
        self.committed = asyncio.Event()

    async def store(self, pulls: Sequence[ReceivedPull]) -> list[int]:
        """All of them are new."""
        self.begun.append(sum(pull.rows for pull in pulls))
        await self.committed.wait()
        return [pull.rows for pull in pulls]


@pytest.fixture
def store() -> SlowStore:
    """No commit ends yet."""
    return SlowStore()


@pytest.fixture
async def writer(store: SlowStore) -> AsyncIterator[Writer]:
    """A writer that runs."""
    made = Writer(store=cast("CaptureStore", store))
    async with running("writer", made.run):
        yield made


def pull(rows: int) -> ReceivedPull:
    """A pull of so many captures."""
    captures = cast("Sequence[PulledCapture]", [None] * rows)
    return ReceivedPull(pull_id=uuid4(), user_id="ash", received_at=NOW, captures=captures, unreadable=())


async def begin(writer: Writer, *rows: int) -> list[asyncio.Task[Any]]:
    """Give it pulls to write, one after the other."""
    tasks = []
    for each in rows:
        tasks.append(asyncio.create_task(writer.write([pull(each)])))
        await asyncio.sleep(0.01)
    return tasks


async def test_a_little_waits_for_the_commit_under_way(writer: Writer, store: SlowStore) -> None:
    """And is committed together with all else that came meanwhile; each is told its own."""
    tasks = await begin(writer, 3, 4, 5)
    assert store.begun == [3]
    store.committed.set()
    assert await asyncio.gather(*tasks) == [[3], [4], [5]]
    assert store.begun == [3, 9]


async def test_much_is_committed_beside_others(writer: Writer, store: SlowStore) -> None:
    """So many at once, and no more."""
    tasks = await begin(writer, *[WORTH_ROWS] * (GROUPS_AT_ONCE + 2))
    assert store.begun == [WORTH_ROWS] * GROUPS_AT_ONCE
    store.committed.set()
    await asyncio.gather(*tasks)
    assert store.begun == [WORTH_ROWS] * GROUPS_AT_ONCE + [2 * WORTH_ROWS]


async def test_a_group_has_an_end(writer: Writer, store: SlowStore) -> None:
    """What comes after a full one waits for the next; what is larger than a group is one alone."""
    store.committed.set()
    await asyncio.gather(*(writer.write([pull(rows)]) for rows in (GROUP_ROWS - 1, 2, 3 * GROUP_ROWS, 1)))
    assert store.begun == [GROUP_ROWS + 1, 3 * GROUP_ROWS, 1]


async def test_calm_is_when_nothing_is_left_to_write(writer: Writer, store: SlowStore) -> None:
    """Whoever gives way goes on then."""
    await writer.calm(within_s=60)  # nothing was ever written
    tasks = await begin(writer, 1, 1)
    calm = asyncio.create_task(writer.calm(within_s=60))
    await asyncio.sleep(0.01)
    assert not calm.done()
    store.committed.set()
    await calm
    assert all(task.done() for task in tasks)


async def test_who_gives_way_does_not_do_so_for_ever(writer: Writer) -> None:
    """It goes on after its time, though there is still something to write."""
    (task,) = await begin(writer, 1)
    await writer.calm(within_s=0.01)
    assert not task.done()
    task.cancel()
