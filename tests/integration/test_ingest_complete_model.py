"""Whatever pulls, pages and deletions come in whatever order or at once, the tables end as the model says."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dev.database import Database
from shared.contracts.messages import PulledCapture
from tests.complete_pages import (
    FAR,
    QUERIES,
    Ingest,
    assert_tables_are,
    capture,
    events_in,
    ingest_on,
    page_of,
    pull_of,
    received,
    tables_of,
)
from tests.waiting import eventually, some_wait

USERS: Final = ("ana", "bia")
CAPTURES: Final = st.builds(
    capture, st.sampled_from("abcdef"), st.sampled_from([1, 4, 25]), st.integers(0, 6), removed=st.booleans()
)


@dataclass(frozen=True, kw_only=True)
class Step:
    """A pull of a user, a page of everything or not."""

    user: str
    captures: list[PulledCapture]
    complete: bool
    after: str | None
    until: str | None
    delete: bool
    age: int
    """How many steps before it was asked for."""
    repeated: bool


BOUNDS: Final = st.none() | st.sampled_from(["", "a", "b", "bb", "c", "e"])
STEPS: Final = st.lists(
    st.builds(
        Step,
        user=st.sampled_from(USERS),
        captures=st.lists(CAPTURES, max_size=5, unique_by=lambda each: each.capture_id),
        complete=st.booleans(),
        after=BOUNDS,
        until=BOUNDS,
        delete=st.booleans(),
        age=st.integers(0, 2),
        repeated=st.booleans(),
    ),
    max_size=8,
)


class Model:
    """What is stored and when, in the simplest words."""

    def __init__(self) -> None:
        self.stored: dict[tuple[str, str], tuple[PulledCapture, int]] = {}

    def take(self, step: Step, number: int) -> set[str]:
        """The first capture of an id stays; which ids are new."""
        new = {each.capture_id for each in step.captures if (step.user, each.capture_id) not in self.stored}
        for each in step.captures:
            self.stored.setdefault((step.user, each.capture_id), (each, number))
        return new

    def compare(self, step: Step, number: int) -> list[str]:
        """The ids that are unknown to the client, which are deleted if so asked."""
        has = {each.capture_id for each in step.captures}
        unknown = [
            capture_id
            for (user, capture_id), (_, stored) in sorted(self.stored.items())
            if user == step.user and capture_id not in has and stored < number - step.age and in_range(step, capture_id)
        ]
        if step.delete:
            for capture_id in unknown:
                del self.stored[step.user, capture_id]
        return unknown


def in_range(step: Step, capture_id: str) -> bool:
    """Whether the page speaks of this id."""
    return (step.after is None or capture_id > step.after) and (step.until is None or capture_id <= step.until)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
async def test_any_sequence_of_pulls_pages_and_deletions_ends_in_the_models_tables(
    database: Database, steps: list[Step]
) -> None:
    """Every difference is the model's, and in the end all that is stored and counted is."""
    async with ingest_on(database) as ingest:
        model = Model()
        moments: list[datetime] = []
        for number, step in enumerate(steps):
            moments.append(await ingest.pool.fetchval("SELECT clock_timestamp()"))
            asked_at = moments[max(0, number - step.age)]
            page = page_of(step.after, step.until, delete=step.delete, asked_at=asked_at)
            has = [each for each in step.captures if not step.complete or in_range(step, each.capture_id)]
            pull = pull_of(has, user=step.user, page=page if step.complete else None)
            new = model.take(Step(**{**vars(step), "captures": has}), number)
            assert await ingest.take(pull) == [len(new)]
            if step.complete:
                unknown = model.compare(step, number)
                found = await ingest.comparison.compare(pull, page)
                assert (list(found.missing_examples), list(found.unknown_examples)) == (sorted(new), unknown)
                assert found.deleted == (len(unknown) if step.delete else 0)
            if step.repeated:
                await ingest.take(pull)
        await assert_tables_are(ingest.pool, tables_of((user, each) for (user, _), (each, _) in model.stored.items()))


@pytest.fixture
async def ingest(database: Database) -> AsyncIterator[Ingest]:
    """Ingest's parts on a fresh database."""
    async with ingest_on(database) as made:
        yield made


async def test_deletions_beside_writers_end_in_the_right_tables(ingest: Ingest) -> None:
    """Of the same users and Pokémon, all at once: no deadlock, and whatever is stored in the end is counted so."""
    rng = random.Random(5)  # noqa: S311 - a shuffle, not a secret

    def some() -> list[PulledCapture]:
        return [
            capture(f"{rng.randrange(60):02}", rng.randrange(1, 6), rng.randrange(7), removed=rng.random() < 0.4)
            for _ in range(25)
        ]

    async def write() -> None:
        for _ in range(20):
            await ingest.take(*(pull_of(some(), user=user) for user in rng.sample(USERS, 2)))

    async def delete() -> None:
        for _ in range(25):
            after = f"{rng.randrange(60):02}"
            await ingest.page(some(), page_of(after, None, delete=True), user=rng.choice(USERS))

    async with asyncio.timeout(60):
        await asyncio.gather(write(), write(), delete(), delete(), delete())
    deadlocks = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
    assert await ingest.pool.fetchval(deadlocks) == 0
    await assert_tables_are(ingest.pool, tables_of(await events_in(ingest.pool)))


@pytest.mark.parametrize("removed", [False, True])
@pytest.mark.parametrize("second", [0, 2], ids=["older", "newer"])
async def test_a_deletion_sees_what_a_writer_before_it_stored(ingest: Ingest, second: int, *, removed: bool) -> None:
    """It waits for the writer, and its holding is then the writer's, whether that had changed it or not."""
    old, new = capture("a", 25, 1), capture("b", 25, second, removed=removed)
    await ingest.have(old)
    async with ingest.pool.acquire() as writer, asyncio.timeout(20):
        begun = writer.transaction()
        await begun.start()
        await ingest.store.store_within(writer, [received(pull_of([new]))], ())
        deleting = asyncio.create_task(ingest.page([], page_of(delete=True)))
        await eventually(lambda: some_wait(ingest.pool))
        await writer.execute(QUERIES["count"], 1, -1 if removed and second else 0, 0)
        await begun.commit()
        assert (await deleting).unknown_examples == ("a",)
    await assert_tables_are(ingest.pool, tables_of([("ash", new)]))


@pytest.mark.parametrize("removed", [False, True])
@pytest.mark.parametrize("new_id", ["a", "b"], ids=["the same capture", "another capture"])
@pytest.mark.parametrize("second", [0, 2], ids=["older", "newer"])
async def test_a_writer_sees_what_a_deletion_before_it_left(
    ingest: Ingest,
    new_id: str,
    second: int,
    *,
    removed: bool,
) -> None:
    """It waits for the deletion, and its captures are then stored as if the others had never been."""
    old, new = capture("a", 25, 1), capture(new_id, 25, second, removed=removed)
    await ingest.have(old)
    async with ingest.pool.acquire() as deleter, asyncio.timeout(20):
        begun = deleter.transaction()
        await begun.start()
        await deleter.fetch(QUERIES["delete_unknown"], "ash", "", None, FAR, [])
        await deleter.fetch(QUERIES["lock_holdings"], "ash", [25])
        (moved,) = await deleter.fetch(QUERIES["recompute_holdings"], "ash", [25])
        assert moved["difference"] == -1
        await deleter.execute(QUERIES["move_holder"], "ash", -1)
        await deleter.execute(QUERIES["move_ranking"], [25], ["name of 25"], [-1])
        writing = asyncio.create_task(ingest.have(new))
        await eventually(lambda: some_wait(ingest.pool))
        await deleter.execute(QUERIES["count"], -1, -1, 0)
        await begun.commit()
        await writing
    await assert_tables_are(ingest.pool, tables_of([("ash", new)]))
