"""One capture, followed through the logs and the traces of real processes."""

from __future__ import annotations

import json
import os
import signal
from typing import Any, Final
from urllib.parse import quote

import httpx
import pytest

from dev.database import Database
from dev.servers.ports import free_port
from dev.stack import Stack
from tests.collector import Collector, collecting
from tests.e2e.world import World, start_clients
from tests.servers import PASSWORD
from tests.waiting import eventually

SERVICES: Final = ("registry", "puller-1", "ingest-1", "client-1")
STOP_WITHIN_S: Final = 15.0
TOKENS: Final = {
    "OPERATOR_TOKENS": "admin:operator-token-of-a-test",
    "SERVICE_TOKENS": "service-token-of-a-test",
    "PULL_TOKEN_KEYS": "key-of-a-test-for-pull-tokens-0123456789",
    "REGISTRATION_TOKENS": "registration-token-of-a-test",
    "CLIENT_REGISTRATION_TOKEN": "registration-token-of-a-test",
}
OF_COLLECTOR: Final = "secret-of-the-collector"


def lines(stack: Stack, name: str) -> list[dict[str, Any]]:
    """What a process has logged."""
    text = (stack.folder / "logs" / f"{name}.log").read_text()
    return [json.loads(line) for line in text.splitlines()]


def events(stack: Stack, name: str, **ids: str) -> list[str]:
    """Of the lines with these ids."""
    return [line["event"] for line in lines(stack, name) if ids.items() <= line.items()]


async def observed(stack: Stack, database: Database, http: httpx.AsyncClient, **env: str) -> World:
    """All of it running, with one client, telling everything."""
    for name in SERVICES:
        stack.configure(name, LOG_LEVEL="debug", LOG_FORMAT="json", **TOKENS, **env)
    stack.start_together("registry", "ingest-1", "puller-1")
    http.headers["authorization"] = f"Bearer {TOKENS['OPERATOR_TOKENS'].partition(':')[2]}"
    world = World(stack=stack, database=database, http=http)
    await start_clients(world, 1)
    return world


async def end(stack: Stack) -> None:
    """Ask all to end, and see that they do so in order."""
    for name in SERVICES:
        os.kill(stack.pid(name), signal.SIGTERM)

    async def ended() -> bool:
        return all(stack.returncode(name) is not None for name in SERVICES)

    await eventually(ended, deadline_s=STOP_WITHIN_S)
    assert {name: stack.returncode(name) for name in SERVICES} == dict.fromkeys(SERVICES, 0)


async def test_a_capture_is_followed_by_its_pull(stack: Stack, database: Database) -> None:
    """Its pull is in the lines of three services, its batch in those that had it, and its trace goes through all."""
    async with collecting() as collector, httpx.AsyncClient(timeout=70) as http:
        variables = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
            "OTEL_EXPORTER_OTLP_HEADERS": f"authorization=Bearer%20{OF_COLLECTOR}",
            "OTEL_BSP_SCHEDULE_DELAY": "200",
        }
        world = await observed(stack, database, http, **variables)
        await world.capture("client-1")
        await world.told("client-1")

        async def settled() -> bool:
            return any("pull_settled" in events(stack, "registry", pull_id=pull) for pull in pulls(stack))

        await eventually(settled)
        (pull,) = pulls(stack)
        assert events(stack, "registry", pull_id=pull) == ["pull_claimed", "pull_settled"]
        assert events(stack, "puller-1", pull_id=pull) == ["pull_published"]
        assert events(stack, "ingest-1", pull_id=pull) == ["pull_stored", "acknowledged"]
        (batch,) = {line["batch_id"] for line in lines(stack, "puller-1") if line.get("pull_id") == pull}
        assert "batch_published" in events(stack, "puller-1", batch_id=batch)
        assert {"batch_stored", "clients_told"} <= set(events(stack, "ingest-1", batch_id=batch))
        assert "captures_acknowledged" in events(stack, "client-1", user_id="user_1")
        await through_all(collector, trace_of(stack, pull))
        await end(stack)
    assert collector.authorization == {f"Bearer {OF_COLLECTOR}"}
    told = [collector.bodies.decode(errors="replace"), *(json.dumps(lines(stack, name)) for name in SERVICES)]
    for secret in (OF_COLLECTOR, *(value.rpartition(":")[2] for value in TOKENS.values()), PASSWORD, quote(PASSWORD)):
        assert not any(secret in text for text in told), secret


def pulls(stack: Stack) -> set[str]:
    """Those that stored something."""
    return {line["pull_id"] for line in lines(stack, "ingest-1") if line["event"] == "pull_stored"}


def trace_of(stack: Stack, pull: str) -> str:
    """The trace in which ingest told the client."""
    (trace_id,) = {line["trace_id"] for line in lines(stack, "ingest-1") if line.get("pull_id") == pull}
    return str(trace_id)


async def through_all(collector: Collector, trace_id: str) -> None:
    """Wait until every service has told its part of the trace."""
    wanted = {"pullsync-registry", "pullsync-puller", "pullsync-ingest", "pullsync-client"}

    async def told() -> bool:
        return collector.services_of(trace_id) == wanted

    await eventually(told)


@pytest.mark.parametrize("away", ["refused", "hung"])
async def test_a_collector_that_is_away_disturbs_nobody(
    stack: Stack, database: Database, hung_server: str, away: str
) -> None:
    """Captures are stored as ever, one line says so, and a stop does not wait for it."""
    url = hung_server if away == "hung" else f"http://127.0.0.1:{free_port()}"
    async with httpx.AsyncClient(timeout=70) as http:
        variables = {"OTEL_BSP_SCHEDULE_DELAY": "100", "OTEL_EXPORTER_OTLP_TIMEOUT": "1"}
        world = await observed(stack, database, http, OTEL_EXPORTER_OTLP_ENDPOINT=url, **variables)
        await world.capture("client-1")
        await world.told("client-1")

        async def told() -> bool:
            return all("spans_dropped" in events(stack, name) for name in SERVICES)

        await eventually(told)
        await world.capture("client-1")
        await world.told("client-1")
        await end(stack)
    for name in SERVICES:
        assert events(stack, name).count("spans_dropped") == 1
        assert not [line for line in lines(stack, name) if "exception" in line]


async def test_a_stop_does_not_wait_for_a_hung_collector(stack: Stack, database: Database, hung_server: str) -> None:
    """With the SDK's own patience, which is longer than a stop may take."""
    async with httpx.AsyncClient(timeout=70) as http:
        await observed(stack, database, http, OTEL_EXPORTER_OTLP_ENDPOINT=hung_server, OTEL_EXPORTER_OTLP_TIMEOUT="60")
        await end(stack)
