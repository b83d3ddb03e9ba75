"""What is wrong with a PostgreSQL that answers: by its errors, and as a service's own statements met it."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Final

import asyncpg
import structlog

from shared.errors import causes

REMEMBERED_S: Final = 60.0
"""Longer than the pauses between two tries of what is held: while there is something to write, it is met again."""

log = structlog.get_logger()


class Illness(StrEnum):
    """Of the server or of what its operator set up; no statement and no message is to blame."""

    READ_ONLY = "read_only"
    DISK_FULL = "disk_full"
    IO_ERROR = "io_error"
    DAMAGED = "damaged"
    INTERNAL_ERROR = "internal_error"
    NOT_ALLOWED = "not_allowed"
    TABLES_MISSING = "tables_missing"


_KINDS: Final[Mapping[type[asyncpg.PostgresError], Illness]] = {
    asyncpg.ReadOnlySQLTransactionError: Illness.READ_ONLY,
    asyncpg.DiskFullError: Illness.DISK_FULL,
    asyncpg.PostgresSystemError: Illness.IO_ERROR,
    asyncpg.DataCorruptedError: Illness.DAMAGED,
    asyncpg.IndexCorruptedError: Illness.DAMAGED,
    asyncpg.InternalServerError: Illness.INTERNAL_ERROR,
    asyncpg.InsufficientPrivilegeError: Illness.NOT_ALLOWED,
    asyncpg.UndefinedTableError: Illness.TABLES_MISSING,
    asyncpg.InvalidSchemaNameError: Illness.TABLES_MISSING,
}
"""The first that fits counts. SQLSTATE of classes 25, 53, 58, XX and 42."""
ILL: Final = (
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.DiskFullError,
    asyncpg.PostgresSystemError,
    asyncpg.InternalServerError,
    asyncpg.InsufficientPrivilegeError,
    asyncpg.UndefinedTableError,
    asyncpg.InvalidSchemaNameError,
)
"""The same for `except`."""
_OF_A_PART: Final = frozenset(Illness) - {Illness.READ_ONLY, Illness.DISK_FULL}
_OF_A_FILE: Final = re.compile(r": (Permission denied|Read-only file system|Operation not permitted)$")
"""PostgreSQL has 42501 for files that it may not open or write, too."""


def illness_of(error: BaseException | None) -> Illness | None:
    """What the error tells of the server, itself or by what it comes of; None when it tells of something else."""
    for cause in causes(error) if error is not None else ():
        kind = next((illness for kinds, illness in _KINDS.items() if isinstance(cause, kinds)), None)
        if kind is Illness.NOT_ALLOWED and _OF_A_FILE.search(str(cause)):
            return Illness.IO_ERROR
        if kind is not None:
            return kind
    return None


def is_of_a_part(error: BaseException) -> bool:
    """Whether other rows or tables of the same server may be well."""
    return illness_of(error) in _OF_A_PART


class Condition:
    """Of a server, as the statements of one pool met it: ill until one has written, or none was ill for long."""

    def __init__(self, *, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._illness: Illness | None = None
        self._since = self._met_at = 0.0
        self.count: Callable[[Illness], None] | None = None
        """Called for each statement that met one; must not raise."""

    @property
    def illness(self) -> Illness | None:
        """The last that was met, when it is not known to be over."""
        if self._illness is not None and self._now() - self._met_at > REMEMBERED_S:
            self.wrote()
        return self._illness

    def met(self, illness: Illness, error: BaseException) -> None:
        """A statement did. One line is logged for each kind and each time that it lasts."""
        self._met_at = self._now()
        if self.count is not None:
            self.count(illness)
        if illness is self._illness:
            return
        if self._illness is None:
            self._since = self._met_at
        self._illness = illness
        log.error("database_ill", kind=illness, problem=str(error)[:500], retrying=True)

    def may_write(self) -> None:
        """The server says so; what else is wrong with it does not end by that."""
        if self._illness is Illness.READ_ONLY:
            self.wrote()

    def wrote(self) -> None:
        """A statement did, so the server is well again."""
        if self._illness is not None:
            log.info("database_well_again", kind=self._illness, ill_s=round(self._now() - self._since, 1))
            self._illness = None
