"""Keeps the table of known species as it is shipped."""

from __future__ import annotations

from collections.abc import Mapping

import asyncpg


async def keep_species(pool: asyncpg.Pool, queries: Mapping[str, str], species: Mapping[int, str]) -> None:
    """Make the table what `species` says, all or nothing. It may be repeated, and by several at once.

    Raises:
        asyncpg.PostgresError, OSError: nothing was changed.
    """
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute(queries["lock_species"])
        await connection.execute(queries["forget_species"], list(species))
        await connection.execute(queries["keep_species"], list(species), list(species.values()))
