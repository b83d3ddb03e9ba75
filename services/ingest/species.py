"""The names of known species, out of the file that is shipped: no client can rename them."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from importlib.resources import files
from typing import Final

import asyncpg

FILE: Final = "species.csv"


def shipped_species() -> dict[int, str]:
    """Names by number, as `species.csv` has them; `species.md` tells where they come from.

    Raises:
        ValueError: the file has a number twice.
    """
    with (files("services.ingest") / FILE).open(encoding="utf-8") as file:
        rows = [(int(row["pokemon_id"]), row["name"]) for row in csv.DictReader(file)]
    species = dict(rows)
    if len(species) != len(rows):
        message = f"{FILE} has a number twice"
        raise ValueError(message)
    return species


async def keep_species(pool: asyncpg.Pool, queries: Mapping[str, str], species: Mapping[int, str]) -> None:
    """Make the table what `species` says, all or nothing. It may be repeated, and by several at once.

    Raises:
        asyncpg.PostgresError, OSError: nothing was changed.
    """
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute(queries["lock_species"])
        await connection.execute(queries["forget_species"], list(species))
        await connection.execute(queries["keep_species"], list(species), list(species.values()))
