"""Attacks with a service's user in RabbitMQ: what a hijacked service can't do. What it must do, it can."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any, Final
from urllib.parse import quote, urlsplit

import aio_pika
import httpx
import pytest
import structlog
from aio_pika.abc import AbstractChannel, AbstractIncomingMessage
from aiormq.exceptions import AMQPError, ChannelAccessRefused
from faststream.rabbit import Channel
from pamqp.common import FieldTable

import shared.rabbitmq.consuming
import shared.rabbitmq.holding
from dev.asyncapi import FLOWS
from dev.broker import MONITORING_USER, Broker, create_broker
from dev.database import Database
from dev.message_examples import EXAMPLES
from services.registry.app import build_app
from services.registry.settings import RegistrySettings
from shared.contracts.messages import Message, PullRequested
from shared.contracts.topology import (
    ACKNOWLEDGE_DELAYS_S,
    ACKNOWLEDGEMENTS,
    BINDINGS,
    CAPTURE_BATCHES,
    DEAD_LETTERS,
    DELIVERY_LIMIT,
    EXCHANGE,
    PULL_REQUESTED,
    PULL_SETTLED,
    REPLAYS,
    WORK_QUEUES,
    delay_routing_key,
)
from shared.errors import TransientError
from shared.rabbitmq.broker import Publisher, decoder, make_broker
from shared.rabbitmq.consuming import BrokerConnection
from tests.servers import MONITORING_PASSWORD, PASSWORD, Servers
from tests.waiting import eventually

SERVICES: Final = ("registry", "puller", "ingest")
OWN_QUEUES: Final = {"registry": PULL_SETTLED, "puller": PULL_REQUESTED, "ingest": CAPTURE_BATCHES}
DELAYS: Final = tuple(delay_routing_key(delay_s) for delay_s in ACKNOWLEDGE_DELAYS_S)
CARBON_COPIES_ARE_CHECKED_SINCE: Final = (3, 13)
REFUSED_AT_ONCE: Final = (AMQPError, asyncio.CancelledError)
"""How aio-pika tells that RabbitMQ does not open a virtual host."""
ELSEWHERE: FieldTable = {"x-dead-letter-exchange": EXCHANGE.name, "x-dead-letter-routing-key": REPLAYS.routing()}

every_service = pytest.mark.parametrize("service", SERVICES)

Logs = list[Any]


@asynccontextmanager
async def channel_as(url: str) -> AsyncIterator[AbstractChannel]:
    """A channel with that user."""
    async with await aio_pika.connect(url) as connection:
        yield await connection.channel(on_return_raises=True)


async def read(url: str, queue: str) -> None:
    """Consume from a queue, as each service does."""
    async with channel_as(url) as channel:
        await (await channel.get_queue(queue, ensure=False)).consume(_ignore)


async def _ignore(_message: AbstractIncomingMessage) -> None:
    """Nothing comes."""


async def fetch(url: str, queue: str) -> None:
    """Take one message out of a queue."""
    async with channel_as(url) as channel:
        await (await channel.get_queue(queue, ensure=False)).get(fail=False)


async def purge(url: str, queue: str) -> None:
    """Throw all messages of a queue away."""
    async with channel_as(url) as channel:
        await (await channel.get_queue(queue, ensure=False)).purge()


async def publish(
    url: str, routing_key: str, *, exchange: str = EXCHANGE.name, headers: dict[str, Any] | None = None
) -> None:
    """Publish something; a message that no queue takes is an error."""
    async with channel_as(url) as channel:
        target = await channel.get_exchange(exchange, ensure=False) if exchange else channel.default_exchange
        await target.publish(aio_pika.Message(b"{}", headers=headers), routing_key, mandatory=True)


async def count(broker: Broker, queue: str) -> int:
    """Messages in a queue, as the administrator sees it."""
    async with channel_as(broker.admin_url) as channel:
        declared = await channel.declare_queue(queue, passive=True)
        return declared.declaration_result.message_count or 0


async def assert_unreadable(url: str, *queues: str) -> None:
    """None of the queues can be consumed, looked into or emptied."""
    for queue in queues:
        for attack in (read, fetch, purge):
            with pytest.raises(ChannelAccessRefused, match="access to queue"):
                await attack(url, queue)


async def assert_unsendable(broker: Broker, url: str, *routing_keys: str) -> None:
    """Nothing can be published there, and nothing came."""
    for routing_key in routing_keys:
        with pytest.raises(ChannelAccessRefused, match="access to topic"):
            await publish(url, routing_key)
    for _, queue in BINDINGS:
        assert await count(broker, queue.name) == 0


# Reading what is for others.


async def test_a_puller_can_not_consume_captures(broker: Broker) -> None:
    """Of other pullers' clients."""
    await assert_unreadable(broker.puller_url, CAPTURE_BATCHES.name)


async def test_a_puller_can_not_consume_what_others_tell_each_other(broker: Broker) -> None:
    """Its own queue is the only one."""
    mine = PULL_REQUESTED.name
    await assert_unreadable(broker.puller_url, *(queue.name for _, queue in BINDINGS if queue.name != mine))


async def test_ingest_can_not_take_requested_pulls(broker: Broker) -> None:
    """Nor settlements, nor the dead letters of anybody."""
    mine = {CAPTURE_BATCHES.name, ACKNOWLEDGEMENTS.name, REPLAYS.name}
    await assert_unreadable(broker.ingest_url, *(queue.name for _, queue in BINDINGS if queue.name not in mine))


async def test_the_registry_can_not_consume_captures(broker: Broker) -> None:
    """Nor acknowledgements; of what is not for itself it sees what has died."""
    mine = {PULL_SETTLED.name, *(queue.name for _, queue in BINDINGS if queue.name.endswith(".dead"))}
    await assert_unreadable(broker.registry_url, *(queue.name for _, queue in BINDINGS if queue.name not in mine))


# Sending in the name of others.


async def test_a_puller_can_not_have_clients_forget_their_captures(broker: Broker) -> None:
    """An acknowledgement of what is not stored would lose it; by a delay as little."""
    await assert_unsendable(broker, broker.puller_url, ACKNOWLEDGEMENTS.routing(), *DELAYS)


async def test_a_puller_can_not_have_the_quarantine_replayed(broker: Broker) -> None:
    """That is an operator's, by way of the registry."""
    await assert_unsendable(broker, broker.puller_url, REPLAYS.routing())


async def test_ingest_can_not_request_pulls(broker: Broker) -> None:
    """So it can't send pullers to addresses of its choice."""
    await assert_unsendable(broker, broker.ingest_url, PULL_REQUESTED.routing())


async def test_the_registry_can_not_delay_acknowledgements(broker: Broker) -> None:
    """It replays to work queues only."""
    await assert_unsendable(broker, broker.registry_url, *DELAYS)


@every_service
async def test_a_routing_key_of_nobody_is_refused(service: str, broker: Broker) -> None:
    """A right for a key is not one for what begins or ends like it."""
    keys = (f"{OWN_QUEUES[service].routing()}.x", f"x.{OWN_QUEUES[service].routing()}", "", "#")
    await assert_unsendable(broker, broker.urls[service], *keys)


@every_service
async def test_a_line_break_makes_no_key_another(service: str, broker: Broker) -> None:
    """A pattern that ends in `$` would take it for the key before it; of queues' names RabbitMQ itself strips it."""
    await assert_unsendable(broker, broker.urls[service], f"{OWN_QUEUES[service].routing()}\n")


@every_service
async def test_the_default_exchange_leads_nowhere(service: str, broker: Broker) -> None:
    """It would lead to every queue by its name, past all rights on routing keys."""
    for _, queue in BINDINGS:
        with pytest.raises(ChannelAccessRefused, match=r"access to exchange 'amq\.default'"):
            await publish(broker.urls[service], queue.name, exchange="")


@every_service
async def test_dead_letters_can_not_be_forged(service: str, broker: Broker) -> None:
    """Only RabbitMQ puts something there, or an operator would replay what an attacker wrote."""
    for queue in WORK_QUEUES:
        with pytest.raises(ChannelAccessRefused, match=r"access to exchange 'pullsync\.dead'"):
            await publish(broker.urls[service], queue.name, exchange=DEAD_LETTERS.name)


async def test_a_carbon_copy_does_not_get_around_rights(broker: Broker, servers: Servers) -> None:
    """A header names more routing keys. RabbitMQ before 3.13 does not check them: docs/adr/0015 says so."""
    for header in ("CC", "BCC"):
        copy = publish(broker.puller_url, CAPTURE_BATCHES.routing(), headers={header: [REPLAYS.routing()]})
        if await version(servers) >= CARBON_COPIES_ARE_CHECKED_SINCE:
            with pytest.raises(ChannelAccessRefused, match="access to topic"):
                await copy
            assert await count(broker, REPLAYS.name) == 0
        else:
            await copy


# Changing what is there.


@every_service
async def test_captures_can_not_be_copied_by_a_binding(service: str, broker: Broker) -> None:
    """Neither its own queue nor a new one gets what is for another."""
    async with channel_as(broker.admin_url) as channel:
        exchange = await channel.declare_exchange("elsewhere", aio_pika.ExchangeType.FANOUT)
    for routing_key in (CAPTURE_BATCHES.routing(), "captures.#", "#"):
        async with channel_as(broker.urls[service]) as channel:
            queue = await channel.get_queue(OWN_QUEUES[service].name, ensure=False)
            with pytest.raises(ChannelAccessRefused):
                await queue.bind(EXCHANGE.name, routing_key)
        async with channel_as(broker.urls[service]) as channel:
            exchange = await channel.get_exchange("elsewhere", ensure=False)
            with pytest.raises(ChannelAccessRefused):
                await exchange.bind(EXCHANGE.name, routing_key)
    for exclusive in (True, False):
        async with channel_as(broker.urls[service]) as channel:
            with pytest.raises(ChannelAccessRefused, match="access to queue"):
                await channel.declare_queue("mine", exclusive=exclusive)


@every_service
async def test_a_queue_can_not_be_replaced(service: str, broker: Broker) -> None:
    """With a dead-letter exchange of the attacker's choice it would send what routing keys forbid."""
    for _, queue in BINDINGS:
        async with channel_as(broker.urls[service]) as channel:
            with pytest.raises(ChannelAccessRefused, match="access to queue"):
                await channel.queue_delete(queue.name)
        async with channel_as(broker.urls[service]) as channel:
            with pytest.raises(ChannelAccessRefused, match="access to queue"):
                await channel.declare_queue(queue.name, durable=True, arguments=ELSEWHERE)


@every_service
async def test_the_exchange_can_not_be_replaced(service: str, broker: Broker) -> None:
    """A fanout in its place would know no rights on routing keys."""
    for exchange in (EXCHANGE.name, DEAD_LETTERS.name, "mine"):
        async with channel_as(broker.urls[service]) as channel:
            with pytest.raises(ChannelAccessRefused, match="access to exchange"):
                await channel.exchange_delete(exchange)
        async with channel_as(broker.urls[service]) as channel:
            with pytest.raises(ChannelAccessRefused, match="access to exchange"):
                await channel.declare_exchange(exchange, aio_pika.ExchangeType.FANOUT)


@every_service
async def test_another_virtual_host_is_closed(service: str, broker: Broker, servers: Servers) -> None:
    """Rights are those in its own."""
    default = urlsplit(servers.rabbitmq_url)._replace(netloc=urlsplit(broker.urls[service]).netloc).geturl()
    with pytest.raises(REFUSED_AT_ONCE):
        async with channel_as(default):
            pass


# The management UI.


@asynccontextmanager
async def management(servers: Servers, user: str, password: str) -> AsyncIterator[httpx.AsyncClient]:
    """RabbitMQ's management API, with a login."""
    one_each = httpx.Limits(max_keepalive_connections=0)  # RabbitMQ ends a connection on which it refused a body
    async with httpx.AsyncClient(
        base_url=servers.management_url, auth=(user, password), limits=one_each, trust_env=False
    ) as api:
        yield api


async def version(servers: Servers) -> tuple[int, ...]:
    """RabbitMQ's."""
    parts = urlsplit(servers.rabbitmq_url)
    async with management(servers, parts.username or "guest", parts.password or "guest") as api:
        text: str = (await api.get("/api/overview")).json()["rabbitmq_version"]
    return tuple(int(part) for part in text.split(".")[:2])


async def test_monitoring_sees_the_queues_and_no_message(broker: Broker, servers: Servers) -> None:
    """Queues with their numbers, and the connections of others; what lies in them is not for him."""
    vhost = urlsplit(broker.admin_url).path[1:]
    async with management(servers, MONITORING_USER, MONITORING_PASSWORD) as api, channel_as(broker.puller_url):
        listed = await api.get(f"/api/queues/{vhost}")
        assert listed.is_success, listed.text
        assert {queue["name"] for queue in listed.json()} == {queue.name for _, queue in BINDINGS}

        async def sees_the_puller() -> bool:  # the API learns of a connection some seconds late
            return any(found["user"] == "pullsync_puller" for found in (await api.get("/api/connections")).json())

        await eventually(sees_the_puller)
        await publish(broker.admin_url, CAPTURE_BATCHES.routing())
        body = {"count": 1, "ackmode": "ack_requeue_true", "encoding": "auto"}
        answer = await api.post(f"/api/queues/{vhost}/{CAPTURE_BATCHES.name}/get", json=body)
        assert answer.is_client_error, answer.text
        assert "payload" not in answer.text


async def test_monitoring_changes_nothing(broker: Broker, servers: Servers) -> None:
    """No queue, no message, no user, no right, no connection."""
    vhost, queue = urlsplit(broker.admin_url).path[1:], CAPTURE_BATCHES.name
    message = {
        "properties": {},
        "routing_key": CAPTURE_BATCHES.routing(),
        "payload": "{}",
        "payload_encoding": "string",
    }
    await publish(broker.admin_url, CAPTURE_BATCHES.routing())
    async with management(servers, MONITORING_USER, MONITORING_PASSWORD) as api:
        for method, path, body in (
            ("POST", f"/api/exchanges/{vhost}/pullsync/publish", message),
            ("DELETE", f"/api/queues/{vhost}/{queue}/contents", None),
            ("DELETE", f"/api/queues/{vhost}/{queue}", None),
            ("PUT", f"/api/queues/{vhost}/mine", {"durable": True}),
            ("PUT", f"/api/policies/{vhost}/mine", {"pattern": ".*", "definition": {"max-length": 1}}),
            ("PUT", "/api/users/mine", {"password": "x", "tags": "administrator"}),
            ("PUT", f"/api/permissions/{vhost}/{MONITORING_USER}", {"configure": ".*", "write": ".*", "read": ".*"}),
            ("POST", "/api/definitions", {"users": []}),
        ):
            answer = await api.request(method, path, json=body)
            assert answer.is_client_error, (method, path, answer.text)
        assert (await api.get("/api/users")).is_client_error
    assert await count(broker, queue) == 1
    url = _as(broker.admin_url, MONITORING_USER, MONITORING_PASSWORD)
    await assert_unreadable(url, *(queue.name for _, queue in BINDINGS))
    for attack in (publish(url, CAPTURE_BATCHES.routing()), publish(url, queue, exchange="")):
        with pytest.raises(ChannelAccessRefused):
            await attack


@every_service
async def test_the_management_ui_is_not_for_services(service: str, broker: Broker, servers: Servers) -> None:
    """A service's password opens AMQP only."""
    del broker  # it has made the users
    async with management(servers, f"pullsync_{service}", PASSWORD) as api:
        assert (await api.get("/api/overview")).status_code == 401


def _as(url: str, user: str, password: str) -> str:
    parts = urlsplit(url)
    return parts._replace(netloc=f"{user}:{quote(password)}@{parts.netloc.rpartition('@')[2]}").geturl()


# What each service does, with its own user.


def sent() -> Iterator[tuple[str, str, Message]]:
    """Each service with the routing keys that it publishes with, and a message."""
    for flow in FLOWS:
        message = next(example for example in EXAMPLES if isinstance(example, flow.message))
        for sender in flow.senders:
            for routing_key in DELAYS if flow.queue is ACKNOWLEDGEMENTS else ():
                yield sender, routing_key, message
            yield sender, flow.queue.routing(), message


@pytest.mark.parametrize(("service", "routing_key", "message"), list(sent()))
async def test_a_service_publishes_what_it_sends(
    service: str, routing_key: str, message: Message, broker: Broker
) -> None:
    """As it does it, confirmed, with nobody having declared anything but RabbitMQ's own definitions."""
    own = make_broker(broker.urls[service], service="test")
    connection = BrokerConnection(own, consumed=(), declares=False)
    async with connection.running():
        await eventually(connection.ready)
        await Publisher(own).publish(message, routing_key=routing_key)
    [queue] = [queue.name for exchange, queue in BINDINGS if queue.routing() == routing_key and exchange == EXCHANGE]
    assert await count(broker, queue) == 1


async def test_a_held_message_is_replaced_by_a_copy(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the rights of the puller, who may not publish to a queue by its name. Without copies it would die."""
    for name in ("HELD_S", "HELD_AT_MOST_S", "_FIRST_PAUSE_S", "_LONGEST_PAUSE_S"):
        monkeypatch.setattr(shared.rabbitmq.holding, name, 0.0)
    enough = 4 * DELIVERY_LIMIT  # each delivery is tried twice
    tries: list[Message] = []

    async def handle(message: PullRequested) -> None:
        tries.append(message)
        if len(tries) < enough:
            text = "away"
            raise TransientError(text)

    own = make_broker(broker.puller_url, service="test")
    own.subscriber(PULL_REQUESTED, EXCHANGE, channel=Channel(prefetch_count=1), decoder=decoder(PullRequested))(handle)
    connection = BrokerConnection(own, consumed=(PULL_REQUESTED,), declares=False)
    async with connection.running():
        await eventually(connection.ready)
        await Publisher(own).publish(PullRequested(targets=()), routing_key=PULL_REQUESTED.routing())

        async def done() -> bool:
            return len(tries) >= enough

        await eventually(done)
    assert await count(broker, PULL_REQUESTED.name) == 0
    assert await count(broker, f"{PULL_REQUESTED.name}.dead") == 0


@pytest.mark.parametrize("queue", [queue.name for queue in WORK_QUEUES])
async def test_the_registry_looks_at_dead_letters_and_replays_them(
    queue: str, broker: Broker, database: Database
) -> None:
    """Of every work queue, with its own user."""
    settings = RegistrySettings(
        database_url=database.registry_url, rabbitmq_url=broker.registry_url, rabbitmq_declare=False
    )
    app = build_app(settings)
    await publish(broker.admin_url, queue, exchange=DEAD_LETTERS.name)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost", timeout=60) as http,
    ):

        async def ready() -> bool:
            return (await http.get("/health/ready")).is_success

        await eventually(ready)
        listed = await http.get(f"/api/v1/admin/dead-letters/{queue}")
        assert (listed.status_code, len(listed.json())) == (200, 1)
        replayed = await http.post(f"/api/v1/admin/dead-letters/{queue}/replay", json={})
        assert (replayed.status_code, replayed.json()["replayed"]) == (200, 1)


# What is told when the rights do not fit.


@pytest.fixture
def logs(monkeypatch: pytest.MonkeyPatch) -> Iterator[Logs]:
    """What is logged; pauses are short."""
    monkeypatch.setattr(shared.rabbitmq.consuming, "_WATCH_S", 0.1)
    monkeypatch.setattr(shared.rabbitmq.consuming, "_DEAF_S", 1.0)
    with structlog.testing.capture_logs() as entries:
        yield entries


def refusals(logs: Logs) -> list[Any]:
    """The lines that tell of it."""
    return [entry for entry in logs if entry["event"] == "topology_refused"]


async def test_a_service_that_declares_without_the_right_says_what_to_do(broker: Broker, logs: Logs) -> None:
    """One line, with the variable to set; it is not ready."""
    connection = BrokerConnection(make_broker(broker.puller_url, service="test"), consumed=())
    async with connection.running():

        async def told() -> bool:
            return bool(refusals(logs))

        await eventually(told)
        assert not await connection.ready()
    [line] = refusals(logs)
    assert "access to exchange 'pullsync'" in line["problem"]
    assert "RABBITMQ_DECLARE=false" in line["remedy"]


async def test_a_queue_that_is_missing_is_told_and_waited_for(broker: Broker, servers: Servers, logs: Logs) -> None:
    """One line, with what to import; when it is there, the service consumes by itself."""
    async with channel_as(broker.admin_url) as channel:
        await channel.queue_delete(PULL_REQUESTED.name)

    async def handle(_message: PullRequested) -> None:
        """Nothing comes."""

    own = make_broker(broker.puller_url, service="test")
    own.subscriber(PULL_REQUESTED, EXCHANGE, decoder=decoder(PullRequested))(handle)
    connection = BrokerConnection(own, consumed=(PULL_REQUESTED,), declares=False)
    async with connection.running():

        async def told() -> bool:
            return bool(refusals(logs))

        await eventually(told)
        assert not await connection.ready()
        await create_broker(
            servers.rabbitmq_url,
            servers.management_url,
            password=PASSWORD,
            monitoring_password=MONITORING_PASSWORD,
            vhost=urlsplit(broker.admin_url).path[1:],
        )
        await eventually(connection.ready)
    [line] = refusals(logs)
    assert PULL_REQUESTED.name in line["problem"]
    assert "definitions.sh" in line["remedy"]
