"""The client records in Postgres: registering, listing, forgetting."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

import asyncpg

from services.registry.domain import ClientRecord, NewClient
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
