"""The quarantine for operators, on a real Postgres and a real RabbitMQ: listed, inspected, asked to be replayed."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final
from uuid import UUID

import aio_pika
import asyncpg
import httpx
import pytest
from fastapi import FastAPI
from starlette.applications import Starlette

from dev.database import Database
from services.ingest.app import build_app as build_ingest
from services.ingest.settings import IngestSettings
from services.registry.app import build_app
from services.registry.settings import RegistrySettings
from shared.contracts.encoding import decoded
from shared.contracts.messages import ReplayQuarantined
from shared.contracts.topology import REPLAYS
from shared.postgres.database import make_pool
from tests.waiting import eventually

QUARANTINE: Final = "/api/v1/admin/quarantine"
TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


@pytest.fixture
async def pool(database: Database) -> AsyncIterator[asyncpg.Pool]:
    """Ingest's own pool."""
    async with make_pool(database.ingest_url, service="test", max_size=2) as made:
        yield made


@asynccontextmanager
async def serving(app: FastAPI | Starlette) -> AsyncIterator[httpx.AsyncClient]:
    """Talks to a service that runs here."""
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://localhost") as made,
    ):
        yield made


async def ready(http: httpx.AsyncClient) -> None:
    """Wait until it is connected to everything."""

    async def is_ready() -> bool:
        return (await http.get("/health/ready")).is_success

    await eventually(is_ready)


@pytest.fixture
async def http(database: Database, broker_url: str) -> AsyncIterator[httpx.AsyncClient]:
    """Talks to a registry that is connected."""
    settings = RegistrySettings(database_url=database.registry_url, rabbitmq_url=broker_url)
    async with serving(build_app(settings)) as made:
        await ready(made)
        yield made


async def fill(pool: asyncpg.Pool, count: int, *, user_id: str = "ash", raw: str | None = None) -> list[int]:
    """So many items, and their numbers."""
    rows = await pool.fetch(
        """WITH added AS (
               INSERT INTO captures.quarantine (user_id, fingerprint, capture_id, problem, raw, pull_id)
               SELECT $2, sha256(($2 || n)::bytea), 'c' || n, 'action: no such', coalesce($3, n::text), $4
               FROM generate_series(1, $1) AS n RETURNING quarantine_id
           ), counted AS (UPDATE captures.totals SET quarantined = quarantined + $1)
           SELECT quarantine_id FROM added ORDER BY 1""",
        count,
        user_id,
        raw,
        UUID(int=7),
    )
    return [row[0] for row in rows]


async def demanded(broker_url: str) -> list[list[int]]:
    """The numbers in each message that waits for ingest, taken out of the queue."""
    connection = await aio_pika.connect(broker_url)
    async with connection:
        channel = await connection.channel()
        queue = await channel.get_queue(REPLAYS.name, ensure=False)
        found = []
        while message := await queue.get(fail=False, no_ack=True):
            assert message.delivery_mode == aio_pika.DeliveryMode.PERSISTENT
            found.append(list(decoded(ReplayQuarantined, message.body).quarantine_ids))
        return found


async def test_items_are_listed_page_by_page(http: httpx.AsyncClient, pool: asyncpg.Pool) -> None:
    """By number, over all users or of one, with the beginning of what came; `Link` leads on and ends."""
    ids = await fill(pool, 5, raw=json.dumps("<script>&" + "x" * 300))
    others = await fill(pool, 3, user_id="a&b=<c>")
    for parameters, expected in (
        ({}, ids + others),
        ({"user_id": "a&b=<c>"}, others),
        ({"user_id": "nobody"}, []),
        ({"after": str(ids[2])}, ids[3:] + others),
    ):
        found: list[dict[str, Any]] = []
        address: str | httpx.URL | None = httpx.URL(QUARANTINE, params={"limit": "2", **parameters})
        while address is not None:
            answer = await http.get(address)
            assert not re.search(rb"[<>&]", answer.content)
            assert len(answer.json()) == min(2, len(expected) - len(found))
            found += answer.json()
            address = answer.links["next"]["url"] if "next" in answer.links else None
        assert [item["quarantine_id"] for item in found] == expected
    assert TIME.fullmatch(found[0].pop("quarantined_at"))
    assert (await http.get(QUARANTINE)).json()[0] == {
        **(await http.get(QUARANTINE)).json()[0],
        "quarantine_id": ids[0],
        "user_id": "ash",
        "capture_id": "c1",
        "problem": "action: no such",
        "pull_id": str(UUID(int=7)),
        "raw": ('"<script>&' + "x" * 300)[:200],
    }


async def test_an_item_is_shown_whole(http: httpx.AsyncClient, pool: asyncpg.Pool) -> None:
    """All that was kept, and what its replays came to."""
    raw = json.dumps("<script>" + "x" * 10_000)
    (number,) = await fill(pool, 1, raw=raw)
    answer = await http.get(f"{QUARANTINE}/{number}")
    body = answer.json()
    assert not re.search(rb"[<>&]", answer.content)
    assert TIME.fullmatch(body.pop("quarantined_at"))
    expected = {"quarantine_id": number, "user_id": "ash", "capture_id": "c1", "problem": "action: no such", "raw": raw}
    expected |= {"pull_id": str(UUID(int=7)), "replays": 0, "last_replay_at": None, "last_problem": None}
    assert body == expected
    await pool.execute("UPDATE captures.quarantine SET replays = 2, last_replay_at = now(), last_problem = 'still'")
    body = (await http.get(f"{QUARANTINE}/{number}")).json()
    assert (body["replays"], body["last_problem"], body["problem"]) == (2, "still", "action: no such")
    assert TIME.fullmatch(body["last_replay_at"])


async def test_items_are_asked_to_be_replayed(http: httpx.AsyncClient, pool: asyncpg.Pool, broker_url: str) -> None:
    """One, or some, each once; the answer comes at once and says how many."""
    first, second, third = await fill(pool, 3)
    one = await http.post(f"{QUARANTINE}/{second}/replay")
    some = await http.post(f"{QUARANTINE}/replay", json={"quarantine_ids": [third, first, third]})
    assert (one.status_code, some.status_code) == (202, 202)
    assert (one.json()["asked"], some.json()["asked"]) == (1, 2)
    assert set(one.json()) == {"message", "asked"}
    assert await demanded(broker_url) == [[second], [third, first]]


async def test_all_are_asked_for_in_messages_of_a_thousand(
    http: httpx.AsyncClient, pool: asyncpg.Pool, broker_url: str
) -> None:
    """Every item once; nothing when there is nothing."""
    nothing = await http.post(f"{QUARANTINE}/replay", json={"all": True})
    assert (nothing.status_code, nothing.json()["asked"]) == (202, 0)
    ids = await fill(pool, 2_500)
    assert (await http.post(f"{QUARANTINE}/replay", json={"all": True})).json()["asked"] == 2_500
    messages = await demanded(broker_url)
    assert [len(message) for message in messages] == [1_000, 1_000, 500]
    assert [number for message in messages for number in message] == ids


async def test_an_unknown_item_is_not_found(http: httpx.AsyncClient, pool: asyncpg.Pool, broker_url: str) -> None:
    """Named in the sentence; and then nothing is asked for, of the known ones neither."""
    (known,) = await fill(pool, 1)
    missing = known + 1_000
    for answer in (
        await http.get(f"{QUARANTINE}/{missing}"),
        await http.post(f"{QUARANTINE}/{missing}/replay"),
        await http.post(f"{QUARANTINE}/replay", json={"quarantine_ids": [known, missing]}),
        await http.post(f"{QUARANTINE}/replay", json={"quarantine_ids": [*range(missing, missing + 30), 2**63 - 1]}),
    ):
        assert answer.status_code == 404
        assert str(missing) in answer.json()["detail"]
    assert await demanded(broker_url) == []


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"all": False},
        {"all": "yes"},
        {"all": None},
        {"all": True, "quarantine_ids": [1]},
        {"quarantine_ids": []},
        {"quarantine_ids": [0]},
        {"quarantine_ids": [2**63]},
        {"quarantine_ids": ["x"]},
        {"quarantine_ids": list(range(1, 1_002))},
        [1],
    ],
    ids=lambda body: str(body)[:30],
)
async def test_a_demand_that_cannot_be_meant_is_refused(
    body: object, http: httpx.AsyncClient, pool: asyncpg.Pool, broker_url: str
) -> None:
    """So that a slip never replays everything."""
    await fill(pool, 1)
    answer = await http.post(f"{QUARANTINE}/replay", json=body)
    assert answer.status_code == 422
    assert answer.json()["detail"]
    assert await demanded(broker_url) == []


async def test_numbers_out_of_range_are_refused(http: httpx.AsyncClient) -> None:
    """Never an error of ours."""
    for path in ("/0", f"/{2**63}", "?after=-1", f"?after={2**63}", "?limit=0", "?limit=1001"):
        assert (await http.get(f"{QUARANTINE}{path}")).status_code == 422, path
    assert (await http.get(QUARANTINE, params={"user_id": "a\0"})).status_code == 422
    assert (await http.post(f"{QUARANTINE}/{2**63}/replay")).status_code == 422


async def test_without_a_broker_the_demand_is_not_taken(database: Database, pool: asyncpg.Pool) -> None:
    """503 and what to do, not a promise; looking still works."""
    (number,) = await fill(pool, 1)
    settings = RegistrySettings(database_url=database.registry_url, rabbitmq_url="amqp://guest:guest@127.0.0.1:1/")
    async with serving(build_app(settings)) as http:
        for answer in (
            await http.post(f"{QUARANTINE}/{number}/replay"),
            await http.post(f"{QUARANTINE}/replay", json={"all": True}),
        ):
            assert answer.status_code == 503
            assert "RabbitMQ does not take the demand now" in answer.json()["detail"]
        assert (await http.get(f"{QUARANTINE}/{number}")).status_code == 200


async def test_a_replayed_item_goes_to_the_ranking(
    http: httpx.AsyncClient, pool: asyncpg.Pool, database: Database, broker_url: str
) -> None:
    """The whole way: asked at the registry, stored by ingest, gone from the list; what is wrong stays and says so."""
    good = '{"capture_id": "a", "pokemon_id": 25, "action": "capture", "timestamp": "2026-01-31T12:00:00Z"}'
    (stored,) = await fill(pool, 1, raw=good)
    (stays,) = await fill(pool, 1, user_id="misty", raw=good.replace("capture_id", "id"))
    settings = IngestSettings(database_url=database.ingest_url, rabbitmq_url=broker_url)
    async with serving(build_ingest(settings)) as ingest:
        await ready(ingest)
        assert (await http.post(f"{QUARANTINE}/replay", json={"all": True})).json()["asked"] == 2

        async def tried() -> bool:
            return bool((await http.get(f"{QUARANTINE}/{stays}")).json()["replays"])

        await eventually(tried)
    assert (await http.get(f"{QUARANTINE}/{stays}")).json()["last_problem"] == "capture_id: Field required"
    assert (await http.get(f"{QUARANTINE}/{stored}")).status_code == 404
    assert [item["quarantine_id"] for item in (await http.get(QUARANTINE)).json()] == [stays]
    assert [entry["pokemon_name"] for entry in (await http.get("/api/v1/ranking")).json()] == ["pikachu"]
    assert (await http.get("/api/v1/admin/database-status")).json()["tables"]["quarantine"] == 1
