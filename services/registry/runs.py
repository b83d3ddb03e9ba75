"""Sync runs in Postgres. A run is a demand for a pull of each client, and is done when each has been settled."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import datetime
from typing import Final
from uuid import UUID

import asyncpg

from services.registry.domain import Failure, Run, RunKind
from services.registry.errors import UnknownRunError

_POLL_S: Final = 0.05


class Runs:
    """Durable: a restart of any service in the middle of a run does not lose it."""

    def __init__(self, *, pool: asyncpg.Pool, queries: Mapping[str, str]) -> None:
        self._pool = pool
        self._queries = queries

    async def start(self, kind: RunKind, *, since: datetime | None) -> UUID:
        """Demand a pull of every registered client. Over no clients the run is finished at once."""
        async with self._pool.acquire() as connection, connection.transaction():
            run_id: UUID = await connection.fetchval(self._queries["start_run"], kind, since)
            await connection.execute(self._queries["add_run_clients"], run_id)
            await connection.execute(self._queries["count_run_clients"], run_id)
            await connection.execute(self._queries["demand_run_clients"], run_id, since)
        return run_id

    async def get(self, run_id: UUID) -> Run:
        """How far it is.

        Raises:
            UnknownRunError: there is no such run.
        """
        row = await self._pool.fetchrow(self._queries["run"], run_id)
        if row is None:
            message = f"No run {run_id} is known; finished runs are kept for some days."
            raise UnknownRunError(message)
        return Run.model_validate(dict(row))

    async def failures(self, run_id: UUID, *, limit: int) -> list[Failure]:
        """The clients that failed, by user id."""
        rows = await self._pool.fetch(self._queries["run_failures"], run_id, limit)
        return [Failure(**dict(row)) for row in rows]

    async def wait(self, run_id: UUID, *, at_most_s: float) -> Run:
        """The run when it is finished, or as it is after `at_most_s` seconds.

        Settlements may reach another registry, so the database is asked.
        """
        deadline = asyncio.get_running_loop().time() + at_most_s
        while True:
            run = await self.get(run_id)
            if run.finished_at is not None or asyncio.get_running_loop().time() >= deadline:
                return run
            await asyncio.sleep(_POLL_S)
