"""How services connect to Postgres, and which of its errors pass by themselves."""

from __future__ import annotations

from typing import Final

import asyncpg

COMMAND_TIMEOUT_S: Final = 60.0

TRANSIENT: Final = (
    OSError,
    TimeoutError,
    asyncpg.InterfaceError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.TransactionRollbackError,
    asyncpg.ReadOnlySQLTransactionError,
)
"""Errors that the same statement may not meet again: a lost connection, a server that restarts, a deadlock."""


def make_pool(database_url: str, *, service: str, max_size: int) -> asyncpg.Pool:
    """A pool to be entered; its connections show the service's name in `pg_stat_activity`."""
    return asyncpg.create_pool(
        database_url,
        min_size=1,
        max_size=max_size,
        command_timeout=COMMAND_TIMEOUT_S,
        server_settings={"application_name": f"pullsync-{service}"},
    )


async def fetch_one(pool: asyncpg.Pool, query: str, *values: object) -> asyncpg.Record:
    """The one row that the query always has.

    Raises:
        LookupError: it has none.
    """
    row = await pool.fetchrow(query, *values)
    if row is None:
        message = f"no row: {query.splitlines()[-1]}"
        raise LookupError(message)
    return row


async def answers(pool: asyncpg.Pool) -> bool:
    """Whether Postgres answers within a second."""
    try:
        await pool.fetchval("SELECT 1", timeout=1.0)
    except TRANSIENT:
        return False
    return True
