"""What PostgreSQL says of itself, and of the tables that the registry needs there."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import asyncpg

from services.registry.diagnosis.report import DatabaseReport, Problem, SchemaReport
from shared.postgres.database import TRANSIENT, condition_of
from shared.postgres.illness import Illness, illness_of
from shared.postgres.migrations import History

_ANSWER_S: Final = 3.0
_VIEW: Final = re.compile(r"\bcaptures\.(published_\w+)")
_UNPREPARED: Final = (asyncpg.UndefinedTableError, asyncpg.InvalidSchemaNameError, asyncpg.UndefinedColumnError)
_REFUSED: Final = (
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InsufficientPrivilegeError,
    asyncpg.InvalidCatalogNameError,
)
_NO_ANSWER: Final = (asyncpg.PostgresError, asyncpg.InterfaceError, OSError)
"""TimeoutError is an OSError."""


def utc_now() -> datetime:
    """By this machine's clock."""
    return datetime.now(UTC)


class DatabaseDiagnosis:
    """Asks by both logins of the registry, within three seconds each. It never raises."""

    def __init__(
        self,
        *,
        pool: asyncpg.Pool,
        captures_pool: asyncpg.Pool,
        queries: Mapping[str, str],
        migrations: Path,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        """`migrations` is the folder of the registry's history."""
        self._pool = pool
        self._captures_pool = captures_pool
        self._queries = queries
        self._views = sorted({name for query in queries.values() for name in _VIEW.findall(query)})
        self._history = History(migrations)
        self._now = now

    async def report(self) -> DatabaseReport:
        """What was found, or why nothing."""
        try:
            async with asyncio.timeout(_ANSWER_S), self._pool.acquire() as connection:
                before = self._now()
                row = await connection.fetchrow(self._queries["diagnosis"])
                after = self._now()
        except _NO_ANSWER as error:
            return DatabaseReport(problem=_problem(error), illness=illness_of(error))
        assert row is not None, "it always has a row"  # noqa: S101 - ours
        uncertainty = (after - before) / 2
        return DatabaseReport(
            problem=None,
            version=row["version"],
            version_number=row["version_number"],
            is_standby=row["is_standby"],
            illness=Illness.READ_ONLY if row["is_read_only"] else condition_of(self._pool).illness,
            connections=row["connections"],
            max_connections=row["max_connections"],
            clock_offset_s=round((row["now"] - before - uncertainty).total_seconds(), 3),
            clock_uncertainty_s=round(uncertainty.total_seconds(), 3),
            tables=await self._tables(row["revision"]),
        )

    async def _tables(self, revision: str | None) -> SchemaReport:
        missing: list[str] = []
        problem: Problem | None = None
        try:
            async with asyncio.timeout(_ANSWER_S):
                rows = await self._captures_pool.fetch(self._queries["missing_views"], self._views)
            missing = [row["view"] for row in rows]
        except _NO_ANSWER as error:
            problem = _problem(error)
        return SchemaReport(
            revision=revision,
            expected=self._history.head,
            standing=self._history.standing(revision),
            missing_views=missing,
            captures_problem=problem,
        )


def _problem(error: Exception) -> Problem:
    if isinstance(error, _UNPREPARED):
        return "unprepared"
    if isinstance(error, TimeoutError | asyncpg.QueryCanceledError):
        return "slow"
    return "away" if isinstance(error, TRANSIENT) and not isinstance(error, _REFUSED) else "refused"
