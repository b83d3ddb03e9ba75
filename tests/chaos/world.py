"""Everything that runs in a round: private servers, the services on them, the clients, and the links in between."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import signal
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from random import Random
from typing import Final
from urllib.parse import urlsplit, urlunsplit

from dev.broker import create_broker
from dev.database import Database, create_database
from dev.servers.install import ensure_rabbitmq_server
from dev.servers.ports import LOOPBACK, free_port
from dev.servers.postgres import PostgresServer
from dev.servers.process import ManagedProcess, describe_exit
from dev.servers.rabbitmq import RabbitMQNode
from dev.stack import CHECKOUT, Stack
from tests.chaos.cluster import Cluster
from tests.chaos.plan import Fault
from tests.chaos.proxy import Link
from tests.chaos.sabotage import programs
from tests.chaos.users import Settings

Work = Callable[[Fault, Random], Awaitable["str | None"]]
"""Does harm for as long as a fault lasts, and undoes it; says what it hit, or None when there was nothing to hit."""

INTERVAL_S: Final = 5
LEASE_S: Final = 10
_TUNING: Final = {
    "PULL_SYNC_INTERVAL": str(INTERVAL_S),
    "PULL_SYNC_LEASE": str(LEASE_S),
    "PULL_SYNC_TIMEOUT": "3",
    "PULL_SYNC_BACKOFF_CAP": "10",
    "PULL_SYNC_IN_FLIGHT": "200",
    "CLIENT_REGISTRATION_CHECK": "2",
    "CLIENT_NUDGE": "true",
}
REGISTRIES: Final = ("registry-1", "registry-2")
PULLERS: Final = ("puller-1", "puller-2")
INGESTS: Final = ("ingest-1", "ingest-2")
SERVICES: Final = (*REGISTRIES, *INGESTS, *PULLERS)
_LINES: Final = 12
_LINE_CHARS: Final = 300
_DATABASE: Final = "pullsync"


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How much of everything."""

    users: int
    processes: int
    """Of simulated clients."""
    references: int
    """Reference clients, a process each."""
    rate: float
    """Captures each second, of all simulated clients together."""


class World:
    """Start and stop anything, from any thread; a part is started or stopped by one at a time.

    After `close` nothing runs, and nothing can be started any more.
    """

    def __init__(self, folder: Path, *, seed: int, size: Size, sabotage: str | None = None, nodes: int = 1) -> None:
        """With a RabbitMQ of so many nodes, and a fault built into a service, if that is wanted."""
        self.folder = folder
        self.size = size
        self.postgres = PostgresServer(folder / "postgres")
        where = folder / "rabbitmq"
        self.rabbitmq = RabbitMQNode(where) if nodes == 1 else Cluster(where, nodes)
        self.links: dict[str, Link] = {}
        self.ended: list[str] = []
        """Services that ended by themselves, or not well when they were asked to; and how."""
        self._seed = seed
        self._sabotage = sabotage
        self._locks: dict[str, threading.Lock] = {}
        self._closed = False
        self._clients: dict[str, ManagedProcess] = {}
        self._stack: Stack | None = None
        self.settings: dict[str, Settings] = {}

    @property
    def stack(self) -> Stack:
        """The services, once they were started."""
        assert self._stack is not None, "the world was not started"
        return self._stack

    @property
    def references(self) -> list[str]:
        """The names of the reference clients."""
        return [f"client-{number}" for number in range(1, self.size.references + 1)]

    async def start(self) -> None:
        """Servers and services, in order; no clients yet.

        Raises:
            DevError: something did not start; the text says what.
        """
        await asyncio.to_thread(ensure_rabbitmq_server)
        await asyncio.gather(
            self.run("postgres", self.postgres.start),
            self.run("rabbitmq", self.rabbitmq.start),
        )
        self.database: Database = await create_database(
            self.postgres.url, _DATABASE, password=secrets.token_urlsafe(12)
        )
        self._stack = await self._make_stack()
        await self.start_services(*SERVICES)

    async def _make_stack(self) -> Stack:
        """With all that goes between two parts by way of a link."""
        ports = {name: free_port() for name in REGISTRIES}
        nodes = self.rabbitmq.nodes if isinstance(self.rabbitmq, Cluster) else [self.rabbitmq]
        await self._link("broker", [node.ports.amqp for node in nodes])
        await self._link("registry_db", [self.postgres.port])
        await self._link("ingest_db", [self.postgres.port])
        await self._link("registry", list(ports.values()))
        broker = await create_broker(
            self.rabbitmq.url,
            self.rabbitmq.management_url,
            password=secrets.token_urlsafe(12),
            monitoring_password=secrets.token_urlsafe(12),
        )
        return Stack(
            folder=self.folder,
            registry_url=_through(self.database.registry_url, self.links["registry_db"]),
            ingest_url=_through(self.database.ingest_url, self.links["ingest_db"]),
            rabbitmq_urls={name: _through(url, self.links["broker"]) for name, url in broker.urls.items()},
            env={**_TUNING, "BACKEND_URL": self.registry_url},
            ports=ports,
            programs=programs(self._sabotage),
        )

    @property
    def registry_url(self) -> str:
        """The registries, by way of their link."""
        return f"http://{LOOPBACK}:{self.links['registry'].port}"

    async def start_services(self, *names: str) -> None:
        """Start those that do not run, and wait until each is ready."""
        for name in names:
            await self.start_service(name)
        for name in names:
            await asyncio.to_thread(self.stack.wait_ready, name)

    async def start_service(self, name: str) -> None:
        """Start it, without waiting until it is ready."""
        await self.run(name, lambda: self.stack.start(name, wait=False))

    async def kill_service(self, name: str) -> None:
        """As a crash would."""
        await self.run(name, lambda: self.stack.kill(name))

    async def stop_service(self, name: str) -> None:
        """In order. That it does not end by itself, and well, is noted."""
        await self.run(name, lambda: self.stack.stop(name))
        returncode = self.stack.returncode(name)
        if returncode not in {0, -signal.SIGTERM}:  # it may not have listened to signals yet
            self.ended.append(
                f"{name}, asked to stop: {describe_exit(returncode)}\n{_last_lines(self.stack.log_tail(name))}"
            )

    async def start_clients(self, name: str) -> None:
        """Start a process of simulated clients, on the port and the journal that it always had."""
        await self.run(name, self._clients[name].start)

    async def kill_clients(self, name: str) -> None:
        """As a crash would."""
        await self.run(name, self._clients[name].kill)

    async def restart_ended(self) -> None:
        """What a supervisor does: start again what ended by itself, and note it."""
        for process in self.stack.dead():
            self.ended.append(f"{process.name}: {describe_exit(process.returncode)}\n{_last_lines(process.log_tail())}")
            await self.start_service(process.name)

    async def run(self, name: str, work: Callable[[], object]) -> None:
        """Do something to a part in a thread, while nobody else does."""
        await asyncio.to_thread(self._run, name, work)

    def _run(self, name: str, work: Callable[[], object]) -> None:
        with self._locks.setdefault(name, threading.Lock()):
            if not self._closed:
                work()

    async def close(self) -> None:
        """End all of it; may be repeated."""
        self._closed = True
        with ExitStack() as last:
            for lock in list(self._locks.values()):
                last.enter_context(lock)  # whoever is still at it ends first
            for process in self._clients.values():
                process.kill()
            if self._stack is not None:
                self._stack.kill_all()
            self.rabbitmq.kill()
            self.postgres.kill()
        for link in self.links.values():
            await link.close()

    async def _link(self, name: str, targets: Sequence[int]) -> Link:
        link = self.links[name] = Link(name, targets)
        await link.open()
        return link

    async def start_all_clients(self, *, make_until: float) -> None:
        """The clients, who make captures until then (seconds since 1970)."""
        for number in range(1, self.size.processes + 1):
            name = f"clients-{number}"
            port = free_port()
            link = await self._link(name, [port])
            users = [f"sim_{index:03d}" for index in range(number, self.size.users + 1, self.size.processes)]
            self.settings[name] = Settings(
                seed=self._seed,
                name=name,
                users=users,
                port=port,
                public_url=f"http://{LOOPBACK}:{link.port}",
                registry_url=self.registry_url,
                folder=str(self.folder),
                rate=self.size.rate / self.size.processes,
                make_until=make_until,
            )
            self._clients[name] = self._client_process(self.settings[name])
            await self.start_clients(name)
        await self.start_services(*self.references)

    async def stop_making(self) -> None:
        """Kill the simulated clients and start them again as ones that make nothing more, and behave."""
        for name, settings in self.settings.items():
            await self.kill_clients(name)
            self.settings[name] = replace(settings, make_until=time.time())
            self._clients[name] = self._client_process(self.settings[name])
            await self.start_clients(name)

    def _client_process(self, settings: Settings) -> ManagedProcess:
        return ManagedProcess(
            settings.name,
            [sys.executable, "-m", "tests.chaos.clients", json.dumps(asdict(settings))],
            env={"PATH": os.environ.get("PATH", os.defpath), "PYTHONPATH": str(CHECKOUT)},
            cwd=CHECKOUT,
            log_path=self.folder / "logs" / f"{settings.name}.log",
        )


def _last_lines(text: str) -> str:
    return "\n".join(f"    {line[:_LINE_CHARS]}" for line in text.splitlines()[-_LINES:])


def _through(url: str, link: Link) -> str:
    """The same server by way of the link."""
    parts = urlsplit(url)
    address = f"{parts.netloc.rpartition('@')[0]}@{LOOPBACK}:{link.port}"
    return urlunsplit(parts._replace(netloc=address))
