"""Pages of everything that a client has, on a real Postgres: what differs is told, mended, and deleted if asked."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest
from msgspec.structs import replace

from dev.database import Database
from services.ingest import compare
from services.ingest.compare import Comparison
from services.ingest.errors import StoreUnavailableError
from shared.contracts.messages import EXAMPLES, Difference, PulledCapture, UnreadableItem
from tests.complete_pages import (
    QUERIES,
    Ingest,
    assert_tables_are,
    capture,
    events_in,
    ingest_on,
    page_of,
    pull_of,
    tables_of,
)


@pytest.fixture
async def ingest(database: Database) -> AsyncIterator[Ingest]:
    """Ingest's parts on a fresh database."""
    async with ingest_on(database) as made:
        yield made


async def ids(pool: asyncpg.Pool, user: str = "ash") -> list[str]:
    """What is stored of a user."""
    query = "SELECT capture_id FROM captures.events WHERE user_id = $1 ORDER BY 1"
    return [row[0] for row in await pool.fetch(query, user)]


async def test_what_differs_is_told_and_what_is_missing_is_mended(ingest: Ingest) -> None:
    """Nothing is deleted unless asked for."""
    await ingest.have(capture("a"), capture("b"), capture("c"))
    found = await ingest.page([capture("b"), capture("d"), capture("e")], page_of())
    assert found == Difference(
        until=None,
        missing=2,
        unknown=2,
        deleted=0,
        missing_examples=("d", "e"),
        unknown_examples=("a", "c"),
    )
    assert await ids(ingest.pool) == ["a", "b", "c", "d", "e"]


async def test_what_is_unknown_is_deleted_when_asked_for(ingest: Ingest) -> None:
    """It counts as if it had never been stored; nobody else is touched."""
    await ingest.have(capture("a", 1), capture("b", 1, 1, removed=True), capture("c", 4), capture("d", 7))
    await ingest.have(capture("b", 1), capture("c", 4), user="misty")
    found = await ingest.page([capture("a", 1), capture("d", 7)], page_of(delete=True))
    assert (found.missing, found.unknown, found.deleted, found.unknown_examples) == (0, 2, 2, ("b", "c"))
    assert await ids(ingest.pool) == ["a", "d"]
    expected = tables_of(
        [
            *(("ash", capture(*each)) for each in (("a", 1), ("d", 7))),
            ("misty", capture("b", 1)),
            ("misty", capture("c", 4)),
        ]
    )
    await assert_tables_are(ingest.pool, expected)


async def test_a_removal_that_is_deleted_gives_the_holding_back(ingest: Ingest) -> None:
    """Even when it came first, so that neither user nor Pokémon were ever counted."""
    await ingest.have(capture("b", 1, 1, removed=True))
    await ingest.have(capture("a", 1))
    assert await ingest.pool.fetchval("SELECT count(*) FROM captures.ranking") == 0
    await ingest.page([capture("a", 1)], page_of(delete=True))
    await assert_tables_are(ingest.pool, tables_of([("ash", capture("a", 1))]))


@pytest.mark.parametrize(
    "remaining",
    [
        [],
        [capture("a", second=1), capture("b", second=1, removed=True)],
        [capture("a", second=6), capture("b", second=5, removed=True)],
        [capture("a", second=3, removed=True), capture("b", second=2), capture("c", second=6)],
    ],
    ids=["nothing", "equal times", "equally received", "the future"],
)
@pytest.mark.parametrize("removed", [False, True])
async def test_the_last_of_what_remains_decides(
    ingest: Ingest,
    remaining: list[PulledCapture],
    *,
    removed: bool,
) -> None:
    """As if the deleted capture, which came last, had never been stored."""
    await ingest.have(*remaining, capture("z", second=7, removed=removed))
    assert (await ingest.page(remaining, page_of(delete=True))).unknown_examples == ("z",)
    await assert_tables_are(ingest.pool, tables_of(("ash", each) for each in remaining))


@pytest.mark.parametrize("delete", [False, True])
async def test_only_the_range_of_the_page_is_compared(ingest: Ingest, *, delete: bool) -> None:
    """Behind its begin, up to and with its end, by bytes."""
    every = ["A", "a", "b", "c", "\u20ac", "\U0001f600"]
    await ingest.have(*map(capture, every))
    ranges = [("\U0001f600", None), ("\u20ac", None), ("b", "\u20ac"), ("a", "b"), (None, "a")]
    found = [await ingest.page([], page_of(*bounds, delete=delete)) for bounds in ranges]
    assert [each.unknown_examples for each in found] == [(), ("\U0001f600",), ("c", "\u20ac"), ("b",), ("A", "a")]
    assert [each.until for each in found] == [None, None, "\u20ac", "b", "a"]


async def test_an_unreadable_item_is_known(ingest: Ingest) -> None:
    """What the client has under this id can't be read now, but it is there; an id with a NUL is no obstacle."""
    await ingest.have(capture("a"), capture("b"))
    unreadable = tuple(UnreadableItem(capture_id=each, problem="p", raw="1") for each in ("a", "b\0", None))
    pull = replace(pull_of([], page=page_of(delete=True)), unreadable=unreadable)
    found = await ingest.comparison.compare(pull, page_of(delete=True))
    assert found.unknown_examples == ("b",)
    assert await ids(ingest.pool) == ["a"]


async def test_what_was_stored_later_is_left_alone(ingest: Ingest) -> None:
    """The client's answer may be older than that."""
    await ingest.have(capture("a"))
    asked_at = await ingest.pool.fetchval("SELECT clock_timestamp()")
    await ingest.have(capture("b"))
    found = await ingest.page([], page_of(delete=True, asked_at=asked_at))
    assert found.unknown_examples == ("a",)
    assert await ids(ingest.pool) == ["b"]


async def test_examples_are_bounded(ingest: Ingest) -> None:
    """The first ones by id, of thousands."""
    every = [f"{number:05}" for number in range(3_000)]
    await ingest.have(*map(capture, every[:1_500]))
    told = await ingest.page(map(capture, every[1_500:]), page_of())
    assert (told.missing, told.unknown) == (1_500, 1_500)
    assert (told.missing_examples, told.unknown_examples) == (tuple(every[1_500:][:EXAMPLES]), tuple(every[:EXAMPLES]))
    deleted = await ingest.page(map(capture, every[1_500:]), page_of(delete=True))
    assert (deleted.deleted, deleted.unknown_examples) == (1_500, told.unknown_examples)
    await assert_tables_are(ingest.pool, tables_of(("ash", capture(each)) for each in every[1_500:]))


async def test_a_repeated_page_tells_the_same_and_deletes_no_more(ingest: Ingest) -> None:
    """What it stored is still what was missing; what it deleted is no longer there to be told."""
    await ingest.have(capture("a"), capture("b"))
    pull = pull_of([capture("c")], page=page_of(delete=True))
    await ingest.take(pull)
    first = await ingest.comparison.compare(pull, page_of(delete=True))
    await ingest.take(pull)
    second = await ingest.comparison.compare(pull, page_of(delete=True))
    assert (first.missing, first.missing_examples, first.deleted) == (1, ("c",), 2)
    assert (second.missing, second.missing_examples, second.unknown, second.deleted) == (1, ("c",), 0, 0)
    await assert_tables_are(ingest.pool, tables_of([("ash", capture("c"))]))


async def test_a_deletion_is_all_or_nothing(ingest: Ingest) -> None:
    """When what is counted can't be moved, nothing is deleted."""
    await ingest.have(capture("a"), capture("b", 4))
    before = tables_of(await events_in(ingest.pool))
    await ingest.pool.execute("ALTER TABLE captures.totals RENAME COLUMN events TO elsewhere")
    with pytest.raises(asyncpg.UndefinedColumnError):
        await ingest.comparison.compare(pull_of([]), page_of(delete=True))
    await ingest.pool.execute("ALTER TABLE captures.totals RENAME COLUMN elsewhere TO events")
    await assert_tables_are(ingest.pool, before)


class Away(asyncpg.Pool):
    """A pool whose server is away for some calls."""

    def __init__(self, pool: asyncpg.Pool | None, *, failures: int) -> None:
        self._real = pool
        self._failures = failures
        self.calls = 0

    def acquire(self, *, timeout: float | None = None) -> Any:
        """A connection, when it is back."""
        self.calls += 1
        if self._real is None or self.calls <= self._failures:
            raise ConnectionRefusedError
        return self._real.acquire(timeout=timeout)


async def test_a_short_outage_is_waited_for(ingest: Ingest) -> None:
    """The comparison is tried again."""
    await ingest.have(capture("a"))
    pool = Away(ingest.pool, failures=2)
    found = await Comparison(pool=pool, queries=QUERIES).compare(pull_of([]), page_of(delete=True))
    assert (found.deleted, pool.calls) == (1, 3)


async def test_a_long_outage_gives_the_message_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is an error that the handler's message is given back for."""
    monkeypatch.setattr(compare, "RETRY_S", 0.3)
    pool = Away(None, failures=0)
    with pytest.raises(StoreUnavailableError):
        await Comparison(pool=pool, queries=QUERIES).compare(pull_of([]), page_of())
    assert pool.calls > 1
