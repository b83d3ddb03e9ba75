"""Whatever the order and the repetition of batches, the tables end as the model says."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from uuid import uuid4

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.ingest.store import CaptureStore, ReceivedPull
from shared.database import make_pool
from shared.messages import PulledCapture
from shared.sql import load_queries

if TYPE_CHECKING:
    import asyncpg

    from dev.database import Database

START = datetime(2026, 1, 1, tzinfo=UTC)
USERS = ("ana", "bia", "caio")
POKEMON = (1, 4, 25)

Event = tuple[str, PulledCapture]
Tables = tuple[set[tuple[str, str]], dict[tuple[str, int], bool], dict[int, int]]


def capture(number: int, pokemon_id: int, second: int, *, removed: bool) -> PulledCapture:
    """A capture whose id says nothing about its order."""
    return PulledCapture(
        capture_id=f"{number * 7919 % 1000}",
        pokemon_id=pokemon_id,
        pokemon_name=f"name of {pokemon_id}",
        action="capture",
        timestamp=START + timedelta(seconds=second),
        removed=removed,
        metadata=None,
    )


def histories() -> st.SearchStrategy[list[Event]]:
    """Up to 30 captures of a few users and Pokémon, with equal times among them."""
    event = st.tuples(st.sampled_from(USERS), st.sampled_from(POKEMON), st.integers(0, 5), st.booleans())
    return st.lists(event, max_size=30).map(
        lambda events: [
            (user, capture(number, pokemon, second, removed=removed))
            for number, (user, pokemon, second, removed) in enumerate(events)
        ]
    )


def model(events: Sequence[Event]) -> Tables:
    """What the tables must hold, said in the simplest way: the last capture by time, then id, wins."""
    stored = {(user, event.capture_id) for user, event in events}
    held: dict[tuple[str, int], bool] = {}
    for user, event in sorted(events, key=lambda item: (item[1].timestamp, item[1].capture_id)):
        held[user, event.pokemon_id] = not event.removed
    counts = {pokemon: sum(held.get((user, pokemon), False) for user in USERS) for pokemon in POKEMON}
    return stored, held, {pokemon: count for pokemon, count in counts.items() if count}


def deliveries(events: Sequence[Event], rng: random.Random) -> list[list[ReceivedPull]]:
    """The events cut into pulls and groups in any order, each at least once, some again."""
    repeated = [*events, *(event for event in events if rng.random() < 0.5)]
    rng.shuffle(repeated)
    groups: list[list[ReceivedPull]] = []
    while repeated:
        size = rng.randint(1, 8)
        part, repeated = repeated[:size], repeated[size:]
        groups.append([pull_of(user, [event for owner, event in part if owner == user]) for user in USERS])
    return groups


def pull_of(user: str, captures: Sequence[PulledCapture]) -> ReceivedPull:
    """One pull, received long after its captures."""
    received_at = START + timedelta(days=1)
    return ReceivedPull(pull_id=uuid4(), user_id=user, received_at=received_at, captures=captures, unreadable=())


@asynccontextmanager
async def empty_tables(database: Database) -> AsyncIterator[asyncpg.Pool]:
    """A pool on tables without rows."""
    async with make_pool(database.ingest_url, service="test", max_size=2) as pool:
        await pool.execute("TRUNCATE captures.events, captures.holdings, captures.ranking, captures.quarantine")
        await pool.execute("UPDATE captures.totals SET events = 0, holdings = 0, quarantined = 0")
        yield pool


async def tables(pool: asyncpg.Pool) -> Tables:
    """What the tables hold."""
    events = {(row[0], row[1]) for row in await pool.fetch("SELECT user_id, capture_id FROM captures.events")}
    rows = await pool.fetch("SELECT user_id, pokemon_id, held FROM captures.holdings")
    ranking = await pool.fetch("SELECT pokemon_id, holders FROM captures.published_ranking")
    held = {(row[0], row[1]): row[2] for row in rows}
    return events, held, {row[0]: row[1] for row in ranking}


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(events=histories(), seed=st.integers(0, 2**32))
async def test_any_order_and_repetition_of_batches_ends_in_the_same_tables(
    database: Database, events: list[Event], seed: int
) -> None:
    """Events, holdings, ranking and totals are the model's, and each new capture is counted once."""
    async with empty_tables(database) as pool:
        store = CaptureStore(pool=pool, queries=load_queries("services.ingest"))
        groups = deliveries(events, random.Random(seed))  # noqa: S311 - a shuffle, not a secret
        new = sum([sum(await store.store(group)) for group in groups])
        expected = model(events)
        assert await tables(pool) == expected
        assert new == len(expected[0])
        totals = await pool.fetchrow("SELECT events, holdings FROM captures.published_totals")
        assert tuple(totals or ()) == (len(expected[0]), sum(expected[1].values()))


async def test_a_time_in_the_future_counts_as_the_time_of_receipt(database: Database) -> None:
    """A clock that is a year ahead does not win for a year: a later removal by a right clock lowers the count."""
    ahead = capture(1, 25, 0, removed=False).model_copy(update={"timestamp": START + timedelta(days=366)})
    later = capture(2, 25, 0, removed=True).model_copy(update={"timestamp": START + timedelta(days=2)})
    async with empty_tables(database) as pool:
        store = CaptureStore(pool=pool, queries=load_queries("services.ingest"))
        await store.store([pull_of("ana", [ahead])])
        assert (await tables(pool))[2] == {25: 1}
        second = ReceivedPull(
            pull_id=uuid4(), user_id="ana", received_at=START + timedelta(days=3), captures=[later], unreadable=()
        )
        await store.store([second])
        assert (await tables(pool))[2] == {}
