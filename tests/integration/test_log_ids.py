"""Ids on their way through a real RabbitMQ: they come with a message, and foreign ones break nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import aio_pika
import pytest
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from structlog.contextvars import get_contextvars

from dev.broker import Broker
from shared.contracts.encoding import encoded
from shared.contracts.messages import CaptureBatch, Message, ReplayQuarantined
from shared.contracts.topology import CAPTURE_BATCHES, EXCHANGE, REPLAYS
from shared.observing.log_context import bind
from shared.observing.tracing import start_tracing, stop_tracing
from shared.rabbitmq.broker import Publisher, decoder, make_broker
from shared.rabbitmq.consuming import BrokerConnection
from tests.waiting import eventually

RUN = UUID("7d3c9c5e-1a57-4a53-8d0e-2f8a4b9c6d7e")
HOSTILE: list[dict[str, Any]] = [
    {"message_id": "a\nb", "headers": {"run_id": "\x1b[2J", "batch_id": "x" * 4_000, "request_id": "a b"}},
    {"headers": {"run_id": 7, "batch_id": bytearray(b"\xff\xfe"), "request_id": ["a", {"b": 1}], "traceparent": 3.5}},
    {"headers": {"traceparent": "00-" + "f" * 4_000, "tracestate": bytearray(b"\xff"), "baggage": "a=\n"}},
    {"message_id": "\u202e", "correlation_id": "\u2028", "headers": {"run_id": {"a": None}, "request_id": True}},
]


class Consumer:
    """Keeps the ids with which each message is handled."""

    def __init__(self) -> None:
        self.ids: list[dict[str, Any]] = []

    async def handle(self, _message: Message) -> None:
        """As a handler of ours is called."""
        self.ids.append(get_contextvars())

    async def wait(self, count: int) -> list[dict[str, Any]]:
        """The ids of so many messages."""

        async def handled() -> bool:
            return len(self.ids) == count

        await eventually(handled)
        return self.ids


@pytest.fixture(params=["without traces", "with traces"])
def _traces(request: pytest.FixtureRequest) -> Iterator[None]:
    if request.param == "with traces":
        start_tracing("test", SimpleSpanProcessor(InMemorySpanExporter()))
    yield
    stop_tracing()


@asynccontextmanager
async def consuming(url: str) -> AsyncIterator[tuple[Consumer, Publisher]]:
    """A service that consumes batches and replays."""
    consumer, broker = Consumer(), make_broker(url, service="ingest")
    broker.subscriber(CAPTURE_BATCHES, EXCHANGE, decoder=decoder(CaptureBatch))(consumer.handle)
    broker.subscriber(REPLAYS, EXCHANGE, decoder=decoder(ReplayQuarantined))(consumer.handle)
    connection = BrokerConnection(broker, consumed=(CAPTURE_BATCHES, REPLAYS))
    async with connection.running():
        await eventually(connection.ready)
        yield consumer, Publisher(broker)


async def publish(publisher: Publisher, message: Message, routing_key: str, **ids: object) -> None:
    """As a service does that handles something with these ids."""

    async def work() -> None:
        bind(**ids)
        await publisher.publish(message, routing_key=routing_key)

    await asyncio.create_task(work())


@pytest.mark.usefixtures("_traces")
async def test_ids_come_with_a_message(broker: Broker) -> None:
    """A batch's own id and what it carries; users do not travel in headers."""
    async with consuming(broker.admin_url) as (consumer, publisher):
        batch = {"batch_id": "b-1", "run_id": RUN, "user_id": "ash"}
        await publish(publisher, CaptureBatch(pulls=()), CAPTURE_BATCHES.routing(), **batch)
        assert await consumer.wait(1) == [{"batch_id": "b-1", "run_id": str(RUN)}]
        await publish(publisher, ReplayQuarantined(quarantine_ids=()), REPLAYS.routing(), request_id="r-1")
        ids = (await consumer.wait(2))[1]
        assert ids.pop("message_id")
        assert ids == {"request_id": "r-1"}


@pytest.mark.usefixtures("_traces")
@pytest.mark.parametrize("hostile", HOSTILE)
async def test_what_is_no_id_is_passed_over(broker: Broker, hostile: dict[str, Any]) -> None:
    """The message is handled all the same, and so is the next one; no line shows what stood there."""
    async with consuming(broker.admin_url) as (consumer, publisher):
        connection = await aio_pika.connect(broker.admin_url)
        async with connection:
            exchange = await (await connection.channel()).get_exchange(EXCHANGE.name)
            body = encoded(ReplayQuarantined(quarantine_ids=()))
            await exchange.publish(aio_pika.Message(body, **hostile), REPLAYS.routing())
            (ids,) = await consumer.wait(1)
            made_by_aio_pika = ids.pop("message_id", "0")
            assert ids == {}
            assert made_by_aio_pika.isalnum()
        await publish(publisher, ReplayQuarantined(quarantine_ids=()), REPLAYS.routing())
        await consumer.wait(2)


@pytest.mark.usefixtures("_traces")
async def test_a_batch_that_can_not_be_read_dies_as_before(broker: Broker) -> None:
    """Who looks into it for pulls does not stand in the way of the one who says what becomes of it."""
    async with consuming(broker.admin_url) as (consumer, publisher):
        connection = await aio_pika.connect(broker.admin_url)
        async with connection:
            channel = await connection.channel()
            exchange = await channel.get_exchange(EXCHANGE.name)
            await exchange.publish(aio_pika.Message(b'{"pulls": 0}'), CAPTURE_BATCHES.routing())

            async def dead() -> bool:
                letters = await channel.declare_queue(f"{CAPTURE_BATCHES.name}.dead", passive=True)
                return letters.declaration_result.message_count == 1

            await eventually(dead)
        await publish(publisher, CaptureBatch(pulls=()), CAPTURE_BATCHES.routing(), batch_id="b-2")
        assert await consumer.wait(1) == [{"batch_id": "b-2"}]
