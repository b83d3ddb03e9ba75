"""Ingest on a real RabbitMQ and a real Postgres: what becomes of each message, whoever fails."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID, uuid4

import aio_pika
import asyncpg
import httpx
import pytest
from aio_pika.abc import AbstractChannel
from msgspec.structs import replace

import shared.rabbitmq.holding
from dev.database import Database
from services.ingest.acknowledge import Acknowledger
from services.ingest.app import build_app
from services.ingest.client_api import ClientApi
from services.ingest.compare import Comparison
from services.ingest.consumers import CaptureBatches
from services.ingest.settings import IngestSettings
from services.ingest.store import CaptureStore
from services.ingest.writer import Writer
from shared.contracts.encoding import decoded, encoded
from shared.contracts.messages import (
    AcknowledgeCaptures,
    Acknowledgement,
    CaptureBatch,
    Outcome,
    Pull,
    PullAcknowledged,
    PulledCapture,
    PullOutcome,
    PullSettled,
    Reason,
    UnreadableItem,
)
from shared.contracts.topology import (
    ACKNOWLEDGE_DELAYS_S,
    ACKNOWLEDGEMENTS,
    CAPTURE_BATCHES,
    DELIVERY_LIMIT,
    PULL_SETTLED,
    delay_routing_key,
)
from shared.outbound.client_http import ClientHttp, OutboundPolicy
from shared.postgres.database import make_pool
from shared.rabbitmq.broker import Publisher, PublishError, ServiceBroker, make_broker
from shared.rabbitmq.consuming import BrokerConnection
from tests.waiting import eventually

DEAD: Final = f"{CAPTURE_BATCHES.name}.dead"


class Client:
    """A client that is told what to forget, when it is not down."""

    def __init__(self) -> None:
        self.url = ""
        self.down = False
        self.acknowledged: list[list[str]] = []

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve `acknowledge`."""
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        body = await reader.readexactly(int(head.partition(b"content-length:")[2].partition(b"\r\n")[0]))
        if self.down:
            writer.write(b"HTTP/1.1 503 Down\r\ncontent-length: 0\r\n\r\n")
        else:
            self.acknowledged.append(json.loads(body)["capture_ids"])
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")
        await writer.drain()
        writer.close()


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    """A client that answers."""
    made = Client()
    server = await asyncio.start_server(made.talk, "127.0.0.1", 0)
    made.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    yield made
    server.close()
    await server.wait_closed()


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """A failed message comes back at once."""
    monkeypatch.setattr(shared.rabbitmq.holding, "REQUEUE_PAUSE_S", 0.0)


@asynccontextmanager
async def ingest(database: Database, broker_url: str) -> AsyncIterator[None]:
    """The whole service, consuming."""
    app = build_app(IngestSettings(database_url=database.ingest_url, rabbitmq_url=broker_url, pull_sync_timeout=3.0))
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://ingest") as web,
    ):

        async def ready() -> bool:
            return (await web.get("/health/ready")).is_success

        await eventually(ready)
        yield


@asynccontextmanager
async def channel_of(broker_url: str) -> AsyncIterator[AbstractChannel]:
    """A connection beside the service's."""
    connection = await aio_pika.connect_robust(broker_url)
    async with connection:
        yield await connection.channel()


async def take(channel: AbstractChannel, name: str) -> aio_pika.abc.AbstractIncomingMessage:
    """The next message of a queue, which comes within a deadline."""
    queue = await channel.get_queue(name, ensure=False)
    found: list[aio_pika.abc.AbstractIncomingMessage] = []

    async def came() -> bool:
        message = await queue.get(fail=False, no_ack=True)
        if message is not None:
            found.append(message)
        return message is not None

    await eventually(came)
    return found[0]


async def settled(channel: AbstractChannel) -> PullOutcome:
    """The next outcome that the registry would read."""
    (outcome,) = decoded(PullSettled, (await take(channel, PULL_SETTLED.name)).body).outcomes
    return outcome


async def publish(channel: AbstractChannel, body: bytes, routing_key: str = CAPTURE_BATCHES.routing()) -> None:
    """As the puller would."""
    exchange = await channel.get_exchange("pullsync", ensure=False)
    message = aio_pika.Message(body, delivery_mode=aio_pika.DeliveryMode.PERSISTENT, content_type="application/json")
    await exchange.publish(message, routing_key=routing_key)


def batch(client: Client, *capture_ids: str, **fields: Any) -> CaptureBatch:
    """One user's pull with these captures."""
    captures = tuple(
        PulledCapture(
            capture_id=capture_id,
            pokemon_id=25,
            pokemon_name="pikachu",
            action="capture",
            timestamp=datetime(2026, 1, 31, 12, tzinfo=UTC),
            removed=False,
            metadata=None,
        )
        for capture_id in capture_ids
    )
    known: dict[str, Any] = {
        "pull_id": uuid4(),
        "user_id": "ash",
        "client_url": client.url,
        "pulled_at": datetime(2026, 1, 31, 13, tzinfo=UTC),
        "duration_s": 0.1,
        "pending": len(captures),
        "more_pending": False,
        "captures": captures,
    }
    return CaptureBatch(pulls=(Pull(**{**known, **fields}),))


def outcome_of(user_id: str) -> PullOutcome:
    """Of a pull that stored one capture."""
    return PullOutcome(pull_id=UUID(int=1), user_id=user_id, outcome=Outcome.STORED, stored=1)


async def events(database: Database) -> list[str]:
    """The ids that are stored."""
    connection = await asyncpg.connect(database.ingest_url)
    try:
        return [row[0] for row in await connection.fetch("SELECT capture_id FROM captures.events ORDER BY 1")]
    finally:
        await connection.close()


async def test_a_redelivered_batch_is_told_again_and_stored_once(
    database: Database, broker_url: str, client: Client
) -> None:
    """The second time all are duplicates, and the client is told all the same, of unreadable items too."""
    unreadable = (
        UnreadableItem(capture_id="u", problem="p", raw="[]"),
        UnreadableItem(capture_id=None, problem="p", raw="1"),
    )
    body = encoded(batch(client, "a", "b", unreadable=unreadable, pending=9, more_pending=True))
    async with ingest(database, broker_url), channel_of(broker_url) as channel:
        await publish(channel, body)
        first = await settled(channel)
        await publish(channel, body)
        second = await settled(channel)
    assert await events(database) == ["a", "b"]
    assert client.acknowledged == [["a", "b", "u"]] * 2
    assert (first.outcome, first.stored, first.duplicates, first.quarantined) == (Outcome.STORED, 2, 0, 2)
    assert (first.pending, first.more_pending, first.reason) == (6, True, None)
    assert (second.outcome, second.stored, second.duplicates, second.more_pending) == (Outcome.STORED, 0, 2, False)


async def test_a_client_that_is_down_is_told_later(database: Database, broker_url: str, client: Client) -> None:
    """The pull settles as stored but unacknowledged, the acknowledgement comes again, and then that is told."""
    client.down = True
    async with ingest(database, broker_url), channel_of(broker_url) as channel:
        await publish(channel, encoded(batch(client, "a", pending=1)))
        outcome = await settled(channel)
        assert (outcome.outcome, outcome.stored, outcome.reason) == (Outcome.STORED, 1, Reason.UNACKNOWLEDGED)
        assert outcome.pending == 1
        client.down = False

        async def told() -> bool:
            return client.acknowledged == [["a"]]

        await eventually(told)
        later = decoded(PullSettled, (await take(channel, PULL_SETTLED.name)).body)
        assert later.outcomes == ()
        assert later.acknowledged == (PullAcknowledged(pull_id=outcome.pull_id, user_id="ash"),)
    assert await events(database) == ["a"]


async def test_who_is_told_of_a_pull_that_nobody_named(database: Database, broker_url: str, client: Client) -> None:
    """An acknowledgement of the version before is told to the client, and to nobody else."""
    untold = Acknowledgement(user_id="ash", client_url=client.url, capture_ids=("a",), outcome=None)
    async with ingest(database, broker_url), channel_of(broker_url) as channel:
        body = encoded(AcknowledgeCaptures(acknowledgements=(untold,), attempts=1)).replace(b',"pull_id":null', b"")
        assert b"pull_id" not in body
        await publish(channel, body, ACKNOWLEDGEMENTS.routing())

        async def told() -> bool:
            return client.acknowledged == [["a"]]

        await eventually(told)
        await publish(channel, encoded(batch(client, "b")))
        assert (await settled(channel)).stored == 1, "nothing came before it"


async def test_a_client_that_stays_down_is_given_up(broker_url: str, client: Client) -> None:
    """Each try waits in the queue of its delay; after the last there is none."""
    client.down = True
    told = Acknowledgement(user_id="ash", client_url=client.url, capture_ids=("a",), outcome=outcome_of("ash"))
    async with connected(broker_url) as broker, channel_of(broker_url) as channel, http() as calls:
        acknowledger = Acknowledger(client_api=ClientApi(http=calls), publisher=Publisher(broker))
        for attempts, delay_s in enumerate(ACKNOWLEDGE_DELAYS_S):
            error = await acknowledger.tell(told, attempts=attempts)
            assert error is not None
            assert error.reason is Reason.HTTP_STATUS
            again = await take(channel, f"ingest.acknowledgements.after-{delay_s}s")
            message = decoded(AcknowledgeCaptures, again.body)
            assert message.attempts == attempts + 1
            assert message.acknowledgements == (replace(told, outcome=None),), "it is settled by the first try"
        assert await acknowledger.tell(told, attempts=len(ACKNOWLEDGE_DELAYS_S)) is not None
        for delay_s in ACKNOWLEDGE_DELAYS_S:
            queue = await channel.get_queue(f"ingest.acknowledgements.after-{delay_s}s", ensure=False)
            assert await queue.get(fail=False) is None


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"\xff",
        b"null",
        b'{"pulls": 1}',
        b'{"schema_version": 2, "pulls": []}',
        b'{"pulls": [{}]}',
        b"[" * 9_999,
    ],
)
async def test_an_unreadable_message_is_put_aside_at_once(
    body: bytes, database: Database, broker_url: str, client: Client
) -> None:
    """It ends in the dead-letter queue as it came, and the one behind it is handled."""
    async with ingest(database, broker_url), channel_of(broker_url) as channel:
        await publish(channel, body)
        await publish(channel, encoded(batch(client, "a")))
        assert (await settled(channel)).stored == 1
        dead = await take(channel, DEAD)
    assert dead.body == body
    assert "rejected" in str(dead.headers["x-death"])


class Failing(CaptureStore):
    """A store that always fails, and counts."""

    def __init__(self) -> None:
        self.calls = 0

    async def store(self, pulls: Any) -> list[int]:
        """Fail in a way that nobody expects."""
        del pulls
        self.calls += 1
        message = "never"
        raise RuntimeError(message)


async def test_a_message_that_always_fails_is_put_aside_in_the_end(broker_url: str, client: Client) -> None:
    """It comes back until the delivery limit, is then in the dead-letter queue, and no client was told."""
    store = Failing()
    writer = Writer(store=store)
    body = encoded(batch(client, "a"))
    broker = make_broker(broker_url, service="test")
    CaptureBatches(
        writer=writer,
        comparison=Comparison(pool=make_pool("postgresql://nowhere/none", service="test", max_size=1), queries={}),
        publisher=Publisher(broker),
    ).subscribe(broker)
    connection = BrokerConnection(broker, consumed=(CAPTURE_BATCHES,))
    writing = asyncio.create_task(writer.run())
    async with connection.running(), channel_of(broker_url) as channel:
        await eventually(connection.ready)
        await publish(channel, body)
        dead = await take(channel, DEAD)
    writing.cancel()
    await asyncio.gather(writing, return_exceptions=True)
    assert dead.body == body
    assert store.calls == DELIVERY_LIMIT + 1
    assert client.acknowledged == []


@asynccontextmanager
async def connected(broker_url: str) -> AsyncIterator[ServiceBroker]:
    """A broker of our own with all queues, which consumes nothing."""
    broker = make_broker(broker_url, service="test")
    connection = BrokerConnection(broker, consumed=())
    async with connection.running():
        await eventually(connection.ready)
        yield broker


def http() -> ClientHttp:
    """HTTP to clients on this machine."""
    return ClientHttp(policy=OutboundPolicy(frozenset({"loopback"})), timeout_s=3.0, body_limit_bytes=1_024)


async def test_what_nobody_takes_is_not_published(broker_url: str, client: Client) -> None:
    """A routing key without a queue is an error, and the publisher works on."""
    message = batch(client, "a")
    async with connected(broker_url) as broker, channel_of(broker_url) as channel:
        publisher = Publisher(broker)
        with pytest.raises(PublishError):
            await publisher.publish(message, routing_key="no.such.queue")
        await publisher.publish(message, routing_key=CAPTURE_BATCHES.routing())
        kept = await take(channel, CAPTURE_BATCHES.name)
    assert decoded(CaptureBatch, kept.body) == message
    assert kept.delivery_mode == aio_pika.DeliveryMode.PERSISTENT


async def test_what_a_full_queue_refuses_is_not_published(broker_url: str, client: Client) -> None:
    """A queue at its limit refuses, the publisher is told, and works on with other queues."""
    message = batch(client, "a")
    async with connected(broker_url) as broker, channel_of(broker_url) as channel:
        arguments: dict[str, Any] = {"x-queue-type": "quorum", "x-max-length": 1, "x-overflow": "reject-publish"}
        queue = await channel.declare_queue("small", durable=True, arguments=arguments)
        await queue.bind("pullsync", routing_key="small")
        publisher = Publisher(broker)

        async def refused() -> bool:  # a quorum queue counts a moment later
            try:
                await publisher.publish(message, routing_key="small")
            except PublishError:
                return True
            return False

        await eventually(refused)
        await publisher.publish(message, routing_key=delay_routing_key(ACKNOWLEDGE_DELAYS_S[0]))


async def test_without_a_broker_nothing_is_published(broker_url: str, client: Client) -> None:
    """A publisher whose broker is closed or was never connected raises `PublishError`."""
    broker = make_broker(broker_url, service="test")
    with pytest.raises(PublishError):
        await Publisher(broker).publish(batch(client, "a"), routing_key=CAPTURE_BATCHES.routing())
    async with connected(broker_url) as opened:
        pass
    with pytest.raises(PublishError):
        await Publisher(opened).publish(batch(client, "a"), routing_key=CAPTURE_BATCHES.routing())
