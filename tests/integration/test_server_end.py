"""A process ends when it is told to, whatever a library's task does."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dev.servers.ports import free_port

STUBBORN = """
import asyncio, os, signal, sys
from contextlib import asynccontextmanager
from starlette.applications import Starlette
from shared.serving import server

server._END_WITHIN_S = 0.5
tasks = []


async def refuse():
    while True:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            pass


@asynccontextmanager
async def lifespan(app):
    tasks.append(asyncio.create_task(refuse()))
    await asyncio.sleep(0)
    if sys.argv[2] == "early":
        os.kill(os.getpid(), signal.SIGTERM)
    yield


server.run(lambda: Starlette(lifespan=lifespan), host="127.0.0.1", port=int(sys.argv[1]), variable="PORT")
"""


@contextmanager
def running(when: str) -> Iterator[subprocess.Popen[str]]:
    """The server, which is told to end `early`, by itself while it starts, or `late`, by somebody else."""
    command = [sys.executable, "-c", STUBBORN, str(free_port()), when]
    checkout = Path(__file__).parents[2]
    process = subprocess.Popen(command, cwd=checkout, stdout=subprocess.PIPE, text=True)  # noqa: S603 - ours
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def test_a_task_that_refuses_to_end_does_not_keep_the_process() -> None:
    """It is ended with status 0 a while after everything else was."""
    with running("late") as process:
        assert process.stdout is not None
        while "listening" not in (line := process.stdout.readline()):
            assert line, "it ended before it listened"
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 0


def test_nor_when_it_is_told_to_end_while_it_starts() -> None:
    """Which is before the server takes signals itself."""
    with running("early") as process:
        assert process.wait(timeout=30) == 0
