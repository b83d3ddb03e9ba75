"""Where is my capture: every answer, on a real Postgres with both services' tables, and on a real RabbitMQ."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from urllib.parse import quote
from uuid import UUID, uuid4

import aio_pika
import asyncpg
import httpx
import pytest

from dev.database import Database
from services.ingest.incoming import ReceivedPull
from services.ingest.store import CaptureStore
from services.registry.app import build_app
from services.registry.dead_letters.queue import OLDEST
from services.registry.domain import NewClient
from services.registry.settings import RegistrySettings
from shared.contracts.encoding import encoded
from shared.contracts.messages import (
    AcknowledgeCaptures,
    Acknowledgement,
    CaptureBatch,
    Outcome,
    Pull,
    PullAcknowledged,
    PulledCapture,
    PullSettled,
    PullTarget,
    Reason,
    UnreadableItem,
)
from shared.contracts.topology import ACKNOWLEDGEMENTS, CAPTURE_BATCHES, EXCHANGE, PULL_SETTLED, dead_letter_queue
from shared.postgres.database import make_pool
from shared.postgres.sql import load_queries
from shared.tokens import DerivedTokens, authorization
from tests.registry_parts import Registry, failed, outcome, registry_over
from tests.waiting import eventually

API: Final = "/api/v1/captures"
URL: Final = "http://localhost:3001"
MADE_AT: Final = datetime(2026, 11, 26, 2, 0, tzinfo=UTC)
BATCHES: Final = CAPTURE_BATCHES.name
ACKS: Final = ACKNOWLEDGEMENTS.name
KEY: Final = "k" * 32


@dataclass(frozen=True, kw_only=True)
class World:
    """The whole registry, and what puller, ingest and RabbitMQ do, played by the test."""

    http: httpx.AsyncClient
    parts: Registry
    store: CaptureStore
    broker_url: str

    async def pull(self, user: str = "ash") -> PullTarget:
        """Begin the user's next pull."""
        await self.parts.make_due()
        [target] = [each for each in await self.parts.leases.claim_due(100) if each.user_id == user]
        return target

    async def keep(self, target: PullTarget, *captures: PulledCapture, unreadable: str | None = None) -> None:
        """Store captures of a pull, and keep an item that can't be read."""
        items = [UnreadableItem(capture_id=unreadable, problem="action: no such", raw="{}")] if unreadable else []
        received = ReceivedPull(
            pull_id=target.pull_id,
            user_id=target.user_id,
            received_at=datetime.now(UTC),
            captures=captures,
            unreadable=items,
        )
        await self.store.store([received])

    async def publish_told_later(self, target: PullTarget) -> None:
        """As ingest does, when a client could be told after all."""
        told = PullAcknowledged(pull_id=target.pull_id, user_id=target.user_id)
        body = encoded(PullSettled(outcomes=(), acknowledged=(told,)))
        async with await aio_pika.connect(self.broker_url) as connection:
            exchange = await (await connection.channel()).get_exchange(EXCHANGE.name, ensure=False)
            await exchange.publish(aio_pika.Message(body, delivery_mode=2), routing_key=PULL_SETTLED.routing())

    async def bury(self, queue: str, *bodies: bytes) -> None:
        """Put messages among the dead letters of a queue."""
        name = f"{queue}.dead"
        async with await aio_pika.connect(self.broker_url) as connection:
            channel = await connection.channel()
            for body in bodies:
                await channel.default_exchange.publish(aio_pika.Message(body, delivery_mode=2), routing_key=name)

            async def all_there() -> bool:
                found = await channel.declare_queue(name, passive=True)
                return (found.declaration_result.message_count or 0) >= len(bodies)

            await eventually(all_there)

    async def where(self, user: str = "ash", capture_id: str = "c1", *, status: int = 200) -> dict[str, Any]:
        """What the registry answers."""
        answer = await self.http.get(f"{API}/{quote(user, safe='')}/{quote(capture_id, safe='')}")
        assert answer.status_code == status, answer.text
        body: dict[str, Any] = answer.json()
        return body


def capture(capture_id: str = "c1") -> PulledCapture:
    """Of a Pikachu."""
    return PulledCapture(
        capture_id=capture_id, pokemon_id=25, pokemon_name="pikachu", action="capture", timestamp=MADE_AT
    )


def batch(user: str, *capture_ids: str) -> bytes:
    """The message that carries these captures."""
    pull = Pull(
        pull_id=uuid4(),
        user_id=user,
        client_url=URL,
        pulled_at=MADE_AT,
        duration_s=0.1,
        pending=1,
        more_pending=False,
        captures=tuple(map(capture, capture_ids)),
    )
    return encoded(CaptureBatch(pulls=(pull,)))


@pytest.fixture
def settings(database: Database, broker_url: str) -> RegistrySettings:
    """Open to everybody."""
    return RegistrySettings(database_url=database.registry_url, rabbitmq_url=broker_url)


@pytest.fixture
async def world(database: Database, broker_url: str, settings: RegistrySettings) -> AsyncIterator[World]:
    """With `ash`, who is due."""
    app = build_app(settings)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(app.router.lifespan_context(app))
        transport = httpx.ASGITransport(app)
        http = await stack.enter_async_context(
            httpx.AsyncClient(transport=transport, base_url="http://localhost", timeout=60)
        )
        pool = await stack.enter_async_context(make_pool(database.ingest_url, service="test", max_size=2))
        made = World(
            http=http,
            parts=await stack.enter_async_context(registry_over(database, running=True)),
            store=CaptureStore(pool=pool, queries=load_queries("services.ingest")),
            broker_url=broker_url,
        )
        await made.parts.clients.register(NewClient(user_id="ash", client_url=URL))

        async def is_ready() -> bool:
            return (await http.get("/health/ready")).is_success

        await eventually(is_ready)
        yield made


# ---------------------------------------------------------------- stored


async def test_a_capture_on_its_way_to_the_client_that_knows(world: World) -> None:
    """Pulled, stored, told: each step with its time, and with what became of the pull."""
    target = await world.pull()
    assert (await world.where())["state"] == "on_its_way"
    await world.keep(target, capture())
    way = await world.where()
    assert (way["state"], way["acknowledgement"]) == ("stored", "waiting")
    assert "is being told" in way["summary"]
    await world.parts.leases.settle([outcome(target, outcome=Outcome.STORED, stored=1)])
    way = await world.where()
    assert (way["state"], way["acknowledgement"]) == ("acknowledged", "known")
    assert (way["made_at"], way["pokemon_id"], way["pokemon_name"]) == ("2026-11-26T02:00:00.000Z", 25, "pikachu")
    assert way["pulled_at"] <= way["stored_at"] <= way["acknowledged_at"]
    assert way["pull_id"] == way["pull"]["pull_id"] == str(target.pull_id)
    assert way["acknowledged_at"] == way["pull"]["acknowledged_at"]
    assert way["client"]["user_id"] == "ash"
    assert way["dead_letters_searched"] is None


async def test_a_client_that_could_not_be_told(world: World) -> None:
    """Until it is told later, or a later pull leaves nothing pending, which is said to be inferred."""
    target = await world.pull()
    await world.keep(target, capture())
    unsaid = outcome(
        target, outcome=Outcome.STORED, stored=1, pending=1, reason=Reason.UNACKNOWLEDGED, error="timeout: no answer"
    )
    await world.parts.leases.settle([unsaid])
    way = await world.where()
    assert (way["state"], way["acknowledgement"], way["acknowledged_at"]) == ("stored", "waiting", None)
    assert "timeout: no answer" in way["summary"]
    assert way["dead_letters_searched"] is True
    again = await world.pull()
    await world.parts.leases.settle([outcome(again, outcome=Outcome.STORED, duplicates=1)])
    way = await world.where()
    assert (way["state"], way["acknowledgement"], way["acknowledged_at"]) == ("acknowledged", "inferred", None)
    assert way["pull_id"] == str(target.pull_id)
    await world.publish_told_later(target)

    async def is_known() -> bool:
        return bool((await world.where())["acknowledgement"] == "known")

    await eventually(is_known)


async def test_a_history_that_is_gone(world: World) -> None:
    """It is said that nobody knows, not that the client was or was not told; until a pull leaves nothing pending."""
    target = await world.pull()
    await world.keep(target, capture())
    await world.parts.leases.settle([outcome(target, outcome=Outcome.STORED, stored=1, pending=5)])
    await world.parts.pool.execute("DELETE FROM registry.pulls")
    way = await world.where()
    assert (way["state"], way["acknowledgement"], way["pull"]) == ("stored", "unknown", None)
    await world.parts.leases.settle([outcome(await world.pull())])
    assert (await world.where())["acknowledgement"] == "inferred"


async def test_a_telling_that_died(world: World) -> None:
    """The message by which the client is told is found among the dead letters."""
    target = await world.pull()
    await world.keep(target, capture())
    await world.parts.pool.execute("UPDATE registry.clients SET pull_id = NULL")
    told = Acknowledgement(user_id="ash", client_url=URL, capture_ids=("c1",), outcome=None)
    await world.bury(ACKS, b"{}", encoded(AcknowledgeCaptures(acknowledgements=(told,))))
    way = await world.where()
    assert (way["state"], way["dead_letter"]["queue"]) == ("stored", ACKS)
    assert way["dead_letter"]["id"] in way["summary"]


async def test_a_capture_of_a_user_without_a_client(world: World) -> None:
    """It stays to be found when the client is unregistered."""
    target = await world.pull()
    await world.keep(target, capture())
    await world.parts.leases.settle([outcome(target, outcome=Outcome.STORED, stored=1)])
    await world.parts.clients.unregister("ash")
    way = await world.where()
    assert (way["state"], way["client"]) == ("acknowledged", None)


# ---------------------------------------------------------------- not stored


async def test_a_capture_in_quarantine(world: World) -> None:
    """With its number, why, and that the client was told of it as of any other; the latest, when it is there twice."""
    target = await world.pull()
    await world.keep(target, unreadable="c1")
    await world.parts.leases.settle([outcome(target, outcome=Outcome.STORED, quarantined=1)])
    way = await world.where()
    assert (way["state"], way["acknowledgement"], way["stored_at"]) == ("quarantined", "known", None)
    assert way["quarantine"]["problem"] == "action: no such"
    number = way["quarantine"]["quarantine_id"]
    assert (await world.http.get(f"/api/v1/admin/quarantine/{number}")).json()["capture_id"] == "c1"
    assert way["pull_id"] == str(target.pull_id)


async def test_a_batch_that_died(world: World) -> None:
    """It is found among others, and again at each look, until it is replayed."""
    await world.bury(BATCHES, batch("misty", "c1"), b"{", batch("ash", "c0", "c1"), batch("ash", "c1"))
    for _ in range(2):
        way = await world.where()
        assert (way["state"], way["dead_letter"]["queue"]) == ("dead_letter", BATCHES)
    letters = (await world.http.get(f"/api/v1/admin/dead-letters/{BATCHES}")).json()
    assert way["dead_letter"]["id"] == letters[2]["id"]


async def test_more_dead_letters_than_can_be_seen(world: World) -> None:
    """The answer says so, in words and by a field."""
    await world.bury(BATCHES, *[b"{"] * OLDEST, batch("ash", "c1"))
    body = await world.where(status=404)
    assert f"{BATCHES} has {OLDEST + 1}, of which the oldest {OLDEST} were" in body["detail"]
    assert body["whereabouts"]["dead_letters_searched"] is False


async def test_dead_letters_that_somebody_holds(world: World) -> None:
    """The answer does not wait for him for long, and says what it could not see."""
    name = dead_letter_queue(CAPTURE_BATCHES).name
    async with await aio_pika.connect(world.broker_url) as connection:
        channel = await connection.channel()
        await channel.declare_queue(f"{name}.looking", exclusive=True)
        body = await world.where(status=404)
    assert f"Somebody else looks at {name}" in body["detail"]


async def test_a_client_that_fails(world: World) -> None:
    """Why, how often, and when it is pulled again; then that it is silent, and that it is paused."""
    await world.parts.leases.settle([failed(await world.pull())])
    way = await world.where()
    assert (way["state"], way["client"]["failures"]) == ("client_failing", 1)
    assert "no whole answer within 15 s" in way["summary"]
    assert way["dead_letters_searched"] is True
    await world.parts.pool.execute("UPDATE registry.clients SET inactive_since = now()")
    assert (await world.where())["state"] == "client_inactive"
    await world.parts.clients.pause("ash")
    assert (await world.where())["state"] == "client_paused"
    await world.parts.clients.resume("ash")
    await world.parts.schedule.set_running(running=False)
    assert (await world.where())["state"] == "timer_stopped"


async def test_a_client_that_is_no_longer_registered(world: World) -> None:
    """Of a user of whom anything is known: his pulls, or his captures."""
    await world.parts.leases.settle([failed(await world.pull())])
    await world.parts.clients.unregister("ash")
    assert (await world.where())["state"] == "client_unregistered"
    await world.parts.pool.execute("DELETE FROM registry.pulls")
    await world.where(status=404)
    await world.keep(
        PullTarget(pull_id=UUID(int=1), user_id="ash", client_url=URL, lease_expires_at=MADE_AT), capture()
    )
    assert (await world.where(capture_id="c2"))["state"] == "client_unregistered"


async def test_a_capture_that_was_never_seen(world: World) -> None:
    """404, with what is known of the client, and when it is pulled next."""
    await world.parts.leases.settle([outcome(await world.pull())])
    body = await world.where(status=404)
    assert (body["type"], body["title"]) == ("urn:pullsync:problem:unknown-capture", "Unknown capture")
    way = body["whereabouts"]
    assert (way["state"], way["summary"]) == ("never_seen", body["detail"])
    assert way["client"]["next_pull_at"][:19].replace("T", " ") in body["detail"]
    unknown = await world.where("misty", status=404)
    assert unknown["whereabouts"]["client"] is None
    assert "Nothing is known of this user" in unknown["detail"]


@pytest.mark.parametrize(
    ("user", "capture_id"),
    [
        ("a/b", "c/d"),
        ("a", "b/c/d"),
        ("a/b/c", "d"),
        ("%2F", "100%"),
        ("a b?#", "c d?#&"),
        ("ü" * 255, "\U0001f600" * 255),
        ("..", "."),
        ("a/", "/b"),
    ],
)
async def test_any_ids_can_be_asked_for(world: World, user: str, capture_id: str) -> None:
    """Slashes included: the ids are told apart as they were sent."""
    await world.parts.clients.register(NewClient(user_id=user, client_url=URL))
    await world.keep(await world.pull(user), capture(capture_id))
    path = f"{API}/{_escaped(user)}/{_escaped(capture_id)}"
    way = (await world.http.get(path)).json()
    assert (way["user_id"], way["capture_id"], way["state"]) == (user, capture_id, "stored")


def _escaped(text: str) -> str:
    return quote(text, safe="").replace(".", "%2E")


@pytest.mark.parametrize("capture_id", ["%00", "a%00b"])
async def test_ids_that_can_not_be_are_unknown(world: World, capture_id: str) -> None:
    """Nobody is asked for them."""
    answer = await world.http.get(f"{API}/ash/{capture_id}")
    assert (answer.status_code, answer.json()["type"]) == (404, "urn:pullsync:problem:unknown-capture")


async def test_ids_that_are_too_long_are_refused(world: World) -> None:
    """As elsewhere."""
    assert (await world.http.get(f"{API}/ash/{'c' * 256}")).status_code == 422
    assert (await world.http.get(f"{API}/{'u' * 256}/c")).status_code == 422


# ---------------------------------------------------------------- who may ask


@pytest.fixture
def guarded(settings: RegistrySettings) -> RegistrySettings:
    """With tokens."""
    changes = {
        "operator_tokens": (("read", "r" * 16),),
        "service_tokens": ("s" * 16,),
        "registration_tokens": ("e" * 16,),
        "pull_token_keys": (KEY,),
    }
    return settings.model_copy(update=changes)


async def test_a_client_asks_for_its_own_captures_only(world: World, guarded: RegistrySettings) -> None:
    """By its own token; whatever slashes are in the path, the user who is asked for is the one who is guarded."""
    for user in ("a/b", "a"):
        await world.parts.clients.register(NewClient(user_id=user, client_url=URL))
    rows = await world.parts.pool.fetch("SELECT user_id, token_generation FROM registry.clients")
    generation = {row["user_id"]: row["token_generation"] for row in rows}
    app = build_app(guarded)
    own = authorization(DerivedTokens((KEY,)).for_client("a", generation["a"]))
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost", timeout=60) as http,
    ):
        for path, allowed in {
            f"{API}/a/b/c": True,
            f"{API}/a%2Fb/c": False,
            "/api/v1/pull-sync/clients/a/pulls": True,
            "/api/v1/pull-sync/clients/a%2Fb/pulls": False,
            "/api/v1/pull-sync/clients/a/b/pulls": False,
            "/api/v1/pull-sync/clients/a/ranking": True,
            "/api/v1/pull-sync/clients/a%2Fb/ranking": False,
            "/api/v1/pull-sync/clients/a/b/ranking": False,
            f"{API}/ash/c1": False,
        }.items():
            answer = await http.get(path, headers=own)
            assert (answer.status_code != 401) is allowed, path
            assert (await http.get(path)).status_code == 401
            assert (await http.get(path, headers=authorization("r" * 16))).status_code in {200, 404}


async def test_dead_letters_are_searched_for_operators_only(world: World, guarded: RegistrySettings) -> None:
    """A client can't have them delivered again and again; what died is still with it."""
    await world.parts.leases.settle([outcome(await world.pull())])
    await world.bury(BATCHES, batch("ash", "c1"))
    generation = await world.parts.pool.fetchval("SELECT token_generation FROM registry.clients")
    app = build_app(guarded)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost", timeout=60) as http,
    ):
        own = authorization(DerivedTokens((KEY,)).for_client("ash", generation))
        body = (await http.get(f"{API}/ash/c1", headers=own)).json()
        assert (body["whereabouts"]["state"], body["whereabouts"]["dead_letters_searched"]) == ("never_seen", None)
        body = (await http.get(f"{API}/ash/c1", headers=authorization("r" * 16))).json()
        assert body["state"] == "dead_letter"


async def test_without_ingests_tables_it_is_said_so(world: World, database: Database) -> None:
    """An ingest of the version before does not publish what is asked for."""
    connection = await asyncpg.connect(database.ingest_url)
    try:
        await connection.execute("DROP VIEW captures.published_events")
    finally:
        await connection.close()
    answer = await world.where(status=503)
    assert answer["type"] == "urn:pullsync:problem:captures-not-ready"


async def test_the_answer_of_a_pull_under_way(world: World) -> None:
    """With the time at which it is taken for lost."""
    await world.pull()
    way = await world.where()
    assert way["state"] == "on_its_way"
    assert way["client"]["next_pull_at"][:19].replace("T", " ") in way["summary"]
    assert datetime.fromisoformat(way["client"]["next_pull_at"]) > datetime.now(UTC) + timedelta(seconds=60)
