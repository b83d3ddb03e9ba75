"""What operators and apps ask of a running system, with real processes: nudges, runs, complete state, own intervals."""

from __future__ import annotations

import sqlite3
from typing import Any

import asyncpg
import httpx
import pytest

from tests.e2e.world import API, World, start_clients
from tests.waiting import eventually


class Operator:
    """Someone with curl."""

    def __init__(self, world: World) -> None:
        self.world = world

    async def ask(self, method: str, path: str, **request: Any) -> Any:
        """What the registry answers when all is well."""
        answer = await self.world.http.request(method, f"{self.world.stack.url('registry')}{path}", **request)
        assert answer.is_success, answer.text
        return answer.json()

    async def pulled(self, *users: str) -> None:
        """Wait until each of them was pulled since it registered."""

        async def all_were() -> bool:
            records = [await self.ask("GET", f"{API}/clients/{user}") for user in users]
            return all(record["last_success_at"] for record in records)

        await eventually(all_were)

    async def settings(self, *, interval: int) -> None:
        """The scheduler's interval."""
        await self.ask("POST", f"{API}/scheduler/set-interval", params={"interval": interval})

    async def ended(self, run_id: str) -> dict[str, Any]:
        """Wait for the end of a run; what it tells then."""
        run: dict[str, Any] = {}

        async def over() -> bool:
            run.update(await self.ask("GET", f"{API}/runs/{run_id}"))
            return bool(run["state"] != "running")

        await eventually(over, deadline_s=60)
        return run

    async def compare(self, **parameters: Any) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """A complete run, and its clients that differ."""
        started = await self.ask("POST", f"{API}/sync-complete-state", params=parameters)
        run = await self.ended(started["run_id"])
        return run, await self.ask("GET", f"{started['status_url']}/clients", params={"outcome": "differing"})


@pytest.fixture
def operator(world: World) -> Operator:
    """Of the running stack."""
    return Operator(world)


async def captures_sql(world: World, statement: str) -> None:
    """Change ingest's tables behind its back, as a restored backup does."""
    connection = await asyncpg.connect(world.database.ingest_url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


async def test_a_nudging_client_is_pulled_before_its_slot(world: World, operator: Operator) -> None:
    """With a day between two slots, a capture is stored and acknowledged all the same, as soon as it is made."""
    world.stack.configure("client-1", CLIENT_NUDGE="true")
    await start_clients(world, 1)
    await operator.pulled("user_1")
    await operator.settings(interval=86_400)
    for pokemon_id in (1, 4, 7):
        await world.capture("client-1", pokemon_id=pokemon_id)
        await world.told("client-1")
    assert await world.ranking() == {1: 1, 4: 1, 7: 1}


async def test_a_paused_client_is_left_alone_until_it_is_resumed(world: World, operator: Operator) -> None:
    """Neither the timer nor a run pulls it; nothing is lost."""
    await start_clients(world, 2)
    await operator.ask("PATCH", f"{API}/clients/user_1", json={"paused": True})
    await world.capture("client-1")
    await world.capture("client-2")
    assert (await world.sync_all())["clients_processed"] == 1
    await world.told("client-2")
    assert await world.pending("client-1") == 1
    await operator.ask("PATCH", f"{API}/clients/user_1", json={"paused": False})
    await world.told("client-1")
    assert await world.ranking() == {25: 2}


async def test_a_client_with_its_own_interval_is_pulled_by_it(world: World, operator: Operator) -> None:
    """The others keep to the scheduler's, which is a day here."""
    await start_clients(world, 2)
    await operator.settings(interval=86_400)
    await operator.ask("PATCH", f"{API}/clients/user_1", json={"sync_interval_s": 5})
    await operator.pulled("user_1", "user_2")
    await world.capture("client-1")
    await world.capture("client-2")
    await world.told("client-1")
    assert await world.pending("client-2") == 1


async def test_complete_state_mends_what_is_missing(world: World, operator: Operator) -> None:
    """Captures that were acknowledged and then lost here, as by a restored backup, are stored again and ranked."""
    await start_clients(world, 2)
    lost = [await world.capture("client-1", pokemon_id=n) for n in (1, 4, 7)]
    await world.capture("client-2")
    await world.told("client-1")
    await world.told("client-2")
    await captures_sql(world, "TRUNCATE captures.events, captures.holdings, captures.holders, captures.ranking")
    await captures_sql(world, "UPDATE captures.totals SET events = 0, holdings = 0")
    assert await world.ranking() == {}
    run, [first, second] = await operator.compare()
    assert (run["state"], run["settled"], run["failed"], run["missing"], run["unknown"]) == ("finished", 2, 0, 4, 0)
    assert (first["user_id"], first["missing"], sorted(first["missing_examples"])) == ("user_1", 3, sorted(lost))
    assert (second["user_id"], second["missing"]) == ("user_2", 1)
    assert await world.ranking() == {1: 1, 4: 1, 7: 1, 25: 1}
    run, differing = await operator.compare()
    assert (run["missing"], run["unknown"], differing) == (0, 0, [])


async def test_complete_state_deletes_only_when_asked(world: World, operator: Operator) -> None:
    """What the client no longer has is reported; with `delete_unknown` it is deleted, and its holding with it."""
    await start_clients(world, 1)
    kept, gone = await world.capture("client-1", pokemon_id=1), await world.capture("client-1", pokemon_id=4)
    await world.told("client-1")
    with sqlite3.connect(world.stack.folder / "client-1" / "client-data" / "captures.sqlite3") as device:
        device.execute("DELETE FROM captures WHERE capture_id = ?", (gone,))
    device.close()
    run, [report] = await operator.compare()
    assert (run["unknown"], run["deleted"], report["unknown_examples"]) == (1, 0, [gone])
    assert await world.ranking() == {1: 1, 4: 1}
    run, _ = await operator.compare(delete_unknown=True)
    assert (run["unknown"], run["deleted"]) == (1, 1)
    assert await world.stored() == [("user_1", kept)]
    assert await world.ranking() == {1: 1}


async def test_a_run_outlives_every_service(world: World, operator: Operator) -> None:
    """Registry, puller and ingest are killed in its middle; it ends, with each client settled once."""
    clients = await start_clients(world, 3)
    await world.scheduler("stop")
    await world.sync_all()
    world.stack.kill("puller-1")
    for client in clients:
        await world.capture(client)
    run_id = (await operator.ask("POST", f"{API}/sync-all-background"))["run_id"]
    world.stack.kill("ingest-1")
    world.stack.kill("registry")
    world.stack.start_together("registry", "ingest-1", "puller-1")
    run = await operator.ended(run_id)
    assert (run["state"], run["requested"], run["settled"], run["failed"]) == ("finished", 3, 3, 0)
    for client in clients:
        await world.told(client)
    assert await world.ranking() == {25: 3}


async def test_the_events_of_a_run_end_with_it(world: World, operator: Operator) -> None:
    """Whoever looks sees how it goes, until it is finished."""
    await start_clients(world, 1)
    await world.capture("client-1")
    run_id = (await operator.ask("POST", f"{API}/sync-all-background"))["run_id"]
    url = f"{world.stack.url('registry')}{API}/runs/{run_id}/events"
    async with httpx.AsyncClient(timeout=60) as http, http.stream("GET", url) as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        events = [line.removeprefix("event: ") async for line in stream.aiter_lines() if line.startswith("event: ")]
    assert events[-1] == "finished"
    assert set(events[:-1]) <= {"progress"}
