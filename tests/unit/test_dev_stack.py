"""The stack's processes, tried with the client, which needs no server to run."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from dev.servers.errors import DevError
from dev.servers.proctable import wait_for
from dev.stack import Stack


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    """On servers that don't exist."""
    nowhere = "127.0.0.1:9"
    database = f"postgresql://nobody@{nowhere}/none"
    with Stack(folder=tmp_path / "stack", registry_url=database, ingest_url=database, rabbitmq_urls={}) as made:
        yield made


def test_a_developers_environment_does_not_reach_the_processes(
    stack: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither a shared database nor a proxy nor a port of theirs, so two clients run side by side."""
    theirs = tmp_path / "theirs.sqlite3"
    for name, value in {
        "CLIENT_DATABASE": str(theirs),
        "CLIENT_PORT": "1",
        "LOG_LEVEL": "loud",
        "http_proxy": "http://127.0.0.1:9",
        "HTTP_PROXY": "http://127.0.0.1:9",
    }.items():
        monkeypatch.setenv(name, value)
    stack.start_together("client-1", "client-2")
    assert not theirs.exists()
    assert (tmp_path / "stack" / "client-1" / "client-data" / "captures.sqlite3").exists()


def test_a_process_that_is_started_again_keeps_its_port(stack: Stack) -> None:
    """After a stop, and after a kill."""
    stack.start("client-1")
    url = stack.url("client-1")
    stack.stop("client-1")
    stack.start("client-1")
    stack.kill("client-1")
    stack.start("client-1")
    assert stack.url("client-1") == url


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_only_what_ended_by_itself_is_dead(stack: Stack, number: signal.Signals) -> None:
    """With status 0 as well; what the stack itself stopped or killed is not."""
    stack.start_together("client-1", "client-2", "client-3")
    stack.stop("client-2")
    stack.kill("client-3")
    assert stack.dead() == []
    os.kill(stack.pid("client-1"), number)
    assert wait_for(lambda: [process.name for process in stack.dead()] == ["client-1"], 10)


def test_a_process_that_cannot_start_tells_why(tmp_path: Path) -> None:
    """The error names the process and its log, and brings the log's last lines."""
    with (
        Stack(folder=tmp_path, registry_url="", ingest_url="", rabbitmq_urls={}, env={"LOG_LEVEL": "loud"}) as stack,
        pytest.raises(DevError, match=r"client-1 ended at its start \(exit status 2\).*client-1\.log") as raised,
    ):
        stack.start("client-1")
    assert "LOG_LEVEL" in raised.value.detail
