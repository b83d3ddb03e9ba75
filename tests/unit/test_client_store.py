"""The client's store: what is added stays until it is acknowledged, and then for a while."""

# ruff: noqa: ASYNC240 - the few small files that a test touches keep nothing else waiting

from __future__ import annotations

import asyncio
import json
import sqlite3
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from services.client.database import SCHEMA_VERSION, Database
from services.client.errors import IdTakenError, StoreUnavailableError
from services.client.retention import Retention
from services.client.store import Added, CaptureStore, ForeignCapture
from shared.contracts.client_protocol import AddCapture, Capture
from shared.errors import StartupError
from shared.postgres.sql import load_queries

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

NOON = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)


class Clock:
    """A clock that moves only when told to, and one that nobody can set."""

    def __init__(self) -> None:
        self.now = NOON
        self.passed_s = 0.0

    def __call__(self) -> datetime:
        """The moment that it stands at."""
        return self.now

    def advance(self, **by: float) -> None:
        """Let a timedelta pass."""
        self.now += timedelta(**by)
        self.passed_s += timedelta(**by).total_seconds()

    def jump(self, **by: float) -> None:
        """Set it, while no time passes."""
        self.now += timedelta(**by)

    def monotonic(self) -> float:
        """The seconds that have passed."""
        return self.passed_s


@pytest.fixture
def clock() -> Clock:
    """Noon, until it is moved."""
    return Clock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A database file that does not exist yet, in a folder that does not exist yet."""
    return tmp_path / "client-data" / "captures.sqlite3"


@pytest.fixture
async def database(path: Path) -> AsyncIterator[Database]:
    """The open database."""
    async with Database(path=path, queries=load_queries("services.client")) as opened:
        yield opened


@pytest.fixture
def store(database: Database, clock: Clock) -> CaptureStore:
    """A store of user_1 on it."""
    return make_store(database, clock)


def make_store(database: Database, clock: Clock) -> CaptureStore:
    """A store of user_1."""
    return CaptureStore(
        database=database,
        queries=load_queries("services.client"),
        user_id="user_1",
        clock=clock,
        monotonic=clock.monotonic,
    )


@asynccontextmanager
async def reopened(path: Path, clock: Clock) -> AsyncIterator[CaptureStore]:
    """A store on a file that is not open."""
    async with Database(path=path, queries=load_queries("services.client")) as database:
        yield make_store(database, clock)


def new(pokemon_id: int = 25, *, action: Any = "capture", removed: bool = False, **more: Any) -> AddCapture:
    """What an app posts."""
    return AddCapture(pokemon_id=pokemon_id, pokemon_name="pikachu", action=action, removed=removed, **more)


def id_of(document: str) -> str:
    """A stored capture's id."""
    return str(json.loads(document)["capture_id"])


async def pending_ids(store: CaptureStore) -> list[str]:
    """All pending ids, in the order in which they are served."""
    return [id_of(each) for each in (await store.pending()).captures]


async def test_a_capture_is_stored_as_the_protocol_has_it(store: CaptureStore) -> None:
    """Each field of a new capture is there, and the shared model reads it."""
    added = await store.add(new(removed=True))
    assert json.loads(added.capture) == {
        "capture_id": "25_1769860800000_capture",
        "pokemon_id": 25,
        "pokemon_name": "pikachu",
        "action": "capture",
        "timestamp": "2026-01-31T12:00:00.000Z",
        "user_id": "user_1",
        "synced": False,
        "metadata": {"removed": True, "client_version": "1.0.0"},
    }
    assert Capture.model_validate_json(added.capture).removed


async def test_a_capture_survives_closing_and_opening(path: Path, clock: Clock) -> None:
    """What was added, acknowledged and noted is there in the next process."""
    async with reopened(path, clock) as store:
        first = id_of((await store.add(new(1))).capture)
        second = id_of((await store.add(new(2))).capture)
        await store.acknowledge([first])
    async with reopened(path, clock) as store:
        assert await pending_ids(store) == [second]
        counts = await store.counts()
        assert (counts.total, counts.pending, counts.last_sync) == (2, 1, "2026-01-31T12:00:00.000Z")


async def test_the_same_again_within_five_seconds_is_the_first(store: CaptureStore, clock: Clock) -> None:
    """Until just before 5 s have passed, the first capture comes back; from then on, a new one."""
    first = await store.add(new())
    clock.advance(seconds=4.999)
    again = await store.add(new())
    assert (again.duplicated, again.capture) == (True, first.capture)
    clock.advance(seconds=0.001)
    later = await store.add(new())
    assert not later.duplicated
    assert await pending_ids(store) == [id_of(first.capture), id_of(later.capture)]


@pytest.mark.parametrize(
    "other", [new(26), new(action="favorite"), new(removed=True)], ids=["pokemon_id", "action", "removed"]
)
async def test_another_kind_is_no_duplicate(store: CaptureStore, other: AddCapture) -> None:
    """Pokémon, action and removal all have to be the same."""
    await store.add(new())
    assert not (await store.add(other)).duplicated


async def test_an_acknowledged_capture_has_no_duplicates(store: CaptureStore) -> None:
    """Once the first is stored elsewhere, the same again is a new capture with an id of its own."""
    first = id_of((await store.add(new())).capture)
    await store.acknowledge([first])
    again = await store.add(new())
    assert not again.duplicated
    assert id_of(again.capture) == "25_1769860800001_capture"


async def test_captures_of_one_millisecond_keep_their_order(store: CaptureStore) -> None:
    """A removal in the same millisecond gets the next free one as id and as time, so the last one wins."""
    captured = json.loads((await store.add(new())).capture)
    removed = json.loads((await store.add(new(removed=True))).capture)
    assert captured["capture_id"] != removed["capture_id"]
    assert removed["timestamp"] == "2026-01-31T12:00:00.001Z" > captured["timestamp"]
    assert await pending_ids(store) == [captured["capture_id"], removed["capture_id"]]


async def test_a_capture_with_an_id_is_stored_once(store: CaptureStore, clock: Clock) -> None:
    """However often and late it comes again, with whatever time and name, also when it is acknowledged by then."""
    first = await store.add(new(capture_id="page-1", timestamp=NOON - timedelta(days=2)))
    assert not first.duplicated
    assert json.loads(first.capture) | {"metadata": None} == {
        "capture_id": "page-1",
        "pokemon_id": 25,
        "pokemon_name": "pikachu",
        "action": "capture",
        "timestamp": "2026-01-29T12:00:00.000Z",
        "user_id": "user_1",
        "synced": False,
        "metadata": None,
    }
    clock.advance(days=1)
    again = await store.add(new(capture_id="page-1"))
    assert (again.capture, again.duplicated) == (first.capture, True)
    await store.acknowledge(["page-1"])
    later = await store.add(new(capture_id="page-1").model_copy(update={"pokemon_name": "raichu"}))
    assert (json.loads(later.capture)["synced"], later.duplicated) == (True, True)
    assert (await store.counts()).total == 1


async def test_captures_with_ids_are_no_twins(store: CaptureStore) -> None:
    """Two taps within 5 s are two captures when each has its id, since then neither is a repeated request."""
    await store.add(new())
    for capture_id in ("page-1", "page-2"):
        assert not (await store.add(new(capture_id=capture_id))).duplicated
    assert (await store.add(new())).duplicated
    assert (await store.counts()).total == 3


@pytest.mark.parametrize(
    "other", [new(26), new(action="favorite"), new(removed=True)], ids=["pokemon_id", "action", "removed"]
)
async def test_an_id_of_another_capture_is_refused(store: CaptureStore, other: AddCapture) -> None:
    """Neither is lost in silence: the first stays as it is, and the other is refused by name."""
    first = await store.add(new(capture_id="page-1"))
    with pytest.raises(IdTakenError, match="capture_id"):
        await store.add(other.model_copy(update={"capture_id": "page-1"}))
    assert (await store.everything()).captures == [first.capture]


async def test_an_id_that_the_client_made_itself_is_taken(store: CaptureStore) -> None:
    """Then the capture is the same, and not stored twice; and the client makes none that a page has made."""
    made = await store.add(new())
    assert await store.add(new(capture_id=id_of(made.capture))) == Added(capture=made.capture, duplicated=True)
    with pytest.raises(IdTakenError):
        await store.add(new(capture_id=id_of(made.capture), removed=True))
    await store.add(new(1, capture_id="1_1769860800000_capture"))
    await store.acknowledge(["1_1769860800000_capture"])
    assert id_of((await store.add(new(1))).capture) == "1_1769860800001_capture"


async def test_of_the_same_id_at_once_one_is_stored(store: CaptureStore) -> None:
    """As from two tabs that both hand over what is pending; of two kinds, one is refused."""
    kinds = [new(capture_id="page-1"), new(capture_id="page-1", removed=True)] * 25
    added = await asyncio.gather(*(store.add(each) for each in kinds), return_exceptions=True)
    assert sum(isinstance(each, IdTakenError) for each in added) == 25
    assert [each.duplicated for each in added if isinstance(each, Added)].count(False) == 1
    assert (await store.counts()).total == 1


async def test_captures_of_a_page_take_their_place_by_their_time(store: CaptureStore, clock: Clock) -> None:
    """What was made offline yesterday is older than what is here; of one moment, the first that came is first."""
    await store.add(new(1))
    clock.advance(seconds=1)
    for number, capture_id in enumerate(("c", "a", "b"), start=2):
        await store.add(new(number, capture_id=capture_id, timestamp=NOON - timedelta(days=1)))
    assert await pending_ids(store) == ["c", "a", "b", "1_1769860800000_capture"]


async def test_of_concurrent_duplicates_one_is_stored(store: CaptureStore) -> None:
    """Fifty requests at once for one tap make one capture, which all fifty get."""
    added = await asyncio.gather(*(store.add(new()) for _ in range(50)))
    assert sorted(each.duplicated for each in added) == [False] + [True] * 49
    assert len({each.capture for each in added}) == 1
    assert (await store.counts()).total == 1


@pytest.mark.parametrize("jump", [-3_600.0, -4.0, 4.0, 3_600.0, 86_400.0 * 365])
async def test_a_clock_that_is_set_neither_parts_twins_nor_makes_them(
    store: CaptureStore, clock: Clock, jump: float
) -> None:
    """Whichever way it was set between two taps: whether they are one is decided by the time that has passed."""
    first = await store.add(new())
    clock.jump(seconds=jump)
    clock.advance(seconds=4.9)
    assert await store.add(new()) == Added(capture=first.capture, duplicated=True)
    clock.advance(seconds=0.1)
    assert not (await store.add(new())).duplicated


async def test_a_twin_is_known_after_a_restart(path: Path, clock: Clock) -> None:
    """A tap whose answer was lost with the process is sent again to the next one; from 5 s on it is another one."""
    async with reopened(path, clock) as store:
        first = await store.add(new())
    clock.advance(seconds=3)
    async with reopened(path, clock) as store:
        assert await store.add(new()) == Added(capture=first.capture, duplicated=True)
        clock.advance(seconds=2)
        assert not (await store.add(new())).duplicated
        clock.advance(seconds=5)
        clock.jump(seconds=-5)
        assert not (await store.add(new())).duplicated


@pytest.mark.parametrize("jump", [timedelta(days=-1), timedelta(days=365), timedelta(days=-20_000)])
async def test_what_is_later_here_has_a_later_time(path: Path, clock: Clock, jump: timedelta) -> None:
    """A capture, its removal, and so on, while the clock jumps there and back, with a restart in between."""
    times = []
    for number in range(6):
        async with reopened(path, clock) as store:
            clock.now += jump if number % 2 else -jump
            clock.advance(seconds=10)
            given: dict[str, Any] = {"capture_id": f"page-{number}"} if number == 3 else {}
            added = json.loads((await store.add(new(removed=bool(number % 2), **given))).capture)
            assert not added["synced"]
            times.append(added["timestamp"])
    assert times == sorted(set(times))


async def test_an_app_s_own_time_and_an_imported_one_count_as_well(store: CaptureStore) -> None:
    """An app whose clock was a day ahead made a capture: the removal here is later all the same."""
    ahead = NOON + timedelta(days=1)
    await store.add(new(1, capture_id="page-1", timestamp=ahead))
    await store.import_all([foreign("file-1", pokemon_id=2, timestamp=ahead)], last_sync=None, source="a test")
    for number in (1, 2):
        removal = json.loads((await store.add(new(number, removed=True))).capture)
        assert removal["timestamp"] == "2026-02-01T12:00:00.001Z"
    assert json.loads((await store.add(new(3))).capture)["timestamp"] == "2026-01-31T12:00:00.000Z"
    offline = await store.add(new(1, capture_id="page-2", timestamp=NOON - timedelta(days=3)))
    assert json.loads(offline.capture)["timestamp"] == "2026-01-28T12:00:00.000Z"


async def test_what_retention_has_deleted_still_counts(store: CaptureStore, clock: Clock) -> None:
    """The clock is back in 1970 after a dead battery: what was stored long ago is earlier all the same."""
    first = json.loads((await store.add(new())).capture)
    await store.acknowledge([first["capture_id"]])
    for ran_s in (1, 1):
        await store.purge(ran_s=ran_s, keep_s=0)
    assert (await store.counts()).total == 0
    clock.now = datetime(1970, 1, 1, tzinfo=UTC)
    assert json.loads((await store.add(new(removed=True))).capture)["timestamp"] == "2026-01-31T12:00:00.001Z"


@pytest.mark.parametrize("end", ["9999-12-31T23:59:59.999Z", "9999-12-31T23:59:59.000Z"])
async def test_a_capture_at_the_end_of_time_is_in_nobody_s_way(store: CaptureStore, end: str) -> None:
    """No time is later than that, so the next one has its own."""
    await store.add(new(capture_id="page-1", timestamp=datetime.fromisoformat(end)))
    assert json.loads((await store.add(new(removed=True))).capture)["timestamp"] == "2026-01-31T12:00:00.000Z"


async def test_pages_are_oldest_first_and_count_the_rest(store: CaptureStore, clock: Clock) -> None:
    """A page holds the oldest, and its total tells of all that is pending; without a limit all comes."""
    for pokemon_id in (3, 1, 2):
        await store.add(new(pokemon_id))
        clock.advance(minutes=1)
    page = await store.pending(limit=2)
    assert [json.loads(each)["pokemon_id"] for each in page.captures] == [3, 1]
    assert page.total == 3
    assert len((await store.pending()).captures) == 3


async def test_oldest_means_the_capture_s_own_time(store: CaptureStore, clock: Clock) -> None:
    """A capture made later by a clock that was set back is older, and comes first."""
    await store.add(new(1))
    clock.advance(hours=-1)
    await store.add(new(2))
    for page in (await store.pending(), await store.pending(limit=1), await store.everything()):
        assert json.loads(page.captures[0])["pokemon_id"] == 2


async def test_reading_page_by_page_meets_each_capture_once(store: CaptureStore) -> None:
    """Acknowledging page after page, with all times the same, ends with every capture seen exactly once."""
    for pokemon_id in range(1, 26):
        await store.add(new(pokemon_id))
    seen: list[str] = []
    while (page := await store.pending(limit=4)).captures:
        ids = [id_of(each) for each in page.captures]
        seen += ids
        await store.acknowledge(ids)
    assert len(seen) == len(set(seen)) == 25


def foreign(capture_id: str, *, pokemon_id: int = 1, timestamp: datetime = NOON) -> ForeignCapture:
    """A capture from elsewhere with that id."""
    capture = Capture(capture_id=capture_id, pokemon_id=pokemon_id, action="capture", timestamp=timestamp)
    return ForeignCapture(capture=capture, metadata="{}")


@settings(max_examples=60, deadline=None)
@given(
    ids=st.sets(
        st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=6)
        | st.text("aAzZ_09 äÄéß\u0301\uff5e\ufffd\U0001f600\U0001f601", min_size=1, max_size=4),
        max_size=25,
    ),
    limit=st.integers(1, 27),
)
@example(ids={"\U0001f600", "\uff5e", "ä", "a", "a\U0001f600", "Z"}, limit=1)
async def test_pages_by_id_joined_are_the_whole(ids: set[str], limit: int) -> None:
    """In the order of the ids' UTF-8 bytes (not of UTF-16, nor of any language), each once, and none too long."""
    with TemporaryDirectory() as folder:
        async with reopened(Path(folder) / "captures.sqlite3", Clock()) as store:
            await store.import_all([foreign(each) for each in ids], last_sync=None, source="a test")
            seen: list[str] = []
            while (page := await store.everything_by_id(after=seen[-1] if seen else "", limit=limit)).captures:
                assert (page.total, len(page.captures)) == (len(ids), min(limit, len(ids) - len(seen)))
                seen += [id_of(each) for each in page.captures]
            assert page.total == len(ids)
            assert seen == sorted(ids, key=str.encode)
            assert sorted(seen) == sorted(id_of(each) for each in (await store.everything()).captures)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(after=st.text(st.characters(exclude_categories=()), max_size=4) | st.sampled_from(["\ud800", "a\x00", "\x00"]))
async def test_any_text_has_its_place_among_the_ids(store: CaptureStore, after: str) -> None:
    """Also text that no id can be, such as half of a surrogate pair: what comes after it is what has larger bytes."""
    ids = ["A", "a", "aa", "ä", "\uff5e", "\U0001f600"]
    await store.import_all([foreign(each) for each in ids], last_sync=None, source="a test")
    page = await store.everything_by_id(after=after)
    assert [id_of(each) for each in page.captures] == [
        each for each in ids if each.encode() > after.encode(errors="surrogatepass")
    ]


async def test_a_page_by_id_is_found_by_an_index(database: Database) -> None:
    """A page costs what is on it: nothing is sorted, and nothing before it is read."""
    statement = "EXPLAIN QUERY PLAN " + load_queries("services.client")["everything_by_id"]
    async with database.transaction(write=False) as db:
        rows = await db.execute_fetchall(statement, {"after": b"a", "limit": 1})
    [plan] = [row[-1] for row in rows]
    assert plan.startswith("SEARCH captures USING INDEX")


async def test_since_is_strictly_newer_and_counts_likewise(store: CaptureStore, clock: Clock) -> None:
    """A capture of the moment itself is left out, also when the moment has parts of a millisecond."""
    await store.add(new(1))
    clock.advance(milliseconds=1)
    await store.add(new(2))
    for since in (NOON, NOON + timedelta(microseconds=999)):
        page = await store.pending(since=since)
        assert ([json.loads(each)["pokemon_id"] for each in page.captures], page.total) == ([2], 1)
    assert (await store.pending(since=NOON - timedelta(microseconds=1))).total == 2
    assert (await store.pending(since=NOON + timedelta(milliseconds=1))).total == 0


async def test_acknowledging_marks_and_notes_the_time(store: CaptureStore, clock: Clock) -> None:
    """The capture is no longer pending, still there, and last_sync is set, also when nothing was known."""
    capture_id = id_of((await store.add(new())).capture)
    clock.advance(seconds=1)
    await store.acknowledge([capture_id, "unknown", capture_id])
    assert await pending_ids(store) == []
    everything = await store.everything()
    assert [json.loads(each)["synced"] for each in everything.captures] == [True]
    assert everything.last_sync == "2026-01-31T12:00:01.000Z"
    clock.advance(seconds=1)
    await store.acknowledge([])
    assert (await store.counts()).last_sync == "2026-01-31T12:00:02.000Z"


async def test_forty_thousand_ids_of_any_characters_are_acknowledged(store: CaptureStore) -> None:
    """Neither the number of ids nor what they are made of keeps the known one from being marked."""
    known = id_of((await store.add(new())).capture)
    odd = ["", "'; DROP TABLE captures; --", "\x00", "\ud800", "é\U0001f600", '"', "\\", "%", "x" * 100_000]
    await store.acknowledge([*(f"unknown_{number}" for number in range(40_000)), *odd, known])
    assert await pending_ids(store) == []


async def test_an_id_is_not_cut_at_a_nul(store: CaptureStore) -> None:
    """`<id>NUL<more>` is another id; to take it for the first would lose a capture."""
    known = id_of((await store.add(new())).capture)
    await store.acknowledge([f"{known}\x00", f"{known}\x00more", f"{known} ", known.upper()])
    assert await pending_ids(store) == [known]


def retention_of(store: CaptureStore, clock: Clock) -> Retention:
    """It keeps for 30 days."""
    return Retention(store=store, keep=timedelta(days=30), monotonic=clock.monotonic)


async def test_retention_deletes_only_what_was_acknowledged_long_ago(store: CaptureStore, clock: Clock) -> None:
    """A pending capture stays for ever, an acknowledged one for 30 days of running since it was first seen as such."""
    retention = retention_of(store, clock)
    early, late = [id_of((await store.add(new(pokemon_id))).capture) for pokemon_id in (1, 2)]
    never = id_of((await store.add(new(3))).capture)
    await store.acknowledge([early])
    assert await retention.step() == 600
    clock.advance(days=1)
    await store.acknowledge([late])
    await retention.step()
    clock.advance(days=29)
    await retention.step()
    assert (await store.counts()).total == 3
    clock.advance(seconds=1)
    await retention.step()
    assert [id_of(each) for each in (await store.everything()).captures] == [late, never]
    clock.advance(days=36_500)
    await retention.step()
    assert [id_of(each) for each in (await store.everything()).captures] == [never]


@pytest.mark.parametrize("jump", [365, -365])
async def test_a_clock_that_is_set_deletes_nothing(path: Path, clock: Clock, jump: int) -> None:
    """A year ahead for a minute, or a year back while something is acknowledged: with cleanups and restarts in it."""
    for _ in range(4):
        async with reopened(path, clock) as store:
            retention = retention_of(store, clock)
            clock.jump(days=jump)
            await store.acknowledge([id_of((await store.add(new())).capture)])
            await retention.step()
            clock.advance(minutes=1)
            await retention.step()
            clock.jump(days=-jump)
            clock.advance(hours=1)
            await retention.step()
    async with reopened(path, clock) as store:
        assert (await store.counts()).total == 4


async def test_retention_goes_on_after_a_restart(path: Path, clock: Clock) -> None:
    """The time that it ran before counts."""
    for _ in range(31):
        async with reopened(path, clock) as store:
            retention = retention_of(store, clock)
            if (await store.counts()).last_sync is None:
                await store.acknowledge([id_of((await store.add(new())).capture)])
                await retention.step()
            clock.advance(days=1)
            await retention.step()
    async with reopened(path, clock) as store:
        assert (await store.counts()).total == 0


async def test_a_full_database_refuses_and_recovers(database: Database, store: CaptureStore) -> None:
    """When there is no room the capture is refused as a whole, what was there can be read, and room helps."""
    kept = id_of((await store.add(new(1))).capture)
    large = AddCapture(pokemon_id=2, pokemon_name="x" * 255, action="capture")
    async with database.transaction(write=False) as db:
        [[pages]] = await db.execute_fetchall("PRAGMA page_count")
        await db.execute(f"PRAGMA max_page_count = {pages}")
    results = await asyncio.gather(
        *(store.add(large.model_copy(update={"pokemon_id": pokemon_id})) for pokemon_id in range(2, 200)),
        return_exceptions=True,
    )
    refused = [each for each in results if isinstance(each, StoreUnavailableError)]
    assert refused
    assert "full" in str(refused[0])
    before = (await store.pending()).total
    assert before == 1 + len(results) - len(refused)
    assert (await pending_ids(store))[0] == kept
    async with database.transaction(write=False) as db:
        await db.execute("PRAGMA max_page_count = 100000")
    await store.add(new(1_000))
    assert (await store.pending()).total == before + 1


async def test_retention_waits_when_the_database_can_not_be_used(store: CaptureStore, clock: Clock, path: Path) -> None:
    """A purge that fails is put off to the next time, without an error, and the time is counted then."""
    retention = retention_of(store, clock)
    clock.advance(days=1)
    kept = path.rename(path.with_name("elsewhere"))
    assert await retention.step() == 600
    kept.rename(path)
    await retention.step()
    assert await store.facts("ran_s") == {"ran_s": "86400"}


async def test_a_capture_is_refused_when_its_file_is_gone(store: CaptureStore, path: Path) -> None:
    """SQLite would write on to a deleted file; what it accepted would be lost with the process."""
    await store.add(new(1))
    path.unlink()
    with pytest.raises(StoreUnavailableError, match="moved or deleted"):
        await store.add(new(2))
    assert (await store.pending()).total == 1


async def test_a_cancelled_add_leaves_the_store_usable(store: CaptureStore) -> None:
    """Wherever it is cancelled, the transaction ends, and what was added is whole."""
    for turns in range(40):
        task = asyncio.ensure_future(store.add(new(turns + 1)))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        assert not (await store.add(new(1_000 + turns))).duplicated
    counts = await store.counts()
    assert 40 <= counts.total <= 80
    assert len((await store.pending()).captures) == counts.pending == counts.total


async def test_commits_are_synced_to_the_disk(database: Database) -> None:
    """The connection is in WAL mode with synchronous FULL: a committed capture survives a power cut."""
    async with database.transaction(write=False) as db:
        [[journal]] = await db.execute_fetchall("PRAGMA journal_mode")
        [[synchronous]] = await db.execute_fetchall("PRAGMA synchronous")
    assert (journal, synchronous) == ("wal", 2)


async def test_another_process_that_holds_the_file_for_long_is_no_acceptance(path: Path, clock: Clock) -> None:
    """While some tool keeps the database locked, a capture is refused, and nothing hangs."""
    async with Database(path=path, queries=load_queries("services.client"), busy_timeout_s=0.01) as database:
        store = make_store(database, clock)
        tool = sqlite3.connect(path, isolation_level=None)
        try:
            tool.execute("BEGIN IMMEDIATE")
            with pytest.raises(StoreUnavailableError, match="locked"):
                await store.add(new())
        finally:
            tool.close()
        assert not (await store.add(new())).duplicated


async def test_a_second_client_on_the_same_database_is_refused(store: CaptureStore, path: Path, clock: Clock) -> None:
    """Two clients would take turns in registering themselves; also when the second comes by a symbolic link."""
    await store.add(new())
    link = path.with_name("link.sqlite3")
    link.symlink_to(path)
    for other in (path, link):
        with pytest.raises(StartupError, match=r"in use by another client"):
            async with reopened(other, clock):
                pass
    assert (await store.counts()).total == 1


async def test_a_file_that_is_no_database_is_refused_and_kept(path: Path, clock: Clock) -> None:
    """The sentence names the file and the setting, and the file is not touched."""
    path.parent.mkdir()
    path.write_bytes(b"these are my holiday pictures" * 100)
    with pytest.raises(StartupError, match=r"captures\.sqlite3 can't be opened: .*CLIENT_DATABASE"):
        async with reopened(path, clock):
            pass
    assert path.read_bytes() == b"these are my holiday pictures" * 100


async def test_a_folder_that_can_not_be_made_is_refused(tmp_path: Path, clock: Clock) -> None:
    """A file where the folder should be is told in one sentence."""
    (tmp_path / "client-data").write_text("a file")
    with pytest.raises(StartupError, match="can't be opened"):
        async with reopened(tmp_path / "client-data" / "captures.sqlite3", clock):
            pass


async def test_a_database_of_a_newer_client_is_refused(path: Path, clock: Clock) -> None:
    """An older client must not write into a schema that it does not know."""
    async with reopened(path, clock) as store:
        await store.add(new())
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    connection.close()
    with pytest.raises(StartupError, match="newer client"):
        async with reopened(path, clock):
            pass
