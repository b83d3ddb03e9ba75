"""An upgrade: every service is stopped and started in turn, while captures go on being made."""

from __future__ import annotations

import asyncio

from tests.e2e.world import World, start_clients
from tests.waiting import eventually

SERVICES = ("puller-1", "ingest-1", "puller-2", "ingest-2", "registry")


class Making:
    """Captures on each client, one after the other, until it is told to end."""

    def __init__(self, world: World, clients: list[str]) -> None:
        self._world = world
        self._clients = clients
        self._ended = asyncio.Event()
        self.made: list[tuple[str, str]] = []

    async def run(self) -> None:
        """Each capture is another Pokémon, so that none is taken for a repetition."""
        number = 0
        while not self._ended.is_set():
            number += 1
            for client in self._clients:
                capture_id = await self._world.capture(client, pokemon_id=number)
                self.made.append((client.replace("client-", "user_"), capture_id))

    async def more(self, count: int) -> None:
        """Wait until so many more were made."""
        enough = len(self.made) + count

        async def were_made() -> bool:
            return len(self.made) >= enough

        await eventually(were_made)

    def end(self) -> None:
        """Make no more."""
        self._ended.set()


async def test_a_rolling_restart_loses_nothing(world: World) -> None:
    """Each process is stopped as an upgrade does, and what was captured meanwhile is stored, once, and acknowledged."""
    world.stack.start_together("puller-2", "ingest-2")
    clients = await start_clients(world, 3)
    making = Making(world, clients)
    task = asyncio.create_task(making.run())
    for name in SERVICES:
        await making.more(30)
        await asyncio.to_thread(world.stack.stop, name)
        await making.more(30)
        await asyncio.to_thread(world.stack.start, name)
    await making.more(30)
    making.end()
    await task
    for client in clients:
        await world.told(client)
    assert await world.stored() == sorted(making.made)
    assert sum((await world.ranking()).values()) == len(making.made)
