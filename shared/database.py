"""A pool of connections to Postgres, opened when Postgres is there."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
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
"""Errors that the same statement may not meet again: a lost connection, a server that restarts or is full, a deadlock."""


@asynccontextmanager
async def open_pool(database_url: str, *, service: str, max_size: int) -> AsyncIterator[asyncpg.Pool]:
    """A pool whose connections show the service's name in `pg_stat_activity`; closed on leaving."""
    async with asyncpg.create_pool(
        database_url,
        min_size=1,
        max_size=max_size,
        command_timeout=COMMAND_TIMEOUT_S,
        server_settings={"application_name": f"pullsync-{service}"},
        init=_read_json,
    ) as pool:
        yield pool


async def _read_json(connection: asyncpg.Connection) -> None:
    await connection.set_type_codec("jsonb", encoder=json.dumps, decoder=json.loads, schema="pg_catalog")


async def answers(pool: asyncpg.Pool) -> bool:
    """Whether Postgres answers within a second."""
    try:
        await pool.fetchval("SELECT 1", timeout=1.0)
    except TRANSIENT:
        return False
    return True
