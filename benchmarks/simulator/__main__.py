"""`python -m benchmarks.simulator PORT CLIENTS SEED`: all simulated clients, and how a benchmark steers them."""

from __future__ import annotations

import asyncio
import json
import resource
import sys
import time
from collections.abc import Awaitable, Callable
from random import Random
from typing import Any, Final

import uvloop
from aiohttp import ClientSession, ClientTimeout, TCPConnector

from benchmarks.simulator.fleet import Client, Fleet, user_id
from benchmarks.simulator.http import Answer, Request, Response, serve_everywhere
from services.client.nudge import nudge_url

_CONTROL: Final = b"/control/"
_NUDGE_TIMEOUT_S = 10
_WINDOW_S: Final = 0.25


class Load:
    """How busy this one process is, as a share of the one core that it can use."""

    def __init__(self) -> None:
        self.busiest = 0.0
        """In any window since it was last asked for."""
        self.restart()

    def restart(self) -> None:
        """Begin a new window; what was before is not of interest."""
        self._cpu_s, self._at_s = time.process_time(), time.monotonic()

    async def watch(self) -> None:
        """Window after window, until cancelled."""
        while True:
            await asyncio.sleep(_WINDOW_S)
            passed_s = time.monotonic() - self._at_s
            if passed_s >= _WINDOW_S / 2:
                self.busiest = max(self.busiest, (time.process_time() - self._cpu_s) / passed_s)
            self.restart()


class Control:
    """What a benchmark may tell its clients; each command is a method, its arguments a JSON object."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self.load = Load()
        self._commands: dict[str, Callable[..., Awaitable[Any]]] = {
            "fill": self.fill,
            "hang": self.hang,
            "take": self.take,
            "capture": self.capture,
        }

    def handle(self, request: Request) -> Answer:
        """A command, or a request of the backend."""
        if not request.path.startswith(_CONTROL):
            return self._fleet.handle(request)
        command = self._commands[request.path.removeprefix(_CONTROL).decode()]
        return self._run(command, json.loads(request.body or b"{}"))

    async def _run(self, command: Callable[..., Awaitable[Any]], arguments: dict[str, Any]) -> Response:
        return Response(json.dumps(await command(**arguments)).encode())

    async def fill(self, *, first: int, last: int, captures: int) -> None:
        """Give the clients from `first` to before `last` so many captures more."""
        self._fleet.fill(range(first, last), captures)
        self.load.restart()

    async def hang(self, *, every: int) -> None:
        """Let each n-th client take requests and answer none; 0 for no client."""
        for client in self._fleet.clients:
            client.hangs = bool(every) and client.number % every == 0

    async def take(self) -> dict[str, Any]:
        """What was seen since the last time, and what is."""
        fleet = self._fleet
        seen = {
            "polls": fleet.polls,
            "acknowledged": fleet.acknowledged,
            "told_after_s": fleet.told_after_s,
            "pending": fleet.pending(),
            "busiest": self.load.busiest,
        }
        self.load.busiest = 0.0
        fleet.polls, fleet.acknowledged, fleet.told_after_s = [], 0, []
        return seen

    async def capture(self, *, rate: float, seconds: float, registry_url: str) -> int:
        """Make captures at random moments and clients, so many each second; each nudges. Answers how many."""
        loop, random, made = asyncio.get_running_loop(), Random(1), 0  # noqa: S311 - no secret
        end = next_at = loop.time()
        end += seconds
        connector = TCPConnector(limit=0)
        async with (
            ClientSession(connector=connector, timeout=ClientTimeout(_NUDGE_TIMEOUT_S)) as http,
            asyncio.TaskGroup() as nudges,
        ):
            while next_at < end:
                next_at += random.expovariate(rate)
                await asyncio.sleep(max(0.0, next_at - loop.time()))
                nudges.create_task(_nudge(http, registry_url, self._fleet.make_timed()))
                made += 1
        return made


async def _nudge(http: ClientSession, url: str, client: Client) -> None:
    """429 says that a pull that begins later is booked already."""
    async with http.post(nudge_url(url, user_id(client.number))) as response:
        if response.status not in {200, 202, 429}:
            response.raise_for_status()


async def main(port: int, clients: int, seed: int) -> None:
    """Serve until killed."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    control = Control(Fleet(clients=clients, port=port, seed=seed))
    server = await serve_everywhere(control.handle, port=port)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(control.load.watch())
        tasks.create_task(server.serve_forever())


if __name__ == "__main__":
    uvloop.run(main(*map(int, sys.argv[1:4])))
