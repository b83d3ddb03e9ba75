"""Servers once for all tests; a database and a vhost of its own for each test."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from urllib.parse import unquote, urlsplit, urlunsplit
from uuid import uuid4

import asyncpg
import httpx
import pytest

from dev.broker import Broker, create_broker
from dev.database import Database, create_database, with_database
from dev.stack import Stack
from services.ingest import app as ingest
from services.ingest.species import keep_species
from services.registry import app as registry
from shared.contracts.species import shipped_species
from shared.postgres.database import make_pool
from shared.postgres.migrations import migrate
from shared.postgres.sql import load_queries
from tests.servers import MONITORING_PASSWORD, PASSWORD, Servers, running_servers

TEMPLATE = "pullsync_test_template"


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """PostgreSQL and RabbitMQ."""
    with running_servers(tmp_path_factory.mktemp("servers")) as found:
        yield found


@pytest.fixture(scope="session")
def template(servers: Servers) -> str:
    """A database with every schema migrated, each by its own role; to be cloned."""
    asyncio.run(_make_template(servers.postgres_url))
    return TEMPLATE


async def _make_template(server_url: str) -> None:
    await _execute(server_url, f'DROP DATABASE IF EXISTS "{TEMPLATE}"')
    database = await create_database(server_url, TEMPLATE, password=PASSWORD)
    await migrate(database.registry_url, schema=registry.SCHEMA, history=registry.MIGRATIONS)
    await migrate(database.ingest_url, schema=ingest.SCHEMA, history=ingest.MIGRATIONS)
    async with make_pool(database.ingest_url, service="test", max_size=1) as pool:
        await keep_species(pool, load_queries("services.ingest"), shipped_species())


@pytest.fixture
async def database(servers: Servers, template: str) -> AsyncIterator[Database]:
    """A fresh database, as each service sees it."""
    name = f"pullsync_test_{uuid4().hex}"
    await _execute(servers.postgres_url, f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
    clone = Database.on(servers.postgres_url, name, password=PASSWORD)
    yield clone
    await _execute(servers.postgres_url, f'DROP DATABASE "{name}" WITH (FORCE)')


async def _execute(url: str, statement: str) -> None:
    connection = await asyncpg.connect(with_database(url, "postgres"))
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


@pytest.fixture
async def broker_url(servers: Servers) -> AsyncIterator[str]:
    """The AMQP URL of a fresh vhost, as the server's administrator."""
    vhost = f"test-{uuid4().hex}"
    parts = urlsplit(servers.rabbitmq_url)
    auth = (parts.username or "guest", parts.password or "guest")
    async with httpx.AsyncClient(base_url=servers.management_url, auth=auth, trust_env=False) as management:
        (await management.put(f"/api/vhosts/{vhost}")).raise_for_status()
        yield urlunsplit(parts._replace(path=f"/{vhost}"))
        with contextlib.suppress(httpx.HTTPError):  # a test may have ended the broker
            await management.delete(f"/api/vhosts/{vhost}")


@pytest.fixture
async def broker(servers: Servers, broker_url: str) -> Broker:
    """The same vhost with all queues, as each service sees it."""
    return await create_broker(
        servers.rabbitmq_url,
        servers.management_url,
        password=PASSWORD,
        monitoring_password=MONITORING_PASSWORD,
        vhost=unquote(urlsplit(broker_url).path[1:]),
    )


@pytest.fixture
def stack(database: Database, broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Processes of the services on this test's database and vhost; their last lines are shown when the test fails."""
    running = Stack(
        folder=tmp_path_factory.mktemp("stack"),
        registry_url=database.registry_url,
        ingest_url=database.ingest_url,
        rabbitmq_urls=broker.urls,
        env={
            "PULL_SYNC_INTERVAL": "5",
            "PULL_SYNC_LEASE": "10",
            "PULL_SYNC_TIMEOUT": "3",
            "CLIENT_REGISTRATION_CHECK": "1",
            "PULL_SYNC_NETWORKS": "loopback",
        },
    )
    with running:
        yield running
        print(running.log_tails())  # noqa: T201 - pytest shows it for a test that failed


@pytest.fixture
async def hung_server() -> AsyncIterator[str]:
    """The URL of a server that takes connections and never answers."""
    done = asyncio.Event()

    async def hang(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await done.wait()
        writer.close()

    server = await asyncio.start_server(hang, "127.0.0.1", 0)
    yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    done.set()
    server.close()
    await server.wait_closed()
