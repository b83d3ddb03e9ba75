"""How services connect to Postgres, and which of its errors pass by themselves."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any, Final

import asyncpg
from asyncpg.pool import PoolAcquireContext, PoolConnectionProxy

from shared import tls
from shared.errors import causes
from shared.postgres.illness import ILL, Condition, illness_of

COMMAND_TIMEOUT_S: Final = 60.0
_CONNECT_S: Final = 10.0
_CLOSE_S: Final = 2.0
_ANSWER_S: Final = 1.0
_WRITES: Final = re.compile(r"\b(INSERT|UPDATE|DELETE)\b")

TRANSIENT: Final = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.TransactionRollbackError,
    asyncpg.LockNotAvailableError,
    asyncpg.IdleInTransactionSessionTimeoutError,
    asyncpg.TransactionTimeoutError,
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    *ILL,
)
"""Errors that the same statement may not meet again: a lost connection, a server that restarts, a deadlock, and what is
wrong with the server until its operator mends it: its disk, its data, roles that lack a right, a database that is gone.

Not `asyncpg.InterfaceError`, with which asyncpg tells both of a connection that is gone and of our own bugs (a wrong
number of arguments, a connection used twice): the pools of `make_pool` tell the two apart.
"""


def may_be_its_own(error: BaseException) -> bool:
    """Whether an error that is in `TRANSIENT` may as well come of what one message brings.

    XX000 is for whatever PostgreSQL did not foresee; that data are damaged has SQLSTATEs of its own.
    """
    return any(type(cause) is asyncpg.InternalServerError for cause in causes(error))


class _Pool(asyncpg.Pool):
    """Tells what became of a connection as what it is, and never lets a service wait for it at the end."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.condition = Condition()

    async def fetch(self, query: str, *args: object, **options: Any) -> Any:
        """As asyncpg has it. Rows that a statement has changed say that the server is well again."""
        rows = await super().fetch(query, *args, **options)
        if rows and _WRITES.search(query):
            self.condition.wrote()
        return rows

    def acquire(self, *, timeout: float | None = None) -> _Acquired:
        """Every statement comes by here, those of `pool.fetch` too."""
        return _Acquired(self, timeout)

    @property
    def is_open(self) -> bool:
        """Whether it was entered, and is not left."""
        return bool(self._initialized) and not self.is_closing()  # type: ignore[attr-defined] # the stubs lack it

    async def close(self) -> None:
        """Close in order; by force when Postgres or a statement takes longer than `_CLOSE_S`."""
        try:
            async with asyncio.timeout(_CLOSE_S):
                await super().close()
        except TRANSIENT:
            self.terminate()


class _Acquired(PoolAcquireContext):
    """A connection of the pool, until leaving."""

    async def __aenter__(self) -> PoolConnectionProxy:
        try:
            return await super().__aenter__()
        except asyncpg.InterfaceError as error:
            if not isinstance(self.pool, _Pool) or self.pool.is_open:
                raise
            raise _lost(error) from error
        except ILL as error:
            self._note(error)
            raise

    async def __aexit__(self, *exc: object) -> None:
        error = exc[1] if len(exc) > 1 else None
        self._note(error)
        gone = self.connection is not None and _is_gone(self.connection)
        if not gone and self.connection is not None and type(error) is asyncpg.InternalClientError:
            # Postgres ended it, and asyncpg is confused by the farewell.
            self.connection.terminate()
            gone = True
        try:
            await super().__aexit__(*exc)
        except asyncpg.InternalClientError as unclean:
            # A statement was given up, and Postgres did not answer to that either: asyncpg has ended the connection.
            raise _lost(unclean) from (error if isinstance(error, BaseException) else unclean)
        if isinstance(error, asyncpg.ReadOnlySQLTransactionError):
            # The server has become a standby: the others of the pool lead there too.
            await self.pool.expire_connections()
        if gone and isinstance(error, asyncpg.InterfaceError | asyncpg.InternalClientError):
            raise _lost(error) from error

    def _note(self, error: object) -> None:
        if isinstance(error, ILL) and (illness := illness_of(error)) is not None:
            condition_of(self.pool).met(illness, error)


def _is_gone(connection: PoolConnectionProxy) -> bool:
    """Whether it was closed, or taken from us because it was; a proxy without a connection can't be asked."""
    try:
        return connection.is_closed()
    except asyncpg.InterfaceError:
        return True


def _lost(error: Exception) -> asyncpg.ConnectionDoesNotExistError:
    return asyncpg.ConnectionDoesNotExistError(str(error))


def make_pool(database_url: str, *, service: str, max_size: int, ca_file: Path | None = None) -> asyncpg.Pool:
    """A pool to be entered; its connections show the service's name in `pg_stat_activity`.

    What a statement raises is in `TRANSIENT` if it may pass: also when the connection was lost between two statements.
    After Postgres has turned read-only (it failed over), the pool connects anew. What the URL's sslmode verifies is
    verified as `shared.tls` tells.

    Raises:
        OSError: `ca_file` can't be read, or has no certificate.
    """
    options: dict[str, Any] = {
        "max_queries": 50_000,
        "max_inactive_connection_lifetime": 300.0,
        "loop": None,
        "connection_class": asyncpg.Connection,
        "record_class": asyncpg.Record,
    }
    return _Pool(
        database_url,
        min_size=0,  # so that opening it needs no server
        max_size=max_size,
        timeout=_CONNECT_S,
        command_timeout=COMMAND_TIMEOUT_S,
        ssl=tls.for_postgres(database_url, ca_file),
        server_settings={"application_name": f"pullsync-{service}"},
        **options,
    )


def condition_of(pool: asyncpg.Pool) -> Condition:
    """What the statements of a pool of `make_pool` met."""
    return pool.condition if isinstance(pool, _Pool) else Condition()


async def fetch_one(pool: asyncpg.Pool | PoolConnectionProxy, query: str, *values: object) -> asyncpg.Record:
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
    """Whether Postgres answers within a second, the wait for a connection included."""
    try:
        async with asyncio.timeout(_ANSWER_S):
            await pool.fetchval("SELECT 1")
    except TRANSIENT:
        return False
    return True


async def takes_writes(pool: asyncpg.Pool) -> bool:
    """Whether Postgres says within a second that it does, and no statement of the pool has met anything else lately.

    Connections that lead to a server that takes none are given up: after a failover others lead to the new primary.
    """
    try:
        async with asyncio.timeout(_ANSWER_S):
            is_read_only = await pool.fetchval("SELECT current_setting('transaction_read_only')::boolean")
    except TRANSIENT:
        return False
    if is_read_only:
        await pool.expire_connections()
        return False
    condition = condition_of(pool)
    condition.may_write()
    return condition.illness is None
