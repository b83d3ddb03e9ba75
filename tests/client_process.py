"""The client as a real process, and a small registry for it to talk to."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
import time
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
from aiohttp import ClientError, ClientSession, web

from shared.contracts.client_protocol import HEALTH_PATH

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    Start = Callable[..., Awaitable["Process"]]

ROOT = Path(__file__).parents[1]
DEADLINE_S = 20.0
BULBASAUR = {"pokemon_id": 1, "pokemon_name": "bulbasaur", "action": "capture", "removed": False}


async def until(condition: Callable[[], bool | Awaitable[bool]], what: str) -> None:
    """Wait until the condition holds.

    Raises:
        AssertionError: it did not within the deadline.
    """
    end = time.monotonic() + DEADLINE_S
    while time.monotonic() < end:
        holds = condition()
        if holds if isinstance(holds, bool) else await holds:
            return
        await asyncio.sleep(0.02)
    raise AssertionError(what)


def free_port() -> int:
    """A port that nobody listened on a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


class Process:
    """One `python -m services.client`."""

    def __init__(self, process: asyncio.subprocess.Process, port: int, output: Path) -> None:
        self.process = process
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self._output = output

    @property
    def output(self) -> str:
        """All that it wrote to both its streams."""
        return self._output.read_text(encoding="utf-8")

    @property
    def events(self) -> list[str]:
        """The names of what it logged, but for the captures that it was given."""
        found = [json.loads(line)["event"] for line in self.output.splitlines() if line.startswith("{")]
        return [event for event in found if event != "capture_added"]

    async def answers(self) -> bool:
        """Whether its health endpoint answers."""
        assert self.process.returncode is None, self.output
        try:
            async with httpx.AsyncClient(base_url=self.url, timeout=1) as http:
                return (await http.get(HEALTH_PATH)).status_code == 200
        except httpx.HTTPError:
            return False

    async def status(self) -> int:
        """Its exit status, once it has one."""
        async with asyncio.timeout(DEADLINE_S):
            return await self.process.wait()

    async def stop(self) -> int:
        """Send SIGTERM, and give the exit status."""
        self.process.terminate()
        return await self.status()


@asynccontextmanager
async def starting_clients(folder: Path, *, checkout: Path = ROOT) -> AsyncIterator[Start]:
    """Starts clients of a checkout in this folder and in an empty environment, and ends what is left of them."""
    started: list[Process] = []

    async def launch(*, serving: bool = True, **variables: str) -> Process:
        port = int(variables.setdefault("CLIENT_PORT", str(free_port())))
        variables.setdefault("BACKEND_URL", "http://127.0.0.1:9")
        output = folder / f"output-{len(started)}.txt"
        with output.open("wb") as file:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "services.client",
                cwd=folder,
                env={"PATH": os.environ["PATH"], "PYTHONPATH": str(checkout), **variables},
                stdout=file,
                stderr=file,
            )
        client = Process(process, port, output)
        started.append(client)
        if serving:
            await until(client.answers, "the client did not answer")
        return client

    try:
        yield launch
    finally:
        for client in started:
            if client.process.returncode is None:
                client.process.kill()
                await client.process.wait()


async def post(client: Process, path: str, body: object) -> httpx.Response:
    """One request on a connection of its own."""
    async with httpx.AsyncClient(base_url=client.url, timeout=10) as http:
        return await http.post(path, json=body)


async def get(client: Process, path: str) -> Any:
    """The JSON of one answer."""
    async with httpx.AsyncClient(base_url=client.url, timeout=10) as http:
        return (await http.get(path)).json()


class Registry:
    """A real HTTP server that does what a registry does with registrations, and can be told to forget."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.port = port
        self.records: dict[str, dict[str, Any]] = {}
        self.registrations = 0
        self.checks = 0
        self.detail: str | None = None

    async def register(self, request: web.Request) -> web.Response:
        """Call the client's health endpoint back, and only then answer."""
        body = await request.json()
        self.registrations += 1
        if self.detail is not None:
            return web.json_response({"detail": self.detail}, status=400)
        try:
            async with ClientSession() as session, session.get(body["client_url"] + HEALTH_PATH) as response:
                health = await response.json()
        except ClientError:
            return web.json_response({"detail": "the client does not answer"}, status=400)
        assert health["client_id"] == body["user_id"]
        self.records[body["user_id"]] = body
        return web.json_response({"message": "registered"})

    async def record(self, request: web.Request) -> web.Response:
        """One client's record."""
        self.checks += 1
        found = self.records.get(request.match_info["user_id"])
        return web.json_response(found or {"detail": "unknown"}, status=200 if found else 404)

    def routes(self) -> list[web.RouteDef]:
        """What it serves."""
        return [
            web.post("/api/v1/pull-sync/register-client", self.register),
            web.get("/api/v1/pull-sync/clients/{user_id}", self.record),
        ]

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Listen for as long as the block lasts."""
        app = web.Application()
        app.add_routes(self.routes())
        runner = web.AppRunner(app)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", self.port).start()
            yield
        finally:
            await runner.cleanup()
