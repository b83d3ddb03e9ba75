"""A service answers from the first moment on, however long what it needs is away; as real processes."""

from __future__ import annotations

import os
import signal
import sqlite3
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Final

import httpx
import pytest

from dev.servers.ports import free_port
from dev.stack import Stack
from tests.waiting import eventually

SERVICES: Final = ("registry", "puller-1", "ingest-1")
WITH_DATABASE: Final = ("registry", "ingest-1")


@pytest.fixture
async def waiting(tmp_path: Path, hung_server: str, request: pytest.FixtureRequest) -> AsyncIterator[Stack]:
    """The services, started, without RabbitMQ; PostgreSQL takes connections and says nothing, or is not there."""
    where = hung_server.removeprefix("http://") if request.param == "hung" else f"127.0.0.1:{free_port()}"
    database = f"postgresql://someone:secret@{where}/pullsync"
    broker = f"amqp://guest:guest@127.0.0.1:{free_port()}/"
    stack = Stack(
        folder=tmp_path,
        registry_url=database,
        ingest_url=database,
        rabbitmq_urls=dict.fromkeys(("registry", "puller", "ingest"), broker),
    )
    with stack:
        for name in SERVICES:
            stack.start(name, wait=False)
        for name in SERVICES:
            await eventually(partial(answers, stack, name))
        yield stack
        print(stack.log_tails())  # noqa: T201 - pytest shows it for a test that failed


async def ask(stack: Stack, name: str, path: str, method: str = "GET") -> httpx.Response:
    """What a service answers, sooner than an orchestrator gives up."""
    async with httpx.AsyncClient(trust_env=False, timeout=3.0) as http:
        return await http.request(method, f"{stack.url(name)}{path}")


async def answers(stack: Stack, name: str) -> bool:
    """Whether its port is open; what connects then is answered."""
    assert stack.returncode(name) is None
    try:
        await ask(stack, name, "/health/live")
    except httpx.ConnectError:
        return False
    return True


@pytest.mark.parametrize("waiting", ["hung", "away"], indirect=True)
async def test_they_live_and_are_not_ready_and_end_at_once(waiting: Stack) -> None:
    """Whatever way PostgreSQL is missing."""
    await see_them_live(waiting)
    await see_the_rest_put_off(waiting)
    await end(waiting)


async def see_them_live(waiting: Stack) -> None:
    """And not ready, with the same members as later: what is waited for, by name. Metrics tell what is known."""
    for name in SERVICES:
        live = await ask(waiting, name, "/health/live")
        assert (live.status_code, live.json()) == (200, {"status": "alive"})
        ready = await ask(waiting, name, "/health/ready")
        checks = {"database": False} if name in WITH_DATABASE else {"registry": True}
        assert (ready.status_code, ready.json()) == (
            503,
            {"status": "not ready", "checks": {**ready.json()["checks"], **checks, "broker": False}},
        )
        metrics = await ask(waiting, name, "/metrics")
        assert (metrics.status_code, "pullsync_build_info" in metrics.text) == (200, True)
        assert (await ask(waiting, name, "/health/live", "HEAD")).status_code == 200
    assert (await ask(waiting, "registry", "/health")).json()["status"] == "healthy"


async def see_the_rest_put_off(waiting: Stack) -> None:
    """503 with a sentence in each service's own form, and when to ask again."""
    for path in ("/", "/dashboard", "/docs", "/api/v1/pull-sync/status", "/nothing"):
        refused = await ask(waiting, "registry", path)
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "5")
        assert refused.headers["content-type"] == "application/problem+json"
        assert refused.json()["type"] == "urn:pullsync:problem:starting"
        assert "/health/ready" in refused.json()["detail"]
    refused = await ask(waiting, "ingest-1", "/nothing")
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "5")
    assert "/health/ready" in refused.json()["error"]


async def end(waiting: Stack) -> None:
    """A signal ends a start with 0, also while somebody is connected, and without a trace in the log."""
    async with httpx.AsyncClient(trust_env=False, timeout=3.0) as http:
        for name in SERVICES:
            await http.get(f"{waiting.url(name)}/health/live")
            os.kill(waiting.pid(name), signal.SIGTERM)

        async def ended() -> bool:
            return all(waiting.returncode(name) is not None for name in SERVICES)

        await eventually(ended, deadline_s=10.0)
    assert {waiting.returncode(name) for name in SERVICES} == {0}
    for name in SERVICES:
        assert "Traceback" not in (waiting.folder / "logs" / f"{name}.log").read_text()


async def test_a_client_says_that_it_starts(tmp_path: Path) -> None:
    """While another program has its database; and all is well when that lets go."""
    stack = Stack(folder=tmp_path, registry_url="", ingest_url="", rabbitmq_urls={})
    folder = tmp_path / "client-1"
    folder.mkdir()
    with stack:
        stack.start("client-1")
        stack.stop("client-1")
        [path] = folder.rglob("*.sqlite3")
        holder = sqlite3.connect(path, isolation_level=None)
        holder.execute("PRAGMA locking_mode = EXCLUSIVE")
        holder.execute("BEGIN EXCLUSIVE")
        stack.start("client-1", wait=False)
        await eventually(lambda: client_answers(stack, 503))
        holder.close()
        await eventually(lambda: client_answers(stack, 200))


async def client_answers(stack: Stack, status: int) -> bool:
    """Whether it does so, to every path."""
    assert stack.returncode("client-1") is None
    try:
        found = [await ask(stack, "client-1", path) for path in ("/api/client/health", "/metrics", "/")]
    except httpx.ConnectError:
        return False
    if status == 503 and all(each.status_code == 503 for each in found):
        assert all("starting" in each.json()["error"] and each.headers["retry-after"] == "5" for each in found)
    return all(each.status_code == status for each in found)
