"""A child process of the local stack: started with its own log, awaited, stopped with escalation.

Each child leads a session of its own, so a terminal's Ctrl-C reaches only the stack, which then ends its children in
order. A child does not outlive the stack: a guard (a few lines of shell) holds the other end of a pipe, and when the
stack dies, by SIGKILL too, the pipe closes and the guard ends the child with the child's own stop signal. The kernel's
way (PR_SET_PDEATHSIG) would do so as soon as the *thread* that started the child ends, and could only send one signal.
"""

import os
import shlex
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from signal import Signals
from typing import IO, Final

from dev.servers.account import give_to_owner_of
from dev.servers.errors import DevError
from dev.servers.proctable import Process, family, look_up, wait_gone

_POLL_S: Final = 0.05
_TAIL_BYTES: Final = 8_000
_TAIL_LINES: Final = 25
_LOG_LIMIT_BYTES: Final = 10_000_000
_LEFTOVER_GRACE_S: Final = 2.0
_KILL_WAIT_S: Final = 10.0

# $1 the child, $2 its start (field 22 of its stat, so that nobody else with its number is meant), $3 the signal, $4 how
# many seconds it has before SIGKILL. `read` returns when the stack has died.
_GUARD: Final = """
lives() {
    stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 1
    set -- "$2" ${stat##*) }
    [ "$2" != Z ] && [ "${21}" = "$1" ]
}
read -r _ || :
lives "$1" "$2" && kill -s "$3" "$1" || exit 0
left=$4
while [ "$left" -gt 0 ]; do
    sleep 1
    lives "$1" "$2" || exit 0
    left=$((left - 1))
done
kill -s KILL -- "-$1"
"""


class ManagedProcess:
    """One child process, which can be started again after it ended.

    Args:
        name: what to call it in messages.
        argv: the command.
        env: its whole environment.
        cwd: its working directory.
        log_path: where its output is appended; what is too long at a start is put aside as `<name>.1`.
        stop_signal: what asks it to end, when nothing else is said.
        stop_deadline_s: how long it may take to end before it is killed.
    """

    def __init__(
        self,
        name: str,
        argv: Sequence[str],
        *,
        env: Mapping[str, str],
        cwd: Path,
        log_path: Path,
        stop_signal: Signals = Signals.SIGTERM,
        stop_deadline_s: float = 15.0,
    ) -> None:
        self.name = name
        self.argv = list(argv)
        self.log_path = log_path
        self._env = dict(env)
        self._cwd = cwd
        self._stop_signal = stop_signal
        self._stop_deadline_s = stop_deadline_s
        self._child: subprocess.Popen[bytes] | None = None
        self._guard: subprocess.Popen[bytes] | None = None
        self._log_offset = 0

    @property
    def pid(self) -> int:
        """Its number.

        Raises:
            DevError: it was never started.
        """
        if self._child is None:
            message = f"{self.name} was not started"
            raise DevError(message)
        return self._child.pid

    @property
    def returncode(self) -> int | None:
        """As subprocess has it: None while it runs or when it was never started, negative for a signal."""
        return None if self._child is None else self._child.poll()

    def alive(self) -> bool:
        """Whether it runs."""
        return self._child is not None and self._child.poll() is None

    def start(self) -> None:
        """Starts it; nothing happens when it runs. It need not be ready yet: see `wait_until`.

        Raises:
            DevError: the program can't be executed.
        """
        if self.alive():
            return
        self.kill()  # what is left of one that ended by itself
        with _open_log(self.log_path) as log:
            self._log_offset = log.tell()
            try:
                self._child = subprocess.Popen(
                    self.argv,
                    env=self._env,
                    cwd=self._cwd,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            except OSError as error:
                message = f"{self.name} can't be started: {error}"
                raise DevError(message) from error
        self._guard = _start_guard(self._child.pid, self._stop_signal, self._stop_deadline_s)

    def wait_until(self, ready: Callable[[], bool], deadline_s: float) -> None:
        """Waits until `ready` says so.

        Raises:
            DevError: the process ended, or `deadline_s` passed; the detail is the end of its log.
        """
        end = time.monotonic() + deadline_s
        while not ready():
            if not self.alive():
                what = f"{self.name} ended at its start ({describe_exit(self.returncode)})"
                raise self._failure(what)
            if time.monotonic() >= end:
                what = f"{self.name} was not ready within {deadline_s:g} s"
                raise self._failure(what)
            time.sleep(_POLL_S)

    def stop(
        self,
        sig: Signals | None = None,
        deadline_s: float | None = None,
        *,
        escalate: Sequence[tuple[Signals, float]] = (),
    ) -> None:
        """Ends it and all its descendants; when it returns none is left. May be repeated.

        Args:
            sig: what asks it to end; its own stop signal unless told.
            deadline_s: how long it may take; its own deadline unless told.
            escalate: what to send next and how long to wait for it, before SIGKILL.
        """
        child = self._child
        if child is None:
            return
        members = family(child.pid) if self.alive() else []
        first = (sig or self._stop_signal, self._stop_deadline_s if deadline_s is None else deadline_s)
        for number, patience_s in (first, *escalate):
            if self._ends_by(child, number, patience_s):
                break
        else:
            members = family(child.pid)
            child.kill()
            child.wait(_KILL_WAIT_S)
        self._sweep(members, grace_s=_LEFTOVER_GRACE_S)

    def kill(self) -> None:
        """Ends it and all its descendants with SIGKILL, as a crash would; when it returns none is left."""
        child = self._child
        if child is None:
            return
        members = family(child.pid) if self.alive() else []
        child.kill()
        for member in members:
            member.signal(Signals.SIGKILL)
        child.wait(_KILL_WAIT_S)
        self._sweep(members, grace_s=0)

    def log_tail(self) -> str:
        """The last lines that it wrote since its last start."""
        try:
            with self.log_path.open("rb") as log:
                size = log.seek(0, os.SEEK_END)
                log.seek(max(self._log_offset, size - _TAIL_BYTES))
                lines = log.read().decode(errors="replace").splitlines()
        except OSError:
            return ""
        return "\n".join(lines[-_TAIL_LINES:])

    def _ends_by(self, child: subprocess.Popen[bytes], number: Signals, patience_s: float) -> bool:
        child.send_signal(number)
        try:
            child.wait(patience_s)
        except subprocess.TimeoutExpired:
            return False
        return True

    def _sweep(self, members: Sequence[Process], *, grace_s: float) -> None:
        """Ends whoever outlived the leader, then the guard."""
        leader = self.pid
        wait_gone(members, grace_s)
        end = time.monotonic() + _KILL_WAIT_S
        while left := [*(m for m in members if m.exists()), *_orphans(leader)]:
            for member in left:
                member.signal(Signals.SIGKILL)
            if time.monotonic() >= end:
                what = f"{self.name} left processes that can't be ended: {sorted(m.pid for m in left)}"
                raise self._failure(what)
            wait_gone(left, _POLL_S)
        if self._guard is not None:
            _end_guard(self._guard)
            self._guard = None

    def _failure(self, what: str) -> DevError:
        return DevError(f"{what}; its log: {self.log_path}", detail=self.log_tail())


def describe_exit(returncode: int | None) -> str:
    """How a process ended, in words."""
    if returncode is None:
        return "still running"
    if returncode < 0:
        return f"killed by {Signals(-returncode).name}"
    return f"exit status {returncode}"


def _orphans(leader: int) -> list[Process]:
    """What is left of the session of a leader that has ended; its number is not given away while there is any."""
    members = family(leader)
    return [] if any(member.pid == leader for member in members) else members


def _open_log(path: Path) -> IO[bytes]:
    """Kept across runs, by root too for the owner of the folder, up to a limit."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and path.stat().st_size > _LOG_LIMIT_BYTES:
        path.replace(path.with_name(path.name + ".1"))
    log = path.open("ab")
    log.seek(0, os.SEEK_END)
    give_to_owner_of(path.parent, log.fileno())
    return log


def _start_guard(child: int, sig: Signals, deadline_s: float) -> subprocess.Popen[bytes]:
    """Python's descriptors are not inherited, so this process alone holds the writing end of the guard's input."""
    found = look_up(child)
    arguments = [
        str(child),
        str(found.started) if found else "-",
        sig.name.removeprefix("SIG"),
        str(max(1, round(deadline_s))),
    ]
    return subprocess.Popen(
        ["/bin/sh", "-c", _GUARD, "pullsync-guard", *arguments],
        cwd="/",
        env={"PATH": os.defpath},
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def _end_guard(guard: subprocess.Popen[bytes]) -> None:
    guard.kill()
    guard.wait()
    if guard.stdin is not None:
        guard.stdin.close()


def run_quietly(argv: Sequence[str], *, env: Mapping[str, str], failure: str, deadline_s: float = 60.0) -> str:
    """Runs a command to its end, in /, with no input, and returns what it wrote.

    Raises:
        DevError: `failure`, with the command and what it wrote as detail, when it does not end well in time.
    """
    try:
        done = subprocess.run(
            list(argv),
            env=dict(env),
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=deadline_s,
            check=True,
        )
    except subprocess.SubprocessError as error:
        output = getattr(error, "output", None) or ""
        text = output.decode(errors="replace") if isinstance(output, bytes) else str(output)
        raise DevError(failure, detail=f"{shlex.join(argv)}\n{text}".strip()) from error
    except OSError as error:
        raise DevError(failure, detail=f"{shlex.join(argv)}: {error}") from error
    return str(done.stdout)
