"""Pages of everything that a client has, for tests of ingest: making them, and what the tables must hold."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import uuid4

import asyncpg
import msgspec

from dev.database import Database
from services.ingest.compare import Comparison
from services.ingest.incoming import ReceivedPull
from services.ingest.store import CaptureStore
from shared.contracts.messages import CompletePage, Difference, Pull, PulledCapture
from shared.postgres.database import make_pool
from shared.postgres.sql import load_queries

START: Final = datetime(2026, 1, 1, tzinfo=UTC)
RECEIVED: Final = START + timedelta(seconds=4)
FAR: Final = datetime(9999, 1, 1, tzinfo=UTC)
QUERIES: Final = load_queries("services.ingest")


def capture(capture_id: str, pokemon_id: int = 25, second: int = 0, *, removed: bool = False) -> PulledCapture:
    """A capture so many seconds after the start; from the fifth on its time is in the future."""
    return PulledCapture(
        capture_id=capture_id,
        pokemon_id=pokemon_id,
        pokemon_name=f"name of {pokemon_id}",
        action="capture",
        timestamp=START + timedelta(seconds=second),
        removed=removed,
        metadata=None,
    )


def pull_of(captures: Iterable[PulledCapture], *, user: str = "ash", page: CompletePage | None = None) -> Pull:
    """One pull, a page of everything or not."""
    return Pull(
        pull_id=uuid4(),
        user_id=user,
        client_url="http://127.0.0.1:1",
        pulled_at=RECEIVED,
        duration_s=0.0,
        pending=0,
        more_pending=False,
        captures=tuple(captures),
        complete=page,
    )


def page_of(
    after: str | None = None, until: str | None = None, *, delete: bool = False, asked_at: datetime = FAR
) -> CompletePage:
    """What makes it a page of everything."""
    return CompletePage(asked_at=asked_at, delete_unknown=delete, after=after, until=until, unacknowledged=())


def received(pull: Pull) -> ReceivedPull:
    """The pull as a row of work for the store."""
    return ReceivedPull(
        pull_id=pull.pull_id,
        user_id=pull.user_id,
        received_at=pull.pulled_at,
        captures=pull.captures,
        unreadable=pull.unreadable,
    )


@dataclass(kw_only=True)
class Ingest:
    """The store and the comparison as ingest makes them."""

    pool: asyncpg.Pool
    store: CaptureStore
    comparison: Comparison

    async def take(self, *pulls: Pull) -> list[int]:
        """Store the pulls; again, as the writer does, when others were storing the same."""
        while True:
            with suppress(asyncpg.UniqueViolationError):
                return await self.store.store([received(pull) for pull in pulls])

    async def have(self, *captures: PulledCapture, user: str = "ash") -> None:
        """Store these."""
        await self.take(pull_of(captures, user=user))

    async def page(self, captures: Iterable[PulledCapture], page: CompletePage, *, user: str = "ash") -> Difference:
        """Store the page, then compare it."""
        pull = pull_of(captures, user=user, page=page)
        await self.take(pull)
        return await self.comparison.compare(pull, page)


@asynccontextmanager
async def ingest_on(database: Database) -> AsyncIterator[Ingest]:
    """Ingest's parts on tables without rows."""
    async with make_pool(database.ingest_url, service="test", max_size=8) as pool:
        await pool.execute(
            "TRUNCATE captures.events, captures.holdings, captures.holders, captures.ranking, captures.quarantine"
        )
        await pool.execute("UPDATE captures.totals SET events = 0, holdings = 0, quarantined = 0")
        store = CaptureStore(pool=pool, queries=QUERIES)
        yield Ingest(pool=pool, store=store, comparison=Comparison(pool=pool, queries=QUERIES))


Held = dict[tuple[str, int], tuple[bool, datetime, datetime, str]]


@dataclass
class Tables:
    """What the tables hold, all but the totals that follow from it."""

    events: set[tuple[str, str, int]] = field(default_factory=set)
    held: Held = field(default_factory=dict)

    @property
    def counts(self) -> tuple[dict[int, int], dict[str, int], tuple[int, int]]:
        """Holders by Pokémon, holdings by user, and how many events and holdings there are."""
        holdings = [key for key, (held, *_) in self.held.items() if held]
        ranking = {pokemon: sum(each == pokemon for _, each in holdings) for _, pokemon in holdings}
        holders = {user: sum(each == user for each, _ in holdings) for user, _ in holdings}
        return ranking, holders, (len(self.events), len(holdings))


def tables_of(events: Iterable[tuple[str, PulledCapture]]) -> Tables:
    """What the tables must hold, in the simplest words: the last capture by time, then id, wins."""
    tables = Tables()
    for user, event in events:
        tables.events.add((user, event.capture_id, event.pokemon_id))
        state = (not event.removed, min(event.timestamp, RECEIVED), event.timestamp, event.capture_id)
        known = tables.held.get((user, event.pokemon_id))
        if known is None or state[1:] > known[1:]:
            tables.held[user, event.pokemon_id] = state
    return tables


async def events_in(pool: asyncpg.Pool) -> list[tuple[str, PulledCapture]]:
    """The events as they are stored."""
    rows = await pool.fetch("SELECT *, captured_at AS timestamp, NULL AS metadata FROM captures.events")
    return [(row["user_id"], msgspec.convert(dict(row), PulledCapture)) for row in rows]


async def assert_tables_are(pool: asyncpg.Pool, expected: Tables) -> None:
    """Events and holdings, and everything that is counted of them."""
    events = await pool.fetch("SELECT user_id, capture_id, pokemon_id FROM captures.events")
    held = await pool.fetch(
        "SELECT user_id, pokemon_id, held, effective_at, captured_at, capture_id FROM captures.holdings"
    )
    assert {tuple(row) for row in events} == expected.events
    assert {(row[0], row[1]): tuple(row)[2:] for row in held} == expected.held
    ranking = await pool.fetch("SELECT pokemon_id, holders FROM captures.ranking WHERE holders <> 0")
    holders = await pool.fetch("SELECT user_id, holdings FROM captures.holders WHERE holdings <> 0")
    totals = await pool.fetchrow("SELECT events, holdings FROM captures.totals")
    counts = ({row[0]: row[1] for row in ranking}, {row[0]: row[1] for row in holders}, tuple(totals or ()))
    assert counts == expected.counts
    names = "SELECT count(*) FROM captures.ranking WHERE holders > 0 AND pokemon_name <> 'name of ' || pokemon_id"
    assert await pool.fetchval(names) == 0
