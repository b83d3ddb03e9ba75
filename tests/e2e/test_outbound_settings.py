"""Where clients may live and listen is a setting of each service that calls them: real processes that were told."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx

from tests.e2e.world import World, start_clients

if TYPE_CHECKING:
    from dev.database import Database
    from dev.stack import Stack


async def test_puller_and_ingest_call_no_port_that_is_left_out(stack: Stack, database: Database) -> None:
    """Such a puller pulls nothing; what another has pulled is stored, and such an ingest does not tell the client."""
    for name in ("puller-1", "ingest-1"):
        stack.configure(name, PULL_SYNC_PORTS="80,443")
    stack.start_together("registry", "ingest-1", "puller-1")
    async with httpx.AsyncClient(timeout=70) as http:
        world = World(stack=stack, database=database, http=http)
        await world.scheduler("stop")
        await start_clients(world, 1)
        await world.capture("client-1")
        [error] = (await world.sync_all())["errors"]
        assert "forbidden_address" in error
        assert "PULL_SYNC_PORTS" in error

        stack.stop("puller-1")
        stack.start("puller-2")
        await world.sync_all()
        assert await world.ranking() == {25: 1}
        assert await world.pending("client-1") == 1
