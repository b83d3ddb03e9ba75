"""SIGTERM to real processes, in every weather: they end with 0 within 15 s, leave no trace in the log, lose nothing."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import aio_pika
import asyncpg
import httpx
import pytest

from dev.broker import Broker, create_broker
from dev.database import Database, create_database
from dev.servers.postgres import PostgresServer
from dev.servers.rabbitmq import RabbitMQNode
from dev.stack import Stack
from services.registry.domain import NewClient
from shared.contracts.topology import CAPTURE_BATCHES, PULL_REQUESTED, PULL_SETTLED
from tests.registry_parts import registry_over
from tests.servers import MONITORING_PASSWORD, PASSWORD
from tests.waiting import eventually

STOP_WITHIN_S: Final = 15.0
SERVICES: Final = ("registry", "puller-1", "ingest-1")
CLIENTS: Final = 50


async def end(stack: Stack, names: Sequence[str] = SERVICES) -> None:
    """Ask them to end, all at once, and see how they do."""
    for name in names:
        os.kill(stack.pid(name), signal.SIGTERM)

    async def ended() -> bool:
        return all(stack.returncode(name) is not None for name in names)

    await eventually(ended, deadline_s=STOP_WITHIN_S)
    assert {name: stack.returncode(name) for name in names} == dict.fromkeys(names, 0)
    for name in names:
        log = (stack.folder / "logs" / f"{name}.log").read_text()
        assert "Traceback" not in log, f"{name}: {log}"
        assert "task_died" not in log, f"{name}: {log}"


async def hang_clients(database: Database, url: str) -> None:
    """Clients that are due, and never answer."""
    async with registry_over(database, running=True) as registry:
        for number in range(CLIENTS):
            await registry.clients.register(NewClient(user_id=f"hung_{number}", client_url=url))
        await registry.make_due()


async def in_hand(database: Database, clients: int) -> None:
    """Wait until pulls of so many clients are under way."""
    connection = await asyncpg.connect(database.admin_url)

    async def claimed() -> bool:
        held = await connection.fetchval("SELECT count(*) FROM registry.clients WHERE pull_id IS NOT NULL")
        return bool(held >= clients)

    try:
        await eventually(claimed)
    finally:
        await connection.close()


@pytest.fixture
def patient_stack(database: Database, broker: Broker, tmp_path: Path) -> Iterator[Stack]:
    """A stack that waits long for a client."""
    stack = Stack(
        folder=tmp_path,
        registry_url=database.registry_url,
        ingest_url=database.ingest_url,
        rabbitmq_urls=broker.urls,
        env={"PULL_SYNC_TIMEOUT": "60"},
    )
    with stack:
        yield stack


async def test_hung_clients_do_not_hold_up_a_stop(patient_stack: Stack, database: Database, hung_server: str) -> None:
    """Pulls on the timer that would take a minute are given up; their leases end by themselves."""
    patient_stack.start_together(*SERVICES)
    await hang_clients(database, hung_server)
    await in_hand(database, CLIENTS)
    await end(patient_stack)


async def test_a_request_in_hand_goes_back(
    patient_stack: Stack, database: Database, broker_url: str, hung_server: str
) -> None:
    """A pull on demand that a stopping puller gives up is in the queue again, for another puller."""
    patient_stack.start_together("registry", "puller-1")
    async with registry_over(database) as registry:
        await registry.clients.register(NewClient(user_id="ash", client_url=hung_server))
        await registry.runs.start("sync-all", since=None)
    await in_hand(database, 1)
    async with channel_of(broker_url) as channel:

        async def taken() -> bool:
            queue = await channel.declare_queue(PULL_REQUESTED.name, passive=True)
            return queue.declaration_result.message_count == 0

        await eventually(taken)
        await end(patient_stack, ["puller-1"])

        async def back() -> bool:
            queue = await channel.declare_queue(PULL_REQUESTED.name, passive=True)
            return queue.declaration_result.message_count == 1

        await eventually(back)


@asynccontextmanager
async def channel_of(broker_url: str) -> AsyncIterator[aio_pika.abc.AbstractChannel]:
    """A connection beside the services'."""
    async with await aio_pika.connect(broker_url) as connection:
        yield await connection.channel()


async def test_an_open_event_stream_ends_with_the_registry(stack: Stack, database: Database) -> None:
    """At once, and complete as HTTP has it: whoever reads it is not cut off in the middle of an event."""
    stack.start("registry")
    async with registry_over(database) as registry:
        await registry.clients.register(NewClient(user_id="ash", client_url="http://127.0.0.1:9"))
        run_id = await registry.runs.start("sync-all", since=None)
    events = f"{stack.url('registry')}/api/v1/pull-sync/runs/{run_id}/events"
    async with httpx.AsyncClient(trust_env=False) as http, http.stream("GET", events, timeout=None) as response:
        lines = response.aiter_lines()
        assert (await anext(lines)).startswith("event: progress")
        await end(stack, ["registry"])
        async for _ in lines:
            pass
    assert "graceful shutdown exceeded" not in (stack.folder / "logs" / "registry.log").read_text()


async def test_an_open_dashboard_does_not_hold_the_registry_up(stack: Stack) -> None:
    """Its stream has no end of its own, and ends at once when the registry is to stop."""
    stack.start("registry")
    events = f"{stack.url('registry')}/api/v1/admin/events?topics=status&topics=clients&topics=queues"
    async with httpx.AsyncClient(trust_env=False) as http, http.stream("GET", events, timeout=None) as response:
        lines = response.aiter_lines()
        assert (await anext(lines)).startswith("event: ")
        await end(stack, ["registry"])
        async for _ in lines:
            pass
    assert "graceful shutdown exceeded" not in (stack.folder / "logs" / "registry.log").read_text()


@pytest.fixture
async def fragile(
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[tuple[RabbitMQNode, PostgresServer, Stack]]:
    """A stack on servers of its own, with all three services."""
    folder = tmp_path_factory.mktemp("fragile")
    node, server = RabbitMQNode(folder / "rabbitmq"), PostgresServer(folder / "postgres", durable=False)
    try:
        await asyncio.gather(asyncio.to_thread(node.start), asyncio.to_thread(server.start))
        database = await create_database(server.url, "pullsync", password=PASSWORD)
        broker = await create_broker(
            node.url, node.management_url, password=PASSWORD, monitoring_password=MONITORING_PASSWORD
        )
        stack = Stack(
            folder=folder,
            registry_url=database.registry_url,
            ingest_url=database.ingest_url,
            rabbitmq_urls=broker.urls,
        )
        with stack:
            await asyncio.to_thread(stack.start_together, *SERVICES)
            yield node, server, stack
    finally:
        await asyncio.gather(asyncio.to_thread(node.kill), asyncio.to_thread(server.kill))


async def fill(node: RabbitMQNode) -> None:
    """Messages for ingest and the registry, which can be done only with Postgres."""
    batch = (
        b'{"pulls": [{"pull_id": "00000000-0000-0000-0000-000000000001", "user_id": "ash",'
        b' "client_url": "http://127.0.0.1:9", "pulled_at": "2026-01-31T12:00:00Z", "duration_s": 0.1, "pending": 0,'
        b' "more_pending": false, "captures": []}]}'
    )
    outcome = (
        b'{"outcomes": [{"pull_id": "00000000-0000-0000-0000-000000000001", "user_id": "ash", "outcome": "nothing",'
        b' "duration_s": 0.1}]}'
    )
    async with channel_of(node.url) as channel:
        exchange = await channel.get_exchange("pullsync", ensure=False)
        for _ in range(20):
            await exchange.publish(aio_pika.Message(batch), CAPTURE_BATCHES.routing())
            await exchange.publish(aio_pika.Message(outcome), PULL_SETTLED.routing())


async def test_without_postgres_they_stop_and_give_their_messages_back(
    fragile: tuple[RabbitMQNode, PostgresServer, Stack],
) -> None:
    """What is held is not waited for."""
    node, server, stack = fragile
    await asyncio.to_thread(server.kill)
    await fill(node)
    async with channel_of(node.url) as channel:

        async def waiting(expected: int) -> bool:
            queues = [await channel.declare_queue(q.name, passive=True) for q in (CAPTURE_BATCHES, PULL_SETTLED)]
            return sum(queue.declaration_result.message_count or 0 for queue in queues) == expected

        async def all_held() -> bool:  # the registry holds eight
            return await waiting(20 - 8)

        async def all_back() -> bool:
            return await waiting(40)

        await eventually(all_held)
        await end(stack)
        await eventually(all_back)


async def test_without_a_broker_they_stop(fragile: tuple[RabbitMQNode, PostgresServer, Stack]) -> None:
    """Nobody answers their farewell."""
    node, _, stack = fragile
    await asyncio.to_thread(node.kill)
    async with httpx.AsyncClient(trust_env=False) as http:

        async def noticed() -> bool:
            answers = [await http.get(f"{stack.url(name)}/health/ready") for name in SERVICES]
            return all(answer.status_code == 503 for answer in answers)

        await eventually(noticed)
    await end(stack)


async def test_in_an_alarm_they_stop(fragile: tuple[RabbitMQNode, PostgresServer, Stack]) -> None:
    """RabbitMQ reads nothing from whoever publishes."""
    node, _, stack = fragile
    await fill(node)
    await asyncio.to_thread(node.rabbitmqctl, "set_vm_memory_high_watermark", "0.0000001")
    await end(stack)


async def test_while_a_broker_says_nothing_they_stop(database: Database, hung_server: str, tmp_path: Path) -> None:
    """It takes the connection, and never shakes hands."""
    stack = Stack(
        folder=tmp_path,
        registry_url=database.registry_url,
        ingest_url=database.ingest_url,
        rabbitmq_urls=dict.fromkeys(
            ("registry", "puller", "ingest"), hung_server.replace("http://", "amqp://guest:guest@")
        ),
    )
    with stack:
        for name in SERVICES:
            stack.start(name, wait=False)
        async with httpx.AsyncClient(trust_env=False) as http:

            async def alive() -> bool:
                try:
                    answers = [await http.get(f"{stack.url(name)}/health/live") for name in SERVICES]
                except httpx.ConnectError:
                    return False
                return all(answer.status_code == 200 for answer in answers)

            await eventually(alive)
        await end(stack)
