"""A running stack, as the end-to-end tests see it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import asyncpg

from tests.waiting import eventually

if TYPE_CHECKING:
    import httpx

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


async def start_clients(world: World, count: int) -> list[str]:
    """So many clients, registered."""
    names = [f"client-{number}" for number in range(1, count + 1)]
    world.stack.start_together(*names)
    await world.registered(count)
    return names
