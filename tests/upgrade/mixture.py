"""Services of two versions side by side, on the same servers and behind the same address."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any, Final, Self
from urllib.parse import urlsplit

import aio_pika
import asyncpg
import httpx

from dev.broker import Broker
from dev.database import Database
from dev.stack import Stack
from shared.contracts.topology import CAPTURE_BATCHES
from tests.e2e.world import API, World
from tests.waiting import eventually

CLIENTS: Final = ("client-1", "client-2")
"""The first is of the version before, the second of this one."""
_ENV: Final = {
    "PULL_SYNC_INTERVAL": "5",
    "PULL_SYNC_LEASE": "10",
    "PULL_SYNC_TIMEOUT": "3",
    "CLIENT_REGISTRATION_CHECK": "1",
    "PULL_SYNC_NETWORKS": "loopback",
}
_QUARANTINED: Final = """
INSERT INTO captures.quarantine (user_id, fingerprint, capture_id, problem, raw, pull_id)
VALUES ('user_q', sha256(convert_to($1, 'UTF8')), $1, 'p', $2, gen_random_uuid())
"""


class Mixture:
    """Processes by name, as in a stack; those in `old` are of the version before."""

    def __init__(
        self, *, database: Database, broker: Broker, previous: Path, folder: Path, http: httpx.AsyncClient
    ) -> None:
        urls: dict[str, Any] = {
            "registry_url": database.registry_url,
            "ingest_url": database.ingest_url,
            "rabbitmq_urls": broker.urls,
        }
        self.old = Stack(folder=folder / "old", env={**_ENV, "PYTHONPATH": str(previous)}, **urls)
        port = urlsplit(self.old.url("registry")).port or 0
        self.new = Stack(folder=folder / "new", env=_ENV, ports={"registry": port}, **urls)
        self._worlds = {
            "client-1": World(stack=self.old, database=database, http=http),
            "client-2": World(stack=self.new, database=database, http=http),
        }
        self._database = database
        self._broker = broker
        self._http = http
        self._made: list[tuple[str, str]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.new.stop_all()
        self.old.stop_all()
        print(self.old.log_tails(), self.new.log_tails())  # noqa: T201 - pytest shows it for a test that failed

    @property
    def _world(self) -> World:
        return self._worlds["client-2"]

    async def start_clients(self) -> None:
        """One of each version, registered."""
        for name, world in self._worlds.items():
            await asyncio.to_thread(world.stack.start, name)
        await self._world.registered(len(CLIENTS))

    async def all_goes_well(self) -> None:
        """By the timer, on demand, by a comparison of everything, and out of quarantine: each message goes its way.

        All that was ever made is stored, each client is told, and no message is dead.
        """
        await self.capture()
        await self._told()
        await self.capture()
        await self._world.sync_all()
        await self._told()
        await self._compared()
        await self._replayed()
        assert await self._world.stored() == sorted(self._made)
        assert sum((await self._world.ranking()).values()) == len(self._made)
        letters = (await self._http.get(f"{self.new.url('registry')}/api/v1/admin/dead-letters")).json()
        assert [letter for letter in letters if letter["messages"] != 0] == []
        assert self.old.dead() + self.new.dead() == []

    async def capture(self) -> None:
        """One on each client."""
        for name, world in self._worlds.items():
            capture_id = await world.capture(name, pokemon_id=len(self._made) + 1)
            self._made.append((name.replace("client-", "user_"), capture_id))

    async def handed_over(self) -> None:
        """Wait until a batch lies in the queue."""
        connection = await aio_pika.connect(self._broker.admin_url)
        async with connection, connection.channel() as channel:

            async def lies_there() -> bool:
                queue = await channel.declare_queue(CAPTURE_BATCHES.name, passive=True)
                return bool(queue.declaration_result.message_count)

            await eventually(lies_there)

    async def _told(self) -> None:
        for name, world in self._worlds.items():
            await world.told(name)

    async def _compared(self) -> None:
        base = self.new.url("registry")
        answer = await self._http.post(f"{base}{API}/sync-complete-state")
        assert answer.status_code == 202, answer.text
        run = f"{base}{answer.json()['status_url']}"

        async def finished() -> bool:
            return bool((await self._http.get(run)).json()["state"] == "finished")

        await eventually(finished, deadline_s=60)
        result = (await self._http.get(run)).json()
        assert (result["failed"], result["missing"], result["unknown"]) == (0, 0, 0)

    async def _replayed(self) -> None:
        """An item that could not be read, and can be now."""
        number = len(self._made) + 1
        capture_id = f"quarantined-{number}"
        raw = {
            "capture_id": capture_id,
            "pokemon_id": number,
            "pokemon_name": "x",
            "action": "capture",
            "timestamp": "2026-01-31T12:00:00Z",
        }
        connection = await asyncpg.connect(self._database.ingest_url)
        try:
            await connection.execute(_QUARANTINED, capture_id, json.dumps(raw))
            await connection.execute("UPDATE captures.totals SET quarantined = quarantined + 1")
        finally:
            await connection.close()
        replay = f"{self.new.url('registry')}/api/v1/admin/quarantine/replay"
        assert (await self._http.post(replay, json={"all": True})).status_code == 202
        self._made.append(("user_q", capture_id))

        async def is_stored() -> bool:
            return ("user_q", capture_id) in await self._world.stored()

        await eventually(is_stored)
