"""Whatever the order and the repetition of batches, the tables end as the model says."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple
from uuid import uuid4

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.ingest.incoming import ReceivedPull
from services.ingest.replay import Replays
from services.ingest.store import CaptureStore
from shared.contracts.messages import PulledCapture, ReplayQuarantined, UnreadableItem
from shared.postgres.database import make_pool
from shared.postgres.sql import load_queries

if TYPE_CHECKING:
    import asyncpg

    from dev.database import Database

START = datetime(2026, 1, 1, tzinfo=UTC)
USERS = ("ana", "bia", "caio")
POKEMON = (1, 4, 25)

Event = tuple[str, PulledCapture]


class Tables(NamedTuple):
    """What the tables hold."""

    events: set[tuple[str, str]]
    held: dict[tuple[str, int], bool]
    ranking: dict[int, int]
    holders: dict[str, int]


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
    ranking = Counter(pokemon for (_, pokemon), is_held in held.items() if is_held)
    holders = Counter(user for (user, _), is_held in held.items() if is_held)
    return Tables(events=stored, held=held, ranking=ranking, holders=holders)


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
        await pool.execute(
            "TRUNCATE captures.events, captures.holdings, captures.holders, captures.ranking, captures.quarantine"
        )
        await pool.execute("UPDATE captures.totals SET events = 0, holdings = 0, quarantined = 0")
        yield pool


async def tables(pool: asyncpg.Pool) -> Tables:
    """What the tables hold."""
    events = {(row[0], row[1]) for row in await pool.fetch("SELECT user_id, capture_id FROM captures.events")}
    rows = await pool.fetch("SELECT user_id, pokemon_id, held FROM captures.holdings")
    ranking = await pool.fetch("SELECT pokemon_id, holders FROM captures.published_ranking")
    holders = await pool.fetch("SELECT user_id, holdings FROM captures.published_holders")
    return Tables(
        events=events,
        held={(row[0], row[1]): row[2] for row in rows},
        ranking={row[0]: row[1] for row in ranking},
        holders={row[0]: row[1] for row in holders},
    )


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(events=histories(), seed=st.integers(0, 2**32))
async def test_any_order_and_repetition_of_batches_ends_in_the_same_tables(
    database: Database, events: list[Event], seed: int
) -> None:
    """Events, holdings, holders, ranking and totals are the model's, and each new capture is counted once."""
    async with empty_tables(database) as pool:
        store = CaptureStore(pool=pool, queries=load_queries("services.ingest"))
        groups = deliveries(events, random.Random(seed))  # noqa: S311 - a shuffle, not a secret
        new = sum([sum(await store.store(group)) for group in groups])
        expected = model(events)
        assert await tables(pool) == expected
        assert new == len(expected.events)
        totals = await pool.fetchrow("SELECT events, holdings FROM captures.published_totals")
        assert tuple(totals or ()) == (len(expected.events), sum(expected.held.values()))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(events=histories(), seed=st.integers(0, 2**32))
async def test_captures_that_took_the_way_through_the_quarantine_end_in_the_same_tables(
    database: Database, events: list[Event], seed: int
) -> None:
    """Some come as unreadable items, and are replayed at any time, together, again, and two messages at once."""
    rng = random.Random(seed)  # noqa: S311 - a shuffle, not a secret
    async with empty_tables(database) as pool:
        store = CaptureStore(pool=pool, queries=load_queries("services.ingest"))
        replays = Replays(store=store)
        for group in deliveries(events, rng):
            await store.store([unread(pull) if rng.random() < 0.5 else pull for pull in group])
            if rng.random() < 0.3:
                message = ReplayQuarantined(quarantine_ids=await quarantine_ids(pool))
                await asyncio.gather(replays.handle(message), replays.handle(message))
        await replays.handle(ReplayQuarantined(quarantine_ids=await quarantine_ids(pool)))
        expected = model(events)
        assert await tables(pool) == expected
        totals = await pool.fetchrow("SELECT events, holdings, quarantined FROM captures.published_totals")
        assert tuple(totals or ()) == (len(expected.events), sum(expected.held.values()), 0)
        assert await quarantine_ids(pool) == ()


def unread(pull: ReceivedPull) -> ReceivedPull:
    """The pull as a puller would send it that can't read any of it."""
    items = [
        UnreadableItem(capture_id=capture.capture_id, problem="not known yet", raw=raw(capture))
        for capture in pull.captures
    ]
    return replace(pull, captures=(), unreadable=items)


def raw(capture: PulledCapture) -> str:
    """As a client says it."""
    said = msgspec.to_builtins(capture)
    removed = said.pop("removed", False)
    return json.dumps({**said, "metadata": {"removed": removed}})


async def quarantine_ids(pool: asyncpg.Pool) -> tuple[int, ...]:
    """All that is in quarantine."""
    return tuple(row[0] for row in await pool.fetch("SELECT quarantine_id FROM captures.quarantine"))


async def test_a_time_in_the_future_counts_as_the_time_of_receipt(database: Database) -> None:
    """A clock that is a year ahead does not win for a year: a later removal by a right clock lowers the count."""
    ahead = msgspec.structs.replace(capture(1, 25, 0, removed=False), timestamp=START + timedelta(days=366))
    later = msgspec.structs.replace(capture(2, 25, 0, removed=True), timestamp=START + timedelta(days=2))
    async with empty_tables(database) as pool:
        store = CaptureStore(pool=pool, queries=load_queries("services.ingest"))
        await store.store([pull_of("ana", [ahead])])
        assert (await tables(pool)).ranking == {25: 1}
        second = ReceivedPull(
            pull_id=uuid4(), user_id="ana", received_at=START + timedelta(days=3), captures=[later], unreadable=()
        )
        await store.store([second])
        assert (await tables(pool)).ranking == {}
