"""The client records in Postgres: registering, listing, and the schedule's interval."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

import asyncpg

from services.registry.domain import ClientRecord, NewClient, Scheduler
from services.registry.errors import UnknownClientError
from shared.database import fetch_one


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientTotals:
    """Numbers over all clients."""

    registered: int
    pending: int
    failing: int
    in_flight: int
    lag_s: float
    """How late the most overdue client is; 0 when none is."""


class Clients:
    """Every method is one transaction."""

    def __init__(self, *, pool: asyncpg.Pool, queries: Mapping[str, str]) -> None:
        self._pool = pool
        self._queries = queries

    async def register(self, client: NewClient) -> bool:
        """Keep the client; it is due at once. True when it was not known. May be repeated."""
        query = self._queries["register"]
        values = (client.user_id, client.client_url, client.client_type, client.capabilities)
        return bool(await self._pool.fetchval(query, *values))

    async def unregister(self, user_id: str) -> None:
        """Forget the client; runs that wait for it count it as failed.

        Raises:
            UnknownClientError: there is no such client.
        """
        async with self._pool.acquire() as connection, connection.transaction():
            if await connection.fetchval(self._queries["unregister"], user_id) is None:
                raise UnknownClientError(user_id)
            await connection.execute(self._queries["abandon_parts"], [user_id])

    async def get(self, user_id: str) -> ClientRecord:
        """All that is known of one client.

        Raises:
            UnknownClientError: there is no such client.
        """
        row = await self._pool.fetchrow(self._queries["client"], user_id)
        if row is None:
            raise UnknownClientError(user_id)
        return ClientRecord.of(row)

    async def page(self, *, after: str, limit: int) -> list[ClientRecord]:
        """The clients whose user id comes after `after`, in that order."""
        return [ClientRecord.of(row) for row in await self._pool.fetch(self._queries["clients"], after, limit)]

    async def totals(self) -> ClientTotals:
        """Numbers over all clients."""
        row = await fetch_one(self._pool, self._queries["client_totals"])
        return ClientTotals(**{**dict(row), "lag_s": max(0.0, row["lag_s"])})

    async def remove_silent(self, retention: timedelta) -> int:
        """Forget the clients that had no success for `retention`; how many."""
        async with self._pool.acquire() as connection, connection.transaction():
            rows = await connection.fetch(self._queries["remove_silent"], retention)
            users = [row["user_id"] for row in rows]
            await connection.execute(self._queries["abandon_parts"], users)
        return len(users)


class Schedule:
    """The timer's settings, kept in Postgres, so that they hold for every replica and after a restart."""

    def __init__(self, *, pool: asyncpg.Pool, queries: Mapping[str, str]) -> None:
        self._pool = pool
        self._queries = queries

    async def ensure(self, default_interval_s: int) -> None:
        """Make the settings when there are none yet."""
        await self._pool.execute(self._queries["ensure_scheduler"], default_interval_s)

    async def get(self) -> Scheduler:
        """As they are now."""
        return Scheduler(**dict(await fetch_one(self._pool, self._queries["scheduler"])))

    async def set_running(self, *, running: bool) -> None:
        """Let the timer claim clients, or not. Pulls on demand are not concerned."""
        await self._pool.execute(self._queries["set_running"], running)

    async def set_interval(self, interval_s: int) -> None:
        """Pull every client each `interval_s` seconds from now on."""
        await self._pool.execute(self._queries["set_interval"], interval_s)

    async def begin_cleanup(self, *, at_least_since: timedelta) -> bool:
        """Whether the caller, alone among all registries, shall clean up now."""
        return bool(await self._pool.fetchval(self._queries["begin_cleanup"], at_least_since))

    async def remove_old_runs(self, age: timedelta) -> None:
        """Forget the runs that ended longer ago than `age`."""
        await self._pool.execute(self._queries["remove_old_runs"], age)
