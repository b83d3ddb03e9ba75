"""A database that can't be used: it is told once, with what to do, and nothing in it is lost or replaced."""

# ruff: noqa: ASYNC240 - the few small files that a test touches keep nothing else waiting

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
import structlog

from services.client.database import Database
from services.client.errors import StoreUnavailableError
from services.client.metrics import ClientMetrics
from services.client.store import CaptureStore
from services.client.trouble import DAMAGED, FAILING, FORBIDDEN, FULL, GONE, LOCKED, Kind, trouble
from shared.contracts.client_protocol import AddCapture
from shared.errors import StartupError
from shared.postgres.sql import load_queries

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

QUERIES = load_queries("services.client")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A database with 300 captures."""
    return tmp_path / "captures.sqlite3"


@pytest.fixture
async def database(path: Path) -> AsyncIterator[Database]:
    """The open database, which waits for nobody."""
    async with Database(path=path, queries=QUERIES, busy_timeout_s=0.01) as opened:
        yield opened


@pytest.fixture
def store(database: Database) -> CaptureStore:
    """Its captures."""
    return store_of(database)


def store_of(database: Database) -> CaptureStore:
    """The captures of user_1."""
    return CaptureStore(database=database, queries=QUERIES, user_id="user_1", clock=lambda: datetime.now(UTC))


def new(pokemon_id: int) -> AddCapture:
    """What an app posts."""
    return AddCapture(pokemon_id=pokemon_id, pokemon_name="x" * 255, action="capture")


async def made(path: Path, captures: int = 300) -> None:
    """A closed database with so many captures."""
    async with Database(path=path, queries=QUERIES) as database:
        store = store_of(database)
        for number in range(1, captures + 1):
            await store.add(new(number))


def events(logs: list[Any]) -> list[tuple[str, str]]:
    """What was logged of the database, with the kind of log."""
    return [(each["event"], each["log_level"]) for each in logs if each["event"].startswith("database_")]


TOLD_ONCE = [("database_unavailable", "error"), ("database_back", "info")]


async def test_a_full_disk_is_told_once_and_over_when_there_is_room(database: Database, store: CaptureStore) -> None:
    """A check that writes little is not taken for the end, while there is no room for a capture."""
    async with database.transaction(write=False) as db:
        [[pages]] = await db.execute_fetchall("PRAGMA page_count")
        await db.execute(f"PRAGMA max_page_count = {pages}")
    with structlog.testing.capture_logs() as logs:
        for number in range(1, 200):
            try:
                await store.add(new(number))
            except StoreUnavailableError:
                await database.check()
        assert database.trouble is not None
        assert (database.trouble.kind, database.trouble.remedy) == (FULL, FULL.remedy)
        assert events(logs) == TOLD_ONCE[:1]
        async with database.transaction(write=False) as db:
            await db.execute("PRAGMA max_page_count = 100000")
        await database.check()
        assert database.trouble is None
    assert events(logs) == TOLD_ONCE
    assert logs[0]["remedy"] == f"{FULL.remedy}."


async def test_a_file_that_may_only_be_read_is_noticed_before_a_capture_comes(
    database: Database, store: CaptureStore
) -> None:
    """By the check alone; and what is pending can be pulled meanwhile."""
    await store.add(new(1))
    async with database.transaction(write=False) as db:
        await db.execute("PRAGMA query_only = ON")
    with structlog.testing.capture_logs() as logs:
        await database.check()
        with pytest.raises(StoreUnavailableError, match="readonly"):
            await store.add(new(2))
        # SQLite lets a transaction begin that may not write: the first capture tells.
        assert database.trouble is not None
        assert database.trouble.kind is FORBIDDEN
        await database.check()
        assert database.trouble is not None
        assert (await store.pending()).total == 1
        async with database.transaction(write=False) as db:
            await db.execute("PRAGMA query_only = OFF")
        await database.check()
    assert events(logs) == TOLD_ONCE


async def test_another_program_that_keeps_it_locked(database: Database, store: CaptureStore, path: Path) -> None:
    """Noticed by the check, and over with the lock."""
    with structlog.testing.capture_logs() as logs:
        with closing(sqlite3.connect(path, isolation_level=None)) as tool:
            tool.execute("BEGIN IMMEDIATE")
            for _ in range(3):
                await database.check()
            assert database.trouble is not None
            assert database.trouble.kind is LOCKED
        await store.add(new(1))
    assert database.trouble is None  # a capture that is written is proof enough
    assert events(logs) == TOLD_ONCE


async def test_a_file_that_is_moved_away_while_it_runs(database: Database, store: CaptureStore, path: Path) -> None:
    """Noticed by the check, over when it is back, and never made anew."""
    await store.add(new(1))
    with structlog.testing.capture_logs() as logs:
        elsewhere = path.rename(path.with_name("elsewhere"))
        for _ in range(3):
            await database.check()
        assert database.trouble is not None
        assert database.trouble.kind is GONE
        assert not path.exists()
        elsewhere.rename(path)
        await database.check()
    assert database.trouble is None
    assert events(logs) == TOLD_ONCE
    assert (await store.counts()).total == 1


async def test_damaged_pages_stop_the_start_and_stay_as_they_are(path: Path) -> None:
    """Half of the captures would be served as if they were all."""
    await made(path)
    content = bytearray(path.read_bytes())
    content[4096 * 6 : 4096 * 12] = os.urandom(4096 * 6)
    path.write_bytes(content)
    with pytest.raises(
        StartupError, match=r"captures\.sqlite3 can't be opened: .*troubleshooting\.md.*CLIENT_DATABASE"
    ) as raised:
        async with Database(path=path, queries=QUERIES):
            pass
    assert "\n" not in str(raised.value)
    assert path.read_bytes() == content


async def test_pages_that_are_damaged_while_it_runs(path: Path) -> None:
    """Whoever reads them finds out; from then on it is unwell until all of it is whole, though some of it works."""
    await made(path)
    whole = path.read_bytes()
    async with Database(path=path, queries=QUERIES) as database:
        store = store_of(database)
        async with database.transaction(write=False) as db:
            await db.execute("PRAGMA cache_size = 1")  # else all of it is in memory, and nobody notices
        with path.open("r+b") as file:
            file.seek(len(whole) - 3 * 4096)  # the first rows can be read
            file.write(os.urandom(3 * 4096))
        with structlog.testing.capture_logs() as logs:
            for _ in range(2):
                with pytest.raises(StoreUnavailableError, match="malformed"):
                    await store.everything()
                await database.check()
            assert database.trouble is not None
            assert database.trouble.kind is DAMAGED
            path.write_bytes(whole)
            await database.check()
        assert database.trouble is None
        assert events(logs) == TOLD_ONCE
        assert (await store.counts()).total == 300


@pytest.mark.parametrize("table", ["captures", "facts", "latest_times"])
async def test_a_table_that_is_missing(path: Path, table: str) -> None:
    """At the start it is told; while it runs the check finds out."""
    await made(path, 1)
    async with Database(path=path, queries=QUERIES) as database:
        with closing(sqlite3.connect(path)) as tool:
            tool.execute(f"ALTER TABLE {table} RENAME TO elsewhere" if table != "captures" else "DROP TABLE captures")
        await database.check()
        assert database.trouble is not None
        assert database.trouble.kind is DAMAGED
    with pytest.raises(StartupError, match="can't be opened: "):
        async with Database(path=path, queries=QUERIES):
            pass


async def test_the_database_of_another_program_is_left_alone(path: Path) -> None:
    """It has tables, and none of our versions."""
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE recipes (name TEXT)")
    content = path.read_bytes()
    with pytest.raises(StartupError, match="another program's; set another CLIENT_DATABASE"):
        async with Database(path=path, queries=QUERIES):
            pass
    assert path.read_bytes() == content


@pytest.mark.parametrize("leave", ["nothing", "an empty file"])
async def test_a_log_without_its_database_is_not_deleted(path: Path, leave: str) -> None:
    """SQLite would delete it with the captures that are only there."""
    log = path.with_name("captures.sqlite3-wal")
    log.write_bytes(b"captures")
    if leave == "an empty file":
        path.touch()
    with pytest.raises(StartupError, match="can't be opened: it is missing or empty, but its log"):
        async with Database(path=path, queries=QUERIES):
            pass
    assert log.read_bytes() == b"captures"


def of_code(code: int) -> sqlite3.Error:
    """As SQLite's module makes it."""
    error = sqlite3.OperationalError("it failed")
    error.sqlite_errorcode = code
    return error


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (of_code(sqlite3.SQLITE_CORRUPT_INDEX), DAMAGED),
        (of_code(sqlite3.SQLITE_NOTADB), DAMAGED),
        (of_code(sqlite3.SQLITE_READONLY_DBMOVED), FORBIDDEN),
        (of_code(sqlite3.SQLITE_BUSY_SNAPSHOT), LOCKED),
        (of_code(sqlite3.SQLITE_IOERR_WRITE), FAILING),
        (sqlite3.ProgrammingError("without a code"), FAILING),
        (PermissionError(13, "Permission denied"), FORBIDDEN),
        (OSError(30, "Read-only file system"), FORBIDDEN),
        (OSError(28, "No space left on device"), FULL),
        (OSError(5, "Input/output error"), FAILING),
    ],
)
def test_each_error_has_its_remedy(error: sqlite3.Error | OSError, kind: Kind) -> None:
    """By its primary code, whatever the extended one says."""
    found = trouble(error)
    assert (found.kind, str(found), found.remedy) == (kind, str(error), kind.remedy)


async def test_the_metrics_show_it(database: Database, store: CaptureStore, path: Path) -> None:
    """1 while it can be used, else 0."""

    async def usable() -> float:
        metrics = await ClientMetrics(store=store, database=database).read()
        [found] = [each for each in metrics if each.name == "pullsync_client_database_usable"]
        return found.samples[0].value

    assert await usable() == 1
    path.unlink()
    await database.check()
    assert await usable() == 0
