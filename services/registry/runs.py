"""Sync runs in Postgres. A run is a demand for a pull of each client, and is done when each has been settled."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Final, Literal
from uuid import UUID

import asyncpg
import structlog

from services.registry.domain import Run, RunClient, RunKind, RunProgress
from services.registry.errors import RefusedError, UnknownRunError

_POLL_S: Final = (0.01, 0.5)
"""How often the database is asked whether a run is done: the longer it takes, the less often, within these bounds."""
_POLL_SHARE: Final = 0.02
"""Of the time that a run took so far."""

RunOutcome = Literal["waiting", "failed", "differing"]
"""Clients of a run that an operator may look for."""

log = structlog.get_logger()


class CompleteRunUnderWayError(RefusedError):
    """There is one complete run at a time: two would compare the same clients with different orders."""

    status = 409


class RunFinishedError(RefusedError):
    """It can't be cancelled any more."""

    status = 409


class Runs:
    """Durable: a restart of any service in the middle of a run does not lose it."""

    def __init__(self, *, pool: asyncpg.Pool, queries: Mapping[str, str]) -> None:
        self._pool = pool
        self._queries = queries

    async def start(self, kind: RunKind, *, since: datetime | None) -> UUID:
        """Demand a pull of every client that is not paused. Over no clients the run is finished at once.

        Runs at the same time share the pulls that they have in common.
        """
        async with self._pool.acquire() as connection, connection.transaction():
            run_id, clients = await self._start(connection, kind, since, delete_unknown=False)
            await connection.execute(self._queries["demand_run_clients"], run_id, since)
        _log_created(run_id, kind, clients)
        return run_id

    async def start_complete(self, *, delete_unknown: bool) -> UUID:
        """Begin to compare everything that each client has with what is stored.

        Raises:
            CompleteRunUnderWayError: there is such a run already.
        """
        try:
            async with self._pool.acquire() as connection, connection.transaction():
                kind: RunKind = "sync-complete-state"
                run_id, clients = await self._start(connection, kind, None, delete_unknown=delete_unknown)
        except asyncpg.UniqueViolationError as error:
            other = await self._pool.fetchval(self._queries["open_complete_run"])
            message = f"A complete run is under way already ({other}): wait for its end, or cancel it."
            raise CompleteRunUnderWayError(message) from error
        _log_created(run_id, kind, clients)
        return run_id

    async def _start(
        self,
        connection: asyncpg.pool.PoolConnectionProxy,
        kind: RunKind,
        since: datetime | None,
        *,
        delete_unknown: bool,
    ) -> tuple[UUID, int]:
        """The run, and how many clients it is over."""
        run_id: UUID = await connection.fetchval(self._queries["start_run"], kind, since, delete_unknown)
        await connection.execute(self._queries["add_run_clients"], run_id)
        clients: int = await connection.fetchval(self._queries["count_run_clients"], run_id)
        return run_id, clients

    async def get(self, run_id: UUID) -> Run:
        """How far it is.

        Raises:
            UnknownRunError: there is no such run.
        """
        return Run.model_validate(dict(await self._row(run_id)))

    async def progress(self, run_id: UUID) -> RunProgress:
        """How far it is, and why clients failed. Raises as `get` does."""
        return _progress(await self._row(run_id))

    async def _row(self, run_id: UUID) -> asyncpg.Record:
        row = await self._pool.fetchrow(self._queries["run"], run_id)
        if row is None:
            message = f"No run {run_id} is known; finished runs are kept for some days."
            raise UnknownRunError(message)
        return row

    async def unfinished(self) -> int:
        """How many runs wait for clients. The cost is of each such run, and not of each client."""
        number: int = await self._pool.fetchval(self._queries["unfinished_runs"])
        return number

    async def page(self, *, before: UUID | None, limit: int) -> list[Run]:
        """Runs that started before that one, the latest first."""
        return [Run.model_validate(dict(row)) for row in await self._pool.fetch(self._queries["runs"], before, limit)]

    async def latest(self, number: int) -> list[RunProgress]:
        """So many, the latest first, each with how far it is."""
        return [_progress(row) for row in await self._pool.fetch(self._queries["runs"], None, number)]

    async def clients(
        self, run_id: UUID, *, after: str, limit: int, outcome: RunOutcome | None = None
    ) -> list[RunClient]:
        """The run's clients whose user id comes after `after`, in that order; all, or those of one outcome."""
        query = self._queries[f"run_clients_{outcome}" if outcome else "run_clients"]
        return [RunClient.model_validate(dict(row)) for row in await self._pool.fetch(query, run_id, after, limit)]

    async def wait(self, run_id: UUID, *, at_most_s: float) -> Run:
        """The run when it is finished, or as it is after `at_most_s` seconds.

        Settlements may reach another registry, so the database is asked.
        """
        loop = asyncio.get_running_loop()
        begun = loop.time()
        while True:
            run = await self.get(run_id)
            waited_s = loop.time() - begun
            if run.finished_at is not None or waited_s >= at_most_s:
                return run
            shortest_s, longest_s = _POLL_S
            await asyncio.sleep(min(max(waited_s * _POLL_SHARE, shortest_s), longest_s, at_most_s - waited_s))

    async def cancel(self, run_id: UUID) -> None:
        """End the run: what it still waits for is no longer demanded; pulls under way end, and what they store stays.

        Raises:
            UnknownRunError: there is no such run.
            RunFinishedError: it ended before.
        """
        await self.get(run_id)
        async with self._pool.acquire() as connection, connection.transaction():
            await connection.execute(self._queries["lock_waiting_clients"], run_id)
            parts = await connection.fetch(self._queries["cancel_parts"], run_id)
            users = [row["user_id"] for row in parts]
            await connection.execute(self._queries["withdraw_demands"], run_id, users)
            if await connection.fetchval(self._queries["cancel_run"], run_id, len(users)) is None:
                message = f"The run {run_id} has ended already."
                raise RunFinishedError(message)
        log.info("run_cancelled", run_id=run_id, waiting_clients=len(users))


def log_finished(runs: Iterable[Mapping[str, Any] | asyncpg.Record]) -> None:
    """Tell of those that have ended now, out of rows of what was changed in runs."""
    for run in runs:
        if run["finished"]:
            counts = {name: run[name] for name in ("clients", "failed", "stored")}
            log.info("run_finished", run_id=str(run["run_id"]), **counts)


def _progress(row: asyncpg.Record) -> RunProgress:
    return RunProgress.model_validate({**row, "failed_by_reason": json.loads(row["failed_by_reason"])})


def _log_created(run_id: UUID, kind: RunKind, clients: int) -> None:
    log.info("run_created", run_id=run_id, kind=kind, clients=clients)
    if not clients:
        log_finished([{"run_id": run_id, "clients": 0, "failed": 0, "stored": 0, "finished": True}])
