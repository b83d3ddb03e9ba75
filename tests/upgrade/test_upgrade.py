"""An upgrade from the version before, with its real code: whichever services are new already, captures flow."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import httpx
import pytest

from dev.broker import Broker
from dev.database import ROLES, Database
from dev.stack import CHECKOUT, Stack
from tests.upgrade.mixture import Mixture

pytestmark = pytest.mark.timeout(600)


@pytest.fixture
async def mixture(unmigrated: Database, broker: Broker, previous: Path, tmp_path: Path) -> AsyncIterator[Mixture]:
    """All services of the version before, with a client of each version.

    The roles are those of both versions; see docs/upgrade.md for what the newer ones take from the older registry.
    """
    await execute(unmigrated, roles_of(previous))
    async with httpx.AsyncClient(timeout=70, trust_env=False) as http:
        with Mixture(database=unmigrated, broker=broker, previous=previous, folder=tmp_path, http=http) as made:
            await asyncio.to_thread(made.old.start_together, "registry", "ingest-1", "puller-1")
            await made.start_clients()
            yield made
    await execute(unmigrated, roles_of(CHECKOUT))


async def execute(database: Database, script: str) -> None:
    """As the superuser."""
    connection = await asyncpg.connect(database.admin_url)
    await connection.execute(script)
    await connection.close()


def roles_of(checkout: Path) -> str:
    """The script that makes the roles."""
    return (checkout / ROLES.relative_to(CHECKOUT)).read_text(encoding="utf-8")


async def begin(stack: Stack, *names: str) -> None:
    """Start these."""
    await asyncio.to_thread(stack.start_together, *names)


async def end(stack: Stack, name: str) -> None:
    """Stop it, as an upgrade does."""
    await asyncio.to_thread(stack.stop, name)


async def test_in_the_documented_order(mixture: Mixture) -> None:
    """Ingest, registry, puller, and of each a new one beside an old one before that ends (docs/upgrade.md)."""
    await mixture.all_goes_well()
    await begin(mixture.new, "ingest-2")
    await mixture.all_goes_well()
    await end(mixture.old, "ingest-1")
    await mixture.all_goes_well()
    await begin(mixture.new, "registry-2")
    await mixture.all_goes_well()
    await end(mixture.old, "registry")
    await begin(mixture.new, "registry")
    await mixture.all_goes_well()
    await begin(mixture.new, "puller-2")
    await mixture.all_goes_well()
    await end(mixture.old, "puller-1")
    await mixture.all_goes_well()


async def test_with_the_puller_first(mixture: Mixture) -> None:
    """A new puller gives to an old ingest, and asks an old registry; then ingest, so only the registry is old."""
    await begin(mixture.new, "puller-2")
    await end(mixture.old, "puller-1")
    await mixture.all_goes_well()
    await begin(mixture.new, "ingest-2")
    await end(mixture.old, "ingest-1")
    await mixture.all_goes_well()


async def test_with_the_registry_first(mixture: Mixture) -> None:
    """A new registry with an old puller and an old ingest; then with a new puller, so only ingest is old."""
    await end(mixture.old, "registry")
    await begin(mixture.new, "registry")
    await mixture.all_goes_well()
    await begin(mixture.new, "puller-2")
    await end(mixture.old, "puller-1")
    await mixture.all_goes_well()


async def test_what_the_version_before_left_in_the_queues_is_handled(mixture: Mixture) -> None:
    """Its messages wait while everything is replaced at once, as by `docker compose up` after a pull."""
    await end(mixture.old, "ingest-1")
    await mixture.capture()
    await mixture.handed_over()
    await end(mixture.old, "registry")
    await end(mixture.old, "puller-1")
    await begin(mixture.new, "registry", "ingest-2", "puller-2")
    await mixture.all_goes_well()
