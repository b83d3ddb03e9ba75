"""The original client's file is taken over whole, once, or not at all."""

# ruff: noqa: ASYNC240 - the few small files that a test touches keep nothing else waiting

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
import structlog

from services.client.database import Database
from services.client.legacy_import import import_once, read_legacy_file
from services.client.ownership import Ownership
from services.client.store import CaptureStore
from shared.contracts.client_protocol import AddCapture
from shared.errors import StartupError
from shared.postgres.sql import load_queries

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

PENDING: dict[str, Any] = {
    "capture_id": "25_1760000000000_capture",
    "pokemon_id": 25,
    "pokemon_name": "pikachu",
    "action": "capture",
    "timestamp": "2025-10-09T08:53:20.000Z",
    "user_id": "user_1",
    "synced": False,
    "metadata": {"device_info": {"os": "Ionic é", "v": [1, 2.5, None]}, "removed": True, "client_version": "0.9"},
}
SYNCED: dict[str, Any] = {**PENDING, "capture_id": "1_1750000000000_favorite", "pokemon_id": 1, "synced": True}


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    """An empty database."""
    queries = load_queries("services.client")
    async with Database(path=tmp_path / "captures.sqlite3", queries=queries) as opened:
        yield opened


@pytest.fixture
def store(database: Database) -> CaptureStore:
    """An empty store of user_1."""
    return CaptureStore(
        database=database,
        queries=load_queries("services.client"),
        user_id="user_1",
        clock=lambda: datetime(2026, 1, 31, 12, 0, tzinfo=UTC),
    )


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Where the original client's file would be."""
    return tmp_path / "client-sync-data.json"


def write(file: Path, *captures: Any, last_sync: Any = None) -> None:
    """The file as the original client writes it."""
    file.write_text(json.dumps({"captures": captures, "last_sync": last_sync}, indent=2), encoding="utf-8")


async def take_in(store: CaptureStore, file: Path, *take_over_from: str) -> None:
    """Import it for user_1."""
    ownership = Ownership(user_id="user_1", take_over_from=take_over_from)
    await import_once(store=store, path=file, ownership=ownership)


async def everything(store: CaptureStore) -> list[dict[str, Any]]:
    """All captures, as they are served."""
    return [json.loads(each) for each in (await store.everything()).captures]


async def test_captures_come_over_as_they_are(store: CaptureStore, file: Path) -> None:
    """Flags, owner, unknown metadata and last_sync survive, and the file is left as it was."""
    write(file, PENDING, SYNCED, last_sync="2025-10-10T00:00:00.000Z")
    content = file.read_bytes()
    await take_in(store, file)
    assert await everything(store) == [PENDING, SYNCED]
    page = await store.pending()
    assert [json.loads(each) for each in page.captures] == [PENDING]
    assert page.last_sync == "2025-10-10T00:00:00.000Z"
    assert file.read_bytes() == content


async def test_metadata_keeps_its_order_and_gets_nothing_added(store: CaptureStore, file: Path) -> None:
    """What the device wrote is served verbatim; no metadata is served as an empty object."""
    without = {key: value for key, value in SYNCED.items() if key != "metadata"}
    write(file, {**PENDING, "metadata": {"z": 1, "a": {}}}, without)
    await take_in(store, file)
    documents = [each.partition('"metadata":')[2] for each in (await store.everything()).captures]
    assert documents == ['{"z":1,"a":{}}}', "{}}"]


async def test_a_file_is_imported_once(store: CaptureStore, file: Path) -> None:
    """What is in the file later, even damage, no longer matters."""
    write(file, PENDING)
    await take_in(store, file)
    write(file, PENDING, SYNCED)
    await take_in(store, file)
    file.write_text("damaged")
    await take_in(store, file)
    assert await everything(store) == [PENDING]


async def test_a_file_that_comes_later_is_still_imported(store: CaptureStore, file: Path) -> None:
    """Starting without a file does not count as an import."""
    await take_in(store, file)
    assert await everything(store) == []
    write(file, PENDING)
    await take_in(store, file)
    assert await everything(store) == [PENDING]


async def test_an_empty_list_counts_as_imported(store: CaptureStore, file: Path) -> None:
    """A file without captures is imported, and remembered."""
    write(file)
    await take_in(store, file)
    assert await store.has_imported()


async def test_the_same_twice_is_one(store: CaptureStore, file: Path) -> None:
    """Whatever the order of its keys; pending when one of them is, and as the database has it when it is there."""
    await store.import_all([], last_sync=None, source="before")
    turned = {**dict(reversed(PENDING.items())), "metadata": dict(reversed(PENDING["metadata"].items()))}
    write(file, {**PENDING, "synced": True}, turned, SYNCED, SYNCED)
    data = read_legacy_file(file)
    assert data is not None
    assert (await store.import_all(data.captures, last_sync=None, source="a")).new == 2
    await store.acknowledge([PENDING["capture_id"]])
    again = await store.import_all(data.captures, last_sync=None, source="b")
    assert (again.new, again.renamed) == (0, {})
    assert [each["synced"] for each in await everything(store)] == [True, True]


async def test_two_that_share_an_id_are_two(store: CaptureStore, file: Path) -> None:
    """The second, and the third, have ids of their own: the same at each import; they are pending, and it is told."""
    others = [
        {**PENDING, "pokemon_name": "second", "synced": True},
        {**PENDING, "timestamp": "2025-10-09T08:53:21.000Z"},
    ]
    write(file, {**PENDING, "synced": True}, *others)
    with structlog.testing.capture_logs() as logs:
        await take_in(store, file)
    found = await everything(store)
    assert [each["capture_id"].partition("~")[0] for each in found] == [PENDING["capture_id"]] * 3
    assert len({each["capture_id"] for each in found}) == 3
    assert [each["synced"] for each in found] == [True, False, False]
    named = {each["capture_id"]: PENDING["capture_id"] for each in found[1:]}
    assert [each["new_ids"] for each in logs if each["event"] == "capture_ids_were_shared"] == [named]
    data = read_legacy_file(file)
    assert data is not None
    await store.import_all(data.captures, last_sync=None, source="again")
    assert await everything(store) == found


async def test_an_id_that_the_database_has_for_another_capture_is_its(store: CaptureStore, file: Path) -> None:
    """What is here stays as it is, and the file's gets an id of its own; also where that has to be cut."""
    taken = "x" * 255
    here = AddCapture(pokemon_id=1, pokemon_name="mine", action="capture", capture_id=taken)
    added = json.loads((await store.add(here)).capture)
    await store.acknowledge([taken])
    write(file, {**PENDING, "capture_id": taken})
    await take_in(store, file)
    [other, mine] = await everything(store)
    assert mine == {**added, "synced": True}
    assert other | {"capture_id": ""} == {**PENDING, "capture_id": ""}
    assert (len(other["capture_id"]), other["capture_id"][:238]) == (255, "x" * 238)


async def test_captures_of_another_user_stop_the_start(store: CaptureStore, file: Path) -> None:
    """The line names the file, whose they are, and what to do; nothing is imported."""
    write(file, PENDING, {**PENDING, "capture_id": "a", "user_id": "ash"}, {**SYNCED, "user_id": "ash"})
    with pytest.raises(StartupError, match=r"client-sync-data\.json.* 2 of 'ash'.* CLIENT_TAKE_OVER_FROM"):
        await take_in(store, file, "misty")
    assert await everything(store) == []
    assert not await store.has_imported()


async def test_captures_of_another_user_are_taken_over_when_that_is_asked_for(store: CaptureStore, file: Path) -> None:
    """They are this user's from then on, and none of them is stored as his."""
    write(file, {**PENDING, "user_id": "ash"}, {**SYNCED, "user_id": "ash"})
    await take_in(store, file, "ash")
    found = await everything(store)
    assert [(each["user_id"], each["synced"]) for each in found] == [("user_1", False)] * 2


async def test_the_newer_last_sync_stays(store: CaptureStore, file: Path) -> None:
    """A last_sync out of an old file does not turn the clock back."""
    await store.acknowledge([])
    write(file, last_sync="2020-01-01T00:00:00.000Z")
    await take_in(store, file)
    assert (await store.counts()).last_sync == "2026-01-31T12:00:00.000Z"


async def test_what_is_missing_gets_its_default(store: CaptureStore, file: Path) -> None:
    """No owner means this client's user, no `synced` means pending, another zone becomes UTC."""
    write(
        file, {"capture_id": "x", "pokemon_id": 10_001, "action": "favorite", "timestamp": "2025-01-01T02:00:00+02:00"}
    )
    await take_in(store, file)
    assert await everything(store) == [
        {
            "capture_id": "x",
            "pokemon_id": 10_001,
            "pokemon_name": "",
            "action": "favorite",
            "timestamp": "2025-01-01T00:00:00.000Z",
            "user_id": "user_1",
            "synced": False,
            "metadata": {},
        }
    ]


async def test_a_byte_order_mark_is_no_damage(store: CaptureStore, file: Path) -> None:
    """Editors on Windows put one in front."""
    file.write_text(json.dumps({"captures": [PENDING], "last_sync": None}), encoding="utf-8-sig")
    await take_in(store, file)
    assert await everything(store) == [PENDING]


DAMAGE = {
    "empty": (b"", "not JSON"),
    "cut off": (json.dumps({"captures": [PENDING]}).encode()[:-20], "not JSON"),
    "not UTF-8": (b'{"captures": [], "x": "\xff"}', "not JSON"),
    "NaN": (b'{"captures": [], "x": NaN}', "not JSON"),
    "too deep": (b"[" * 100_000, "can't be imported"),
    "a list": (b"[]", 'list "captures"'),
    "no captures": (b'{"last_sync": null}', 'list "captures"'),
    "captures no list": (b'{"captures": {}}', 'list "captures"'),
    "last_sync no time": (b'{"captures": [], "last_sync": "yesterday"}', "last_sync"),
    "last_sync a number": (b'{"captures": [], "last_sync": 5}', "last_sync"),
    "capture a number": (b'{"captures": [5]}', "capture number 1"),
    "infinite": (
        json.dumps({"captures": [{**PENDING, "metadata": {"x": "1e999"}}]}).replace('"1e999"', "1e999").encode(),
        "capture number 1",
    ),
}
BAD_FIELDS: dict[str, object] = {
    "capture_id": "",
    "pokemon_id": 0,
    "pokemon_name": "half of a pair: \ud800",
    "action": "release",
    "timestamp": "yesterday",
    "user_id": 5,
    "synced": "false",
    "metadata": {"removed": "no"},
}


@pytest.mark.parametrize("damage", DAMAGE)
async def test_a_damaged_file_stops_the_start(store: CaptureStore, file: Path, damage: str) -> None:
    """The one line names the file, what is wrong and what to do; the file stays, and nothing is imported."""
    content, expected = DAMAGE[damage]
    file.write_bytes(content)
    with pytest.raises(StartupError) as raised:
        await take_in(store, file)
    text = str(raised.value)
    assert str(file) in text
    assert expected in text
    assert "repair it" in text
    assert "\n" not in text
    assert file.read_bytes() == content
    assert await everything(store) == []
    assert not await store.has_imported()


@pytest.mark.parametrize("field", BAD_FIELDS)
async def test_one_bad_capture_stops_the_whole_import(store: CaptureStore, file: Path, field: str) -> None:
    """The good captures before and after it are not imported either; number and field of the bad one are named."""
    write(file, PENDING, {**SYNCED, field: BAD_FIELDS[field]}, SYNCED)
    with pytest.raises(StartupError, match=r"capture number 2 is damaged") as raised:
        await take_in(store, file)
    assert field in str(raised.value) or field == "pokemon_name"
    assert "\n" not in str(raised.value)
    assert await everything(store) == []


async def test_a_folder_in_place_of_the_file_stops_the_start(store: CaptureStore, file: Path) -> None:
    """What can't be read is not taken for missing."""
    file.mkdir()
    with pytest.raises(StartupError, match="can't be imported"):
        await take_in(store, file)


async def test_a_full_disk_stops_the_start(database: Database, store: CaptureStore, file: Path) -> None:
    """The import is whole or not at all: without room for it the client does not start, and says why."""
    many = [{**PENDING, "capture_id": str(number), "pokemon_name": "x" * 255} for number in range(2_000)]
    write(file, *many)
    async with database.transaction(write=False) as db:
        await db.execute("PRAGMA max_page_count = 100")
    with pytest.raises(StartupError, match=r"client-sync-data\.json can't be imported.* full"):
        await take_in(store, file)
    assert await everything(store) == []
    assert not await store.has_imported()
