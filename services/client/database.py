"""The SQLite file: opening it, keeping other processes out of it, and transactions on it. No knowledge of captures.

A committed transaction survives `kill -9` and a power cut: write-ahead log, `synchronous = FULL`.
"""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import AsyncExitStack, asynccontextmanager, closing, contextmanager
from typing import TYPE_CHECKING, Final, Self

import aiosqlite

from services.client.errors import StoreUnavailableError
from shared.errors import StartupError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping
    from pathlib import Path
    from types import TracebackType

_STEPS: Final = ("first_schema", "add_pulled_at")
"""The queries that lead from one version of the schema to the next, from an empty file on; each is one transaction."""
SCHEMA_VERSION: Final = len(_STEPS)
_DURABLE: Final = (
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",
    "PRAGMA fullfsync = ON",  # macOS: without it the disk's own cache may still lose what was synced
)


class Database:
    """One connection, whose transactions take turns; an async context manager that opens and closes it."""

    def __init__(self, *, path: Path, queries: Mapping[str, str], busy_timeout_s: float = 5.0) -> None:
        self._path = path.absolute()
        self._queries = queries
        self._busy_timeout_s = busy_timeout_s
        self._turn = asyncio.Lock()
        self._resources = AsyncExitStack()
        self._connection: aiosqlite.Connection | None = None
        self._file_identity: tuple[int, int] | None = None

    async def __aenter__(self) -> Self:
        """Make or open the file; one of an older version gets what is new since then.

        Raises:
            StartupError: another process has it, or it can't be opened or is not ours.
        """
        async with self._resources as resources:
            try:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                self._path.touch(mode=0o600)  # it holds a token, and what one user did
                resources.enter_context(_sole_use(self._path.resolve()))
                await self._open(resources)
            except (OSError, sqlite3.Error) as error:
                message = f"the database {self._path} can't be opened: {error}; see CLIENT_DATABASE"
                raise StartupError(message) from error
            self._resources = resources.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection = None
        await self._resources.__aexit__(kind, error, trace)

    @asynccontextmanager
    async def transaction(self, *, write: bool) -> AsyncIterator[aiosqlite.Connection]:
        """One transaction: committed and on the disk when the block has ended, undone when it raised.

        A reader sees one moment of the database. A writer keeps other processes from writing.

        Raises:
            StoreUnavailableError: SQLite could not do it; nothing was changed.
        """
        async with self._turn:
            if self._connection is None:
                message = "it is not open"
                raise StoreUnavailableError(message)
            if write and self._identity_now() != self._file_identity:
                # SQLite would go on writing to the deleted file, and lose everything at the next start.
                message = "its file was moved or deleted while the client ran"
                raise StoreUnavailableError(message)
            with _unavailable_on_error():
                try:
                    await self._connection.execute("BEGIN IMMEDIATE" if write else "BEGIN")
                    yield self._connection
                    await self._connection.execute("COMMIT")
                except BaseException:
                    # Also when cancelled while BEGIN or COMMIT runs: the connection's queue keeps this order.
                    await self._connection.rollback()
                    raise

    async def _open(self, resources: AsyncExitStack) -> None:
        connection = aiosqlite.connect(self._path, isolation_level=None, timeout=self._busy_timeout_s)
        await resources.enter_async_context(connection)
        for pragma in _DURABLE:
            await connection.execute(pragma)
        [[version]] = await connection.execute_fetchall("PRAGMA user_version")
        if version > SCHEMA_VERSION:
            message = f"the database {self._path} was made by a newer client (schema {version}); update the client"
            raise StartupError(message)
        for step in _STEPS[version:]:
            await connection.executescript(self._queries[step])
        self._connection, self._file_identity = connection, self._identity_now()

    def _identity_now(self) -> tuple[int, int] | None:
        try:
            stat = self._path.stat()
        except OSError:
            return None
        return stat.st_dev, stat.st_ino


@contextmanager
def _unavailable_on_error() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise StoreUnavailableError(str(error)) from error


@contextmanager
def _sole_use(path: Path) -> Iterator[None]:
    """Keep a second client off the same database, for as long as this process lives.

    The lock is SQLite's own, on an empty file beside the database: it works on every system, ends with the process
    however that ends, and leaves the database itself readable for other tools.
    """
    with closing(sqlite3.connect(path.with_name(path.name + ".lock"), timeout=0, isolation_level=None)) as lock:
        try:
            lock.execute("BEGIN EXCLUSIVE")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY:
                raise
            message = f"the database {path} is in use by another client; stop it, or set another CLIENT_DATABASE"
            raise StartupError(message) from error
        yield
