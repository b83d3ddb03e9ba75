"""Real processes on real servers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
import pytest

from tests.e2e.world import World

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from dev.database import Database
    from dev.stack import Stack


@pytest.fixture
async def world(stack: Stack, database: Database) -> AsyncIterator[World]:
    """Registry, puller and ingest, ready; clients are started by each test."""
    async with httpx.AsyncClient(timeout=70) as http:
        stack.start_together("registry", "ingest-1", "puller-1")
        yield World(stack=stack, database=database, http=http)
