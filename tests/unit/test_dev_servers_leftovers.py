"""Telling our own servers, left behind by an earlier run, from everyone else's; and one stack from another."""

import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from signal import Signals

import pytest

from dev.servers import postmaster, rabbitmq_program
from dev.servers.account import server_account
from dev.servers.errors import DevError
from dev.servers.leftovers import end_leftovers
from dev.servers.lock import DirectoryLock
from dev.servers.postgres import PostgresServer
from dev.servers.postmaster import is_postmaster, postgres_processes, postmaster_status, remove_stale_pid_file
from dev.servers.proctable import Process, look_up, wait_for
from dev.servers.rabbitmq import RabbitMQNode, node_processes
from dev.servers.rabbitmq_config import Credentials, Ports, clean_environment, configuration, keep_credentials
from dev.servers.rabbitmq_program import find_scripts


@contextmanager
def _sleeper(program: Path | str, cwd: Path, env: Mapping[str, str] | None = None) -> Iterator[int]:
    """A process that looks like a server from outside; gives its number."""
    with subprocess.Popen([program, "60"], cwd=cwd, env=env or {}) as child:  # noqa: S603 - a copy of sleep
        try:
            yield child.pid
        finally:
            child.kill()


def _program(folder: Path, name: str) -> Path:
    folder.mkdir(exist_ok=True)
    copied = shutil.copy(shutil.which("sleep") or "/bin/sleep", folder / name)
    return Path(copied)


def test_a_postmaster_is_told_by_its_command_line() -> None:
    """Root in a container may read no more than that; other data or another program are not ours."""
    assert is_postmaster(["/some/bin/postgres", "-D", "/data/cluster", "-c", "port=1"], "/data/cluster")
    assert not is_postmaster(["/some/bin/postgres", "-D", "/data/cluster2", "-c", "port=1"], "/data/cluster")
    assert not is_postmaster(["/some/bin/pg_ctl", "-D", "/data/cluster"], "/data/cluster")
    assert not is_postmaster(["postgres: checkpointer "], "/data/cluster")
    assert not is_postmaster([], "/data/cluster")


@pytest.mark.parametrize("attached", [0, 3])
def test_a_stale_pid_file_is_removed_once_nobody_uses_its_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, attached: int
) -> None:
    """Backends that outlived their postmaster must not meet a new one on the same data."""
    monkeypatch.setattr(postmaster, "RELEASED_WITHIN_S", 0.1)
    table = tmp_path / "shm"
    table.write_text(f"key shmid perms size cpid lpid nattch\n   2188290  98329   600   56  1  1   {attached}\n")
    monkeypatch.setattr(postmaster, "SHARED_MEMORY_TABLE", table)
    pid_file = tmp_path / "postmaster.pid"
    pid_file.write_text(f"4711\n{tmp_path}\n0\n1\n\n127.0.0.1\n   2188290     98329\nready\n")
    assert postmaster_status(tmp_path) == "ready"
    with pytest.raises(DevError, match="still use") if attached else nullcontext():
        remove_stale_pid_file(tmp_path)
    assert pid_file.exists() == bool(attached)


def test_postgres_is_told_by_program_and_folder(tmp_path: Path) -> None:
    """Another program in that folder, or PostgreSQL in another folder, is not ours."""
    cluster, other = tmp_path / "cluster", tmp_path / "other"
    cluster.mkdir()
    other.mkdir()
    postgres, sleep = _program(tmp_path / "bin", "postgres"), _program(tmp_path / "bin", "sleep")
    with _sleeper(postgres, cluster) as ours, _sleeper(postgres, other), _sleeper(sleep, cluster):
        assert [process.pid for process in postgres_processes(cluster)] == [ours]


def test_a_node_is_told_by_its_mark(tmp_path: Path) -> None:
    """Only what was started with our data directory in its environment is ours; the Erlang machine comes first."""
    helper, beam = _program(tmp_path / "bin", "inet_gethost"), _program(tmp_path / "bin", "beam.smp")
    mark = {"PULLSYNC_RABBITMQ_DIR": str(tmp_path / "node")}
    with (
        _sleeper(helper, tmp_path, mark) as first,
        _sleeper(beam, tmp_path, mark) as second,
        _sleeper(beam, tmp_path, {"PULLSYNC_RABBITMQ_DIR": str(tmp_path / "node2")}),
        _sleeper(beam, tmp_path),
    ):
        assert [process.pid for process in node_processes(tmp_path / "node")] == [second, first]


def test_leftovers_are_ended_first_politely(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The leader gets the signal that it understands; afterwards nothing is left."""
    argv = ["/bin/sh", "-c", "trap 'echo bye; exit 0' INT; echo up; while :; do sleep 0.05; done"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as child:  # noqa: S603 - a script of ours
        assert child.stdout is not None
        child.stdout.readline()
        found = look_up(child.pid)
        assert found is not None
        end_leftovers(lambda: [found] if found.exists() else [], Signals.SIGINT, "PostgreSQL", tmp_path)
        assert child.stdout.read() == "bye\n"
    said = capsys.readouterr().out
    assert said == f"PostgreSQL: stopping what an earlier run left in {tmp_path} (process {child.pid})\n"


def test_without_leftovers_nothing_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The usual start is silent."""
    nobody: list[Process] = []
    end_leftovers(lambda: nobody, Signals.SIGINT, "PostgreSQL", tmp_path)
    assert capsys.readouterr().out == ""


def test_one_stack_at_a_time(tmp_path: Path) -> None:
    """Who comes second learns who was first; the lock ends with its holder."""
    first, second = DirectoryLock(tmp_path, "PostgreSQL"), DirectoryLock(tmp_path, "PostgreSQL")
    first.acquire()
    first.acquire()
    with pytest.raises(DevError, match=rf"in use by process {os.getpid()}: stop that one first"):
        second.acquire()
    first.release()
    second.acquire()
    second.release()


def test_a_lock_ends_with_its_process(tmp_path: Path) -> None:
    """Killed with SIGKILL, it leaves no lock behind."""
    script = """
import sys, time
from pathlib import Path
from dev.servers.lock import DirectoryLock
DirectoryLock(Path(sys.argv[1]), "RabbitMQ").acquire()
print("locked", flush=True)
time.sleep(60)
"""
    lock = DirectoryLock(tmp_path, "RabbitMQ")
    argv = [sys.executable, "-c", script, str(tmp_path)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as other:  # noqa: S603 - this very Python
        assert other.stdout is not None
        assert other.stdout.readline() == "locked\n"
        with pytest.raises(DevError, match=f"in use by process {other.pid}"):
            lock.acquire()
        other.kill()
    lock.acquire()
    lock.release()


def test_a_node_that_is_not_ours_is_left_alone(tmp_path: Path) -> None:
    """Stopping an object that never started anything does not end the node of another stack."""
    beam = _program(tmp_path / "bin", "beam.smp")
    node = tmp_path / "node"
    with _sleeper(beam, tmp_path, {"PULLSYNC_RABBITMQ_DIR": str(node)}) as pid:
        assert wait_for(lambda: bool(node_processes(node)), 10)
        RabbitMQNode(node).stop()
        RabbitMQNode(node).kill()
        assert look_up(pid) is not None


def test_credentials_are_kept(tmp_path: Path) -> None:
    """They are made once, are readable by their owner alone, and differ between nodes."""
    path = tmp_path / "credentials.json"
    made = keep_credentials(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert keep_credentials(path) == made
    assert made.node.startswith("pullsync-")
    other = keep_credentials(tmp_path / "other.json")
    assert made.node != other.node
    assert made.password != other.password


def test_every_listener_is_on_loopback() -> None:
    """AMQP, management and metrics; nobody else's configuration decides it."""
    ports = Ports(amqp=1, management=2, prometheus=3, distribution=4, epmd=5)
    lines = configuration(Credentials("pullsync-1@localhost", "pullsync", "secret"), ports).splitlines()
    assert "listeners.tcp.local = 127.0.0.1:1" in lines
    assert {"management.tcp.ip = 127.0.0.1", "prometheus.tcp.ip = 127.0.0.1"} <= set(lines)


def test_the_environment_leads_to_no_other_node() -> None:
    """What steers Erlang or RabbitMQ on this machine does not reach our node."""
    environment = {"PATH": "/bin", "RABBITMQ_NODENAME": "rabbit@elsewhere", "ERL_EPMD_PORT": "4369", "HOME": "/root"}
    assert clean_environment(environment) == {"PATH": "/bin", "HOME": "/root"}


def test_a_wrapper_on_the_path_is_not_the_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Distributions put a script on PATH that insists on root; only RabbitMQ's own folder counts."""
    wrapper = tmp_path / "wrapper"
    wrapper.mkdir()
    (wrapper / "rabbitmq-server").write_text("#!/bin/sh\n")
    (wrapper / "rabbitmq-server").chmod(0o755)
    monkeypatch.setattr(rabbitmq_program, "script_folders", lambda: [wrapper])
    with pytest.raises(DevError, match="apt-get install rabbitmq-server"):
        find_scripts()
    (wrapper / "rabbitmq-env").touch()
    assert find_scripts() == wrapper


def test_an_account_is_never_root(tmp_path: Path) -> None:
    """We run the server as ourselves, and root runs it as somebody else, who then owns the folder."""
    folder = tmp_path / "postgres"
    account = server_account(folder, folder / "cluster")
    assert account.uid != 0
    assert account.drop == (os.geteuid() == 0)
    assert folder.stat().st_uid == account.uid


def test_an_url_is_not_guessed(tmp_path: Path) -> None:
    """Before the first start there is no password, and the message says so in one line."""
    with pytest.raises(DevError, match="start PostgreSQL"):
        _ = PostgresServer(tmp_path).url
    with pytest.raises(DevError, match="once it was started"):
        _ = RabbitMQNode(tmp_path).url
