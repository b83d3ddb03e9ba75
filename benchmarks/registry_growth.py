"""How the time of the registry's answers grows with its clients: `python -m benchmarks.registry_growth`.

One registry for each number of clients, all of them over the same private servers; each round asks every one of them
the same, in turn, so that what disturbs the machine disturbs all. A figure is the median over the rounds, against that
with the fewest clients.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import asyncpg
import httpx
import structlog

from dev.database import create_database
from dev.servers.install import ensure_rabbitmq_server
from dev.servers.postgres import PostgresServer
from dev.servers.rabbitmq import RabbitMQNode
from services.registry.app import build_app
from services.registry.settings import RegistrySettings
from shared.claims import CLAIMS_PATH

PULL_SYNC: Final = "/api/v1/pull-sync"
CLAIM: Final = 500
_WARM_UP: Final = 3
"""Rounds that fill caches, and are not counted."""

# A system in the middle of its day: each tenth client fails, each fiftieth is inactive, some hold captures; a claim's
# worth of clients and more is due.
CLIENTS: Final = """
INSERT INTO registry.clients
    (user_id, client_url, client_type, capabilities, next_pull_at, failures, inactive_since, pending, stored)
SELECT 'user_' || md5(n::text), 'http://client-' || n || ':3001', 'web', '{capture,favorite}',
       now() + make_interval(secs => random() * 30 - CASE WHEN n <= 900 THEN 30 ELSE 0 END),
       CASE WHEN n % 10 = 0 THEN 3 ELSE 0 END, CASE WHEN n % 50 = 0 THEN now() END, n % 4, n
FROM generate_series(1, $1::integer) AS n
"""
UNCLAIM: Final = """
UPDATE registry.clients SET pull_id = NULL, next_pull_at = now() - interval '1 second' WHERE pull_id IS NOT NULL
"""


@dataclass(frozen=True, kw_only=True)
class Registry:
    """A registry with so many clients."""

    clients: int
    http: httpx.AsyncClient
    pool: asyncpg.Pool

    async def list(self) -> None:
        """One page."""
        await self._get(f"{PULL_SYNC}/registered-clients?limit=1000")

    async def list_failing(self) -> None:
        """One page of the clients that fail."""
        await self._get(f"{PULL_SYNC}/registered-clients?limit=50&state=failing")

    async def status(self) -> None:
        """The whole at a glance."""
        await self._get(f"{PULL_SYNC}/status")

    async def scheduler(self) -> None:
        """The timer, and its numbers."""
        await self._get(f"{PULL_SYNC}/scheduler/status")

    async def client(self) -> None:
        """One client."""
        await self._get(f"{PULL_SYNC}/clients/user_c4ca4238a0b923820dcc509a6f75849b")

    async def claim(self) -> None:
        """What a puller asks for."""
        answer = await self.http.post(CLAIMS_PATH, json={"limit": CLAIM})
        assert len(answer.json()["targets"]) == CLAIM, answer.text[:200]

    async def unclaim(self) -> None:
        """As before the claim."""
        await self.pool.execute(UNCLAIM)

    async def _get(self, path: str) -> None:
        (await self.http.get(path)).raise_for_status()


async def nothing(_registry: Registry) -> None:
    """No preparation."""


Step = Callable[[Registry], Awaitable[None]]
MEASURED: Final[dict[str, tuple[Step, Step]]] = {
    "list, 1,000 of all": (Registry.list, nothing),
    "list, 50 that fail": (Registry.list_failing, nothing),
    "status": (Registry.status, nothing),
    "scheduler/status": (Registry.scheduler, nothing),
    "one client": (Registry.client, nothing),
    f"claim of {CLAIM}": (Registry.claim, Registry.unclaim),
}


def main() -> None:
    """Run it, and print the table."""
    parser = argparse.ArgumentParser(prog="benchmarks.registry_growth", description=__doc__)
    parser.add_argument("--clients", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    parser.add_argument("--rounds", type=int, default=40)
    arguments = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    logging.getLogger("httpx").setLevel(logging.WARNING)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pullsync-bench-")))
        ensure_rabbitmq_server()
        postgres = stack.enter_context(PostgresServer(folder / "postgres"))
        rabbitmq = stack.enter_context(RabbitMQNode(folder / "rabbitmq"))
        asyncio.run(_measure(postgres.url, rabbitmq.url, sorted(arguments.clients), arguments.rounds))


async def _measure(postgres_url: str, rabbitmq_url: str, sizes: list[int], rounds: int) -> None:
    async with AsyncExitStack() as stack:
        registries = []
        for clients in sizes:
            print(f"registering {clients:,} clients ...", flush=True)
            registries.append(await stack.enter_async_context(_registry(postgres_url, rabbitmq_url, clients)))
        print(f"\nmilliseconds, median of {rounds} (10th to 90th percentile); ratio to {sizes[0]:,} clients\n")
        print(f"| {'':20} | " + " | ".join(f"{clients:>24,}" for clients in sizes) + " |", flush=True)
        for name, (step, after) in MEASURED.items():
            times = await _rounds(registries, step, after, rounds)
            cells = [_cell(mine, times[0]) for mine in times]
            print(f"| {name:20} | " + " | ".join(f"{cell:>24}" for cell in cells) + " |", flush=True)


async def _rounds(registries: list[Registry], step: Step, after: Step, rounds: int) -> list[list[float]]:
    times: list[list[float]] = [[] for _ in registries]
    for turn in range(rounds + _WARM_UP):
        for registry, mine in zip(registries, times, strict=True):
            begun = time.perf_counter()
            await step(registry)
            elapsed = time.perf_counter() - begun
            await after(registry)
            if turn >= _WARM_UP:
                mine.append(1000 * elapsed)
    return times


def _cell(times: list[float], base: list[float]) -> str:
    tenths = statistics.quantiles(times, n=10)
    ratio = statistics.median(times) / statistics.median(base)
    return f"{statistics.median(times):.2f} ({tenths[0]:.1f}-{tenths[-1]:.1f}) x{ratio:.2f}"


@asynccontextmanager
async def _registry(postgres_url: str, rabbitmq_url: str, clients: int) -> AsyncIterator[Registry]:
    database = await create_database(postgres_url, f"growth_{clients}", password="of a private server")
    app = build_app(RegistrySettings(database_url=database.registry_url, rabbitmq_url=rabbitmq_url))
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://registry", timeout=60) as http,
        asyncpg.create_pool(database.admin_url, min_size=1, max_size=1) as pool,
    ):
        await pool.execute(CLIENTS, clients, timeout=600)
        await pool.execute("VACUUM ANALYZE registry.clients", timeout=600)
        yield Registry(clients=clients, http=http, pool=pool)


if __name__ == "__main__":
    main()
