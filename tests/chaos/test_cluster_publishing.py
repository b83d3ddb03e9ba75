"""Publishing on one node of a cluster, while the node that leads the queue dies."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from dev.servers.install import ensure_rabbitmq_server
from dev.servers.rabbitmq import RabbitMQNode
from shared.contracts.messages import CaptureBatch
from shared.contracts.topology import CAPTURE_BATCHES
from shared.rabbitmq.broker import Publisher, PublishError, ServiceBroker, make_broker
from shared.rabbitmq.consuming import BrokerConnection
from tests.chaos.cluster import Cluster
from tests.waiting import eventually


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """Three nodes that nobody uses yet."""
    ensure_rabbitmq_server()
    cluster = Cluster(tmp_path / "rabbitmq", 3)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.kill()


@pytest.mark.timeout(200)
async def test_a_publisher_gets_through_when_its_first_message_met_a_dead_leader(cluster: Cluster) -> None:
    """RabbitMQ 3.10 refuses everything on such a channel for ever; so it must not be used for ever."""
    used, leader, _ = cluster.nodes
    async with connected(leader):  # who declares a queue leads it
        pass
    async with connected(used) as broker:
        await asyncio.to_thread(leader.kill)

        async def published() -> bool:
            try:
                await Publisher(broker).publish(CaptureBatch(pulls=()), routing_key=CAPTURE_BATCHES.routing())
            except PublishError:
                return False
            return True

        assert not await published(), "the first message must be refused, or nothing is tested"
        await eventually(published, deadline_s=60)


@asynccontextmanager
async def connected(node: RabbitMQNode) -> AsyncIterator[ServiceBroker]:
    """As a service is that consumes nothing."""
    broker = make_broker(node.url, service="test")
    connection = BrokerConnection(broker, consumed=())
    async with connection.running():
        await eventually(connection.ready)
        yield broker
