"""Schemas and services of different versions: migrated once by however many, and gone back from by one."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import asyncpg
import httpx
import pytest

from dev.broker import Broker
from dev.database import Database
from dev.servers.errors import DevError
from dev.stack import Stack
from services.ingest import app as ingest
from services.registry import app as registry
from shared.errors import StartupError
from shared.postgres.migrations import migrate
from tests.e2e.world import World, start_clients

REPLICAS: Final = ("registry", "registry-2", "registry-3", "ingest-1", "ingest-2", "ingest-3")
HISTORIES: Final = {
    "registry": (registry.SCHEMA, registry.MIGRATIONS),
    "ingest": (ingest.SCHEMA, ingest.MIGRATIONS),
}
NEXT: Final = """
from alembic import op

revision = "{revision}"
down_revision = "{before}"
{more}

def upgrade():
    op.execute("ALTER TABLE {table} ADD COLUMN of_the_next_version integer NOT NULL DEFAULT 7")
"""
TABLES: Final = {"registry": "registry.clients", "ingest": "captures.events"}


@pytest.fixture
def replicas(unmigrated: Database, broker: Broker, tmp_path: Path) -> Iterator[Stack]:
    """Processes of this version, on a database that has nothing in it yet."""
    stack = Stack(
        folder=tmp_path / "stack",
        registry_url=unmigrated.registry_url,
        ingest_url=unmigrated.ingest_url,
        rabbitmq_urls=broker.urls,
        env={"PULL_SYNC_INTERVAL": "5", "CLIENT_REGISTRATION_CHECK": "1", "PULL_SYNC_NETWORKS": "loopback"},
    )
    with stack:
        yield stack
        print(stack.log_tails())  # noqa: T201 - pytest shows it for a test that failed


def url_of(database: Database, service: str) -> str:
    """Where the service's role connects."""
    return database.registry_url if service == "registry" else database.ingest_url


async def revisions(database: Database) -> list[str]:
    """Those that the database is at, of each schema."""
    connection = await asyncpg.connect(database.admin_url)
    try:
        rows = await connection.fetch("TABLE captures.alembic_version UNION ALL TABLE registry.alembic_version")
    finally:
        await connection.close()
    return [row[0] for row in rows]


def newest(history: Path) -> str:
    """The last revision of a history."""
    return max(path.name[:4] for path in history.glob("0*.py"))


@pytest.mark.parametrize("began", ["empty", "previous"])
async def test_many_replicas_that_start_together_migrate_once(
    unmigrated: Database, replicas: Stack, previous: Path, began: str
) -> None:
    """On an empty database, and on one of the version before: each comes up, and the schema is there once."""
    if began == "previous":
        for service, (schema, _) in HISTORIES.items():
            history = previous / "services" / service / "migrations"
            await migrate(url_of(unmigrated, service), schema=schema, history=history)
    await asyncio.to_thread(replicas.start_together, *REPLICAS)
    assert replicas.dead() == []
    assert await revisions(unmigrated) == [newest(ingest.MIGRATIONS), newest(registry.MIGRATIONS)]


async def migrate_to_the_next_version(database: Database, folder: Path, *, bearable: bool) -> None:
    """As the version after this one would: a column more."""
    for service, (schema, history) in HISTORIES.items():
        copy = folder / service
        shutil.copytree(history, copy, ignore=shutil.ignore_patterns("__pycache__"))
        before = newest(history)
        revision = f"{int(before) + 1:04}"
        more = "" if bearable else f'bearable_by = "{revision}"\n'
        text = NEXT.format(revision=revision, before=before, more=more, table=TABLES[service])
        (copy / f"{revision}_of_the_next_version.py").write_text(text, encoding="utf-8")
        await migrate(url_of(database, service), schema=schema, history=copy)


async def test_this_version_works_with_the_schema_of_the_next(
    unmigrated: Database, replicas: Stack, tmp_path: Path
) -> None:
    """So replicas of it may be started again in the middle of an upgrade, and one can go back to it."""
    await migrate_to_the_next_version(unmigrated, tmp_path / "next", bearable=True)
    at = await revisions(unmigrated)
    await asyncio.to_thread(replicas.start_together, "registry", "ingest-1", "puller-1")
    async with httpx.AsyncClient(timeout=70, trust_env=False) as http:
        world = World(stack=replicas, database=unmigrated, http=http)
        [client] = await start_clients(world, 1)
        capture_id = await world.capture(client)
        await world.told(client)
        assert await world.stored() == [("user_1", capture_id)]
    assert await revisions(unmigrated) == at
    assert '"event": "schema_is_newer"' in (tmp_path / "stack" / "logs" / "registry.log").read_text(encoding="utf-8")


@pytest.mark.parametrize("service", ["registry", "ingest-1"])
async def test_a_schema_that_this_version_can_not_work_with_ends_the_start(
    unmigrated: Database, replicas: Stack, tmp_path: Path, service: str
) -> None:
    """Nothing is changed, and it says what to do."""
    await migrate_to_the_next_version(unmigrated, tmp_path / "next", bearable=False)
    with pytest.raises(DevError) as told:
        await asyncio.to_thread(replicas.start, service)
    assert "start the newer version again, or restore a backup" in told.value.detail


async def test_a_schema_of_an_unknown_newer_version_ends_the_start(unmigrated: Database, tmp_path: Path) -> None:
    """Where nothing is said of who can bear it, nobody can."""
    await migrate_to_the_next_version(unmigrated, tmp_path, bearable=True)
    connection = await asyncpg.connect(unmigrated.admin_url)
    await connection.execute("COMMENT ON TABLE registry.alembic_version IS NULL")
    await connection.close()
    with pytest.raises(StartupError, match="can't work with it"):
        await migrate(unmigrated.registry_url, schema=registry.SCHEMA, history=registry.MIGRATIONS)


async def test_waiting_replicas_find_the_work_done(unmigrated: Database, tmp_path: Path) -> None:
    """Eight at once, each on a connection of its own, and a revision that takes a while: it runs once."""
    (tmp_path / "0001_first.py").write_text(
        'from alembic import op\n\nrevision = "0001"\ndown_revision = None\n\n\ndef upgrade():\n'
        '    op.execute("CREATE TABLE strange.runs (at timestamptz)")\n'
        '    op.execute("SELECT pg_sleep(0.3)")\n'
        '    op.execute("INSERT INTO strange.runs VALUES (now())")\n',
        encoding="utf-8",
    )
    await asyncio.gather(*(migrate(unmigrated.admin_url, schema="strange", history=tmp_path) for _ in range(8)))
    connection = await asyncpg.connect(unmigrated.admin_url)
    assert await connection.fetchval("SELECT count(*) FROM strange.runs") == 1
    await connection.close()
