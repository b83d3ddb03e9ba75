"""What PostgreSQL's errors tell of the server, and for how long that is believed."""

from __future__ import annotations

from typing import Final

import asyncpg
import pytest
import structlog

from shared.errors import TransientError
from shared.postgres.database import TRANSIENT, may_be_its_own
from shared.postgres.illness import ILL, REMEMBERED_S, Condition, Illness, illness_of, is_of_a_part

FILE: Final = 'could not open file "base/16384/16401": '


class Clock:
    """Moved by hand."""

    now = 0.0

    def __call__(self) -> float:
        """Seconds."""
        return self.now


@pytest.mark.parametrize(
    ("error", "illness"),
    [
        (asyncpg.ReadOnlySQLTransactionError("x"), Illness.READ_ONLY),
        (asyncpg.DiskFullError("x"), Illness.DISK_FULL),
        (asyncpg.PostgresIOError("x"), Illness.IO_ERROR),
        (asyncpg.UndefinedFileError("x"), Illness.IO_ERROR),
        (asyncpg.DataCorruptedError("x"), Illness.DAMAGED),
        (asyncpg.IndexCorruptedError("x"), Illness.DAMAGED),
        (asyncpg.InternalServerError("x"), Illness.INTERNAL_ERROR),
        (asyncpg.InsufficientPrivilegeError("permission denied for table events"), Illness.NOT_ALLOWED),
        (asyncpg.InsufficientPrivilegeError(f"{FILE}Read-only file system"), Illness.IO_ERROR),
        (asyncpg.InsufficientPrivilegeError(f"{FILE}Permission denied"), Illness.IO_ERROR),
        (asyncpg.UndefinedTableError("x"), Illness.TABLES_MISSING),
        (asyncpg.DeadlockDetectedError("x"), None),
        (asyncpg.TooManyConnectionsError("x"), None),
        (asyncpg.UniqueViolationError("x"), None),
        (asyncpg.InterfaceError("x"), None),
        (ConnectionRefusedError(), None),
        (None, None),
    ],
)
def test_an_error_tells_of_the_server(error: Exception | None, illness: Illness | None) -> None:
    """By its SQLSTATE; a file that PostgreSQL may not write has the one of a right that is missing."""
    assert illness_of(error) is illness
    assert error is None or illness is None or isinstance(error, ILL)
    assert illness is None or isinstance(error, TRANSIENT)


def test_every_kind_of_error_has_an_illness() -> None:
    """What is held because of it is told, too."""
    assert all(illness_of(kind("x")) is not None for kind in ILL)


def test_what_is_told_by_another_error_is_found() -> None:
    """As ingest's store has it."""
    with pytest.raises(TransientError) as caught:
        _raise_from(asyncpg.DataCorruptedError("bad page"))
    assert is_of_a_part(caught.value)
    assert not is_of_a_part(asyncpg.DiskFullError("no room"))


def _raise_from(error: Exception) -> None:
    raise TransientError from error


@pytest.mark.parametrize("kind", ILL)
def test_only_what_nobody_foresaw_may_be_of_a_message(kind: type[asyncpg.PostgresError]) -> None:
    """Damaged data and the like are the server's, whatever the message is."""
    assert may_be_its_own(kind("x")) is (kind is asyncpg.InternalServerError)
    assert not may_be_its_own(asyncpg.DataCorruptedError("bad page"))


def test_a_condition_is_told_when_it_begins_changes_and_ends() -> None:
    """And not each time that it is met; all of those are counted."""
    clock = Clock()
    condition, counted = Condition(now=clock), list[Illness]()
    condition.count = counted.append
    with structlog.testing.capture_logs() as logs:
        condition.wrote()
        for illness in (Illness.DISK_FULL, Illness.DISK_FULL, Illness.IO_ERROR):
            condition.met(illness, asyncpg.DiskFullError("no room"))
            clock.now += 1
        assert condition.illness is Illness.IO_ERROR
        condition.wrote()
        condition.wrote()
        assert condition.illness is None
    assert counted == [Illness.DISK_FULL, Illness.DISK_FULL, Illness.IO_ERROR]
    assert [(entry["event"], entry["kind"]) for entry in logs] == [
        ("database_ill", "disk_full"),
        ("database_ill", "io_error"),
        ("database_well_again", "io_error"),
    ]
    assert (logs[0]["problem"], logs[-1]["ill_s"]) == ("no room", 3)


def test_an_illness_that_is_not_met_again_is_forgotten() -> None:
    """Else a server that nobody may write to, since it is not ready, would never be ready again."""
    clock = Clock()
    condition = Condition(now=clock)
    condition.met(Illness.DISK_FULL, asyncpg.DiskFullError("no room"))
    clock.now = REMEMBERED_S
    assert condition.illness is Illness.DISK_FULL
    clock.now += 1
    assert condition.illness is None


def test_a_server_that_says_that_it_takes_writes_is_believed() -> None:
    """When that was all that was wrong with it."""
    condition = Condition(now=Clock())
    condition.met(Illness.READ_ONLY, asyncpg.ReadOnlySQLTransactionError("a standby"))
    condition.may_write()
    assert condition.illness is None
    condition.met(Illness.DISK_FULL, asyncpg.DiskFullError("no room"))
    condition.may_write()
    assert condition.illness is Illness.DISK_FULL
