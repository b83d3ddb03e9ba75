"""The whole way of a capture, with real processes on real servers."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from tests.e2e.world import World, start_clients


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
