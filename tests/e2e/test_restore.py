"""The worst day: the database is gone, and the last backup is older than what clients were told to be stored."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import asyncpg
import httpx
import pytest

from dev.backup import SCRIPTS, environment_for
from dev.broker import Broker
from dev.database import Database, create_database, with_database
from dev.servers.postgres import PostgresServer
from dev.stack import Stack
from shared.tokens import authorization
from tests.e2e.world import API, World, start_clients
from tests.servers import PASSWORD
from tests.waiting import eventually

SERVICES: Final = ("registry", "ingest-1", "puller-1")
ADMIN, ENROL = "admin-01234567890", "enrol-01234567890"
ENV: Final = {
    "PULL_SYNC_INTERVAL": "5",
    "PULL_SYNC_LEASE": "10",
    "PULL_SYNC_TIMEOUT": "3",
    "PULL_SYNC_NETWORKS": "loopback",
    "OPERATOR_TOKENS": f"admin:{ADMIN}",
    "REGISTRATION_TOKENS": ENROL,
    "SERVICE_TOKENS": "service-01234567890",
    "PULL_TOKEN_KEYS": "the-key-of-tokens-0123456789abcdef",
    "CLIENT_REGISTRATION_TOKEN": ENROL,
    "CLIENT_REGISTRATION_CHECK": "1",
}


@pytest.fixture
def empty_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    """A PostgreSQL that knows neither our database nor our roles."""
    with PostgresServer(tmp_path_factory.mktemp("empty") / "postgres", durable=False) as server:
        yield server


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    """An operator's."""
    async with httpx.AsyncClient(timeout=70, trust_env=False, headers=authorization(ADMIN)) as client:
        yield client


def services_on(database: Database, broker: Broker, folder: Path, ports: dict[str, int] | None = None) -> Stack:
    """All services, and their clients; with tokens."""
    return Stack(
        folder=folder,
        registry_url=database.registry_url,
        ingest_url=database.ingest_url,
        rabbitmq_urls=broker.urls,
        env=ENV,
        ports=ports,
    )


async def script(name: str, file: Path, url: str) -> str:
    """What the operator's command says."""
    argv = ["sh", str(SCRIPTS / f"{name}.sh"), str(file)]
    done = await asyncio.to_thread(
        subprocess.run,
        argv,
        env=environment_for(url, os.environ),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return str(done.stdout)


async def restored(server: PostgresServer, file: Path) -> Database:
    """The backup in a new database of a server that has nothing; then passwords, as deploy/postgres/init.sh does."""
    connection = await asyncpg.connect(server.url)
    await connection.execute("CREATE DATABASE pullsync")
    await connection.close()
    said = await script("restore", file, with_database(server.url, "pullsync"))
    assert "Without a password: pullsync_captures_reader, pullsync_ingest, pullsync_registry." in said
    return await create_database(server.url, "pullsync", password=PASSWORD)


async def captures(world: World, clients: list[str], first: int, **changes: object) -> list[tuple[str, str]]:
    """A capture of two Pokémon on each client, pulled, stored, and acknowledged; users and ids."""
    made = []
    for client in clients:
        for number in (first, first + 1):
            capture_id = await world.capture(client, pokemon_id=number, **changes)
            made.append((client.replace("client-", "user_"), capture_id))
    await world.sync_all()
    for client in clients:
        await world.told(client)
    return made


async def complete_sync(world: World) -> dict[str, Any]:
    """What comes of a run that compares everything."""
    base = world.stack.url("registry")
    answer = await world.http.post(f"{base}{API}/sync-complete-state")
    assert answer.status_code == 202, answer.text
    status = f"{base}{answer.json()['status_url']}"

    async def finished() -> bool:
        return bool((await world.http.get(status)).json()["state"] == "finished")

    await eventually(finished, deadline_s=60)
    return dict((await world.http.get(status)).json())


async def registered_long_ago(database: Database) -> None:
    """For in the first minutes tokens are told again."""
    connection = await asyncpg.connect(database.registry_url)
    await connection.execute("UPDATE registry.clients SET tokens_told_at = tokens_told_at - interval '1 day'")
    await connection.close()


async def generation(database: Database, user_id: str) -> int:
    """Of the user's registration."""
    connection = await asyncpg.connect(database.registry_url)
    try:
        query = "SELECT token_generation FROM registry.clients WHERE user_id = $1"
        return int(await connection.fetchval(query, user_id) or 0)
    finally:
        await connection.close()


async def unregister(world: World, user_id: str) -> None:
    """As an operator."""
    gone = await world.http.delete(f"{world.stack.url('registry')}{API}/unregister-client/{user_id}")
    assert gone.status_code == 200, gone.text


async def registers_anew(world: World, user_id: str) -> None:
    """A client that was unregistered comes back, with other tokens."""
    old = await generation(world.database, user_id)
    await unregister(world, user_id)

    async def is_back() -> bool:
        return await generation(world.database, user_id) > old

    await eventually(is_back)


@pytest.mark.timeout(240)
async def test_every_capture_is_there_again(
    database: Database, broker: Broker, http: httpx.AsyncClient, empty_server: PostgresServer, tmp_path: Path
) -> None:
    """What was stored and acknowledged after the backup, clients still have: a complete run brings it back.

    One client registered anew after the backup, so the restored registry knows it by a generation of before, and it
    refuses the pullers. It comes back when an operator unregisters it, and no capture of it is lost.
    """
    file = tmp_path / "pullsync.dump"
    with services_on(database, broker, tmp_path / "before") as before:
        world = World(stack=before, database=database, http=http)
        before.start_together(*SERVICES)
        clients = await start_clients(world, 3)
        early = await captures(world, clients, 1)
        await registered_long_ago(database)
        assert "6 rows in captures.events" in await script("backup", file, database.admin_url)

        await registers_anew(world, "user_3")
        late = await captures(world, clients, 2)
        late += await captures(world, clients[:1], 1, removed=True)
        ranking = await world.ranking()
        assert (ranking, await world.stored()) == ({1: 2, 2: 2, 3: 3}, sorted(early + late))
        for name in reversed(SERVICES):
            before.stop(name)

        new = await restored(empty_server, file)
        port = urlsplit(before.url("registry")).port or 0
        with services_on(new, broker, tmp_path / "after", {"registry": port}) as after:
            world = World(stack=after, database=new, http=http)
            assert await world.stored() == sorted(early)
            after.start_together(*SERVICES)
            await mended(world, {"user_1": 4, "user_2": 2, "user_3": 2})
            assert (await world.ranking(), await world.stored()) == (ranking, sorted(early + late))
        for client in clients:
            assert (await http.get(f"{before.url(client)}/api/client/stats")).json()["pending_sync"] == 0


async def mended(world: World, missing: dict[str, int]) -> None:
    """By the commands of docs/backup.md: so many captures of each user come back, after user_3 was unregistered."""
    first = await complete_sync(world)
    assert (first["failed"], first["missing"]) == (1, missing["user_1"] + missing["user_2"])
    run = f"{world.stack.url('registry')}{API}/runs/{first['run_id']}"
    failed = (await world.http.get(f"{run}/clients?outcome=failed")).json()
    assert [(client["user_id"], client["reason"], "401" in client["error"]) for client in failed] == [
        ("user_3", "http_status", True)
    ]
    await registers_anew(world, "user_3")
    second = await complete_sync(world)
    assert (second["failed"], second["missing"]) == (0, missing["user_3"])
