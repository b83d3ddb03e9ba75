"""Ingest's writer on a real Postgres: each capture once, one bad one alone in quarantine, no schema error hidden."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Final
from uuid import UUID, uuid4

import asyncpg
import msgspec
import pytest
from asyncpg.pool import PoolConnectionProxy

from dev.database import Database
from services.ingest.errors import StoreUnavailableError
from services.ingest.incoming import ReceivedPull
from services.ingest.store import CaptureStore
from services.ingest.writer import Writer
from shared.contracts.messages import PulledCapture, UnreadableItem
from shared.contracts.times import EARLIEST, LATEST
from shared.postgres.database import make_pool
from shared.postgres.sql import load_queries
from shared.tasks import running
from tests.waiting import eventually, some_wait

NOON: Final = datetime(2026, 1, 31, 12, tzinfo=UTC)


def capture(capture_id: str = "c1", **fields: Any) -> PulledCapture:
    """A capture of pikachu at noon, unless told."""
    known: dict[str, Any] = {
        "capture_id": capture_id,
        "pokemon_id": 25,
        "pokemon_name": "pikachu",
        "action": "capture",
        "timestamp": NOON,
        "removed": False,
        "metadata": None,
    }
    return PulledCapture(**{**known, **fields})


def pull(*captures: PulledCapture, user_id: str = "ash", unreadable: Sequence[UnreadableItem] = ()) -> ReceivedPull:
    """A pull of one user, received an hour after noon."""
    return ReceivedPull(
        pull_id=uuid4(),
        user_id=user_id,
        received_at=NOON + timedelta(hours=1),
        captures=captures,
        unreadable=unreadable,
    )


def item(number: int = 1) -> UnreadableItem:
    """An unreadable item."""
    return UnreadableItem(capture_id=f"u{number}", problem="it is no capture", raw=f"[{number}]")


@pytest.fixture
async def pool(database: Database) -> AsyncIterator[asyncpg.Pool]:
    """Ingest's own pool on a fresh database."""
    async with make_pool(database.ingest_url, service="test", max_size=4) as made:
        yield made


@pytest.fixture
async def store(pool: asyncpg.Pool) -> CaptureStore:
    """The store as ingest makes it."""
    return CaptureStore(pool=pool, queries=load_queries("services.ingest"))


@pytest.fixture
async def writer(store: CaptureStore) -> AsyncIterator[Writer]:
    """A writer that runs."""
    made = Writer(store=store)
    async with running("writer", made.run):
        yield made


async def ids(pool: asyncpg.Pool, table: str = "events") -> list[str]:
    """The ids in a table."""
    return [row[0] for row in await pool.fetch(f"SELECT capture_id FROM captures.{table} ORDER BY capture_id")]


async def ranking(pool: asyncpg.Pool) -> dict[int, int]:
    """Holders by Pokémon, as the registry sees them."""
    return dict(await pool.fetch("SELECT pokemon_id, holders FROM captures.published_ranking ORDER BY 1"))  # type: ignore[arg-type] # a record is a pair


async def test_a_duplicate_is_ignored_and_not_counted(writer: Writer, pool: asyncpg.Pool) -> None:
    """In the same pull, in another pull of the same group, and in a later one."""
    assert await writer.write([pull(capture("a"), capture("a"), capture("b")), pull(capture("b"), capture("c"))]) == [
        2,
        1,
    ]
    assert await writer.write([pull(capture("a"), capture("d"), capture("c"))]) == [1]
    assert await writer.write([pull(capture("a"), user_id="misty")]) == [1]
    assert await ids(pool) == ["a", "a", "b", "c", "d"]
    assert await ranking(pool) == {25: 2}


@pytest.mark.parametrize(
    "moment",
    [datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)],
    ids=["first", "last"],
)
async def test_a_time_at_an_end_is_stored_as_a_finite_one(writer: Writer, pool: asyncpg.Pool, moment: datetime) -> None:
    """Though a puller of before let it pass: asyncpg would make infinities of it."""
    await writer.write([pull(msgspec.structs.replace(capture("a"), timestamp=moment))])
    for column in ("captured_at FROM captures.events", "effective_at FROM captures.holdings"):
        stored = await pool.fetchval(f"SELECT {column}")
        assert EARLIEST <= stored <= LATEST


async def test_a_group_gives_each_its_own_counts(writer: Writer) -> None:
    """Writers that wait together are told what was theirs."""
    await writer.write([pull(capture("a"))])
    results = tuple(
        await asyncio.gather(
            writer.write([pull(capture("a"), capture("b"))]),
            writer.write([pull(user_id="misty"), pull(*(capture(f"m{n}") for n in range(5)), user_id="misty")]),
            writer.write([]),
            writer.write([pull(capture("x"), user_id="brock", unreadable=[item()])]),
        )
    )
    assert results == ([1], [0, 5], [], [1])


async def test_a_pull_that_comes_twice_counts_once(writer: Writer) -> None:
    """Though both messages, the second a redelivery, be in one group."""
    twice = pull(capture("a"), capture("b"))
    assert await writer.write([twice, pull(capture("c")), twice]) == [2, 1, 0]


async def test_a_capture_that_comes_again_costs_a_first_try_once(database: Database) -> None:
    """That user's captures are looked for from then on, and no other's: a client that can't be told is no burden."""
    failed, asked = [], []
    async with make_pool(database.ingest_url, service="test", max_size=1) as pool:
        store = CaptureStore(pool=pool, queries=load_queries("services.ingest"))
        look = load_queries("services.ingest")["find_known"]
        known, others = pull(capture("a")), [pull(capture(new), user_id="misty") for new in "bcde"]
        async with pool.acquire() as connection:
            connection.add_query_logger(lambda query: failed.append(query.exception) if query.exception else None)
            connection.add_query_logger(lambda query: asked.append(query.args) if query.query == look else None)
        counts = [await store.store([other, known]) for other in others]
        assert counts == [[1, 1], [1, 0], [1, 0], [1, 0]]
        assert [type(error) for error in failed] == [asyncpg.UniqueViolationError]
        assert asked == [(["ash", "misty"], ["a", "c"]), (["ash"], ["a"]), (["ash"], ["a"])]
        assert await ids(pool) == ["a", "b", "c", "d", "e"]


RECORD_ORDER: Final = """
CREATE TABLE captures.seen (place bigserial, capture_id text);
CREATE FUNCTION captures.see() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN INSERT INTO captures.seen (capture_id) VALUES (NEW.capture_id); RETURN NEW; END $$;
CREATE TRIGGER see BEFORE INSERT ON captures.events FOR EACH ROW EXECUTE FUNCTION captures.see();
"""


async def test_captures_of_any_width_are_stored_in_the_order_of_the_locks(database: Database) -> None:
    """Postgres may put a narrow row on a page before that of a wide one; without that order two writers deadlock."""
    rng = random.Random(3)  # noqa: S311 - widths, not secrets
    async with make_pool(database.ingest_url, service="test", max_size=1) as pool:
        await pool.execute(RECORD_ORDER)
        store = CaptureStore(pool=pool, queries=load_queries("services.ingest"))
        for first in (0, 3_000):
            widths = [rng.choice((1, 500, 900)) for _ in range(3_000)]
            texts = [f'"{rng.randbytes(width).hex()}"' for width in widths]
            captures = [capture(f"{first + n:04}", metadata=text) for n, text in enumerate(texts)]
            rng.shuffle(captures)
            await store.store([pull(*captures)])
        seen = await pool.fetch("SELECT capture_id FROM captures.seen ORDER BY place")
    assert [row["capture_id"] for row in seen] == [f"{number:04}" for number in range(6_000)]


async def test_another_key_that_is_violated_is_no_capture_that_came_again(pool: asyncpg.Pool, writer: Writer) -> None:
    """It speaks of the tables: it is told as it is, at once, and not waited for as if it could pass."""
    await pool.execute("CREATE UNIQUE INDEX one_quarantined_per_user ON captures.quarantine (user_id)")
    await writer.write([pull(unreadable=[item(1)])])
    with pytest.raises(asyncpg.UniqueViolationError, match="one_quarantined_per_user"):
        await writer.write([pull(capture("a"), unreadable=[item(2)])])
    assert await ids(pool) == []


async def test_what_somebody_else_is_storing_is_waited_for(pool: asyncpg.Pool, writer: Writer) -> None:
    """Two at the same time end as one after the other, and the second is told that it is stored."""
    store = CaptureStore(pool=pool, queries=load_queries("services.ingest"))
    async with pool.acquire() as other, asyncio.timeout(20):
        begun = other.transaction()
        await begun.start()
        await store.store_within(other, [pull(capture("a"))], ())
        writing = asyncio.create_task(writer.write([pull(capture("a"), capture("b", pokemon_id=4))]))
        await eventually(lambda: some_wait(pool))
        await other.execute(load_queries("services.ingest")["count"], 1, 1, 0)
        await begun.commit()
        assert await writing == [1]
    assert await ids(pool) == ["a", "b"]
    assert await ranking(pool) == {4: 1, 25: 1}


async def test_nothing_of_a_group_that_failed_is_in_the_next(writer: Writer, pool: asyncpg.Pool) -> None:
    """What a connection had taken in for a transaction is gone with it; also when another table refuses."""
    await pool.execute("ALTER TABLE captures.ranking ADD CONSTRAINT refuse CHECK (pokemon_id <> 4)")
    for _ in range(2 * pool.get_max_size()):  # every connection of the pool
        with pytest.raises(asyncpg.CheckViolationError):
            await writer.write([pull(capture("bad", pokemon_id=4), capture("worse"))])
    assert await writer.write([pull(capture("good"))]) == [1]
    assert await ids(pool) == ["good"]


UNSTORABLE: Final[dict[str, dict[str, Any]]] = {
    "metadata that jsonb refuses": {"metadata": '{"a": "\\u0000"}'},
    "metadata that is no JSON": {"metadata": "{"},
    "metadata number beyond numeric": {"metadata": '{"a": 1e200000}'},
    "metadata nested too deeply": {"metadata": "[" * 100_000 + "]" * 100_000},
    "NUL in the name": {"pokemon_name": "a\0"},
    "NUL in the id": {"capture_id": "bad\0"},
    "id too long for an index": {"capture_id": "".join(random.Random(1).choices("0123456789abcdef", k=20_000))},  # noqa: S311 - only hard to compress
    "pokemon_id beyond integer": {"pokemon_id": 2**31},
    "pokemon_id beyond bigint": {"pokemon_id": 2**70},
}


@pytest.mark.parametrize("fields", UNSTORABLE.values(), ids=UNSTORABLE)
async def test_a_capture_that_postgres_refuses_is_alone_in_quarantine(
    fields: dict[str, Any], writer: Writer, pool: asyncpg.Pool
) -> None:
    """All others are stored: of its own pull, of its message and of the other messages in the group."""
    guilty = capture(**{"capture_id": "bad", **fields})
    results = tuple(
        await asyncio.gather(
            writer.write([pull(capture("a"), capture("b"), user_id="misty")]),
            writer.write(
                [pull(capture("c"), guilty, capture("d"), unreadable=[item()]), pull(capture("e"), user_id="brock")]
            ),
            writer.write([pull(capture("f"), user_id="gary", unreadable=[item(2)])]),
        )
    )
    assert results == ([2], [2, 1], [1])
    assert await ids(pool) == ["a", "b", "c", "d", "e", "f"]
    kept = await pool.fetch("SELECT user_id, capture_id, problem, raw FROM captures.quarantine WHERE raw NOT LIKE '[%'")
    assert [row["user_id"] for row in kept] == ["ash"]
    assert kept[0]["problem"].startswith("the database refused it")
    assert kept[0]["capture_id"] == guilty.capture_id.replace("\0", "\N{REPLACEMENT CHARACTER}")[:1_000]
    assert await pool.fetchval("SELECT count(*) FROM captures.quarantine") == 3
    assert dict((await pool.fetch("SELECT events, quarantined FROM captures.totals"))[0]) == {
        "events": 6,
        "quarantined": 3,
    }


async def test_what_was_refused_is_refused_once(writer: Writer, pool: asyncpg.Pool) -> None:
    """The same message again changes nothing, in the quarantine neither."""
    batch = [pull(capture("a"), capture("bad", metadata="{"), unreadable=[item()])]
    assert await writer.write(batch) == [1]
    assert await writer.write(batch) == [0]
    assert await ids(pool, "quarantine") == ["bad", "u1"]


SCHEMA_ERRORS: Final = [
    "DROP TABLE captures.events CASCADE",
    "DROP TABLE captures.ranking CASCADE",
    "DROP TABLE captures.quarantine CASCADE",
    "DROP TABLE captures.holders CASCADE",
    "ALTER TABLE captures.holdings DROP COLUMN held_before",
    "ALTER TABLE captures.ranking DROP CONSTRAINT ranking_pkey",
    (
        "CREATE FUNCTION captures.refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'no'; END $$;"
        "CREATE TRIGGER refuse BEFORE INSERT ON captures.events FOR EACH ROW EXECUTE FUNCTION captures.refuse()"
    ),
]


@pytest.mark.parametrize(
    "statement",
    [
        *SCHEMA_ERRORS,
        "ALTER TABLE captures.events ADD COLUMN added integer NOT NULL",
        "DO $$ BEGIN FOR n IN 0..7 LOOP EXECUTE 'DROP TABLE captures.events_' || n; END LOOP; END $$",
        "ALTER TABLE captures.events ADD CHECK (pokemon_id < 0)",
    ],
)
async def test_a_schema_error_is_nobodys_fault(
    statement: str, writer: Writer, pool: asyncpg.Pool, database: Database
) -> None:
    """It is raised to everyone who needs what is wrong, and nothing goes to the quarantine.

    A table that is missing is an outage; another message of the group may do without it.
    """
    connection = await asyncpg.connect(database.ingest_url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()
    first, second = await asyncio.gather(
        writer.write([pull(capture("a"), capture("b"), unreadable=[item()])]),
        writer.write([pull(capture("c"), user_id="misty")]),
        return_exceptions=True,
    )
    if "TABLE captures.quarantine" in statement:
        assert second == [1]
    else:
        assert isinstance(second, asyncpg.PostgresError | StoreUnavailableError)
        assert await ids(pool, "quarantine") == []
    assert isinstance(first, asyncpg.PostgresError | StoreUnavailableError)


async def test_an_unstorable_quarantine_item_fails_its_own_message_only(writer: Writer, pool: asyncpg.Pool) -> None:
    """The messages that happened to be in the same group are stored and told so."""
    results = await asyncio.gather(
        writer.write([pull(capture("a"), user_id="misty")]),
        writer.write([pull(unreadable=[UnreadableItem(capture_id="u", problem="p", raw="\0")])]),
        writer.write([pull(capture("b"), user_id="brock")]),
        return_exceptions=True,
    )
    assert await ids(pool) == ["a", "b"]
    assert [results[0], results[2]] == [[1], [1]]


async def test_two_writers_in_opposite_order_agree(store: CaptureStore, pool: asyncpg.Pool) -> None:
    """Two ingests with the same batches in opposite order neither deadlock nor count twice."""
    users = [f"user_{number}" for number in range(40)]
    batches = [
        [
            pull(*(capture(f"{b}-{p}", pokemon_id=1 + (p * 7 + b) % 30) for p in range(20)), user_id=user)
            for user in users
        ]
        for b in range(6)
    ]
    first, second = Writer(store=store), Writer(store=store)

    async def write_all(writer: Writer, order: Sequence[int]) -> int:
        counts = [await writer.write(list(reversed(batches[b])) if writer is second else batches[b]) for b in order]
        return sum(map(sum, counts))

    deadlocks = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
    async with running("first", first.run), running("second", second.run), asyncio.timeout(60):
        stored = await asyncio.gather(write_all(first, range(6)), write_all(second, range(5, -1, -1)))
    assert sum(stored) == 6 * 40 * 20
    assert await pool.fetchval(deadlocks) == 0
    expected: dict[int, int] = dict(
        await pool.fetch("SELECT pokemon_id, count(DISTINCT user_id) FROM captures.events GROUP BY 1 ORDER BY 1")  # type: ignore[arg-type] # a record is a pair
    )
    assert await ranking(pool) == expected
    totals = await pool.fetchrow("SELECT events, holdings FROM captures.totals")
    assert totals is not None
    assert tuple(totals) == (4_800, sum(expected.values()))
    held = "SELECT user_id, count(*)::integer AS holdings FROM captures.holdings WHERE held GROUP BY 1 ORDER BY 1"
    holders = await pool.fetch("SELECT user_id, holdings FROM captures.holders ORDER BY 1")
    assert holders == await pool.fetch(held)


LOCK_ORDER: Final = {
    "events": "DELETE FROM captures.events WHERE capture_id = 'repeated'",
    "holdings": "SELECT FROM captures.holdings WHERE user_id = 'ash' FOR UPDATE NOWAIT",
    "holders": "SELECT FROM captures.holders WHERE user_id = 'ash' FOR UPDATE NOWAIT",
    "ranking": "SELECT FROM captures.ranking WHERE pokemon_id = 25 FOR UPDATE NOWAIT",
    "quarantine": "DELETE FROM captures.quarantine",
    "totals": "SELECT FROM captures.totals FOR UPDATE NOWAIT",
}


@pytest.mark.parametrize("held_up_at", LOCK_ORDER)
async def test_locks_are_taken_in_the_order_that_is_written_down(
    held_up_at: str, writer: Writer, pool: asyncpg.Pool
) -> None:
    """A writer that waits at one table has locked all tables before it, and none after it."""
    first = pull(capture("a", pokemon_id=1), capture("b"), capture("repeated", pokemon_id=4), unreadable=[item()])
    await writer.write([first])
    second = pull(
        capture("c", removed=True, timestamp=NOON + timedelta(minutes=1)), capture("repeated"), unreadable=[item()]
    )
    waits = "SELECT count(*) > 0 FROM pg_locks WHERE NOT granted"
    async with pool.acquire() as other, pool.acquire() as third:
        begun = other.transaction()
        await begun.start()
        await other.execute(LOCK_ORDER[held_up_at])
        writing = asyncio.create_task(writer.write([second]))
        await eventually(partial(third.fetchval, waits))
        order = list(LOCK_ORDER)
        checked = [table for table in order if "NOWAIT" in LOCK_ORDER[table] and table != held_up_at]
        locked = [table for table in checked if await is_locked(third, LOCK_ORDER[table])]
        assert locked == [table for table in checked if order.index(table) < order.index(held_up_at)]
        await begun.commit()
        await writing


async def is_locked(connection: PoolConnectionProxy, statement: str) -> bool:
    """Whether somebody else has the row."""
    try:
        async with connection.transaction():
            await connection.execute(statement)
    except asyncpg.LockNotAvailableError:
        return True
    return False


async def test_long_items_that_begin_alike_are_told_apart_by_their_ids(writer: Writer, pool: asyncpg.Pool) -> None:
    """What is kept of them is the same; and each is kept once all the same."""
    cut = '{"note": "' + "x" * 16_000
    items = [UnreadableItem(capture_id=capture_id, problem="p", raw=cut) for capture_id in ("u1", "u2", None)]
    await writer.write([pull(unreadable=items), pull(unreadable=items)])
    kept = await pool.fetch("SELECT capture_id FROM captures.quarantine ORDER BY capture_id")
    assert [row[0] for row in kept] == ["u1", "u2", None]


async def test_unreadable_items_do_not_deadlock_two_writers(pool: asyncpg.Pool, store: CaptureStore) -> None:
    """The same unreadable item beside new captures here, and alone there: one waits for the other, and both end."""
    queries = load_queries("services.ingest")
    quarantine = (["ash"], ["u"], ["p"], ["[]"], [UUID(int=1)])
    async with pool.acquire() as here, pool.acquire() as there, asyncio.timeout(20):
        begun_here, begun_there = here.transaction(), there.transaction()
        await begun_here.start()
        await begun_there.start()
        await store.store_within(here, [pull(capture())], ())
        await there.fetch(queries["quarantine"], *quarantine)
        waiting = asyncio.create_task(here.fetch(queries["quarantine"], *quarantine))
        await there.execute(queries["count"], 0, 0, 1)
        await begun_there.commit()
        assert await waiting == []
        await here.execute(queries["count"], 1, 1, 0)
        await begun_here.commit()
    totals = await pool.fetchrow("SELECT events, holdings, quarantined FROM captures.totals")
    assert tuple(totals or ()) == (1, 1, 1)
