"""Where a benchmark runs: private servers for all of them, and for each a database and a vhost of its own."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import aio_pika
import asyncpg
from aio_pika.abc import AbstractConnection
from psutil import Process

from benchmarks.simulator.control import Simulator
from benchmarks.waiting import until
from dev.broker import create_broker
from dev.database import Database, create_database
from dev.servers.install import ensure_rabbitmq_server
from dev.servers.postgres import PostgresServer
from dev.servers.rabbitmq import RabbitMQNode
from dev.stack import Stack
from shared.contracts.encoding import decoded
from shared.contracts.messages import CaptureBatch
from shared.contracts.topology import CAPTURE_BATCHES

_DUE: Final = "UPDATE registry.clients SET pull_id = NULL, next_pull_at = now() - interval '1 second'"
_LOG_SEGMENTS: Final = 40
"""Some more than `min_wal_size` holds."""
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

    async def wear_in(self) -> None:
        """Let Postgres make the segments of its log that it keeps (`min_wal_size`).

        A server that has run for a while writes over old ones. A new one makes each, 16 MiB of zeros, as it goes: it
        would be slower for what is measured first, and not for what it is compared with.
        """
        connection = await asyncpg.connect(self.postgres.url)
        try:
            for _ in range(_LOG_SEGMENTS):
                await connection.execute("SELECT pg_logical_emit_message(false, '', ''), pg_switch_wal()")
            await connection.execute("CHECKPOINT")
        finally:
            await connection.close()

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
            vhost = await create_broker(
                self.rabbitmq.url,
                self.rabbitmq.management_url,
                password=secrets.token_urlsafe(12),
                monitoring_password=secrets.token_urlsafe(12),
                vhost=name,
            )
            stack.callback(self.rabbitmq.rabbitmqctl, "delete_vhost", name)
            services = Stack(
                folder=folder,
                registry_url=database.registry_url,
                ingest_url=database.ingest_url,
                rabbitmq_urls=vhost.urls,
                env={**_NEVER_BY_TIMER, "LOG_LEVEL": "warning", **(env or {})},
            )
            simulator = await stack.enter_async_context(Simulator(folder, clients=clients))
            stack.enter_context(services)
            pool = await stack.enter_async_context(asyncpg.create_pool(database.admin_url, min_size=1, max_size=2))
            broker = await stack.enter_async_context(await aio_pika.connect(vhost.admin_url))
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
    peak_mb: dict[str, float] = field(default_factory=dict)
    """By service, of those that were asked for."""

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

    async def all_polled(self) -> list[float]:
        """Wait until every client was polled; the moments, in seconds since 1970.

        Raises:
            AssertionError: a client was polled twice.
        """
        polls: list[tuple[int, float]] = []

        async def polled() -> bool:
            polls.extend((await self.simulator.take()).polls)
            return len({number for number, _ in polls}) == self.simulator.clients

        await until("every client is polled", polled)
        assert len(polls) == self.simulator.clients, "a client was polled twice"
        return [moment for _, moment in polls]

    async def all_told(self) -> list[tuple[int, float]]:
        """Wait until every client was told of all that it has; number and moment of each poll meanwhile."""
        polls: list[tuple[int, float]] = []

        async def told() -> bool:
            seen = await self.simulator.take()
            polls.extend(seen.polls)
            return seen.pending == 0

        await until("every client is told", told)
        return polls

    async def waiting(self) -> int:
        """How many batches wait in their queue."""
        async with self.broker.channel() as channel:
            declared = await channel.declare_queue(CAPTURE_BATCHES.name, passive=True)
            return declared.declaration_result.message_count or 0

    async def take_batches(self, captures: int) -> list[CaptureBatch]:
        """Wait until so many captures are in the queue, and take them out of it."""
        batches: list[CaptureBatch] = []
        async with self.broker.channel() as channel:
            queue = await channel.get_queue(CAPTURE_BATCHES.name)

            async def taken() -> bool:
                while (message := await queue.get(no_ack=True, fail=False)) is not None:
                    batches.append(decoded(CaptureBatch, message.body))
                return sum(len(pull.captures) for batch in batches for pull in batch.pulls) == captures

            await until(f"{captures:,} captures are published", taken)
        return batches

    def stop(self, name: str) -> None:
        """End a service in order; the most memory that it had is in `peak_mb`."""
        self.note_peak(name)
        self.stack.stop(name)

    def note_peak(self, name: str) -> None:
        """Keep the most memory that a service had at any time, as the kernel knows it."""
        status = Path(f"/proc/{self.stack.pid(name)}/status").read_text(encoding="ascii")
        peak_kib = int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1])
        self.peak_mb[name] = max(self.peak_mb.get(name, 0.0), peak_kib * 1024 / 1e6)

    def process(self, name: str) -> Process:
        """A service's process, to be measured."""
        return Process(self.stack.pid(name))

    def cpu_s(self, name: str) -> float:
        """CPU time of a service since its start."""
        times = self.process(name).cpu_times()
        return float(times.user + times.system)
