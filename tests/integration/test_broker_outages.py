"""A service's broker on a real RabbitMQ that fails in every way we know: nothing is lost, nothing dies of an outage."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import aio_pika
import httpx
import pytest
import structlog
from aio_pika.abc import AbstractChannel
from faststream.rabbit import Channel

import shared.rabbitmq.broker
import shared.rabbitmq.consuming
import shared.rabbitmq.holding
from dev.servers.rabbitmq import RabbitMQNode
from shared.contracts.messages import PullSettled
from shared.contracts.topology import DELIVERY_LIMIT, EXCHANGE, PULL_SETTLED
from shared.errors import TransientError
from shared.rabbitmq.broker import Publisher, PublishError, ServiceBroker, decoder, make_broker
from shared.rabbitmq.consuming import BrokerConnection
from tests.servers import Servers
from tests.waiting import eventually

NOTHING: Final = PullSettled(outcomes=())
DEAD: Final = f"{PULL_SETTLED.name}.dead"
STOP_WITHIN_S: Final = 15.0
MORE_THAN_THE_LIMIT: Final = DELIVERY_LIMIT + 5

Logs = list[Any]


class AwayError(TransientError):
    """Something that the handler needs is away."""


class Service:
    """Consumes the registry's queue, and fails when it is told to."""

    def __init__(self, url: str) -> None:
        self.handled = 0
        self.tries = 0
        self.fails: Callable[[], BaseException | None] = lambda: None
        self.broker: ServiceBroker = make_broker(url, service="test")
        self.connection = BrokerConnection(self.broker, consumed=(PULL_SETTLED,))
        self.publisher = Publisher(self.broker)
        subscriber = self.broker.subscriber(
            PULL_SETTLED, EXCHANGE, channel=Channel(prefetch_count=8), decoder=decoder(PullSettled)
        )
        subscriber(self.handle)

    async def handle(self, _message: PullSettled) -> None:
        """Handle one message, or fail."""
        self.tries += 1
        error = self.fails()
        if error is not None:
            raise error
        self.handled += 1

    async def ready(self) -> bool:
        """What its readiness would say."""
        return await self.connection.ready()

    async def not_ready(self) -> bool:
        """The contrary."""
        return not await self.connection.ready()

    async def publish(self) -> None:
        """One message for itself, which may take some tries."""

        async def confirmed() -> bool:
            return not await self.is_refused()

        await eventually(confirmed)

    async def is_refused(self) -> bool:
        """Whether RabbitMQ does not take a message for itself now."""
        try:
            await self.publisher.publish(NOTHING, routing_key=PULL_SETTLED.routing())
        except PublishError:
            return True
        return False

    async def serves(self) -> None:
        """A message that is published now is handled."""
        before = self.handled
        await self.publish()

        async def handled() -> bool:
            return self.handled > before

        await eventually(handled)

    async def channel(self) -> Any:
        """The channel on which it consumes, as aiormq has it."""
        (subscriber,) = self.broker.subscribers
        queue = vars_of(subscriber, "_queue_obj")
        return await queue.channel.get_underlay_channel()

    def tag(self) -> str:
        """Its consumer's tag."""
        (subscriber,) = self.broker.subscribers
        return str(vars_of(subscriber, "_consumer_tag"))


def vars_of(thing: object, name: str) -> Any:
    """What FastStream keeps for itself."""
    return getattr(thing, name)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses are short."""
    monkeypatch.setattr(shared.rabbitmq.holding, "_FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr(shared.rabbitmq.holding, "_LONGEST_PAUSE_S", 0.02)
    monkeypatch.setattr(shared.rabbitmq.holding, "REQUEUE_PAUSE_S", 0.0)
    monkeypatch.setattr(shared.rabbitmq.consuming, "_WATCH_S", 0.1)
    monkeypatch.setattr(shared.rabbitmq.consuming, "_DEAF_S", 1.0)


@pytest.fixture
def logs() -> Iterator[Logs]:
    """What is logged."""
    with structlog.testing.capture_logs() as entries:
        yield entries


def events(logs: Logs) -> list[str]:
    """The names of what was logged, in order."""
    return [entry["event"] for entry in logs]


@asynccontextmanager
async def running(url: str) -> AsyncIterator[Service]:
    """A service that consumes; it must stop in time."""
    service = Service(url)
    async with asyncio.timeout(None) as stopping, service.connection.running():
        await eventually(service.ready)
        yield service
        stopping.reschedule(asyncio.get_running_loop().time() + STOP_WITHIN_S)


@asynccontextmanager
async def beside(url: str) -> AsyncIterator[AbstractChannel]:
    """A connection beside the service's."""
    connection = await aio_pika.connect(url)
    async with connection:
        yield await connection.channel()


async def waiting(channel: AbstractChannel, name: str) -> int:
    """Messages in a queue that nobody holds."""
    queue = await channel.declare_queue(name, passive=True)
    return queue.declaration_result.message_count or 0


@asynccontextmanager
async def management(servers: Servers) -> AsyncIterator[httpx.AsyncClient]:
    """RabbitMQ's management API."""
    parts = urlsplit(servers.rabbitmq_url)
    auth = (parts.username or "guest", parts.password or "guest")
    async with httpx.AsyncClient(base_url=servers.management_url, auth=auth, trust_env=False) as api:
        yield api


async def cut_connections(servers: Servers, broker_url: str) -> None:
    """Close every connection to the vhost, as an operator would."""
    vhost = urlsplit(broker_url).path.lstrip("/")
    async with management(servers) as api:

        async def cut() -> bool:  # the API learns of a connection some seconds late
            found = (await api.get(f"/api/vhosts/{vhost}/connections")).json()
            for connection in found:
                await api.delete(f"/api/connections/{connection['name']}")
            return bool(found)

        await eventually(cut)


# Outages of what a handler needs.


async def test_an_outage_of_any_length_costs_no_delivery(broker_url: str, logs: Logs) -> None:
    """A message is held and tried more often than the delivery limit; begin and end are logged once."""
    async with running(broker_url) as service, beside(broker_url) as channel:
        service.fails = lambda: AwayError("gone") if service.tries <= MORE_THAN_THE_LIMIT else None
        await service.serves()
        assert service.tries == MORE_THAN_THE_LIMIT + 1
        assert await waiting(channel, DEAD) == 0
    assert events(logs).count("messages_held") == 1
    assert events(logs).count("messages_flow_again") == 1
    assert "message_failed" not in events(logs)


@pytest.mark.parametrize("error", [OSError("gone"), TimeoutError(), AwayError("gone")])
async def test_what_is_held_for_long_becomes_a_new_message(
    error: Exception, broker_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A copy takes its place more often than the delivery limit: each is delivered for the first time."""
    monkeypatch.setattr(shared.rabbitmq.holding, "HELD_S", 0.0)
    async with running(broker_url) as service, beside(broker_url) as channel:
        copies = 2 * MORE_THAN_THE_LIMIT
        service.fails = lambda: error if service.tries <= copies else None
        await service.serves()
        assert service.handled == 1
        assert await waiting(channel, DEAD) == 0
        assert await waiting(channel, PULL_SETTLED.name) == 0


async def test_a_copy_is_as_its_original(broker_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Body, type, ids and headers are kept; it is persistent."""
    monkeypatch.setattr(shared.rabbitmq.holding, "HELD_S", 0.0)
    original = aio_pika.Message(
        b'{"outcomes": []}',
        headers={"x-of": "a stranger", "bytes": bytearray(b"\xff")},
        content_type="application/json",
        correlation_id="c",
        message_id="m",
        type="PullSettled",
        app_id="somebody",
    )
    async with running(broker_url) as service, beside(broker_url) as channel:
        service.fails = lambda: AwayError("gone")
        exchange = await channel.get_exchange(EXCHANGE.name, ensure=False)
        await exchange.publish(original, PULL_SETTLED.routing())

        async def copied() -> bool:
            return service.tries > 4

        await eventually(copied)
    async with beside(broker_url) as channel:
        queue = await channel.get_queue(PULL_SETTLED.name, ensure=False)
        kept = await queue.get(no_ack=True)
    assert kept is not None
    names = ("body", "content_type", "correlation_id", "message_id", "type", "app_id")
    assert [getattr(kept, name) for name in names] == [getattr(original, name) for name in names]
    assert (kept.headers["x-of"], kept.headers["bytes"]) == ("a stranger", b"\xff")
    assert kept.delivery_mode == aio_pika.DeliveryMode.PERSISTENT


async def test_a_full_queue_refuses_the_copy_and_the_message_is_held_on(
    broker_url: str, servers: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is lost, and nothing counts, while the queue has no room for copies."""
    monkeypatch.setattr(shared.rabbitmq.holding, "HELD_S", 0.0)
    vhost = urlsplit(broker_url).path.lstrip("/")
    async with running(broker_url) as service, beside(broker_url) as channel, management(servers) as api:
        down = True
        service.fails = lambda: AwayError("gone") if down else None
        for _ in range(20):
            await service.publish()
        policy = {"pattern": f"^{PULL_SETTLED.name}$", "definition": {"max-length": 1}, "apply-to": "queues"}
        (await api.put(f"/api/policies/{vhost}/full", json=policy)).raise_for_status()

        await eventually(service.is_refused)
        before = service.tries

        async def tried_on() -> bool:
            return service.tries > before + 40 * MORE_THAN_THE_LIMIT

        await eventually(tried_on)
        assert await waiting(channel, DEAD) == 0
        down = False

        async def done() -> bool:
            return service.handled >= 20 and await waiting(channel, PULL_SETTLED.name) == 0

        await eventually(done)
        assert await waiting(channel, DEAD) == 0


async def test_a_stop_gives_back_what_is_held(broker_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It does not wait for the end of the outage, nor of the pause."""
    for module in (shared.rabbitmq.broker, shared.rabbitmq.consuming):
        monkeypatch.setattr(module, "STOP_DEADLINE_S", 3_600.0)
    monkeypatch.setattr(shared.rabbitmq.holding, "_FIRST_PAUSE_S", 3_600.0)
    monkeypatch.setattr(shared.rabbitmq.holding, "_LONGEST_PAUSE_S", 3_600.0)
    async with running(broker_url) as service:
        service.fails = lambda: AwayError("gone")
        for _ in range(3):
            await service.publish()

        async def all_held() -> bool:
            return service.tries == 3

        await eventually(all_held)
    async with beside(broker_url) as channel:

        async def back() -> bool:
            return await waiting(channel, PULL_SETTLED.name) == 3

        await eventually(back)


async def test_a_stop_gives_back_what_takes_too_long(broker_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A handler that hangs is given up, and its message is in the queue."""
    monkeypatch.setattr(shared.rabbitmq.broker, "STOP_DEADLINE_S", 0.2)
    begun, ended = asyncio.Event(), asyncio.Event()
    service = Service(broker_url)

    async def hang(_message: PullSettled) -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    service.broker.subscriber(PULL_SETTLED, EXCHANGE, decoder=decoder(PullSettled))(hang)
    async with asyncio.timeout(STOP_WITHIN_S * 2), service.connection.running():
        await eventually(service.ready)
        while not begun.is_set():
            await service.publish()
    await ended.wait()
    async with beside(broker_url) as channel:

        async def back() -> bool:
            return await waiting(channel, PULL_SETTLED.name) >= 1

        await eventually(back)


async def test_a_cancelled_library_is_a_failure_like_any_other(broker_url: str) -> None:
    """A handler that ends cancelled without anyone having cancelled it does not keep its message for ever."""
    async with running(broker_url) as service:
        service.fails = lambda: asyncio.CancelledError() if service.tries == 1 else None
        await service.serves()
        assert service.tries == 2


# What RabbitMQ takes from a consumer.


async def test_a_channel_that_the_server_closed_consumes_again(broker_url: str) -> None:
    """As it is after an acknowledgement that came too late: RabbitMQ closes the channel, with what was in hand."""
    async with running(broker_url) as service:
        await service.serves()
        channel = await service.channel()
        await channel.basic_ack(delivery_tag=4_711)

        async def another() -> bool:
            return channel.is_closed and await service.ready() and await service.channel() is not channel

        await eventually(another)
        await service.serves()


async def test_a_deleted_queue_is_declared_and_consumed_again(broker_url: str) -> None:
    """Its bindings too; the operator's deletion is no end of the service."""
    async with running(broker_url) as service, beside(broker_url) as channel:
        await channel.queue_delete(PULL_SETTLED.name)
        await eventually(service.ready)
        await service.serves()


async def test_all_that_is_deleted_is_declared_again(broker_url: str, logs: Logs) -> None:
    """Without its exchange a queue can't be restored alone: then all is made anew."""
    async with running(broker_url) as service, beside(broker_url) as channel:
        await channel.exchange_delete(EXCHANGE.name)
        await channel.queue_delete(PULL_SETTLED.name)
        await eventually(service.not_ready)
        await eventually(service.ready)
        await service.serves()
    assert events(logs).count("consumers_lost") == 1


async def test_a_consumer_that_died_silently_is_not_ready(broker_url: str, logs: Logs) -> None:
    """The connection is up and nobody consumes: readiness says so, and the service heals."""
    async with running(broker_url) as service:
        channel = await service.channel()
        await channel.basic_cancel(service.tag())
        assert not await service.ready()
        await eventually(service.ready)
        await service.serves()
    assert events(logs).count("consumers_lost") == 1


async def test_a_cut_connection_comes_back(broker_url: str, servers: Servers, logs: Logs) -> None:
    """An operator closes it, and the service is back at once; one line for the begin, one for the end."""
    async with running(broker_url) as service:
        await cut_connections(servers, broker_url)

        async def told() -> bool:
            return "broker_back" in events(logs)

        await eventually(told)
        await eventually(service.ready)
        await service.serves()
    assert (events(logs).count("broker_lost"), events(logs).count("broker_back")) == (1, 1)


async def test_a_queue_with_other_arguments_is_told_and_waited_for(broker_url: str, logs: Logs) -> None:
    """One line names the queue and what to do; when it is gone, the service begins by itself."""
    async with beside(broker_url) as channel:
        await channel.declare_queue(DEAD, durable=True)
    service = Service(broker_url)
    async with service.connection.running():

        async def told() -> bool:
            return "topology_refused" in events(logs)

        await eventually(told)
        assert not await service.ready()
        async with beside(broker_url) as channel:
            await channel.queue_delete(DEAD)
        await eventually(service.ready)
        await service.serves()
    (line,) = [entry for entry in logs if entry["event"] == "topology_refused"]
    assert DEAD in line["problem"]
    assert "delete" in line["remedy"]
    assert "broker_lost" not in events(logs)


# RabbitMQ itself.


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitMQNode]:
    """A node that these tests may harm; each leaves it running."""
    folder: Path = tmp_path_factory.mktemp("node")
    with RabbitMQNode(folder / "rabbitmq") as made:
        yield made


async def test_a_broker_that_is_away_at_start_is_waited_for(node: RabbitMQNode, logs: Logs) -> None:
    """Nothing is ready, one line tells why; when it comes, the service consumes by itself."""
    await asyncio.to_thread(node.stop)
    service = Service(node.url)
    try:
        async with service.connection.running():

            async def told() -> bool:
                return "broker_lost" in events(logs)

            await eventually(told)
            assert not await service.ready()
            with pytest.raises(PublishError):
                await service.publisher.publish(NOTHING, routing_key=PULL_SETTLED.routing())
            await asyncio.to_thread(node.start)
            await eventually(service.ready)
            await service.serves()
    finally:
        await asyncio.to_thread(node.start)
    assert events(logs).count("broker_lost") == 1


@pytest.mark.parametrize("end", ["stop", "kill"])
async def test_a_broker_that_restarts_is_found_again(end: str, node: RabbitMQNode) -> None:
    """Readiness is false while it is away, publishing fails at once, and afterwards all is as before."""
    async with running(node.url) as service:
        await service.serves()
        await asyncio.to_thread(getattr(node, end))
        try:
            await eventually(service.not_ready)
            with pytest.raises(PublishError):
                await service.publisher.publish(NOTHING, routing_key=PULL_SETTLED.routing())
        finally:
            await asyncio.to_thread(node.start)
        await eventually(service.ready, deadline_s=60.0)
        await service.serves()


async def test_a_stopped_and_started_application_is_found_again(node: RabbitMQNode) -> None:
    """`rabbitmqctl stop_app` leaves the machine running, and takes everything else."""
    async with running(node.url) as service:
        await asyncio.to_thread(node.rabbitmqctl, "stop_app")
        try:
            await eventually(service.not_ready)
        finally:
            await asyncio.to_thread(node.rabbitmqctl, "start_app")
        await eventually(service.ready, deadline_s=60.0)
        await service.serves()


@pytest.mark.parametrize(
    ("alarm", "over"),
    [
        (("set_vm_memory_high_watermark", "0.0000001"), ("set_vm_memory_high_watermark", "0.4")),
        (("set_disk_free_limit", "900000GB"), ("set_disk_free_limit", "1MB")),
    ],
    ids=["memory", "disk"],
)
async def test_an_alarm_blocks_publishing_and_passes(
    node: RabbitMQNode, monkeypatch: pytest.MonkeyPatch, alarm: tuple[str, str], over: tuple[str, str]
) -> None:
    """Without memory or disk nothing is confirmed: publishing times out, the service is not ready; then it goes on."""
    monkeypatch.setattr(shared.rabbitmq.broker, "PUBLISH_TIMEOUT_S", 1.0)
    async with running(node.url) as service:
        await service.serves()
        try:
            await asyncio.to_thread(node.rabbitmqctl, *alarm)

            await eventually(service.is_refused)
            await eventually(service.not_ready)
        finally:
            await asyncio.to_thread(node.rabbitmqctl, *over)
        await eventually(service.ready)
        await service.serves()


async def test_a_service_stops_in_an_alarm(node: RabbitMQNode, monkeypatch: pytest.MonkeyPatch) -> None:
    """RabbitMQ does not even read that we close the connection; nobody waits for it."""
    monkeypatch.setattr(shared.rabbitmq.broker, "PUBLISH_TIMEOUT_S", 1.0)
    try:
        async with running(node.url) as service:
            await asyncio.to_thread(node.rabbitmqctl, "set_vm_memory_high_watermark", "0.0000001")

            await eventually(service.is_refused)
    finally:
        await asyncio.to_thread(node.rabbitmqctl, "set_vm_memory_high_watermark", "0.4")


async def test_an_acknowledgement_that_comes_too_late_costs_the_channel_only(node: RabbitMQNode) -> None:
    """RabbitMQ closes the channel of whoever keeps a message for too long; the message comes again, and is handled."""
    gate = asyncio.Event()
    service = Service(node.url)
    tries: list[bool] = []

    async def slow(_message: PullSettled) -> None:
        tries.append(True)
        if len(tries) == 1:
            await gate.wait()

    for name, value in (("consumer_timeout", "1000"), ("channel_tick_interval", "500")):
        await asyncio.to_thread(node.rabbitmqctl, "eval", f"application:set_env(rabbit, {name}, {value}).")
    try:
        (subscriber,) = service.broker.subscribers
        service.fails = lambda: None
        subscriber.calls.clear()
        subscriber(slow)
        async with service.connection.running():
            await eventually(service.ready)
            await service.publish()

            async def again() -> bool:
                return len(tries) > 1

            await eventually(again)
            await eventually(service.ready)
    finally:
        for name, value in (("consumer_timeout", "1800000"), ("channel_tick_interval", "60000")):
            await asyncio.to_thread(node.rabbitmqctl, "eval", f"application:set_env(rabbit, {name}, {value}).")
