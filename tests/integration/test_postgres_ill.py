"""Services on a Postgres that answers and can't do its work: nothing says that all is well, and nothing is given up."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final
from uuid import uuid4

import httpx
import pytest
import structlog

import services.ingest.writer
import shared.rabbitmq.holding
from dev.database import INGEST_ROLE, Database
from services.registry.app import build_app as build_registry
from services.registry.settings import RegistrySettings
from shared.contracts.topology import CAPTURE_BATCHES, PULL_SETTLED
from tests.integration.test_postgres_outages import (
    API,
    batch,
    channel_of,
    count,
    execute,
    ingest,
    publish,
    registry,
    serving,
    settled,
)
from tests.serving import served
from tests.waiting import eventually

WELL: Final = {"database": True, "database_writes": True, "broker": True}
ILL: Final = {**WELL, "database_writes": False}
FAILS: Final = """
    CREATE FUNCTION {schema}.fail() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN RAISE EXCEPTION 'could not extend file "base/1/2": on purpose' USING ERRCODE = '{sqlstate}'; END $$;
    CREATE TRIGGER fail BEFORE INSERT OR UPDATE ON {table} FOR EACH STATEMENT EXECUTE FUNCTION {schema}.fail();
"""
MENDS: Final = "DROP TRIGGER fail ON {table}"
POISONED: Final = """
    CREATE FUNCTION captures.fail() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF NEW.capture_id = 'poison' THEN RAISE EXCEPTION 'odd' USING ERRCODE = 'XX000'; END IF;
            RETURN NEW;
        END $$;
    CREATE TRIGGER fail BEFORE INSERT ON captures.events FOR EACH ROW EXECUTE FUNCTION captures.fail();
"""


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses are short."""
    monkeypatch.setattr(shared.rabbitmq.holding, "_FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr(shared.rabbitmq.holding, "_LONGEST_PAUSE_S", 0.2)
    monkeypatch.setattr(shared.rabbitmq.holding, "REQUEUE_PAUSE_S", 0.0)
    monkeypatch.setattr(services.ingest.writer, "RETRY_S", 0.1)


async def checks(http: httpx.AsyncClient) -> dict[str, bool]:
    """What its readiness says of servers."""
    found = (await http.get("/health/ready")).json()["checks"]
    return {name: found[name] for name in WELL}


async def becomes(http: httpx.AsyncClient, expected: object) -> None:
    """Wait until it says so."""

    async def says() -> bool:
        return bool(await checks(http) == expected)

    await eventually(says, deadline_s=60.0)


async def metric(http: httpx.AsyncClient, name: str) -> float | None:
    """The value of one series."""
    lines = (await http.get("/metrics")).text.splitlines()
    return next((float(line.split()[-1]) for line in lines if line.startswith(f"{name} ")), None)


def told(logs: list[Any], event: str) -> list[Any]:
    """The lines of that event."""
    return [entry for entry in logs if entry["event"] == event]


async def problem(http: httpx.AsyncClient) -> str | None:
    """What the stream of events says first to be wrong, or to be right again."""
    async with http.stream("GET", "/api/v1/admin/events", params={"topics": ["runs", "status"]}) as events:
        is_problem = False
        async for line in events.aiter_lines():
            if is_problem and line.startswith("data:"):
                return str(json.loads(line.removeprefix("data:"))["detail"])
            is_problem = line == "event: problem" or (is_problem and not line.startswith("data:"))
    raise AssertionError


@asynccontextmanager
async def read_only(database: Database) -> AsyncIterator[None]:
    """As somebody may set it, and as a standby is: also for connections that there are."""
    name = database.registry_url.rpartition("/")[2]
    await execute(database.admin_url, f'ALTER DATABASE "{name}" SET default_transaction_read_only = on')
    others = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename LIKE 'pullsync%'"
    await execute(database.admin_url, others)
    try:
        yield
    finally:
        reset = f'ALTER DATABASE "{name}" RESET default_transaction_read_only'
        await execute(database.admin_url, f"BEGIN READ WRITE; {reset}; COMMIT")


async def test_a_database_that_became_read_only_is_named_by_all(database: Database, broker_url: str) -> None:
    """Readiness, metrics, diagnosis, events and the answers themselves; and all are well again without a restart."""
    settings = RegistrySettings(database_url=database.registry_url, rabbitmq_url=broker_url)
    async with (
        served(lambda _port: build_registry(settings)) as port,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=30) as http,
        serving(ingest(database, broker_url)) as beside,
        channel_of(broker_url) as channel,
    ):
        for service in (http, beside):
            await becomes(service, WELL)
        async with read_only(database):
            for service in (http, beside):
                await becomes(service, ILL)
                assert await metric(service, "pullsync_database_writable") == 0
                assert await metric(service, "pullsync_database_up") == 1
            answer = await http.post(f"{API}/claims", json={"limit": 1})
            assert (answer.status_code, answer.json()["type"]) == (503, "urn:pullsync:problem:database-ill")
            assert "is read-only" in answer.json()["detail"]
            assert (await http.get("/api/v1/admin/diagnosis")).json()["database"]["illness"] == "read_only"
            assert await problem(http) == answer.json()["detail"]
            await publish(channel, batch(), CAPTURE_BATCHES.routing())
        for service in (http, beside):
            await becomes(service, WELL)
            assert await metric(service, "pullsync_database_writable") == 1

        async def is_told_stored() -> bool:
            return await metric(beside, 'pullsync_captures_total{outcome="stored"}') == 1

        await eventually(is_told_stored)
        assert await count(channel, f"{CAPTURE_BATCHES.name}.dead") == 0


@pytest.mark.parametrize(
    ("sqlstate", "kind"),
    [("58030", "io_error"), ("53100", "disk_full"), ("XX001", "damaged"), ("XX000", "internal_error")],
)
async def test_ingest_holds_what_an_ill_server_refuses(
    sqlstate: str, kind: str, database: Database, broker_url: str
) -> None:
    """However often: one line tells what it said, and one that it is over; no trace, no dead letter."""
    table = "captures.events"
    await execute(database.admin_url, FAILS.format(schema="captures", table=table, sqlstate=sqlstate))
    with structlog.testing.capture_logs() as logs:
        async with serving(ingest(database, broker_url)) as http, channel_of(broker_url) as channel:
            await becomes(http, WELL)
            await publish(channel, batch(), CAPTURE_BATCHES.routing())
            errors = f'pullsync_database_errors_total{{kind="{kind}"}}'

            async def is_tried_often() -> bool:
                return (await metric(http, errors) or 0) > 3

            await eventually(is_tried_often)
            assert await checks(http) == ILL
            assert await metric(http, "pullsync_database_writable") == 0
            await execute(database.admin_url, MENDS.format(table=table))
            await becomes(http, WELL)
            assert await count(channel, f"{CAPTURE_BATCHES.name}.dead") == 0
    assert [entry["kind"] for entry in told(logs, "database_ill")] == [kind]
    assert "could not extend file" in told(logs, "database_ill")[0]["problem"]
    for event, times in (("database_well_again", 1), ("messages_held", 1), ("messages_flow_again", 1)):
        assert len(told(logs, event)) == times, event
    assert not told(logs, "message_failed")


async def test_ingest_waits_for_a_right_that_was_taken(database: Database, broker_url: str) -> None:
    """Nothing is lost by an operator's mistake: what waits goes on when it is mended."""
    async with serving(ingest(database, broker_url)) as http, channel_of(broker_url) as channel:
        await becomes(http, WELL)
        await execute(database.admin_url, f"REVOKE INSERT ON captures.events FROM {INGEST_ROLE}")
        with structlog.testing.capture_logs() as logs:
            await publish(channel, batch(), CAPTURE_BATCHES.routing())
            await becomes(http, ILL)
            await execute(database.admin_url, f"GRANT INSERT ON captures.events TO {INGEST_ROLE}")
            await becomes(http, WELL)
        assert "permission denied for table" in told(logs, "database_ill")[0]["problem"]
        assert await metric(http, 'pullsync_captures_total{outcome="stored"}') == 1
        assert await count(channel, f"{CAPTURE_BATCHES.name}.dead") == 0


async def test_one_message_does_not_keep_the_others(
    database: Database, broker_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With one batch Postgres can do nothing: the others are stored, also those of its group, and it is given up."""
    monkeypatch.setattr(shared.rabbitmq.holding, "HELD_S", 0.05)
    await execute(database.admin_url, POISONED)
    with structlog.testing.capture_logs():  # traces take a second each to be written in colours
        await _one_does_not_keep_the_others(database, broker_url)


async def _one_does_not_keep_the_others(database: Database, broker_url: str) -> None:
    async with serving(ingest(database, broker_url)) as http, channel_of(broker_url) as channel:
        await becomes(http, WELL)
        await publish(channel, batch("poison"), CAPTURE_BATCHES.routing())
        for number in range(100):
            await publish(channel, batch(f"good {number}"), CAPTURE_BATCHES.routing())

        async def all_others_are_stored() -> bool:
            return await metric(http, 'pullsync_captures_total{outcome="stored"}') == 100

        await eventually(all_others_are_stored)

        async def is_given_up() -> bool:
            await publish(channel, batch(f"good {uuid4()}"), CAPTURE_BATCHES.routing())
            return await count(channel, f"{CAPTURE_BATCHES.name}.dead") == 1

        await eventually(is_given_up, deadline_s=60.0)
        await becomes(http, WELL)


async def test_the_registry_holds_and_says_what_an_ill_server_refuses(database: Database, broker_url: str) -> None:
    """A claim is answered 503 with what is wrong, and settlements wait."""
    table = "registry.clients"
    async with serving(registry(database, broker_url)) as http, channel_of(broker_url) as channel:
        await becomes(http, WELL)
        await execute(database.admin_url, FAILS.format(schema="registry", table=table, sqlstate="58030"))
        with structlog.testing.capture_logs() as logs:
            answer = await http.post(f"{API}/claims", json={"limit": 1})
            assert (answer.status_code, answer.json()["type"]) == (503, "urn:pullsync:problem:database-ill")
            assert await checks(http) == ILL
            assert (await http.get("/api/v1/admin/diagnosis")).json()["database"]["illness"] == "io_error"
            await publish(channel, settled(uuid4()), PULL_SETTLED.routing())

            async def is_held() -> bool:
                return bool(told(logs, "messages_held"))

            await eventually(is_held)
            await execute(database.admin_url, MENDS.format(table=table))

            async def flows() -> bool:
                return bool(told(logs, "messages_flow_again"))

            await eventually(flows)
        assert not told(logs, "message_failed")
        assert len(told(logs, "database_ill")) == 2  # by the pool, and by the answer
        assert await count(channel, f"{PULL_SETTLED.name}.dead") == 0
        assert (await http.post(f"{API}/claims", json={"limit": 1})).is_success


async def test_a_lost_password_costs_no_delivery(database: Database, broker_url: str) -> None:
    """A role that may not log in any more is an operator's mistake, too."""
    async with serving(ingest(database, broker_url)) as http, channel_of(broker_url) as channel:
        await becomes(http, WELL)
        await execute(database.admin_url, f"ALTER ROLE {INGEST_ROLE} NOLOGIN")
        try:
            with structlog.testing.capture_logs() as logs:
                sessions = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{INGEST_ROLE}'"
                await execute(database.admin_url, sessions)
                await publish(channel, batch(), CAPTURE_BATCHES.routing())

                async def is_held() -> bool:
                    return bool(told(logs, "messages_held"))

                await eventually(is_held)
                assert await checks(http) == {"database": False, "database_writes": False, "broker": True}
        finally:
            await execute(database.admin_url, f"ALTER ROLE {INGEST_ROLE} LOGIN")
        await becomes(http, WELL)

        async def is_stored() -> bool:
            return await metric(http, 'pullsync_captures_total{outcome="stored"}') == 1

        await eventually(is_stored)
        assert await count(channel, f"{CAPTURE_BATCHES.name}.dead") == 0
