"""The machine's processes, read from /proc: who descends from whom, who works where.

A process is known by its number and its start together, because numbers are used again. Where there is no /proc the
table is empty, and whoever asks has to make do with the process that it started.
"""

import os
import signal
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_PROC: Final = Path("/proc")
_POLL_S: Final = 0.02


@dataclass(frozen=True)
class Process:
    """One running process; `started` is in clock ticks since boot."""

    pid: int
    parent: int
    session: int
    started: int

    def exists(self) -> bool:
        """Whether this very process still runs; a zombie does not."""
        now = look_up(self.pid)
        return now is not None and now.started == self.started

    def signal(self, number: signal.Signals) -> None:
        """Sends it `number`; nothing happens when it has ended."""
        if not self.exists():
            return
        try:
            os.kill(self.pid, number)
        except ProcessLookupError:
            return  # it ended in between

    def command_line(self) -> list[str]:
        """The words that it was started with, unless it has changed them; empty when it has ended."""
        try:
            raw = (_PROC / str(self.pid) / "cmdline").read_bytes()
        except OSError:
            return []
        return raw.decode(errors="replace").rstrip("\0").split("\0")

    def working_directory(self) -> str:
        """Its working directory; empty when it has ended or belongs to someone else."""
        return _link(self.pid, "cwd")

    def executable(self) -> str:
        """The path of its program; empty when it has ended or belongs to someone else."""
        return _link(self.pid, "exe").removesuffix(" (deleted)")  # the wheel was replaced while it ran

    def environment(self) -> dict[str, str]:
        """The environment that it was started with; empty when it has ended or belongs to someone else."""
        try:
            raw = (_PROC / str(self.pid) / "environ").read_bytes()
        except OSError:
            return {}
        pairs = (entry.decode(errors="replace").partition("=") for entry in raw.split(b"\0") if entry)
        return {name: value for name, _, value in pairs}


def look_up(pid: int) -> Process | None:
    """The process of that number, or None when there is none or only its zombie."""
    try:
        text = (_PROC / str(pid) / "stat").read_text(errors="replace")
    except OSError:
        return None
    return parse_stat(text)


def parse_stat(text: str) -> Process | None:
    """Reads a line of /proc/<pid>/stat (proc(5)); None for a process that has ended.

    The second field is the program's name in brackets and may itself hold spaces and brackets.
    """
    number, _, rest = text.partition(" ")
    fields = rest.rpartition(")")[2].split()
    if fields[0] in {"Z", "X"}:
        return None
    return Process(pid=int(number), parent=int(fields[1]), session=int(fields[3]), started=int(fields[19]))


def processes() -> list[Process]:
    """All that run now."""
    numbers = (int(entry.name) for entry in _PROC.iterdir() if entry.name.isdigit()) if _PROC.is_dir() else ()
    found = (look_up(number) for number in numbers)
    return [process for process in found if process is not None]


def family(leader: int) -> list[Process]:
    """The process `leader`, its descendants, and whoever is left of the session that it leads, parents first.

    Descendants may lead sessions of their own (PostgreSQL's do); members of the session may have lost their parent.
    """
    table = processes()
    members = {p.pid: p for p in table if leader in (p.pid, p.session)}
    grown = True
    while grown:
        children = {p.pid: p for p in table if p.parent in members and p.pid not in members}
        members |= children
        grown = bool(children)
    return list(members.values())


def wait_gone(members: Iterable[Process], deadline_s: float) -> bool:
    """Waits until all of `members` have ended; False when one still runs after `deadline_s`."""
    return wait_for(lambda: not any(member.exists() for member in members), deadline_s)


def wait_for(condition: Callable[[], bool], deadline_s: float) -> bool:
    """Waits until `condition` holds; False when it does not within `deadline_s`."""
    end = time.monotonic() + deadline_s
    while not condition():
        if time.monotonic() >= end:
            return False
        time.sleep(_POLL_S)
    return True


def _link(pid: int, name: str) -> str:
    try:
        return str((_PROC / str(pid) / name).readlink())
    except OSError:
        return ""
