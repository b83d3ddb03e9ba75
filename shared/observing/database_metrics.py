"""Metrics of a service's connections to Postgres, and those that are read out of it at a scrape."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Final

import asyncpg
import structlog
from prometheus_client import Counter, Gauge
from prometheus_client.core import Metric

from shared.observing.logs import Seldom
from shared.observing.metrics import READ_WITHIN_S, Metrics, gauge
from shared.postgres.database import TRANSIENT, condition_of, takes_writes
from shared.postgres.illness import Illness

_TELL_EVERY_S: Final = 300.0

Read = Callable[[], Awaitable[Iterable[Metric]]]

log = structlog.get_logger()


def watch_database(metrics: Metrics, *pools: asyncpg.Pool, read: Read | None = None) -> None:
    """Tell at each scrape how these pools are used, whether Postgres answers, and what `read` finds there.

    When it does not answer in time, what `read` would have found is absent from that scrape, and the rest is there. By
    default the first pool asks whether it answers. What is wrong with the server is told as its statements met it.
    """
    connections = Gauge(
        "pullsync_database_connections",
        "Connections to PostgreSQL that this service has open.",
        ["state"],
        registry=metrics.registry,
    )
    connections.labels("used").set_function(lambda: sum(pool.get_size() - pool.get_idle_size() for pool in pools))
    connections.labels("idle").set_function(lambda: sum(pool.get_idle_size() for pool in pools))
    Gauge(
        "pullsync_database_connections_max",
        "Connections to PostgreSQL that this service may have open.",
        registry=metrics.registry,
    ).set(sum(pool.get_max_size() for pool in pools))
    errors = Counter(
        "pullsync_database_errors_total",
        "Statements that failed because PostgreSQL is ill, by what is wrong with it.",
        ["kind"],
        registry=metrics.registry,
    )
    counts = {illness: errors.labels(illness) for illness in Illness}
    condition_of(pools[0]).count = lambda illness: counts[illness].inc()
    metrics.add_source(_Reading(pools[0], read).ask)


class _Reading:
    """What is read out of Postgres at a scrape."""

    def __init__(self, pool: asyncpg.Pool, read: Read | None) -> None:
        self._pool = pool
        self._read = read or self._ping
        self._seldom = Seldom(every_s=_TELL_EVERY_S)

    async def ask(self) -> list[Metric]:
        """Whether Postgres answered, and what it did."""
        try:
            async with asyncio.timeout(READ_WITHIN_S):
                found, is_up = [*await self._read()], True
                found.append(await self._writable())
        except (asyncpg.PostgresError, asyncpg.InterfaceError, *TRANSIENT) as error:
            found, is_up = [], False
            if self._seldom.may_tell("unread"):
                log.warning("metrics_unread", problem=str(error) or type(error).__name__, retrying=True)
        return [gauge("pullsync_database_up", "Whether PostgreSQL answered at this scrape.", is_up), *found]

    async def _writable(self) -> Metric:
        writable = await takes_writes(self._pool)
        return gauge("pullsync_database_writable", "Whether PostgreSQL takes writes, as far as it is known.", writable)

    async def _ping(self) -> list[Metric]:
        await self._pool.fetchval("SELECT 1")
        return []
