"""What the registry may read of ingest's tables: the views that ingest publishes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import asyncpg

from shared.database import fetch_one


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranked:
    """A Pokémon and how many users hold it."""

    pokemon_id: int
    pokemon_name: str
    holders: int
    updated_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptureTotals:
    """Rows in ingest's tables."""

    events: int
    holdings: int
    """A user's Pokémon that he holds now."""
    ranked: int
    """Pokémon that somebody holds."""
    quarantined: int
    updated_at: datetime | None


class Captures:
    """Read only. Before ingest has made its tables, every method raises asyncpg's UndefinedTableError."""

    def __init__(self, *, pool: asyncpg.Pool, queries: Mapping[str, str]) -> None:
        self._pool = pool
        self._queries = queries

    async def ranking(self, limit: int) -> list[Ranked]:
        """The most held Pokémon first, the lower number first on a tie."""
        return [Ranked(**dict(row)) for row in await self._pool.fetch(self._queries["ranking"], limit)]

    async def totals(self) -> CaptureTotals:
        """Numbers over all users."""
        return CaptureTotals(**dict(await fetch_one(self._pool, self._queries["capture_totals"])))
