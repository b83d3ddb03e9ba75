"""RabbitMQ as a cluster of three nodes, each of which is killed in turn, under load: nothing is lost, service goes on.

The services reach the cluster by way of a link that passes a connection on to a node that is up, as a balancer does.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import asyncpg
import pytest

from shared.contracts.topology import WORK_QUEUES
from tests.chaos.checks import lost
from tests.chaos.cluster import Cluster
from tests.chaos.round import compare, say
from tests.chaos.settling import Deadlines, Settling
from tests.chaos.traffic import Traffic
from tests.chaos.world import SERVICES, Size, World
from tests.waiting import eventually

NODES: Final = 3
SEED: Final = 7
SIZE: Final = Size(users=60, processes=2, references=2, rate=20.0)
DEADLINES: Final = Deadlines(told_s=120.0, quiet_s=60.0)
FLOW_WITHIN_S: Final = 120.0
FLOWING: Final = 50
"""So many captures that were pulled after a kill must be stored until it counts as survived."""
FAR: Final = 3600.0
_FRESH: Final = """
SELECT count(*) AS count, extract(epoch FROM min(stored_at))::float AS first
FROM captures.events WHERE received_at > $1
"""


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """All services on a cluster, with clients that make captures."""
    world = World(tmp_path, seed=SEED, size=SIZE, nodes=NODES)
    try:
        await world.start()
        await world.start_all_clients(make_until=time.time() + FAR)
        yield world
    finally:
        await world.close()


@asynccontextmanager
async def used(world: World) -> AsyncIterator[Traffic]:
    """Apps and an operator, until leaving; then nobody makes anything any more."""
    traffic = Traffic(world, seed=SEED)
    users = [traffic.operate(), *map(traffic.use, world.references)]
    tasks = [asyncio.create_task(user) for user in users]
    try:
        yield traffic
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    await world.stop_making()


async def flows(world: World, since: datetime) -> float:
    """Wait until captures flow that were pulled since then; after how many seconds the first one was stored."""
    first = 0.0

    async def enough() -> bool:
        nonlocal first
        connection = await asyncpg.connect(world.database.admin_url)
        try:
            row = await connection.fetchrow(_FRESH, since)
        finally:
            await connection.close()
        assert row is not None
        first = row["first"]
        return bool(row["count"] >= FLOWING)

    await eventually(enough, deadline_s=FLOW_WITHIN_S)
    return first - since.timestamp()


async def kill_each(world: World, cluster: Cluster) -> None:
    """One node after the other, the next one when the last one is back and in sync."""
    for number, node in enumerate(cluster.nodes, start=1):
        killed = datetime.now(UTC)
        await asyncio.to_thread(node.kill)
        resumed_s = await flows(world, killed)
        for name in SERVICES:
            await asyncio.to_thread(world.stack.wait_ready, name)
        ready_s = (datetime.now(UTC) - killed).total_seconds()
        again = time.monotonic()
        await asyncio.to_thread(node.start)
        await asyncio.to_thread(cluster.wait_in_sync)
        back_s = time.monotonic() - again
        say(
            f"node {number} killed: stored again after {resumed_s:.1f} s, all services ready after {ready_s:.1f} s at"
            f" the latest, node back and in sync within {back_s:.1f} s"
        )


@pytest.mark.timeout(600)
async def test_a_cluster_loses_a_node_at_a_time_and_no_capture(world: World) -> None:
    """Every queue has three replicas; what was accepted while each node was killed is stored once, and acknowledged."""
    cluster = world.rabbitmq
    assert isinstance(cluster, Cluster)
    replicas = await asyncio.to_thread(cluster.replicas)
    assert {queue.name for queue in WORK_QUEUES} < replicas.keys()
    assert set(replicas.values()) == {NODES}, replicas
    async with used(world) as traffic:
        await flows(world, datetime.now(UTC))
        await kill_each(world, cluster)
    unsettled = await Settling(world, deadlines=DEADLINES, say=quietly).settle()
    model, facts, broken = await compare(world, traffic)
    say(f"{len(model.captures)} captures made, {len(facts.events)} stored, {lost(model, facts)} lost")
    assert [*unsettled, *broken] == []


async def quietly(_text: str) -> None:
    """Nobody looks on."""
