"""How the time of the registry's answers grows with its clients.

One registry for each number of clients, all of them over the same servers; each round asks every one of them the same,
in turn, so that what disturbs the machine disturbs all. A figure is the time with many clients against that with few.
"""

from __future__ import annotations

import logging
import secrets
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Final

import asyncpg
import httpx
import structlog

from benchmarks.figures import Figure, at_most
from benchmarks.place import Servers
from benchmarks.plan import Plan, progress
from dev.database import create_database
from services.registry.app import build_app
from services.registry.settings import RegistrySettings
from shared.contracts.claims import CLAIMS_PATH

PULL_SYNC: Final = "/api/v1/pull-sync"
CLAIM: Final = 500
_ROUNDS: Final = 20
_WARM_UP: Final = 3
"""Rounds that fill caches, and are not counted."""

# A system in the middle of its day: each tenth client fails, each fiftieth is inactive, some hold captures. All are due
# once the table of a million is made.
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


async def measure(servers: Servers, plan: Plan) -> Sequence[Figure]:
    """Each answer's median over many rounds, in several runs."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    logging.getLogger("httpx").setLevel(logging.WARNING)
    sizes = [1_000, 10_000, 100_000] if plan.quick else [1_000, 100_000, 1_000_000]
    figures = []
    async with AsyncExitStack() as stack:
        registries = []
        for clients in sizes:
            progress(f"registry growth: registering {clients:,} clients")
            registries.append(await stack.enter_async_context(_registry(servers, clients)))
        for name, (step, after) in MEASURED.items():
            runs = [await _rounds(registries, step, after) for _ in range(plan.runs)]
            for number, clients in enumerate(sizes[1:], start=1):
                ratios = [medians[number] / medians[0] for medians in runs]
                what = f"{name}: time with {clients:,} clients / with {sizes[0]:,}"
                figures.append(Figure(what=what, runs=ratios, goal=at_most(2)))
            figures.append(Figure(what=f"{name}, {sizes[-1]:,} clients (ms)", runs=[run[-1] for run in runs]))
            progress(f"registry growth: {name}")
    return figures


async def _rounds(registries: list[Registry], step: Step, after: Step) -> list[float]:
    """The median of each registry's times, in milliseconds."""
    times: list[list[float]] = [[] for _ in registries]
    for turn in range(_ROUNDS + _WARM_UP):
        for registry, mine in zip(registries, times, strict=True):
            begun = time.perf_counter()
            await step(registry)
            elapsed = time.perf_counter() - begun
            await after(registry)
            if turn >= _WARM_UP:
                mine.append(1000 * elapsed)
    return [statistics.median(mine) for mine in times]


@asynccontextmanager
async def _registry(servers: Servers, clients: int) -> AsyncIterator[Registry]:
    name = f"growth_{clients}"
    database = await create_database(servers.postgres.url, name, password=secrets.token_urlsafe(12))
    app = build_app(RegistrySettings(database_url=database.registry_url, rabbitmq_url=servers.rabbitmq.url))
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://localhost", timeout=60) as http,
        asyncpg.create_pool(database.admin_url, min_size=1, max_size=1) as pool,
    ):
        await pool.execute(CLIENTS, clients, timeout=600)
        await pool.execute("VACUUM ANALYZE registry.clients", timeout=600)
        yield Registry(clients=clients, http=http, pool=pool)
