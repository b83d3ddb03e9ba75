"""A client has captures of its own user only, and takes over those of others when it is told to."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
import structlog

from services.client.database import Database
from services.client.ownership import Ownership, claim
from services.client.pull_access import PullAccess, Tokens
from services.client.store import CaptureStore
from shared.contracts.client_protocol import AddCapture
from shared.errors import StartupError
from shared.postgres.sql import load_queries

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

TOKENS = Tokens(for_pulls="pull", for_registry="client")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A database that is not there yet."""
    return tmp_path / "captures.sqlite3"


@asynccontextmanager
async def started(path: Path, user_id: str, *take_over_from: str) -> AsyncIterator[CaptureStore]:
    """The captures, after a start as this user."""
    queries = load_queries("services.client")
    async with Database(path=path, queries=queries) as database:
        store = CaptureStore(database=database, queries=queries, user_id=user_id, clock=lambda: datetime.now(UTC))
        await claim(store, Ownership(user_id=user_id, take_over_from=take_over_from), path=path)
        yield store


async def filled(path: Path) -> None:
    """Captures of ash, the first of which is stored; and his tokens."""
    async with started(path, "ash") as store:
        for number in (1, 2, 3):
            await store.add(AddCapture(pokemon_id=number, pokemon_name="", capture_id=f"c{number}"))
        await store.acknowledge(["c1"])
        await PullAccess(store=store).keep(TOKENS)


async def found(store: CaptureStore) -> list[tuple[str, str, bool]]:
    """Each capture's id and owner, and whether it is stored."""
    captures = [json.loads(each) for each in (await store.everything()).captures]
    return [(each["capture_id"], each["user_id"], each["synced"]) for each in captures]


async def tokens(store: CaptureStore) -> str | None:
    """What is shown to the registry."""
    access = PullAccess(store=store)
    await access.load()
    return access.for_registry


async def test_the_captures_of_another_user_stop_the_start(path: Path) -> None:
    """The line says whose they are and what to do; his own start finds all as it was."""
    await filled(path)
    with pytest.raises(StartupError) as raised:
        async with started(path, "misty", "brock"):
            pass
    text = str(raised.value)
    for word in (str(path), "3 of 'ash'", "'misty'", "CLIENT_USER_ID", "CLIENT_DATABASE", "CLIENT_TAKE_OVER_FROM"):
        assert word in text
    assert "\n" not in text
    async with started(path, "ash") as store:
        assert await found(store) == [("c1", "ash", True), ("c2", "ash", False), ("c3", "ash", False)]
        assert await tokens(store) == "client"


async def test_they_are_taken_over_when_that_is_asked_for(path: Path) -> None:
    """All are pending, since none of them is stored as this user's; the other's tokens are no use. Only once."""
    await filled(path)
    with structlog.testing.capture_logs() as logs:
        async with started(path, "misty", "brock", "ash") as store:
            assert await found(store) == [(each, "misty", False) for each in ("c1", "c2", "c3")]
            assert await tokens(store) is None
            await store.acknowledge(["c1"])
            await PullAccess(store=store).keep(TOKENS)
        async with started(path, "misty", "brock", "ash") as store:
            assert (await store.counts()).pending == 2
            assert await tokens(store) == "client"
    [line] = [each for each in logs if each["event"] == "captures_taken_over"]
    assert (line["captures"], line["of"], line["log_level"]) == (3, ["ash"], "warning")


async def test_without_captures_a_client_may_become_another_user(path: Path) -> None:
    """With none of the tokens of before, by which the registry would know somebody else."""
    async with started(path, "ash") as store:
        await PullAccess(store=store).keep(TOKENS)
    async with started(path, "misty") as store:
        assert await tokens(store) is None


async def test_many_users_are_not_all_named(path: Path) -> None:
    """The line stays one that can be read."""
    others = {f"user_{number}": number for number in range(1, 10)}
    with pytest.raises(StartupError, match=r"1 of 'user_1', 2 of 'user_2', 3 of 'user_3' and of 6 more\."):
        Ownership(user_id="me").check(others, where=f"the database {path}", setting="CLIENT_DATABASE")
