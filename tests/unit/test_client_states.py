"""How far captures have come, as the client has it on record."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
import structlog
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from services.client.database import Database
from services.client.states import States
from services.client.store import CaptureStore
from shared.contracts.client_protocol import AddCapture, CaptureState
from shared.postgres.sql import load_queries

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

NOON = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)
NOON_TEXT = "2026-01-31T12:00:00.000Z"
LATER = NOON + timedelta(seconds=1)
LATER_TEXT = "2026-01-31T12:00:01.000Z"


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    """An empty one."""
    async with Database(path=tmp_path / "captures.sqlite3", queries=load_queries("services.client")) as opened:
        yield opened


@pytest.fixture
def states(database: Database) -> States:
    """Those of the captures in it."""
    return States(database=database, queries=load_queries("services.client"))


@pytest.fixture
def store(database: Database) -> CaptureStore:
    """The captures in it; the clock stands at noon."""
    return CaptureStore(
        database=database, queries=load_queries("services.client"), user_id="user_1", clock=lambda: NOON
    )


async def add(store: CaptureStore, *capture_ids: str) -> None:
    """Captures with these ids."""
    for capture_id in capture_ids:
        await store.add(AddCapture(pokemon_id=25, pokemon_name="pikachu", capture_id=capture_id))


async def shown(states: States, *capture_ids: str) -> list[tuple[Any, ...]]:
    """Id, state and times of what is answered, which is as the model has it."""
    found = await states.of(capture_ids)
    for each in found:
        CaptureState.model_validate_json(each)
    return [tuple(json.loads(each).values()) for each in found]


async def test_a_capture_is_pending_then_pulled_then_stored(store: CaptureStore, states: States) -> None:
    """With the time of each, and the first time of a pull."""
    await add(store, "a")
    assert await shown(states, "a") == [("a", "pending", None, None)]
    await states.note_pulled(["a"], NOON)
    await states.note_pulled(["a"], LATER)
    assert await shown(states, "a") == [("a", "pulled", NOON_TEXT, None)]
    await store.acknowledge(["a"])
    assert await shown(states, "a") == [("a", "stored", NOON_TEXT, NOON_TEXT)]


async def test_a_capture_may_be_stored_without_a_pull_on_record(store: CaptureStore, states: States) -> None:
    """It came by `all-captures`, or its pull is noted when it is acknowledged already; then it stays stored."""
    await add(store, "a")
    await store.acknowledge(["a"])
    assert await shown(states, "a") == [("a", "stored", None, NOON_TEXT)]
    await states.note_pulled(["a"], LATER)
    assert await shown(states, "a") == [("a", "stored", LATER_TEXT, NOON_TEXT)]


async def test_a_page_says_which_of_it_are_not_on_record(store: CaptureStore, states: States) -> None:
    """So that a capture that stays pending for long costs one write, and not one at each pull."""
    await add(store, "a", "b", "c")
    page = await store.pending(limit=2)
    assert page.unpulled == ["a", "b"]
    await states.note_pulled(page.unpulled, NOON)
    assert (await store.pending()).unpulled == ["c"]
    await states.note_pulled(["c", "unknown"], NOON)
    page = await store.pending()
    assert (len(page.captures), page.unpulled) == (3, [])


async def test_known_captures_come_in_the_order_asked_each_once(store: CaptureStore, states: States) -> None:
    """Those that never came, and those that are purged, are left out."""
    await add(store, "a", "b", "c")
    await store.acknowledge(["c"])
    for ran_s in (0, 1):
        await store.purge(ran_s=ran_s, keep_s=0)
    assert [each[0] for each in await shown(states, "b", "unknown", "a", "c", "b", "A", "")] == ["b", "a"]
    assert await states.of([]) == []


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(asked=st.lists(st.text(st.characters(exclude_categories=())) | st.sampled_from(["a", "é\U0001f600", "'"])))
@example(asked=["a\x00", "a\x00more", "\ud800", "\udc00a", "a ", "%", "_", '"]', "\\u0061", "a" * 100_000])
@example(asked=["\x00", "a", "'"])
async def test_any_text_may_be_asked_for(store: CaptureStore, states: States, asked: list[str]) -> None:
    """Also what no id can be, such as half a surrogate pair; `<id>NUL<more>` is not the id."""
    known = ["a", "é\U0001f600", "'"]
    await add(store, *known)
    assert [each[0] for each in await shown(states, *asked)] == [each for each in dict.fromkeys(asked) if each in known]


async def test_a_thousand_are_found_by_an_index(database: Database) -> None:
    """What is asked again and again costs no look at all captures."""
    statement = "EXPLAIN QUERY PLAN " + load_queries("services.client")["states"]
    async with database.transaction(write=False) as db:
        rows = await db.execute_fetchall(statement, {"capture_ids": "[]"})
    assert any(row[-1].startswith("SEARCH captures USING INDEX") for row in rows)
    assert not any(row[-1].startswith("SCAN captures") for row in rows)


async def test_a_pull_that_can_not_be_noted_is_only_logged(store: CaptureStore, states: States, tmp_path: Path) -> None:
    """The answer is out by then, and nothing is lost: the captures are as they were."""
    await add(store, "a")
    (tmp_path / "captures.sqlite3").unlink()
    with structlog.testing.capture_logs() as logs:
        await states.note_pulled(["a"], NOON)
    [trouble, line] = logs
    assert trouble["event"] == "database_unavailable"
    assert (line["event"], line["log_level"], line["captures"]) == ("pulled_not_noted", "warning", 1)
    assert await shown(states, "a") == [("a", "pending", None, None)]
