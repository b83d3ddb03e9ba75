"""Where a benchmark runs: private servers for all of them, and for each a database and a vhost of its own."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import aio_pika
import asyncpg
from aio_pika.abc import AbstractConnection
from psutil import Process

from benchmarks.simulator.control import Simulator
from dev.database import Database, create_database
from dev.servers.install import ensure_rabbitmq_server
from dev.servers.postgres import PostgresServer
from dev.servers.rabbitmq import RabbitMQNode
from dev.stack import Stack
from shared.topology import CAPTURE_BATCHES

_DUE: Final = "UPDATE registry.clients SET pull_id = NULL, next_pull_at = now() - interval '1 second'"
_NEVER_BY_TIMER: Final = {"PULL_SYNC_INTERVAL": "86400"}


@dataclass(frozen=True, kw_only=True)
class Servers:
    """Started once, durable as in production: what is committed or confirmed is on the disk."""

    folder: Path
    postgres: PostgresServer
    rabbitmq: RabbitMQNode

    @classmethod
    @contextmanager
    def running(cls) -> Iterator[Servers]:
        """Until leaving."""
        ensure_rabbitmq_server()
        with ExitStack() as stack:
            folder = Path(stack.enter_context(TemporaryDirectory(prefix="pullsync-bench-")))
            postgres = stack.enter_context(PostgresServer(folder / "postgres"))
            rabbitmq = stack.enter_context(RabbitMQNode(folder / "rabbitmq"))
            yield cls(folder=folder, postgres=postgres, rabbitmq=rabbitmq)

    @asynccontextmanager
    async def place(self, *, clients: int, env: Mapping[str, str] | None = None) -> AsyncIterator[Place]:
        """A fresh database and vhost, the simulated clients, and the services, none of which runs yet.

        Unless `env` says otherwise, the timer pulls clients only when they are made due.
        """
        name = f"bench-{secrets.token_hex(4)}"
        folder = self.folder / name
        folder.mkdir()
        async with AsyncExitStack() as stack:
            database = await create_database(self.postgres.url, name, password=secrets.token_urlsafe(12))
            self.rabbitmq.rabbitmqctl("add_vhost", name)
            self.rabbitmq.rabbitmqctl("set_permissions", "-p", name, self.rabbitmq.user, ".*", ".*", ".*")
            stack.callback(self.rabbitmq.rabbitmqctl, "delete_vhost", name)
            broker_url = f"{self.rabbitmq.url.rstrip('/')}/{name}"
            services = Stack(
                folder=folder,
                registry_url=database.registry_url,
                ingest_url=database.ingest_url,
                rabbitmq_url=broker_url,
                env={**_NEVER_BY_TIMER, "LOG_LEVEL": "warning", **(env or {})},
            )
            simulator = await stack.enter_async_context(Simulator(folder, clients=clients))
            stack.enter_context(services)
            pool = await stack.enter_async_context(asyncpg.create_pool(database.admin_url, min_size=1, max_size=2))
            broker = await stack.enter_async_context(await aio_pika.connect(broker_url))
            yield Place(database=database, stack=services, simulator=simulator, pool=pool, broker=broker)
        await self._drop(name)

    async def _drop(self, name: str) -> None:
        connection = await asyncpg.connect(self.postgres.url)
        try:
            await connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
        finally:
            await connection.close()


@dataclass(frozen=True, kw_only=True)
class Place:
    """One benchmark's own."""

    database: Database
    stack: Stack
    simulator: Simulator
    pool: asyncpg.Pool
    """As the superuser."""
    broker: AbstractConnection

    async def register_all(self) -> None:
        """All simulated clients, none of which is due; the registry must have made its tables."""
        records = [(user, url, "web", ["capture"]) for user, url in self.simulator.rows()]
        columns = ("user_id", "client_url", "client_type", "capabilities")
        async with self.pool.acquire() as connection, connection.transaction():
            await connection.copy_records_to_table("clients", schema_name="registry", records=records, columns=columns)
            await connection.execute("UPDATE registry.clients SET next_pull_at = now() + interval '1 day'")
        await self.pool.execute("VACUUM ANALYZE registry.clients")

    async def make_due(self) -> None:
        """Every client, at once."""
        await self.pool.execute(_DUE)

    async def ready_messages(self, queue: str = CAPTURE_BATCHES.name) -> int:
        """How many messages wait in the queue."""
        async with self.broker.channel() as channel:
            declared = await channel.declare_queue(queue, passive=True)
            return declared.declaration_result.message_count or 0

    async def purge(self, queue: str = CAPTURE_BATCHES.name) -> None:
        """Throw away what waits in the queue."""
        async with self.broker.channel() as channel:
            await (await channel.get_queue(queue)).purge()

    def process(self, name: str) -> Process:
        """A service's process, to be measured."""
        return Process(self.stack.pid(name))

    def cpu_s(self, name: str) -> float:
        """CPU time of a service since its start."""
        times = self.process(name).cpu_times()
        return float(times.user + times.system)
