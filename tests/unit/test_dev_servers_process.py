"""Child processes: start, readiness, stop with escalation, and what is left of them."""

import os
import subprocess
import sys
from pathlib import Path
from signal import Signals

import pytest

from dev.servers.errors import DevError
from dev.servers.process import ManagedProcess, describe_exit, run_quietly
from dev.servers.proctable import Process, family, look_up, parse_stat, wait_for

_ENV = {"PATH": os.defpath}


def _process(tmp_path: Path, script: str) -> ManagedProcess:
    log_path = tmp_path / "child.log"
    argv = ["/bin/sh", "-c", script]
    return ManagedProcess("child", argv, env=_ENV, cwd=tmp_path, log_path=log_path)


def _says(process: ManagedProcess, text: str) -> None:
    process.wait_until(lambda: text in process.log_tail(), 10)


def test_a_child_leads_its_own_session_and_stops(tmp_path: Path) -> None:
    """A terminal's Ctrl-C does not reach it; its stop signal does."""
    child = _process(tmp_path, "echo up; exec sleep 60")
    child.start()
    _says(child, "up")
    found = look_up(child.pid)
    assert found is not None
    assert found.session == child.pid
    child.stop()
    assert not child.alive()
    assert child.returncode == -Signals.SIGTERM
    child.stop()


def test_one_that_ignores_its_signal_is_escalated(tmp_path: Path) -> None:
    """The next signal is sent when the first had no effect in time."""
    child = _process(tmp_path, "trap '' TERM; trap 'exit 3' INT; echo up; while :; do sleep 0.05; done")
    child.start()
    _says(child, "up")
    child.stop(Signals.SIGTERM, 0.2, escalate=[(Signals.SIGINT, 10)])
    assert child.returncode == 3


def test_one_that_ignores_all_signals_is_killed(tmp_path: Path) -> None:
    """SIGKILL is the last step, and it reaches the descendants."""
    child = _process(tmp_path, "trap '' TERM; (trap '' TERM; sleep 60) & echo up; while :; do sleep 0.05; done")
    child.start()
    _says(child, "up")
    members = family(child.pid)
    assert len(members) >= 2
    child.stop(Signals.SIGTERM, 0.2)
    assert child.returncode == -Signals.SIGKILL
    assert not any(member.exists() for member in members)


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_descendants_end_with_the_child(tmp_path: Path, end: str) -> None:
    """Also those in sessions of their own, as PostgreSQL's are."""
    child = _process(tmp_path, "setsid sleep 60 & sleep 60 & echo up; wait")
    child.start()
    _says(child, "up")
    assert wait_for(lambda: len({member.session for member in family(child.pid)}) == 2, 10)
    members = family(child.pid)
    assert len(members) == 3
    getattr(child, end)()
    assert not any(member.exists() for member in members)


def test_a_child_that_dies_at_its_start_shows_its_log(tmp_path: Path) -> None:
    """The error is one line; the last lines that this start wrote are its detail."""
    child = _process(tmp_path, "echo no such luck; exit 7")
    child.log_path.write_text("from an earlier run\n")
    child.start()
    with pytest.raises(DevError) as caught:
        child.wait_until(lambda: False, 10)
    assert str(caught.value) == f"child ended at its start (exit status 7); its log: {child.log_path}"
    assert caught.value.detail == "no such luck"
    child.stop()


def test_a_child_that_is_never_ready_is_reported(tmp_path: Path) -> None:
    """The deadline holds."""
    child = _process(tmp_path, "exec sleep 60")
    child.start()
    with pytest.raises(DevError, match=r"not ready within 0\.1 s"):
        child.wait_until(lambda: False, 0.1)
    child.kill()


def test_a_child_can_be_started_again(tmp_path: Path) -> None:
    """After its end it is another process with the same log."""
    child = _process(tmp_path, "echo up; exec sleep 60")
    child.start()
    first = child.pid
    child.start()
    assert child.pid == first
    child.kill()
    child.start()
    assert child.pid != first
    _says(child, "up")
    child.stop()


def test_a_missing_program_is_reported(tmp_path: Path) -> None:
    """The message names the child and the program."""
    child = ManagedProcess("child", ["/no/such/program"], env=_ENV, cwd=tmp_path, log_path=tmp_path / "child.log")
    with pytest.raises(DevError, match=r"child can't be started: .*/no/such/program"):
        child.start()


def test_a_child_does_not_outlive_a_killed_stack(tmp_path: Path) -> None:
    """When whoever started it is killed with SIGKILL, it gets its own stop signal."""
    script = """
import sys, time
from pathlib import Path
from signal import Signals
from dev.servers.process import ManagedProcess
folder = Path(sys.argv[1])
argv = ["/bin/sh", "-c", "trap 'echo stopped in order; exit 0' INT; echo up; while :; do sleep 0.05; done"]
child = ManagedProcess("child", argv, env={"PATH": "/usr/bin:/bin"}, cwd=folder, log_path=folder / "child.log",
                       stop_signal=Signals.SIGINT)
child.start()
child.wait_until(lambda: "up" in child.log_tail(), 10)
print(child.pid, flush=True)
time.sleep(60)
"""
    argv = [sys.executable, "-c", script, str(tmp_path)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as stack:  # noqa: S603 - this very Python
        assert stack.stdout is not None
        pid = int(stack.stdout.readline())
        stack.kill()
    assert wait_for(lambda: look_up(pid) is None, 10)
    assert "stopped in order" in (tmp_path / "child.log").read_text()


def test_a_long_log_is_put_aside(tmp_path: Path) -> None:
    """A log that has grown over many runs does not grow for ever."""
    child = _process(tmp_path, "echo new")
    child.log_path.write_bytes(b"x" * 10_000_001)
    child.start()
    assert wait_for(lambda: not child.alive(), 10)
    assert child.log_path.read_text() == "new\n"
    assert (tmp_path / "child.log.1").stat().st_size == 10_000_001
    child.stop()


def test_a_command_is_silent_unless_it_fails() -> None:
    """What it wrote is returned, or the detail of the error."""
    assert run_quietly(["/bin/sh", "-c", "echo fine"], env=_ENV, failure="failed") == "fine\n"
    with pytest.raises(DevError) as caught:
        run_quietly(["/bin/sh", "-c", "echo broken; exit 1"], env=_ENV, failure="it failed")
    assert str(caught.value) == "it failed"
    assert caught.value.detail.endswith("broken")


def test_exits_in_words() -> None:
    """Signals by name."""
    assert describe_exit(3) == "exit status 3"
    assert describe_exit(-9) == "killed by SIGKILL"


def test_reading_the_process_table() -> None:
    """A program's name may hold spaces and brackets; a zombie is no process."""
    fields = " ".join(str(n) for n in range(7, 30))
    assert parse_stat(f"41 (a) b (c) S 2 40 39 {fields}\n") == Process(pid=41, parent=2, session=39, started=22)
    assert parse_stat(f"41 (a) Z 2 40 39 {fields}\n") is None


def test_a_process_is_more_than_its_number() -> None:
    """Another process that got the number of one that ended is not taken for it."""
    me = look_up(os.getpid())
    assert me is not None
    assert me.exists()
    former = Process(me.pid, me.parent, me.session, me.started - 1)
    assert not former.exists()
    former.signal(Signals.SIGKILL)
