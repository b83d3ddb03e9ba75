"""What can be wrong with the database, and what to do about each. No I/O."""

from __future__ import annotations

import errno
import sqlite3
from dataclasses import dataclass
from typing import Final

from services.client.errors import StoreUnavailableError


@dataclass(frozen=True, slots=True)
class Kind:
    """One way in which SQLite fails."""

    name: str
    remedy: str


DAMAGED: Final = Kind(
    "damaged",
    "Stop the client, and keep a copy of the file and of what is beside it (-wal). Then restore it from a backup, save "
    "what can be read (docs/troubleshooting.md says how), or move it away to begin with an empty one",
)
FULL: Final = Kind("full", "Make room on its disk; the client goes on by itself")
FORBIDDEN: Final = Kind(
    "forbidden", "Let the client's user write the file and its folder; the client goes on by itself"
)
LOCKED: Final = Kind("locked", "Close the other program that has it open; the client goes on by itself")
GONE: Final = Kind("gone", "Put the file back where it was, or stop the client and restore it; -wal belongs to it")
FAILING: Final = Kind(
    "failing", "See whether its disk is full or failing, and make room; the client goes on by itself when it can"
)
_KINDS: Final = {
    sqlite3.SQLITE_CORRUPT: DAMAGED,
    sqlite3.SQLITE_NOTADB: DAMAGED,
    sqlite3.SQLITE_ERROR: DAMAGED,  # a table or a column is missing
    sqlite3.SQLITE_FULL: FULL,
    sqlite3.SQLITE_READONLY: FORBIDDEN,
    sqlite3.SQLITE_PERM: FORBIDDEN,
    sqlite3.SQLITE_CANTOPEN: FORBIDDEN,
    sqlite3.SQLITE_BUSY: LOCKED,
    sqlite3.SQLITE_LOCKED: LOCKED,
}
_OS_KINDS: Final = {
    errno.EACCES: FORBIDDEN,
    errno.EPERM: FORBIDDEN,
    errno.EROFS: FORBIDDEN,
    errno.ENOSPC: FULL,
    errno.EDQUOT: FULL,
}
_PRIMARY: Final = 0xFF
"""The bits of an error code that say what kind it is of; others say more."""


class DatabaseTroubleError(StoreUnavailableError):
    """The database could not be used, and nothing was changed; the text says what is wrong."""

    def __init__(self, kind: Kind, reason: str) -> None:
        super().__init__(reason, remedy=kind.remedy)
        self.kind = kind


def trouble(error: sqlite3.Error | OSError) -> DatabaseTroubleError:
    """The same error, with what to do about it."""
    if isinstance(error, OSError):
        return DatabaseTroubleError(_OS_KINDS.get(error.errno or 0, FAILING), str(error))
    code = getattr(error, "sqlite_errorcode", None)
    return DatabaseTroubleError(FAILING if code is None else _KINDS.get(code & _PRIMARY, FAILING), str(error))
