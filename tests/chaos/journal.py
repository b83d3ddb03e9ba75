"""What a process of simulated clients has accepted, in a SQLite file that survives `kill -9`.

A capture counts as accepted when `keep` has returned. The file is also what the model is computed from.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.chaos.making import CAPTURE, NAMELESS, Made

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS made (
    seq INTEGER PRIMARY KEY,
    user_id TEXT NOT NULL,
    number INTEGER NOT NULL,
    capture_id TEXT,
    kind TEXT NOT NULL,
    document TEXT NOT NULL,
    twice INTEGER NOT NULL,
    made_at REAL NOT NULL,
    acknowledged_at REAL,
    UNIQUE (user_id, number)
) STRICT;
CREATE INDEX IF NOT EXISTS made_by_id ON made (user_id, capture_id);
CREATE INDEX IF NOT EXISTS made_pending ON made (kind) WHERE acknowledged_at IS NULL;
"""
_KEEP: Final = """
INSERT INTO made (user_id, number, capture_id, kind, document, twice, made_at) VALUES (?, ?, ?, ?, ?, ?, ?)
"""
_ACKNOWLEDGE: Final = """
UPDATE made SET acknowledged_at = ? WHERE user_id = ? AND capture_id = ? AND acknowledged_at IS NULL
"""
_COLUMNS: Final = "user_id, number, capture_id, kind, document, twice, made_at"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """An item that a client has accepted, and when it was told that it is stored."""

    made: Made
    acknowledged_at: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """Items in journals; those without an id, which stay pending for ever, are not pending here."""

    made: int = 0
    captures: int = 0
    pending: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            made=self.made + other.made,
            captures=self.captures + other.captures,
            pending=self.pending + other.pending,
        )


class Journal:
    """The writing side, for one process and one thread at a time."""

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        for pragma in ("journal_mode = WAL", "synchronous = FULL"):
            self._connection.execute(f"PRAGMA {pragma}")
        self._connection.executescript(_SCHEMA)

    def write(self, made: Sequence[Made], acknowledged: Sequence[tuple[float, str, str]]) -> None:
        """Keep all of it durably, in one transaction; `acknowledged` is (when, user, capture id)."""
        self._connection.execute("BEGIN IMMEDIATE")
        self._connection.executemany(
            _KEEP, [(m.user_id, m.number, m.capture_id, m.kind, m.document, m.twice, m.made_at) for m in made]
        )
        self._connection.executemany(_ACKNOWLEDGE, acknowledged)
        self._connection.execute("COMMIT")

    def pending(self) -> list[Made]:
        """What is not acknowledged, in the order in which it was made."""
        rows = self._connection.execute(
            f"SELECT {_COLUMNS} FROM made WHERE acknowledged_at IS NULL ORDER BY seq"
        ).fetchall()
        return [_made(row) for row in rows]

    def next_numbers(self) -> dict[str, int]:
        """The number of the next item of each user who has made some."""
        rows = self._connection.execute("SELECT user_id, max(number) + 1 FROM made GROUP BY user_id")
        return dict(rows.fetchall())

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()


def read_entries(path: Path) -> Iterator[Entry]:
    """Everything in a journal, in the order in which it was made, while its process may run."""
    with closing(_open(path)) as connection:
        for *made, acknowledged_at in connection.execute(f"SELECT {_COLUMNS}, acknowledged_at FROM made ORDER BY seq"):
            yield Entry(made=_made(tuple(made)), acknowledged_at=acknowledged_at)


def count(path: Path) -> Counts:
    """Totals of a journal, of which there may be none yet."""
    if not path.exists():
        return Counts()
    nameless = ", ".join(f"'{kind}'" for kind in sorted(NAMELESS))
    with closing(_open(path)) as connection:
        try:
            row = connection.execute(
                f"SELECT count(*), count(*) FILTER (WHERE kind = '{CAPTURE}'),"
                f" count(*) FILTER (WHERE acknowledged_at IS NULL AND kind NOT IN ({nameless})) FROM made"
            ).fetchone()
        except sqlite3.OperationalError:  # it is just being made
            return Counts()
    return Counts(made=row[0], captures=row[1], pending=row[2])


def _open(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=10)


def _made(row: tuple[object, ...]) -> Made:
    user_id, number, capture_id, kind, document, twice, made_at = row
    assert isinstance(number, int)
    assert isinstance(made_at, float)
    return Made(
        user_id=str(user_id),
        number=number,
        capture_id=None if capture_id is None else str(capture_id),
        kind=str(kind),
        document=str(document),
        twice=bool(twice),
        made_at=made_at,
    )
