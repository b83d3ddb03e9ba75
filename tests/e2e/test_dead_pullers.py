"""What a puller holds when it dies, or when the registry stands still, is pulled again long before its lease ends."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import asyncpg
import httpx
import pytest

from dev.database import Database
from dev.stack import Stack
from tests.e2e.world import API, World, start_clients
from tests.waiting import eventually

HOURS_S = str(3_600)
"""A lease that nobody waits for."""


@contextmanager
def frozen(world: World, name: str) -> Iterator[None]:
    """The process stands still, as a paused container does."""
    os.kill(world.stack.pid(name), signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(world.stack.pid(name), signal.SIGCONT)


async def in_flight(world: World) -> bool:
    """Whether a pull is under way."""
    answer = await world.http.get(f"{world.stack.url('registry')}{API}/clients/user_1")
    return bool(answer.json()["in_flight"])


@asynccontextmanager
async def hanging_pull(world: World) -> AsyncIterator[None]:
    """The client stands still, and a pull waits for it that began after that."""
    connection = await asyncpg.connect(world.database.registry_url)
    with frozen(world, "client-1"):
        frozen_at = await connection.fetchval("SELECT clock_timestamp()")

        async def began() -> bool:
            query = "SELECT pull_id IS NOT NULL AND claimed_at > $1 FROM registry.clients"
            return bool(await connection.fetchval(query, frozen_at))

        await eventually(began)
        await connection.close()
        yield


@pytest.fixture
async def world(stack: Stack, database: Database) -> AsyncIterator[World]:
    """Services whose leases last, and a client, whose first capture is stored."""
    stack.configure("registry", PULL_SYNC_LEASE=HOURS_S, PULL_SYNC_TIMEOUT="60")
    stack.configure("puller-1", PULL_SYNC_TIMEOUT="60")
    async with httpx.AsyncClient(timeout=70) as http:
        stack.start_together("registry", "ingest-1", "puller-1")
        world = World(stack=stack, database=database, http=http)
        await start_clients(world, 1)
        await world.capture("client-1", pokemon_id=1)
        await world.told("client-1")
        yield world


async def test_a_pull_that_died_with_its_puller_is_made_again(world: World) -> None:
    """By the one that is started in its place."""
    async with hanging_pull(world):
        await asyncio.to_thread(world.stack.kill, "puller-1")
    assert await in_flight(world)
    await world.capture("client-1", pokemon_id=2)
    await asyncio.to_thread(world.stack.start, "puller-1")
    await world.told("client-1")
    assert len(await world.stored()) == 2


async def test_a_pull_that_was_under_way_when_its_puller_was_stopped_is_made_again(world: World) -> None:
    """It is given back: nobody waits until the silence is noticed."""
    async with hanging_pull(world):
        await asyncio.to_thread(world.stack.stop, "puller-1")
        assert not await in_flight(world)


async def test_claims_that_waited_for_a_frozen_registry_hold_nobody_up(world: World) -> None:
    """It carries them out when it goes on; their puller has given them up by then."""
    with frozen(world, "registry"):
        await world.capture("client-1", pokemon_id=2)

        async def given_up() -> bool:
            return "registry_away" in world.stack.log_tail("puller-1")

        await eventually(given_up)
    await world.told("client-1")
    assert len(await world.stored()) == 2
