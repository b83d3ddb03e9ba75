"""The whole way of a capture, with real processes on real servers."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import asyncpg
import httpx
import pytest

from tests.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from dev.database import Database
    from dev.stack import Stack

API = "/api/v1/pull-sync"
PIKACHU = {"pokemon_id": 25, "pokemon_name": "pikachu", "action": "capture"}


class World:
    """A running stack, and how a user, a client's app and an operator see it."""

    def __init__(self, *, stack: Stack, database: Database, http: httpx.AsyncClient) -> None:
        self.stack = stack
        self.database = database
        self.http = http

    async def capture(self, client: str, **changes: object) -> str:
        """Make a capture on a client; its id."""
        response = await self.http.post(f"{self.stack.url(client)}/api/client/add-capture", json={**PIKACHU, **changes})
        assert response.status_code == 200, response.text
        return str(response.json()["capture"]["capture_id"])

    async def pending(self, client: str) -> int:
        """What the client has not been told to be stored."""
        stats = await self.http.get(f"{self.stack.url(client)}/api/client/stats")
        return int(stats.json()["pending_sync"])

    async def ranking(self) -> dict[int, int]:
        """Holders by Pokémon."""
        response = await self.http.get(f"{self.stack.url('registry')}/api/v1/ranking?limit=1500")
        assert response.status_code == 200, response.text
        return {entry["pokemon_id"]: entry["favorite_count"] for entry in response.json()}

    async def sync_all(self) -> dict[str, Any]:
        """What an operator's sync-all answers."""
        response = await self.http.post(f"{self.stack.url('registry')}{API}/sync-all", json={})
        assert response.status_code == 200, response.text
        result: dict[str, Any] = response.json()
        return result

    async def scheduler(self, command: str) -> None:
        """Start or stop the timer."""
        response = await self.http.post(f"{self.stack.url('registry')}{API}/scheduler/{command}")
        assert response.status_code == 200, response.text

    async def registered(self, count: int) -> None:
        """Wait until so many clients are registered."""

        async def enough() -> bool:
            response = await self.http.get(f"{self.stack.url('registry')}{API}/registered-clients")
            return len(response.json()) == count

        await eventually(enough)

    async def told(self, client: str) -> None:
        """Wait until the client was told that all it has is stored."""

        async def nothing_pending() -> bool:
            return await self.pending(client) == 0

        await eventually(nothing_pending, deadline_s=60)

    async def stored(self) -> list[tuple[str, str]]:
        """User and id of every stored event; the primary key forbids doubles, the pull tells of repeats."""
        connection = await asyncpg.connect(self.database.ingest_url)
        try:
            rows = await connection.fetch("SELECT user_id, capture_id FROM captures.events ORDER BY 1, 2")
        finally:
            await connection.close()
        return [(row[0], row[1]) for row in rows]


@pytest.fixture
async def world(stack: Stack, database: Database) -> AsyncIterator[World]:
    """Registry, puller and ingest, ready; clients are started by each test."""
    async with httpx.AsyncClient(timeout=70) as http:
        stack.start_together("registry", "ingest-1", "puller-1")
        yield World(stack=stack, database=database, http=http)


async def start_clients(world: World, count: int) -> list[str]:
    """So many clients, registered."""
    names = [f"client-{number}" for number in range(1, count + 1)]
    world.stack.start_together(*names)
    await world.registered(count)
    return names


async def test_the_timer_takes_a_capture_to_the_ranking(world: World) -> None:
    """Nobody asks for it: the capture is pulled, stored, acknowledged, and stands in the ranking."""
    await start_clients(world, 1)
    capture_id = await world.capture("client-1")
    await world.told("client-1")
    assert await world.ranking() == {25: 1}
    assert await world.stored() == [("user_1", capture_id)]


async def test_sync_all_takes_a_capture_to_the_ranking(world: World) -> None:
    """With the timer stopped, sync-all returns when the capture is stored and the client told."""
    await start_clients(world, 1)
    await world.scheduler("stop")
    await world.capture("client-1")
    result = await world.sync_all()
    assert result["success"]
    assert (result["clients_processed"], result["total_captures"], result["failed_clients"]) == (1, 1, [])
    assert await world.pending("client-1") == 0
    assert await world.ranking() == {25: 1}


async def test_two_users_with_the_same_pokemon_count_as_two(world: World) -> None:
    """Users are kept apart, and a removal by one lowers the count by one."""
    await start_clients(world, 2)
    await world.capture("client-1")
    await world.capture("client-2")
    await world.sync_all()
    assert await world.ranking() == {25: 2}
    await world.capture("client-2", removed=True)
    await world.sync_all()
    assert await world.ranking() == {25: 1}
    assert await world.pending("client-2") == 0


async def test_a_removal_of_something_not_held_is_acknowledged(world: World) -> None:
    """It changes no count, and does not stay pending for ever."""
    await start_clients(world, 1)
    await world.capture("client-1", removed=True)
    await world.sync_all()
    assert await world.pending("client-1") == 0
    assert await world.ranking() == {}


async def test_a_capture_made_offline_three_hours_ago_is_pulled_by_the_timer(world: World) -> None:
    """The timer asks for all that is pending, not only for what is recent."""
    made = datetime.now(UTC) - timedelta(hours=3)
    world.stack.write_import_file(
        "client-1",
        {
            "captures": [
                {
                    "capture_id": "25_1_capture",
                    "pokemon_id": 25,
                    "pokemon_name": "pikachu",
                    "action": "capture",
                    "timestamp": made.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
                    "user_id": "user_1",
                    "synced": False,
                    "metadata": {"removed": False, "client_version": "1.0.0"},
                }
            ],
            "last_sync": None,
        },
    )
    await start_clients(world, 1)
    await world.told("client-1")
    assert await world.stored() == [("user_1", "25_1_capture")]


@pytest.mark.parametrize("service", ["registry", "puller-1", "ingest-1", "client-1"])
@pytest.mark.parametrize("how", ["restart", "kill"])
async def test_nothing_is_lost_when_a_service_goes_and_comes_back(world: World, service: str, how: str) -> None:
    """Captures made before, during and after are stored once each, and the clients are told."""
    await start_clients(world, 2)
    made = {("user_1", await world.capture("client-1", pokemon_id=1)), ("user_2", await world.capture("client-2"))}
    if how == "kill":
        world.stack.kill(service)
    else:
        world.stack.stop(service)
    made.add(("user_2", await world.capture("client-2", pokemon_id=4)))
    world.stack.start(service)
    made.add(("user_1", await world.capture("client-1", pokemon_id=7)))
    await world.told("client-1")
    await world.told("client-2")
    assert set(await world.stored()) == made
    assert await world.ranking() == {1: 1, 4: 1, 7: 1, 25: 1}


async def test_two_pullers_and_two_ingests_store_each_capture_once(world: World) -> None:
    """Side by side they share the clients, and every pull belongs to one of them."""
    world.stack.start_together("puller-2", "ingest-2")
    names = await start_clients(world, 6)
    made = set()
    for round_number in range(1, 4):
        for number, name in enumerate(names, start=1):
            made.add((f"user_{number}", await world.capture(name, pokemon_id=round_number)))
        await world.sync_all()
    for name in names:
        await world.told(name)
    assert set(await world.stored()) == made
    assert await world.ranking() == {1: 6, 2: 6, 3: 6}


async def test_a_hung_client_delays_no_other(world: World, hung_server: str) -> None:
    """One client that never answers costs the run its own timeout, and the others are stored meanwhile."""
    await start_clients(world, 2)
    connection = await asyncpg.connect(world.database.registry_url)
    await connection.execute(
        "INSERT INTO registry.clients (user_id, client_url, client_type, capabilities) VALUES ('hung', $1, '', '{}')",
        hung_server,
    )
    await connection.close()
    await world.capture("client-1")
    await world.capture("client-2")
    result = await world.sync_all()
    assert (result["success"], result["failed_clients"]) == (False, [hung_server])
    assert "timeout" in result["errors"][0]
    assert await world.ranking() == {25: 2}
