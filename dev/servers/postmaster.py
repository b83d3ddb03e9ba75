"""What can be told about a PostgreSQL server from outside: from its data directory and the process table."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from dev.servers.errors import DevError
from dev.servers.proctable import Process, family, processes, wait_for

# Lines of postmaster.pid, counted from 0 (miscadmin.h, LOCK_FILE_LINE_*).
_SHARED_MEMORY_LINE: Final = 6
_STATUS_LINE: Final = 7
SHARED_MEMORY_TABLE: Final = Path("/proc/sysvipc/shm")
# Its columns.
_SHMID_COLUMN: Final = 1
_ATTACHED_COLUMN: Final = 6
RELEASED_WITHIN_S: Final = 10.0


def postgres_processes(cluster: Path) -> list[Process]:
    """The postmaster that runs on `cluster`, then what belongs to it.

    The postmaster is told by its command line, which everyone can read; a number in postmaster.pid alone may long
    belong to someone else. Those that lost their postmaster are told by program and working directory, which root may
    read in a container only of processes that are root's.
    """
    here = str(cluster.resolve())
    table = processes()
    masters = [process for process in table if is_postmaster(process.command_line(), here)]
    members = [process for master in masters for process in family(master.pid)]
    orphans = [p for p in table if Path(p.executable()).name == "postgres" and p.working_directory() == here]
    return list({process.pid: process for process in (*masters, *members, *orphans)}.values())


def is_postmaster(command_line: Sequence[str], cluster: str) -> bool:
    """Whether that is how we start the postmaster of `cluster`."""
    match command_line:
        case [program, "-D", folder, *_]:
            return Path(program).name == "postgres" and folder == cluster
        case _:
            return False


def postmaster_status(cluster: Path) -> str:
    """What the postmaster last said of itself, for example `starting` or `ready`; empty when it said nothing."""
    return _line(cluster, _STATUS_LINE).strip()


def remove_stale_pid_file(cluster: Path) -> None:
    """Removes a postmaster.pid whose server is gone, lest its number, given to someone else since, stop a new one.

    To be called when no postmaster runs on `cluster`. PostgreSQL itself would look for backends that lost their
    postmaster by the shared memory that the file names, so this is done here before.

    Raises:
        DevError: such backends are there and do not end.
    """
    if not wait_for(lambda: not _shared_memory_in_use(cluster), RELEASED_WITHIN_S):
        message = f"processes of an earlier PostgreSQL still use {cluster}: end them"
        raise DevError(message)
    (cluster / "postmaster.pid").unlink(missing_ok=True)


def _shared_memory_in_use(cluster: Path) -> bool:
    """Whether a process is attached to the segment that postmaster.pid names (by key and id)."""
    named = _line(cluster, _SHARED_MEMORY_LINE).split()
    try:
        rows = [row.split() for row in SHARED_MEMORY_TABLE.read_text().splitlines()[1:]]
    except OSError:
        return False
    return bool(named) and any(row[_SHMID_COLUMN] == named[-1] and row[_ATTACHED_COLUMN] != "0" for row in rows)


def _line(cluster: Path, number: int) -> str:
    try:
        lines = (cluster / "postmaster.pid").read_text().splitlines()
    except OSError:
        return ""
    return lines[number] if len(lines) > number else ""
