"""What the registry may read of ingest's tables: the views that ingest publishes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import asyncpg

from services.registry.errors import RegistryError
from shared.postgres.database import fetch_one
from shared.untrusted_text import visible

SCHEMA_MISSING: Final = (
    asyncpg.UndefinedTableError,
    asyncpg.UndefinedColumnError,
    asyncpg.InvalidSchemaNameError,
)
"""Ingest has not started yet, or is still to be upgraded."""

Place = tuple[int, str]
"""Where a page of the holders begins: behind the user with so many holdings and that id."""
FIRST_PLACE: Final[Place] = (2**31 - 1, "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranked:
    """A Pokémon and how many users hold it."""

    pokemon_id: int
    pokemon_name: str
    """Fit for showing."""
    holders: int
    updated_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """A user and how many Pokémon he holds."""

    user_id: str
    holdings: int
    updated_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Holding:
    """A Pokémon that a user holds."""

    pokemon_id: int
    pokemon_name: str
    """Fit for showing."""
    held_since: datetime
    """The time of the capture that decides; a time in the future counts as that of its receipt."""


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


class UnknownUserError(RegistryError):
    """Nobody has registered a client for that user, and nothing of his is stored."""

    status = 404

    def __init__(self, user_id: str) -> None:
        """For that user."""
        super().__init__(f"Nothing is known of user {user_id!r}: no client is registered, and no capture is stored.")


class Captures:
    """Read only. Before ingest has made its tables, every method raises asyncpg's UndefinedTableError."""

    def __init__(
        self, *, pool: asyncpg.Pool, queries: Mapping[str, str], is_registered: Callable[[str], Awaitable[bool]]
    ) -> None:
        """`is_registered` tells whether a user has a client."""
        self._pool = pool
        self._queries = queries
        self._is_registered = is_registered

    async def ranking(self, limit: int) -> list[Ranked]:
        """The most held Pokémon first, the lower number first on a tie."""
        rows = await self._pool.fetch(self._queries["ranking"], limit)
        return [Ranked(**_named(row)) for row in rows]

    async def top_holders(self, *, after: Place, limit: int) -> list[Holder]:
        """The users who hold most first, by id on a tie; those whose place is behind `after`.

        While counts change, a user may be met on two pages or on none; one whose count stays is met once.
        """
        holdings, user_id = after
        rows = await self._pool.fetch(self._queries["top_holders"], -holdings, user_id, limit)
        return [Holder(**dict(row)) for row in rows]

    async def holdings(self, user_id: str, *, after: int, limit: int) -> list[Holding]:
        """What a user holds, by number, above `after`. Nothing for a known user who holds nothing.

        Raises:
            UnknownUserError: no client is registered for that user, and nothing of his was stored.
        """
        if "\x00" in user_id or any("\ud800" <= character <= "\udfff" for character in user_id):
            raise UnknownUserError(user_id)  # PostgreSQL can't even look for such characters
        rows = await self._pool.fetch(self._queries["user_holdings"], user_id, after, limit)
        if not rows and not await self._is_known(user_id):
            raise UnknownUserError(user_id)
        return [Holding(**_named(row)) for row in rows]

    async def _is_known(self, user_id: str) -> bool:
        return await self._pool.fetchval(self._queries["has_stored"], user_id) or await self._is_registered(user_id)

    async def totals(self) -> CaptureTotals:
        """Numbers over all users."""
        return CaptureTotals(**dict(await fetch_one(self._pool, self._queries["capture_totals"])))


def _named(row: asyncpg.Record) -> dict[str, Any]:
    return {**dict(row), "pokemon_name": shown_name(row["pokemon_id"], row["pokemon_name"])}


def shown_name(pokemon_id: int, name: str) -> str:
    """The name with all that can't be seen written as escapes; the number for a name that shows nothing."""
    return visible(name) if name.strip() else f"#{pokemon_id}"
