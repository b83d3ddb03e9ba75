"""The history of pulls, on a real Postgres: what is kept, once, in which order, for how long, and how it is listed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from urllib.parse import quote
from uuid import UUID, uuid4

import httpx
import pytest
from fastapi import FastAPI

from services.registry import pulls as pulls_module
from services.registry.api.problems import install_error_handlers
from services.registry.domain import NewClient
from services.registry.pulls import PullRecord
from services.registry.routes.clients import ClientRoutes
from services.registry.routes.pulls import PullRoutes
from shared.contracts.messages import Outcome, PullAcknowledged, PullOutcome, PullTarget, Reason
from tests.registry_parts import QUERIES, Database, Registry, failed, outcome, registry_over
from tests.waiting import eventually

PULL_SYNC: Final = "/api/v1/pull-sync"


@pytest.fixture
async def registry(database: Database) -> AsyncIterator[Registry]:
    """With `ash`, who is due; the timer runs."""
    async with registry_over(database, running=True) as registry:
        await registry.register("ash")
        yield registry


async def claimed(registry: Registry) -> PullTarget:
    """The next pull of the one client."""
    await registry.make_due()
    return await registry.only_due()


def stored(target: PullTarget, **changes: Any) -> PullOutcome:
    """A pull that stored a capture, and whose client was told."""
    return outcome(target, **{"outcome": Outcome.STORED, "stored": 1, **changes})


def untold(target: PullTarget) -> PullOutcome:
    """The same, but the client could not be told."""
    return stored(target, reason=Reason.UNACKNOWLEDGED, error="stored, but", pending=1)


def told(target: PullTarget) -> PullAcknowledged:
    """That it could be told later."""
    return PullAcknowledged(pull_id=target.pull_id, user_id=target.user_id)


async def history(registry: Registry, user: str = "ash") -> list[PullRecord]:
    """The latest first."""
    return await registry.pulls.page(user, before=None, limit=1_000)


# ---------------------------------------------------------------- what is kept


async def test_a_pull_that_stored_something_is_kept(registry: Registry) -> None:
    """With what the outcome says, when it began, and that the client was told."""
    target = await claimed(registry)
    before = (await registry.record())["claimed_at"]
    await registry.leases.settle([stored(target, duplicates=2, quarantined=3, pending=4)])
    [pull] = await history(registry)
    assert pull.acknowledged_at == pull.settled_at
    assert pull.model_dump(exclude={"settled_at", "acknowledged_at"}) == {
        "pull_id": target.pull_id,
        "began_at": before,
        "since": None,
        "run_id": None,
        "outcome": "stored",
        "reason": None,
        "error": None,
        "stored": 1,
        "duplicates": 2,
        "quarantined": 3,
        "pending": 4,
        "duration_s": 0.25,
    }


async def test_a_pull_that_failed_is_kept(registry: Registry) -> None:
    """With its reason; nobody was told anything."""
    await registry.leases.settle([failed(await claimed(registry))])
    [pull] = await history(registry)
    assert (pull.outcome, pull.reason, pull.acknowledged_at) == ("failed", "timeout", None)
    assert pull.error == "no whole answer within 15 s"


@pytest.mark.parametrize("changes", [{}, {"outcome": Outcome.STORED}])
async def test_a_pull_that_found_nothing_is_not_kept(registry: Registry, changes: dict[str, Any]) -> None:
    """Nor a page of a complete run in which there was nothing: most pulls are like that."""
    await registry.leases.settle([outcome(await claimed(registry), **changes)])
    assert await history(registry) == []


async def test_a_repeated_outcome_is_kept_once(registry: Registry) -> None:
    """As it came first; in one message, in several, and from registries side by side."""
    target = await claimed(registry)
    await registry.leases.settle([stored(target), stored(target)])
    await asyncio.gather(*(registry.leases.settle([stored(target, stored=9)]) for _ in range(5)))
    [pull] = await history(registry)
    assert pull.stored == 1


async def test_a_pull_that_had_lost_its_lease_is_kept(registry: Registry) -> None:
    """What it stored is stored; when it began is known by its id only."""
    late = await claimed(registry)
    await registry.let_leases_end()
    current = await registry.only_due()
    await registry.leases.settle([stored(late)])
    assert (await registry.record())["pull_id"] == current.pull_id
    [pull] = await history(registry)
    assert (pull.pull_id, pull.began_at, pull.stored) == (late.pull_id, None, 1)


async def test_a_pull_on_demand_tells_what_it_read(registry: Registry) -> None:
    """What is newer than a moment, or a page for a complete run."""
    await registry.leases.settle([outcome(await claimed(registry))])
    since = datetime.now(UTC) - timedelta(minutes=15)
    await registry.runs.start("sync-recent", since=since)
    await registry.leases.settle([stored(await registry.only_demanded())])
    run_id = await registry.runs.start_complete(delete_unknown=False)
    await registry.leases.settle([stored(await registry.only_demanded())])
    complete, recent = await history(registry)
    assert (recent.since, recent.run_id) == (since, None)
    assert (complete.since, complete.run_id) == (None, run_id)


async def test_ids_ascend_with_time(registry: Registry) -> None:
    """They are UUIDs of version 7, of the moment of the claim; the latest pull comes first."""
    began = []
    for _ in range(5):
        before = await registry.pool.fetchval("SELECT clock_timestamp()")
        target = await claimed(registry)
        after = await registry.pool.fetchval("SELECT clock_timestamp()")
        made = datetime.fromtimestamp((target.pull_id.int >> 80) / 1000, UTC)
        assert before - timedelta(milliseconds=1) <= made <= after
        assert (target.pull_id.version, target.pull_id.variant) == (7, "specified in RFC 4122")
        await registry.leases.settle([stored(target)])
        began.append(target.pull_id)
    assert [pull.pull_id for pull in await history(registry)] == began[::-1]


async def test_each_claim_gets_an_id_of_its_own(registry: Registry) -> None:
    """Of many in one statement, too."""
    await registry.register_many(500)
    targets = await registry.leases.claim_due(1_000)
    assert len({target.pull_id for target in targets}) == 501


# ---------------------------------------------------------------- told later


async def test_a_client_that_was_told_later(registry: Registry) -> None:
    """It is noted once, and ends no lease."""
    target = await claimed(registry)
    await registry.leases.settle([untold(target)])
    [pull] = await history(registry)
    assert (pull.reason, pull.acknowledged_at) == ("unacknowledged", None)
    under_way = await claimed(registry)
    await registry.pulls.acknowledged([told(target), told(target)])
    [first] = await history(registry)
    await registry.pulls.acknowledged([told(target)])
    [again] = await history(registry)
    assert again == first
    assert first.acknowledged_at is not None
    assert (first.reason, first.error) == ("unacknowledged", "stored, but")
    assert (await registry.record())["pull_id"] == under_way.pull_id


async def test_a_telling_may_overtake_the_settlement(registry: Registry) -> None:
    """Messages that met an outage come in another order: then nothing is listed yet, and in the end all is known."""
    target = await claimed(registry)
    await registry.pulls.acknowledged([told(target)])
    assert await history(registry) == []
    assert await registry.pulls.get("ash", target.pull_id) is None
    assert await registry.pulls.has_any("ash")
    await registry.leases.settle([untold(target)])
    [pull] = await history(registry)
    assert (pull.stored, pull.reason) == (1, "unacknowledged")
    assert pull.acknowledged_at is not None
    assert pull.began_at is not None


async def test_settlements_and_tellings_side_by_side(registry: Registry) -> None:
    """In whatever order each hand takes them, nobody is in another's way, and every pull ends as told."""
    await registry.register_many(1_000)
    targets = await registry.leases.claim_due(2_000)
    users, pulls = [target.user_id for target in targets], [target.pull_id for target in targets]
    note = QUERIES["note_acknowledged"]
    await asyncio.gather(
        registry.leases.settle([untold(target) for target in targets]),
        registry.leases.settle([untold(target) for target in reversed(targets)]),
        *(registry.pool.execute(note, users[::step], pulls[::step]) for step in (1, -1, 1, -1)),
    )
    rows = await registry.pool.fetch("SELECT outcome, acknowledged_at FROM registry.pulls")
    assert len(rows) == len(targets)
    assert all(row["outcome"] == "stored" and row["acknowledged_at"] for row in rows)


# ---------------------------------------------------------------- emptied


async def test_a_pull_that_left_nothing_pending_is_remembered(registry: Registry) -> None:
    """By when it began: whatever was stored before, the client knows."""
    target = await claimed(registry)
    began = (await registry.record())["claimed_at"]
    await registry.leases.settle([outcome(target)])
    assert (await registry.record())["emptied_at"] == began
    await registry.leases.settle([stored(await claimed(registry), pending=0)])
    assert (await registry.record())["emptied_at"] > began


@pytest.mark.parametrize("kind", ["failed", "untold", "pending", "recent", "complete"])
async def test_no_other_pull_says_that_nothing_is_pending(registry: Registry, kind: str) -> None:
    """Neither one that failed, nor one whose client was not told or holds more, nor one that read only a part."""
    await registry.leases.settle([failed(await claimed(registry))])
    if kind == "recent":
        await registry.runs.start("sync-recent", since=datetime.now(UTC))
    if kind == "complete":
        await registry.runs.start_complete(delete_unknown=False)
    target = await (registry.only_demanded() if kind in {"recent", "complete"} else claimed(registry))
    ended = {"failed": failed(target), "untold": untold(target), "pending": stored(target, pending=1)}
    await registry.leases.settle([ended.get(kind, outcome(target))])
    assert (await registry.record())["emptied_at"] is None


# ---------------------------------------------------------------- how long


async def test_what_is_old_is_removed_in_portions(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of it, by one registry or by several at once; what is younger stays."""
    monkeypatch.setattr(pulls_module, "_PORTION", 10)
    await add_settled(registry, 3, days_ago=6)
    for registries in (1, 3):
        await add_settled(registry, 25, days_ago=8)
        removed = await asyncio.gather(*(registry.pulls.remove_old(timedelta(days=7)) for _ in range(registries)))
        assert sum(removed) == 25
        assert len(await history(registry)) == 3


async def test_no_registry_waits_for_another_that_removes(registry: Registry) -> None:
    """What another one is about to remove is left to it."""
    await add_settled(registry, 5, days_ago=8)
    async with registry.pool.acquire() as connection, connection.transaction():
        assert await connection.fetchval(QUERIES["remove_old_pulls"], timedelta(days=7), 3) == 3
        async with asyncio.timeout(20):
            assert await registry.pulls.remove_old(timedelta(days=7)) == 2
    assert await history(registry) == []


async def add_settled(registry: Registry, number: int, *, days_ago: int) -> None:
    """So many pulls of `ash`."""
    await registry.pool.execute(
        """INSERT INTO registry.pulls (user_id, pull_id, settled_at, outcome)
           SELECT 'ash', gen_random_uuid(), now() - make_interval(days => $1), 'failed' FROM generate_series(1, $2)""",
        days_ago,
        number,
    )


async def test_the_cleanup_removes_what_is_old(registry: Registry) -> None:
    """Whoever's turn it is for the rest."""
    await registry.leases.settle([stored(await claimed(registry))])
    await registry.cleanup.now()  # the turn is taken for an hour
    await registry.pool.execute("UPDATE registry.pulls SET settled_at = settled_at - interval '8 days'")

    async def all_gone() -> bool:
        return await history(registry) == []

    cleaning = asyncio.create_task(registry.cleanup.run())
    await eventually(all_gone)
    cleaning.cancel()


# ---------------------------------------------------------------- over HTTP


@pytest.fixture
async def http(registry: Registry) -> AsyncIterator[httpx.AsyncClient]:
    """The routes of clients and of their pulls, as the app includes them."""
    app = FastAPI()
    install_error_handlers(app)
    nobody: Any = None
    app.include_router(PullRoutes(pulls=registry.pulls, clients=registry.clients).router())
    app.include_router(
        ClientRoutes(
            clients=registry.clients,
            nudges=registry.nudges,
            dispatcher=nobody,
            probe=nobody,
            access=nobody,
            limits=nobody,
        ).router()
    )
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://registry") as made:
        yield made


async def add(registry: Registry, user: str, number: int) -> list[UUID]:
    """So many pulls of a user, the latest first."""
    ids = sorted((uuid4() for _ in range(number)), reverse=True)
    await registry.pool.executemany(
        "INSERT INTO registry.pulls (user_id, pull_id, outcome) VALUES ($1, $2, 'failed')",
        [(user, each) for each in ids],
    )
    return ids


async def test_a_history_comes_in_pages(registry: Registry, http: httpx.AsyncClient) -> None:
    """The latest first; each page leads to the next one, and the last one to none."""
    ids = await add(registry, "ash", 25)
    await add(registry, "ash2", 3)
    path, found, sizes = f"{PULL_SYNC}/clients/ash/pulls?limit=10", [], []
    while path:
        answer = await http.get(path)
        assert answer.status_code == 200, answer.text
        found += [UUID(pull["pull_id"]) for pull in answer.json()]
        sizes.append(len(answer.json()))
        path = answer.links["next"]["url"] if "next" in answer.links else ""
    assert (found, sizes) == (ids, [10, 10, 5])


@pytest.mark.parametrize("user", ["a/b", "/a//b/", "100%", "%41", "a b?#", "pulls", "x/pulls", "Zoë \U0001f600"])
async def test_any_user_has_a_history_of_his_own(registry: Registry, http: httpx.AsyncClient, user: str) -> None:
    """And is not taken for another one whose id ends as a path does."""
    for each in {user, "x"}:
        await registry.clients.register(NewClient(user_id=each, client_url="http://localhost:3001"))
    [theirs] = await add(registry, user, 1)
    await add(registry, "x", 1)
    segment = quote(user, safe="")
    [pull] = (await http.get(f"{PULL_SYNC}/clients/{segment}/pulls")).json()
    assert pull["pull_id"] == str(theirs)
    assert (await http.get(f"{PULL_SYNC}/clients/{segment}")).json()["user_id"] == user


async def test_whose_history_there_is(registry: Registry, http: httpx.AsyncClient) -> None:
    """An empty one of a client that is registered, a full one of one that was; else there is no such client."""
    assert (await http.get(f"{PULL_SYNC}/clients/ash/pulls")).json() == []
    await registry.leases.settle([stored(await claimed(registry))])
    await registry.clients.unregister("ash")
    assert len((await http.get(f"{PULL_SYNC}/clients/ash/pulls")).json()) == 1
    answer = await http.get(f"{PULL_SYNC}/clients/misty/pulls")
    assert (answer.status_code, answer.json()["type"]) == (404, "urn:pullsync:problem:unknown-client")


@pytest.mark.parametrize("query", ["limit=0", "limit=1001", "before=soon"])
async def test_a_page_that_can_not_be_is_refused(http: httpx.AsyncClient, query: str) -> None:
    """In words."""
    assert (await http.get(f"{PULL_SYNC}/clients/ash/pulls?{query}")).status_code == 422
