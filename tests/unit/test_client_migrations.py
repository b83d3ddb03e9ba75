"""A database that an older client made is taken over with all that is in it, or left as it is."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import pytest

from services.client.database import SCHEMA_VERSION, Database
from services.client.states import States
from services.client.store import CaptureStore
from shared.contracts.client_protocol import AddCapture
from shared.errors import StartupError
from shared.postgres.sql import load_queries

if TYPE_CHECKING:
    from pathlib import Path

FIRST_SCHEMA: Final = """
CREATE TABLE captures (
    seq INTEGER PRIMARY KEY,
    capture_id TEXT NOT NULL UNIQUE,
    pokemon_id INTEGER NOT NULL,
    pokemon_name TEXT NOT NULL,
    action TEXT NOT NULL,
    removed INTEGER NOT NULL,
    timestamp TEXT NOT NULL,
    user_id TEXT NOT NULL,
    metadata TEXT NOT NULL,
    acknowledged_at TEXT
) STRICT;
CREATE INDEX captures_pending ON captures (timestamp, seq) WHERE acknowledged_at IS NULL;
CREATE INDEX captures_twins ON captures (pokemon_id, action, removed, timestamp) WHERE acknowledged_at IS NULL;
CREATE INDEX captures_acknowledged ON captures (acknowledged_at) WHERE acknowledged_at IS NOT NULL;
CREATE VIEW wire AS
SELECT *, json_object(
    'capture_id', capture_id,
    'pokemon_id', pokemon_id,
    'pokemon_name', pokemon_name,
    'action', action,
    'timestamp', timestamp,
    'user_id', user_id,
    'synced', json(iif(acknowledged_at IS NULL, 'false', 'true')),
    'metadata', json(metadata)
) AS document
FROM captures;
CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
PRAGMA user_version = 1;
"""
"""As the first clients made it; it never changes."""
PENDING: Final[dict[str, Any]] = {
    "capture_id": "25_1769860800000_capture",
    "pokemon_id": 25,
    "pokemon_name": "pikachu é\U0001f600",
    "action": "capture",
    "timestamp": "2026-01-31T12:00:00.000Z",
    "user_id": "user_1",
    "synced": False,
    "metadata": {"removed": True, "device_info": {"os": ["é", None, 2.5]}},
}
STORED: Final[dict[str, Any]] = {
    **PENDING,
    "capture_id": "1_1769860801000_favorite",
    "action": "favorite",
    "timestamp": "2026-01-31T12:00:01.000Z",
    "synced": True,
    "metadata": {},
}
ACKNOWLEDGED_AT: Final = "2026-01-31T12:01:00.000Z"
FACTS: Final = {"last_sync": ACKNOWLEDGED_AT, "client_token": "client_x", "imported_from": "/a/file"}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A database of the first version: a pending capture, an acknowledged one, and facts."""
    path = tmp_path / "captures.sqlite3"
    with closing(sqlite3.connect(path)) as old:
        old.executescript(FIRST_SCHEMA)
        for capture in (PENDING, STORED):
            row = {
                **capture,
                "removed": capture["metadata"].get("removed", False),
                "metadata": json.dumps(capture["metadata"]),
                "acknowledged_at": ACKNOWLEDGED_AT if capture["synced"] else None,
            }
            del row["synced"]
            names = ", ".join(row)
            marks = ", ".join(f":{name}" for name in row)
            old.execute(f"INSERT INTO captures ({names}) VALUES ({marks})", row)
        old.executemany("INSERT INTO facts VALUES (?, ?)", FACTS.items())
        old.commit()
    return path


def contents(path: Path) -> tuple[int, list[str], list[Any]]:
    """Version, schema and captures, as another program sees them."""
    with closing(sqlite3.connect(path)) as database:
        [version] = database.execute("PRAGMA user_version").fetchone()
        schema = [
            sql for (sql,) in database.execute("SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY sql")
        ]
        return version, schema, database.execute("SELECT * FROM captures ORDER BY seq").fetchall()


def opened(path: Path, **changed: str) -> Database:
    """The database, to be entered; with other queries where that is asked for."""
    return Database(path=path, queries={**load_queries("services.client"), **changed})


def store_of(database: Database) -> CaptureStore:
    """The captures in it."""
    return CaptureStore(
        database=database,
        queries=load_queries("services.client"),
        user_id="user_1",
        clock=lambda: datetime(2026, 2, 1, tzinfo=UTC),
    )


async def test_all_is_there_afterwards(path: Path) -> None:
    """Captures in each state as they were, in their order, and all facts; what is new works on them."""
    async with opened(path) as database:
        store, states = store_of(database), States(database=database, queries=load_queries("services.client"))
        assert [json.loads(each) for each in (await store.everything()).captures] == [PENDING, STORED]
        assert await store.facts(*FACTS) == FACTS
        ids = [PENDING["capture_id"], STORED["capture_id"]]
        found = [tuple(json.loads(each).values()) for each in await states.of(ids)]
        assert found == [(ids[0], "pending", None, None), (ids[1], "stored", None, ACKNOWLEDGED_AT)]
        page = await store.pending()
        assert ([json.loads(each) for each in page.captures], page.unpulled) == ([PENDING], ids[:1])
        await states.note_pulled(page.unpulled, datetime(2026, 2, 1, tzinfo=UTC))
        again = AddCapture(pokemon_id=25, pokemon_name="", removed=True, capture_id=ids[0])
        assert (await store.add(again)).duplicated
        later = AddCapture(pokemon_id=25, pokemon_name="", removed=False)
        assert json.loads((await store.add(later)).capture)["timestamp"] == "2026-02-01T00:00:00.000Z"
        await store.purge(ran_s=1, keep_s=0)
        assert (await store.counts()).total == 3  # what was stored before is kept from now on
    assert contents(path)[0] == SCHEMA_VERSION


async def test_it_ends_as_a_new_one(path: Path, tmp_path: Path) -> None:
    """By whichever way a database came to this version, it is the same; and the next start changes nothing."""
    for _ in range(2):
        async with opened(path), opened(tmp_path / "new.sqlite3"):
            pass
        assert contents(path)[:2] == contents(tmp_path / "new.sqlite3")[:2]


async def test_the_latest_times_of_before_count(path: Path) -> None:
    """A clock that was wrong before the upgrade, too."""
    async with opened(path) as database:
        store = CaptureStore(
            database=database,
            queries=load_queries("services.client"),
            user_id="user_1",
            clock=lambda: datetime(1970, 1, 1, tzinfo=UTC),
        )
        added = json.loads((await store.add(AddCapture(pokemon_id=25, pokemon_name="", removed=True))).capture)
        assert added["timestamp"] == "2026-01-31T12:00:01.001Z"


@pytest.mark.parametrize("name", ["add_pulled_at", "add_steady_times"])
async def test_a_step_that_fails_changes_nothing(path: Path, name: str) -> None:
    """Whatever of it was done: the version of before can go on, and so can this one when the cause is gone."""
    before = contents(path)
    step = load_queries("services.client")[name]
    broken = step.replace("COMMIT", "CREATE TABLE captures (a); COMMIT")
    assert broken != step
    with pytest.raises(StartupError, match="can't be opened: table captures already exists"):
        async with opened(path, **{name: broken}):
            pass
    assert contents(path) == before if name == "add_pulled_at" else contents(path)[0] == SCHEMA_VERSION - 1
    async with opened(path) as database:
        assert (await store_of(database).counts()).total == 2
