"""The history of pulls in Postgres: those that stored something or failed, for some days."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, Final, Literal
from uuid import UUID

import asyncpg
from pydantic import BaseModel, ConfigDict

from shared.contracts.messages import PullAcknowledged
from shared.contracts.times import UtcDatetime

_PORTION: Final = 10_000
"""Most pulls that one statement removes."""


class PullRecord(BaseModel):
    """What became of one pull."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    pull_id: UUID
    """Ids ascend with the time at which pulls began."""
    began_at: UtcDatetime | None
    """Null when its lease had ended before it was settled, and so are `since` and `run_id` then."""
    settled_at: UtcDatetime
    since: UtcDatetime | None
    """It read only what is newer than this; null for all that was pending."""
    run_id: UUID | None
    """The complete run that it was made for; null for any other pull."""
    outcome: Literal["stored", "failed"]
    reason: str | None
    """Why it failed; `unacknowledged` when all was stored, and the client could not be told at once."""
    error: str | None
    stored: int
    """Captures that were new."""
    duplicates: int
    """Captures that had been stored before."""
    quarantined: int
    """Items that could not be read."""
    pending: int
    """What the client still held then."""
    duration_s: float
    acknowledged_at: UtcDatetime | None
    """When the client had been told, at the latest; null when that is not known, or did not happen."""


class Pulls:
    """What `settle` wrote down; each method may be repeated."""

    def __init__(self, *, pool: asyncpg.Pool, queries: Mapping[str, str]) -> None:
        self._pool = pool
        self._queries = queries

    async def page(self, user_id: str, *, before: UUID | None, limit: int) -> list[PullRecord]:
        """A client's pulls before that one, the latest first."""
        rows = await self._pool.fetch(self._queries["pulls_of_client"], user_id, before, limit)
        return [PullRecord.model_validate(dict(row)) for row in rows]

    async def get(self, user_id: str, pull_id: UUID) -> PullRecord | None:
        """One pull; None when it is not in the history, or only its late acknowledgement is."""
        row = await self._row(user_id, pull_id)
        return None if row is None or row["outcome"] is None else PullRecord.model_validate(dict(row))

    async def acknowledged(self, told: Sequence[PullAcknowledged]) -> None:
        """Note that the clients of these pulls were told, if that is not known yet."""
        pulls = list({(one.user_id, one.pull_id) for one in told})
        if pulls:
            await self._pool.execute(self._queries["note_acknowledged"], *map(list, zip(*pulls, strict=True)))

    async def has_any(self, user_id: str) -> bool:
        """Whether the history knows that user."""
        return bool(await self._pool.fetchval(self._queries["has_pulls"], user_id))

    async def remove_old(self, kept: timedelta) -> int:
        """Remove what was settled longer ago, a portion at a time, each a transaction; how many those were.

        Several registries may do it at once; none waits for another.
        """
        removed, portion = 0, _PORTION
        while portion == _PORTION:
            portion = await self._pool.fetchval(self._queries["remove_old_pulls"], kept, _PORTION)
            removed += portion
        return removed

    async def _row(self, user_id: str, pull_id: UUID) -> Any:
        return await self._pool.fetchrow(self._queries["pull"], user_id, pull_id)
