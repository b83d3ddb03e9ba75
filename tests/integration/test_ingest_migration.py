"""Ingest's migrations on a database that has data already."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID, uuid4

import asyncpg
import pytest

from dev.database import Database, create_database, with_database
from services.ingest.app import MIGRATIONS, SCHEMA
from services.ingest.incoming import ReceivedPull
from services.ingest.store import CaptureStore
from shared.contracts.messages import PulledCapture, UnreadableItem
from shared.postgres.database import make_pool
from shared.postgres.migrations import migrate
from shared.postgres.sql import load_queries
from tests.servers import Servers

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


@pytest.fixture
async def old(servers: Servers, tmp_path: Path) -> AsyncIterator[Database]:
    """A database as the first release left it."""
    shutil.copy(MIGRATIONS / "0001_events_holdings_ranking_quarantine.py", tmp_path)
    name = f"pullsync_test_{uuid4().hex}"
    made = await create_database(servers.postgres_url, name, password="of a private test server")
    await migrate(made.ingest_url, schema=SCHEMA, history=tmp_path)
    yield made
    connection = await asyncpg.connect(with_database(servers.postgres_url, "postgres"))
    await connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
    await connection.close()


async def test_holders_are_counted_from_the_holdings_that_there_are(old: Database) -> None:
    """And go on from there; what was quarantined is still known as the same item."""
    async with make_pool(old.ingest_url, service="test", max_size=2) as pool:
        await pool.execute(
            """INSERT INTO captures.holdings
               SELECT user_id, pokemon_id, held, false, now(), now(), 'x'
               FROM (VALUES ('ash', 1, true), ('ash', 4, true), ('ash', 7, false), ('misty', 1, true),
                            ('brock', 1, false)) AS t (user_id, pokemon_id, held)"""
        )
        await pool.execute("INSERT INTO captures.ranking VALUES (1, 'a', 2, now()), (4, 'b', 1, now())")
        await pool.execute(
            """INSERT INTO captures.quarantine (user_id, fingerprint, capture_id, problem, raw, pull_id)
               VALUES ('ash', sha256('[1]'), 'u', 'p', '[1]', gen_random_uuid()),
                      ('ash', sha256('[2]'), NULL, 'p', '[2]', gen_random_uuid())"""
        )
        for _ in range(2):
            await migrate(old.ingest_url, schema=SCHEMA, history=MIGRATIONS)
        holders = "SELECT user_id, holdings FROM captures.published_holders ORDER BY 1"
        assert [tuple(row) for row in await pool.fetch(holders)] == [("ash", 2), ("misty", 1)]
        bulbasaur = PulledCapture(
            capture_id="later",
            pokemon_id=1,
            pokemon_name="x",
            action="capture",
            timestamp=NOON.replace(year=2100),
            removed=True,
            metadata=None,
        )
        items = [
            UnreadableItem(capture_id="u", problem="p", raw="[1]"),
            UnreadableItem(capture_id=None, problem="p", raw="[2]"),
        ]
        pull = ReceivedPull(
            pull_id=UUID(int=1),
            user_id="ash",
            received_at=NOON.replace(year=2100),
            captures=[bulbasaur],
            unreadable=items,
        )
        await CaptureStore(pool=pool, queries=load_queries("services.ingest")).store([pull])
        assert [tuple(row) for row in await pool.fetch(holders)] == [("ash", 1), ("misty", 1)]
        assert await pool.fetchval("SELECT count(*) FROM captures.quarantine") == 2
