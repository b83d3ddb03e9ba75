"""The SQLite file: opening it, keeping other processes out of it, and transactions on it. No knowledge of captures.

A committed transaction survives `kill -9` and a power cut: write-ahead log, `synchronous = FULL`.
"""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import AsyncExitStack, asynccontextmanager, closing, contextmanager
from typing import TYPE_CHECKING, Final, Self

import aiosqlite
import structlog

from services.client.errors import StoreUnavailableError
from services.client.trouble import DAMAGED, FULL, GONE, DatabaseTroubleError, trouble
from shared.errors import StartupError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping
    from pathlib import Path
    from types import TracebackType

_STEPS: Final = ("first_schema", "add_pulled_at", "add_steady_times")
"""The queries that lead from one version of the schema to the next, from an empty file on; each is one transaction."""
SCHEMA_VERSION: Final = len(_STEPS)
_TABLES: Final = frozenset({"captures", "facts", "latest_times", "wire"})
_PROBE: Final = ("probe", "x" * 65_536)
"""A fact that is written to see whether there is room again: as much as few captures are."""
_STUBBORN: Final = (DAMAGED, FULL)
"""What a write that succeeds proves nothing of: it may need no damaged page, and no new one."""
_CHECK_S: Final = 10.0
_DURABLE: Final = (
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",
    "PRAGMA fullfsync = ON",  # macOS: without it the disk's own cache may still lose what was synced
)

log = structlog.get_logger()


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
        self.trouble: DatabaseTroubleError | None = None
        """Why it can't be used, from the first failure until a capture is written, or a `check` finds that it can."""

    async def __aenter__(self) -> Self:
        """Make or open the file; one of an older version gets what is new since then.

        Raises:
            StartupError: another process has it, or it can't be opened or is not ours.
        """
        async with self._resources as resources:
            try:
                self._refuse_lonely_log()
                self._path.parent.mkdir(parents=True, exist_ok=True)
                self._path.touch(mode=0o600)  # it holds a token, and what one user did
                resources.enter_context(_sole_use(self._path.resolve()))
                await self._open(resources)
            except (OSError, sqlite3.Error) as error:
                raise self._cant_open(trouble(error)) from error
            except DatabaseTroubleError as error:
                raise self._cant_open(error) from error
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
            with self._noticing_trouble():
                connection = self._usable(write=write)
                before = connection.total_changes
                try:
                    await connection.execute("BEGIN IMMEDIATE" if write else "BEGIN")
                    yield connection
                    await connection.execute("COMMIT")
                except BaseException:
                    # Also when cancelled while BEGIN or COMMIT runs: the connection's queue keeps this order.
                    await connection.rollback()
                    raise
                if connection.total_changes > before and self.trouble and self.trouble.kind not in _STUBBORN:
                    self._is_over()

    async def check(self) -> float:
        """Find out whether it can be used, so that nobody's capture has to; gives the seconds until the next time.

        What is wrong is logged once, and so is its end.
        """
        try:
            await (self._try_reading() if self.trouble is None else self._try_all(self.trouble))
        except StoreUnavailableError:
            return _CHECK_S
        self._is_over()
        return _CHECK_S

    def _is_over(self) -> None:
        if self.trouble is not None:
            log.info("database_back", file=str(self._path), was=self.trouble.kind.name)
            self.trouble = None

    async def _try_reading(self) -> None:
        """For writing: that finds out that it is locked, gone, or may only be read. Nothing is written."""
        async with self.transaction(write=True) as db:
            await db.execute_fetchall(self._queries["read_something"])

    async def _try_all(self, known: DatabaseTroubleError) -> None:
        if known.kind is DAMAGED:
            async with self.transaction(write=False) as db:
                await self._look_for_damage(db)
        await self._try_reading()
        name, value = _PROBE
        for text in (value, ""):  # in two transactions: what is taken back in one takes no room
            async with self.transaction(write=True) as db:
                await db.execute(self._queries["set_fact"], {"name": name, "value": text})

    async def _look_for_damage(self, db: aiosqlite.Connection) -> None:
        [[found]] = await db.execute_fetchall(self._queries["quick_check"])
        if found != "ok":
            raise DatabaseTroubleError(DAMAGED, " ".join(str(found).split()))

    @contextmanager
    def _noticing_trouble(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            found = trouble(error)
            self._notice(found)
            raise found from error
        except DatabaseTroubleError as found:
            self._notice(found)
            raise

    def _notice(self, found: DatabaseTroubleError) -> None:
        if self.trouble is None or (self.trouble.kind is not found.kind and self.trouble.kind is not DAMAGED):
            log.error("database_unavailable", file=str(self._path), reason=str(found), remedy=f"{found.remedy}.")
            self.trouble = found

    def _usable(self, *, write: bool) -> aiosqlite.Connection:
        if self._connection is None:
            message = "it is not open"
            raise StoreUnavailableError(message)
        if write and self._identity_now() != self._file_identity:
            # SQLite would go on writing to the deleted file, and lose everything at the next start.
            raise DatabaseTroubleError(GONE, "its file was moved or deleted while the client ran")
        return self._connection

    def _cant_open(self, error: DatabaseTroubleError) -> StartupError:
        return StartupError(
            f"the database {self._path} can't be opened: {error}; nothing was changed. {error.remedy}. "
            "CLIENT_DATABASE says where it is"
        )

    def _refuse_lonely_log(self) -> None:
        """SQLite deletes a log whose database is not there, and with it the captures that are only in the log.

        Raises:
            DatabaseTroubleError: there is such a log.
        """
        if _size_bytes(self._path) == 0 and _size_bytes(self._path.with_name(f"{self._path.name}-wal")) > 0:
            reason = f"it is missing or empty, but its log {self._path.name}-wal is there, which may hold captures"
            raise DatabaseTroubleError(GONE, reason)

    async def _open(self, resources: AsyncExitStack) -> None:
        connection = aiosqlite.connect(self._path, isolation_level=None, timeout=self._busy_timeout_s)
        await resources.enter_async_context(connection)
        version = await self._known_version(connection)
        for pragma in _DURABLE:
            await connection.execute(pragma)
        if version > 0:
            await self._look_for_damage(connection)
        for step in _STEPS[version:]:
            await connection.executescript(self._queries[step])
        missing = _TABLES - await self._tables(connection)
        if missing:
            raise DatabaseTroubleError(DAMAGED, f"it has no table {min(missing)}")
        self._connection, self._file_identity = connection, self._identity_now()

    async def _known_version(self, connection: aiosqlite.Connection) -> int:
        """The version of the schema, 0 for an empty file.

        Raises:
            StartupError: it is not this program's, or a newer one's.
        """
        [[version]] = await connection.execute_fetchall("PRAGMA user_version")
        if version > SCHEMA_VERSION:
            message = f"the database {self._path} was made by a newer client (schema {version}); update the client"
            raise StartupError(message)
        if version == 0 and await self._tables(connection):
            message = f"the database {self._path} is another program's; set another CLIENT_DATABASE"
            raise StartupError(message)
        return int(version)

    async def _tables(self, connection: aiosqlite.Connection) -> set[str]:
        return {name for (name,) in await connection.execute_fetchall(self._queries["tables"])}

    def _identity_now(self) -> tuple[int, int] | None:
        try:
            stat = self._path.stat()
        except OSError:
            return None
        return stat.st_dev, stat.st_ino


def _size_bytes(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


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
