"""A process ends when it is told to, whatever a library's task does."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

from dev.servers.ports import free_port

STUBBORN = """
import asyncio, sys
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
    yield


server.run(lambda: Starlette(lifespan=lifespan), host="127.0.0.1", port=int(sys.argv[1]), variable="PORT")
"""


def test_a_task_that_refuses_to_end_does_not_keep_the_process() -> None:
    """It is ended with status 0 a while after everything else was."""
    command = [sys.executable, "-c", STUBBORN, str(free_port())]
    checkout = Path(__file__).parents[2]
    process = subprocess.Popen(command, cwd=checkout, stdout=subprocess.PIPE, text=True)  # noqa: S603 - ours
    try:
        assert process.stdout is not None
        while "listening" not in (line := process.stdout.readline()):
            assert line, "it ended before it listened"
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 0
    finally:
        process.kill()
        process.communicate()
