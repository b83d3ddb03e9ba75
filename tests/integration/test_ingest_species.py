"""Names of known species: shipped with ingest, kept in a table, and not for a client to change."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from functools import partial
from uuid import UUID

import asyncpg
import pytest

from dev.database import Database
from services.ingest.app import build_app
from services.ingest.incoming import ReceivedPull
from services.ingest.settings import IngestSettings
from services.ingest.species import keep_species
from services.ingest.store import CaptureStore
from shared.contracts.messages import PulledCapture
from shared.contracts.species import shipped_species
from shared.postgres.database import make_pool
from shared.postgres.sql import load_queries
from tests.waiting import eventually

QUERIES = load_queries("services.ingest")


@pytest.fixture
async def pool(database: Database) -> AsyncIterator[asyncpg.Pool]:
    """Ingest's own pool on a fresh database."""
    async with make_pool(database.ingest_url, service="test", max_size=6) as made:
        yield made


async def kept(pool: asyncpg.Pool) -> dict[int, str]:
    """The table."""
    return {row[0]: row[1] for row in await pool.fetch("SELECT pokemon_id, name FROM captures.species")}


async def names(pool: asyncpg.Pool) -> dict[int, str]:
    """Names in the ranking, as the registry reads them."""
    return {
        row[0]: row[1] for row in await pool.fetch("SELECT pokemon_id, pokemon_name FROM captures.published_ranking")
    }


async def capture(pool: asyncpg.Pool, pokemon_id: int, name: str, *, user_id: str = "ash") -> None:
    """A client says that its user holds one, under that name."""
    now = datetime.now(UTC)
    said = PulledCapture(
        capture_id=f"{pokemon_id}",
        pokemon_id=pokemon_id,
        pokemon_name=name,
        action="capture",
        timestamp=now,
        removed=False,
        metadata=None,
    )
    pull = ReceivedPull(pull_id=UUID(int=1), user_id=user_id, received_at=now, captures=[said], unreadable=())
    await CaptureStore(pool=pool, queries=QUERIES).store([pull])


def test_the_file_has_every_number_once() -> None:
    """The whole national dex and the forms without a gap, each with an identifier of its own."""
    species = shipped_species()
    assert list(species) == [*range(1, 1_026), *range(10_001, 10_278)]
    assert len(set(species.values())) == len(species)
    assert [name for name in species.values() if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name)] == []
    assert {number: species[number] for number in (1, 25, 29, 32, 83, 122, 233, 250, 386, 669, 772, 1_025, 10_001)} == {
        1: "bulbasaur",
        25: "pikachu",
        29: "nidoran-f",
        32: "nidoran-m",
        83: "farfetchd",
        122: "mr-mime",
        233: "porygon2",
        250: "ho-oh",
        386: "deoxys",
        669: "flabebe",
        772: "type-null",
        1025: "pecharunt",
        10001: "deoxys-attack",
    }


async def test_ingest_fills_the_table_when_it_starts(database: Database, broker_url: str, pool: asyncpg.Pool) -> None:
    """Also where a release before had other names: a correction takes effect, and what is gone goes."""
    await pool.execute("DELETE FROM captures.species WHERE pokemon_id < 500")
    await pool.execute("UPDATE captures.species SET name = 'misspelt' WHERE pokemon_id = 600")
    await pool.execute("INSERT INTO captures.species VALUES (999999, 'withdrawn')")
    app = build_app(IngestSettings(database_url=database.ingest_url, rabbitmq_url=broker_url))
    async with app.router.lifespan_context(app):
        assert await kept(pool) == shipped_species()


async def test_several_may_start_at_once(pool: asyncpg.Pool) -> None:
    """Whoever comes last decides; nobody waits in a circle, whatever the order of their files."""
    shipped = shipped_species()
    await pool.execute("DELETE FROM captures.species")
    backwards = dict(reversed(shipped.items()))
    await asyncio.gather(*(keep_species(pool, QUERIES, file) for file in (shipped, backwards) * 3))
    assert await kept(pool) == shipped


async def test_ingests_that_start_together_take_turns(pool: asyncpg.Pool) -> None:
    """The second waits for the first; whoever reads names does not."""
    waits = "SELECT count(*) > 0 FROM pg_locks WHERE NOT granted"
    async with pool.acquire() as first:
        begun = first.transaction()
        await begun.start()
        await first.execute(QUERIES["lock_species"])
        second = asyncio.create_task(keep_species(pool, QUERIES, {25: "renamed"}))
        await eventually(partial(pool.fetchval, waits))
        assert await kept(pool) == shipped_species()
        await begun.commit()
        await second
    assert await kept(pool) == {25: "renamed"}


async def test_the_same_file_writes_nothing(pool: asyncpg.Pool) -> None:
    """A start that finds all as it should be leaves every row alone."""
    versions = "SELECT pokemon_id, xmin::text, ctid::text FROM captures.species ORDER BY 1"
    before = await pool.fetch(versions)
    await keep_species(pool, QUERIES, shipped_species())
    assert await pool.fetch(versions) == before


async def test_a_client_cannot_rename_a_species(pool: asyncpg.Pool) -> None:
    """Not even the first one that captures it."""
    await capture(pool, 25, "magikarp")
    assert await names(pool) == {25: "pikachu"}


async def test_an_unknown_number_has_the_name_that_was_said_first(pool: asyncpg.Pool) -> None:
    """Until the number becomes known, then the species' name, without a change of the ranking."""
    await capture(pool, 20_000, "brand-new")
    await capture(pool, 20_000, "other", user_id="misty")
    assert await names(pool) == {20_000: "brand-new"}
    await keep_species(pool, QUERIES, {**shipped_species(), 20_000: "newmon"})
    assert await names(pool) == {20_000: "newmon"}
