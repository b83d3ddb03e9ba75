"""The version before this one, once for all tests; an empty database for each."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import asyncpg
import pytest

from dev.database import Database, create_database, with_database
from tests.servers import PASSWORD, Servers
from tests.upgrade.previous import unpack


@pytest.fixture(scope="session")
def previous(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its checkout."""
    folder = tmp_path_factory.mktemp("previous")
    unpack(folder)
    return folder


@pytest.fixture
async def unmigrated(servers: Servers) -> AsyncIterator[Database]:
    """A database with the services' roles, and nothing in it."""
    name = f"pullsync_test_{uuid4().hex}"
    yield await create_database(servers.postgres_url, name, password=PASSWORD)
    connection = await asyncpg.connect(with_database(servers.postgres_url, "postgres"))
    await connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
    await connection.close()
