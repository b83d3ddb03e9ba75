"""Replaying the quarantine on real servers: what can be stored now is stored, once, and the rest stays where it is."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

import asyncpg
import httpx
import pytest

import services.ingest.replay
from dev.database import Database
from services.ingest.app import build_app
from services.ingest.errors import StoreUnavailableError
from services.ingest.incoming import ReceivedPull
from services.ingest.replay import Replays
from services.ingest.settings import IngestSettings
from services.ingest.store import CaptureStore
from services.ingest.writer import Writer
from shared.contracts.capture_reading import RAW_CHARS
from shared.contracts.encoding import encoded
from shared.contracts.messages import PulledCapture, ReplayQuarantined, UnreadableItem
from shared.contracts.topology import REPLAYS
from shared.postgres.database import make_pool
from shared.postgres.sql import load_queries
from shared.rabbitmq.broker import Publisher, make_broker
from shared.tasks import running
from tests.waiting import eventually

QUERIES: Final = load_queries("services.ingest")
NOON: Final = datetime(2026, 1, 31, 12, tzinfo=UTC)
RECEIVED: Final = NOON + timedelta(hours=1)
PULL: Final = UUID(int=7)
CUT: Final = ('{"capture_id": "long", "note": "' + "x" * RAW_CHARS)[:RAW_CHARS]


def said(capture_id: str = "a", **fields: Any) -> str:
    """A capture of pikachu at noon as a client says it, unless told."""
    known = {"capture_id": capture_id, "pokemon_id": 25, "action": "capture", "timestamp": NOON.isoformat()}
    return json.dumps({**known, **fields})


@pytest.fixture
async def pool(database: Database) -> AsyncIterator[asyncpg.Pool]:
    """Ingest's own pool on a fresh database."""
    async with make_pool(database.ingest_url, service="test", max_size=4) as made:
        yield made


@pytest.fixture
def store(pool: asyncpg.Pool) -> CaptureStore:
    """The store as ingest makes it."""
    return CaptureStore(pool=pool, queries=QUERIES)


@pytest.fixture
def replays(store: CaptureStore) -> Replays:
    """The handler as ingest makes it."""
    return Replays(store=store)


async def quarantine(pool: asyncpg.Pool, *raws: str, user_id: str = "ash", problem: str = "p") -> tuple[int, ...]:
    """Put these items into quarantine, as they came an hour after noon; their numbers."""
    items = [UnreadableItem(capture_id=None, problem=problem, raw=raw) for raw in raws]
    pull = ReceivedPull(pull_id=PULL, user_id=user_id, received_at=RECEIVED, captures=(), unreadable=items)
    await CaptureStore(pool=pool, queries=QUERIES).store([pull])
    rows = await pool.fetch(
        "UPDATE captures.quarantine SET quarantined_at = $2 WHERE raw = ANY ($1) RETURNING quarantine_id, raw",
        list(raws),
        RECEIVED,
    )
    by_raw = {row["raw"]: row["quarantine_id"] for row in rows}
    return tuple(by_raw[raw] for raw in raws)


def readable(capture_id: str, *, removed: bool = False, metadata: str | None = None) -> PulledCapture:
    """The same in our own form."""
    fields = {**json.loads(said(capture_id)), "timestamp": NOON}
    return PulledCapture(**fields, pokemon_name="", removed=removed, metadata=metadata)


def demand(*quarantine_ids: int) -> ReplayQuarantined:
    """As the registry asks."""
    return ReplayQuarantined(quarantine_ids=quarantine_ids)


async def counts(pool: asyncpg.Pool) -> dict[str, int]:
    """What is stored and counted, after checking that the totals are those of the tables."""
    counted = await pool.fetchrow("SELECT events, holdings, quarantined FROM captures.totals")
    actual = await pool.fetchrow(
        """SELECT (SELECT count(*) FROM captures.events) AS events,
                  (SELECT count(*) FROM captures.holdings WHERE held) AS holdings,
                  (SELECT count(*) FROM captures.quarantine) AS quarantined"""
    )
    assert counted == actual
    return dict(counted or {})


async def kept(pool: asyncpg.Pool) -> list[tuple[int, int, str, str | None]]:
    """Number, replays, why it came and what is wrong now, of each item."""
    rows = await pool.fetch(
        "SELECT quarantine_id, replays, problem, last_problem, last_replay_at FROM captures.quarantine ORDER BY 1"
    )
    assert all((row["replays"] > 0) == (row["last_replay_at"] is not None) for row in rows)
    return [(row["quarantine_id"], row["replays"], row["problem"], row["last_problem"]) for row in rows]


async def test_what_can_be_read_now_is_stored_and_leaves_the_quarantine(pool: asyncpg.Pool, replays: Replays) -> None:
    """As if it had come in its pull: event, holding, holder, ranking and totals; the raw item goes."""
    ids = await quarantine(pool, said("a"), said("b", pokemon_id=1, metadata={"level": 5}))
    await replays.handle(demand(*ids))
    assert await counts(pool) == {"events": 2, "holdings": 2, "quarantined": 0}
    rows = await pool.fetch(
        "SELECT user_id, capture_id, captured_at, received_at, pull_id, metadata FROM captures.events ORDER BY 2"
    )
    assert [tuple(row) for row in rows] == [
        ("ash", "a", NOON, RECEIVED, PULL, None),
        ("ash", "b", NOON, RECEIVED, PULL, '{"level": 5}'),
    ]
    holders = await pool.fetch("SELECT user_id, holdings FROM captures.published_holders")
    assert [tuple(row) for row in holders] == [("ash", 2)]
    ranking = await pool.fetch("SELECT pokemon_id, holders FROM captures.published_ranking ORDER BY 1")
    assert [tuple(row) for row in ranking] == [(1, 1), (25, 1)]


async def test_a_time_in_the_future_counts_as_the_time_of_quarantine(pool: asyncpg.Pool, replays: Replays) -> None:
    """And not as that of the replay: a removal that came in between still wins."""
    ids = await quarantine(pool, said("ahead", timestamp="2099-01-01T00:00:00Z"))
    removal = said("later", timestamp=(RECEIVED + timedelta(minutes=1)).isoformat(), metadata={"removed": True})
    ids += await quarantine(pool, removal)
    an_hour_later = RECEIVED + timedelta(hours=1)
    await pool.execute("UPDATE captures.quarantine SET quarantined_at = $1 WHERE raw = $2", an_hour_later, removal)
    await replays.handle(demand(*reversed(ids)))
    assert await pool.fetchval("SELECT effective_at FROM captures.holdings") == RECEIVED + timedelta(minutes=1)
    assert await counts(pool) == {"events": 2, "holdings": 0, "quarantined": 0}


async def test_a_capture_that_is_stored_already_counts_as_success(
    pool: asyncpg.Pool, replays: Replays, store: CaptureStore
) -> None:
    """It came by another pull meanwhile: nothing is counted twice, and the item goes."""
    ids = await quarantine(pool, said("a"), said("a", pokemon_name="twice"))
    await store.store(
        [ReceivedPull(pull_id=PULL, user_id="ash", received_at=RECEIVED, captures=[readable("a")], unreadable=())]
    )
    await replays.handle(demand(*ids))
    assert await counts(pool) == {"events": 1, "holdings": 1, "quarantined": 0}


TOO_DEEP: Final = ("it is nested too deeply", "the item: Invalid JSON: recursion limit exceeded")
"""Python's own parser says so up to 3.11; later ones take it, and pydantic's does not."""
UNREADABLE: Final[dict[str, tuple[str, str | tuple[str, ...]]]] = {
    "a wrong action": (said(action="trade"), "action: Input should be 'capture' or 'favorite'"),
    "another user's": (said(user_id="misty"), "it belongs to another user, 'misty'"),
    "no object": ("[1]", "the item: "),
    "cut": (CUT, f"only its first {RAW_CHARS} characters were kept"),
    "no JSON": ("{", "it was not kept as JSON"),
    "nothing": ("", "it was not kept as JSON"),
    "nested too deeply": ("[" * 8_000 + "]" * 8_000, TOO_DEEP),
    "a number of thousands of digits": ("9" * 10_000, "it was not kept as JSON"),
}


@pytest.mark.parametrize(("raw", "problem"), UNREADABLE.values(), ids=UNREADABLE)
async def test_what_still_cannot_be_read_stays(
    raw: str, problem: str | tuple[str, ...], pool: asyncpg.Pool, replays: Replays
) -> None:
    """With what is wrong with it now, and how often it was tried; others of the same message are stored."""
    (bad,) = await quarantine(pool, raw, problem="why it came")
    (good,) = await quarantine(pool, said())
    await replays.handle(demand(bad, good))
    await replays.handle(demand(bad, good))
    ((number, replayed, came, now),) = await kept(pool)
    assert (number, replayed, came) == (bad, 2, "why it came")
    assert (now or "").startswith(problem)
    assert await counts(pool) == {"events": 1, "holdings": 1, "quarantined": 1}


async def test_what_postgres_refuses_stays_alone(pool: asyncpg.Pool, replays: Replays, store: CaptureStore) -> None:
    """It came here for that; whatever else is in the message is stored."""
    writer = Writer(store=store)
    refused = [readable(f"bad{n}", metadata="{") for n in range(2)]
    async with running("writer", writer.run):
        await writer.write(
            [ReceivedPull(pull_id=PULL, user_id="ash", received_at=RECEIVED, captures=refused, unreadable=())]
        )
    bad = [row[0] for row in await kept(pool)]
    good = await quarantine(pool, *(said(f"good{n}", pokemon_id=n + 1) for n in range(5)))
    await replays.handle(demand(good[0], bad[0], *good[1:3], bad[1], *good[3:]))
    assert [(number, replayed, (now or "")[:23]) for number, replayed, _, now in await kept(pool)] == [
        (number, 1, "the database refused it") for number in bad
    ]
    assert await counts(pool) == {"events": 5, "holdings": 5, "quarantined": 2}


async def test_what_postgres_refused_once_is_read_in_our_own_form(pool: asyncpg.Pool, replays: Replays) -> None:
    """A removal stays a removal, whatever the form that it was kept in."""
    removal = readable("r", removed=True, metadata='{"level": 5}')
    ids = await quarantine(pool, encoded(removal).decode(), problem="the database refused it: it was full")
    await replays.handle(demand(*ids))
    (row,) = await pool.fetch("SELECT removed, metadata FROM captures.events")
    assert tuple(row) == (True, '{"level": 5}')
    assert await counts(pool) == {"events": 1, "holdings": 0, "quarantined": 0}


async def test_a_client_cannot_speak_in_our_own_form(pool: asyncpg.Pool, replays: Replays) -> None:
    """That would go around the rules for items, as the one that they belong to their user."""
    ours = json.dumps(
        {**json.loads(said("r")), "pokemon_name": "x", "removed": True, "metadata": None, "user_id": "misty"}
    )
    ids = await quarantine(pool, ours, problem="it belongs to another user, 'misty'")
    await replays.handle(demand(*ids))
    assert await counts(pool) == {"events": 0, "holdings": 0, "quarantined": 1}


async def test_two_at_once_store_once(pool: asyncpg.Pool, replays: Replays) -> None:
    """The same items in other orders, in messages that are handled side by side, with the writer among them."""
    ids = await quarantine(pool, *(said(f"c{n}", pokemon_id=n % 7 + 1) for n in range(60)), CUT)
    orders = [ids, ids[::-1], ids[30:] + ids[:30]]
    async with asyncio.timeout(60):
        await asyncio.gather(*(replays.handle(demand(*order)) for order in orders * 2))
    assert await counts(pool) == {"events": 60, "holdings": 7, "quarantined": 1}
    assert await pool.fetchval("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()") == 0


async def test_storing_and_leaving_are_one_transaction(
    pool: asyncpg.Pool, replays: Replays, database: Database
) -> None:
    """When the last statement fails, nothing is stored and nothing has left."""
    ids = await quarantine(pool, said())
    connection = await asyncpg.connect(database.ingest_url)
    await connection.execute("ALTER TABLE captures.totals ADD CHECK (quarantined > 0)")
    with pytest.raises(asyncpg.CheckViolationError):
        await replays.handle(demand(*ids))
    assert await connection.fetchval("SELECT count(*) FROM captures.events") == 0
    assert [number for number, *_ in await kept(pool)] == list(ids)
    await connection.close()


async def test_unknown_numbers_are_done(pool: asyncpg.Pool, replays: Replays) -> None:
    """They left the quarantine by another message, or never were."""
    await replays.handle(demand(1, 2**62))
    await replays.handle(demand())
    assert await counts(pool) == {"events": 0, "holdings": 0, "quarantined": 0}


async def test_the_message_comes_back_while_postgres_takes_nothing(
    pool: asyncpg.Pool, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The handler fails after its time, so that the message is given back; later it succeeds."""
    monkeypatch.setattr(services.ingest.replay, "RETRY_S", 0.2)
    ids = await quarantine(pool, said())
    settings = {"default_transaction_read_only": "on"}
    async with asyncpg.create_pool(database.ingest_url, min_size=1, max_size=1, server_settings=settings) as read_only:
        with pytest.raises(StoreUnavailableError):
            await Replays(store=CaptureStore(pool=read_only, queries=QUERIES)).handle(demand(*ids))
    assert await counts(pool) == {"events": 0, "holdings": 0, "quarantined": 1}


async def test_ingest_consumes_replays(pool: asyncpg.Pool, database: Database, broker_url: str) -> None:
    """The whole service: a demand from the queue is done and acknowledged, and its repetition does no harm."""
    ids = await quarantine(pool, said("a"), CUT)
    app = build_app(IngestSettings(database_url=database.ingest_url, rabbitmq_url=broker_url))
    transport = httpx.ASGITransport(app)
    broker = make_broker(broker_url, service="test")
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://ingest") as web,
        broker,
    ):

        async def ready() -> bool:
            return (await web.get("/health/ready")).is_success

        async def tried(times: int) -> bool:
            return [replayed for _, replayed, *_ in await kept(pool)] == [times]

        await eventually(ready)
        for times in (1, 2):
            await Publisher(broker).publish(demand(*ids), routing_key=REPLAYS.routing())
            await eventually(lambda times=times: tried(times))  # type: ignore[misc]
    assert await counts(pool) == {"events": 1, "holdings": 1, "quarantined": 1}
