"""What clients wrote, in the registry's answers and in the tables: it is data there, whatever it looks like."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import quote, urlsplit
from uuid import UUID

import aio_pika
import asyncpg
import httpx
import pytest
from fastapi import FastAPI

from dev.database import Database
from dev.stack import Stack
from services.ingest.incoming import ReceivedPull
from services.ingest.store import CaptureStore
from services.registry.api.openapi import document, operations
from services.registry.app import build_app
from services.registry.settings import RegistrySettings
from shared.contracts.encoding import encoded
from shared.contracts.messages import Outcome, PulledCapture, PullOutcome, PullSettled, Reason, UnreadableItem
from shared.contracts.topology import CAPTURE_BATCHES
from shared.postgres.database import make_pool
from shared.postgres.sql import load_queries
from tests.raw_server import OK, served
from tests.waiting import eventually

PULL_SYNC: Final = "/api/v1/pull-sync"
MARKUP: Final = "<script>alert(1)</script>&lt;"
INJECTED: Final = "'; DROP TABLE captures.events, registry.clients CASCADE; --"
HOSTILE: Final = MARKUP + INJECTED

NOON: Final = datetime(2026, 1, 31, 12, tzinfo=UTC)
HEALTHY: Final = b'{"status": "healthy"}'
HEALTH: Final = OK + b"content-length: %d\r\n\r\n" % len(HEALTHY) + HEALTHY

INJECTIONS: Final = (
    INJECTED,
    "' OR '1'='1",
    '" OR ""="',
    "\\'; SELECT pg_sleep(60); --",
    "$1",
    "$$; DROP SCHEMA captures CASCADE; $$",
    "%s",
    "{0}",
    ":user_id",
    "?",
    "*/ DROP TABLE registry.clients /*",
    "ash' UNION SELECT current_user, version(), null --",
    "\u02bc; DROP TABLE registry.clients; --",
    "\uff07; DROP TABLE registry.clients; --",
    "%",
    "_",
    "NULL",
    "E'\\x27'",
)


@pytest.fixture
async def app(database: Database, broker_url: str) -> AsyncIterator[FastAPI]:
    """A registry that runs here."""
    made = build_app(RegistrySettings(database_url=database.registry_url, rabbitmq_url=broker_url))
    async with made.router.lifespan_context(made):
        yield made


@pytest.fixture
async def http(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """Talks to it, once it is connected; its timer stands."""
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost", timeout=60) as made:

        async def ready() -> bool:
            return (await made.get("/health/ready")).is_success

        await eventually(ready)
        yield made


@pytest.fixture
async def ingest(database: Database) -> AsyncIterator[CaptureStore]:
    """What stores captures, without the rest of ingest."""
    async with make_pool(database.ingest_url, service="test", max_size=2) as pool:
        yield CaptureStore(pool=pool, queries=load_queries("services.ingest"))


async def register(http: httpx.AsyncClient, url: str, user_id: str) -> httpx.Response:
    """A client that says so of itself."""
    body = {"client_url": url, "user_id": user_id, "client_type": user_id[:64], "capabilities": [user_id[:64]]}
    return await http.post(f"{PULL_SYNC}/register-client", json=body)


async def store(ingest: CaptureStore, *users: str) -> None:
    """A capture of each, and an item that is none, with the user's id for every text."""
    await ingest.store([_pull(number, user) for number, user in enumerate(users, 1)])


def _pull(number: int, text: str) -> ReceivedPull:
    capture = PulledCapture(
        capture_id=text,
        pokemon_id=20_000 + number,
        pokemon_name=text,
        action="capture",
        timestamp=NOON,
        metadata=json.dumps({text: text}),
    )
    unreadable = UnreadableItem(capture_id=f"{text} ", problem=text, raw=json.dumps(text))
    return ReceivedPull(
        pull_id=UUID(int=number), user_id=text, received_at=NOON, captures=[capture], unreadable=(unreadable,)
    )


async def fail_a_run(http: httpx.AsyncClient, broker_url: str) -> str:
    """A run in which the one client fails, and says why; the run's id."""
    async with await aio_pika.connect(broker_url) as connection:
        channel = await connection.channel()
        started = await http.post(f"{PULL_SYNC}/sync-all-background", json={})
        queue = await channel.get_queue("puller.pull-requested", ensure=False)
        requests: list[dict[str, Any]] = []

        async def asked() -> bool:
            message = await queue.get(fail=False, no_ack=True)
            requests.extend([json.loads(message.body)] if message else [])
            return bool(requests)

        await eventually(asked)
        [target] = requests[0]["targets"]
        outcome = PullOutcome(
            pull_id=UUID(target["pull_id"]),
            user_id=target["user_id"],
            outcome=Outcome.FAILED,
            reason=Reason.BAD_PAYLOAD,
            error=HOSTILE,
        )
        exchange = await channel.get_exchange("pullsync", ensure=False)
        await exchange.publish(aio_pika.Message(encoded(PullSettled(outcomes=(outcome,)))), "pull.settled")
        run_id = str(started.json()["run_id"])

        async def finished() -> bool:
            run = await http.get(f"{PULL_SYNC}/runs/{run_id}")
            return bool(run.json()["state"] == "finished")

        await eventually(finished)
        return run_id


async def bury(broker_url: str) -> None:
    """A dead letter with hostile properties, headers and body."""
    async with await aio_pika.connect(broker_url) as connection:
        channel = await connection.channel()
        message = aio_pika.Message(
            json.dumps([HOSTILE]).encode(),
            headers={MARKUP: MARKUP},
            content_type=MARKUP,
            correlation_id=MARKUP,
            message_id=MARKUP,
            type=MARKUP,
            app_id=MARKUP,
        )
        await channel.default_exchange.publish(message, routing_key=f"{CAPTURE_BATCHES.name}.dead")


def assert_no_markup(answer: httpx.Response) -> None:
    """JSON without a character that a reader could take for markup."""
    assert answer.headers["content-type"].partition(";")[0] in {"application/json", "application/problem+json"}
    assert not re.search(rb"[<>&]", answer.content), answer.text
    assert int(answer.headers["content-length"]) == len(answer.content)


async def everything_read(app: FastAPI, http: httpx.AsyncClient, run_id: str) -> dict[str, httpx.Response]:
    """The answer of each operation that only reads, by its path; events and metrics hold numbers, and are left out."""
    queue = CAPTURE_BATCHES.name
    [letter] = (await http.get(f"/api/v1/admin/dead-letters/{queue}")).json()
    [item] = (await http.get("/api/v1/admin/quarantine")).json()
    known = {
        "capture_id": quote(HOSTILE, safe=""),
        "user_id": quote(HOSTILE, safe=""),
        "run_id": run_id,
        "queue": queue,
        "message_id": letter["id"],
        "quarantine_id": item["quarantine_id"],
    }
    paths = [
        path
        for path, method, _ in operations(document(app))
        if method == "get" and not path.endswith(("/events", "/metrics"))
    ]
    assert len(paths) > 15
    answers = {path: await http.get(path.format_map(known)) for path in paths}
    assert {path: answer.text for path, answer in answers.items() if answer.status_code != 200} == {}
    return answers


async def changed_and_refused(http: httpx.AsyncClient) -> dict[str, httpx.Response]:
    """What is answered to those who change something, and to those who ask for what there is not."""
    user = quote(HOSTILE, safe="")
    return {
        "nudge": await http.post(f"{PULL_SYNC}/nudge/{user}"),
        "change": await http.patch(f"{PULL_SYNC}/clients/{user}", json={"paused": True}),
        "refused": await register(http, "http://127.0.0.1:1024/<script>&y", HOSTILE),
        "unregister": await http.delete(f"{PULL_SYNC}/unregister-client/{user}"),
        "unknown client": await http.get(f"{PULL_SYNC}/clients/{user}"),
        "unknown user": await http.get(f"/api/v1/ranking/users/{user}x"),
        "unknown queue": await http.get(f"/api/v1/admin/dead-letters/{quote(MARKUP, safe='')}"),
        "unknown path": await http.get(f"/{quote(MARKUP, safe='')}"),
        "invalid": await http.post(f"{PULL_SYNC}/claims", json={MARKUP: MARKUP, "limit": MARKUP}),
    }


async def test_no_answer_of_the_registry_can_be_taken_for_markup(
    app: FastAPI, http: httpx.AsyncClient, ingest: CaptureStore, broker_url: str
) -> None:
    """Each that can be read is looked at, with what clients wrote in each place; the values are what they were."""
    async with served(HEALTH) as url:
        await register(http, url, HOSTILE)
        run_id = await fail_a_run(http, broker_url)
        answers = {"register": await register(http, f"{url}/a&b;<c>", HOSTILE)}
        assert answers["register"].status_code == 200, answers["register"].text
        answers["claims"] = await http.post(f"{PULL_SYNC}/claims", json={"limit": 100})
    await store(ingest, HOSTILE)
    await bury(broker_url)
    dead = f"/api/v1/admin/dead-letters/{CAPTURE_BATCHES.name}"

    async def buried() -> bool:
        return bool((await http.get(dead)).json())

    await eventually(buried)
    answers |= await everything_read(app, http, run_id)
    answers |= await changed_and_refused(http)
    for answer in answers.values():
        assert_no_markup(answer)
    holding = {name for name, answer in answers.items() if "script" in answer.text}
    assert holding >= {
        "register",
        "refused",
        "nudge",
        "change",
        "unregister",
        "unknown client",
        "unknown user",
        "claims",
        f"{PULL_SYNC}/registered-clients",
        f"{PULL_SYNC}/clients/{{user_id}}",
        f"{PULL_SYNC}/status",
        f"{PULL_SYNC}/runs/{{run_id}}",
        f"{PULL_SYNC}/runs/{{run_id}}/clients",
        "/api/v1/ranking",
        "/api/v1/ranking/users",
        "/api/v1/ranking/users/{user_id}",
        "/api/v1/admin/quarantine",
        "/api/v1/admin/quarantine/{quarantine_id}",
        "/api/v1/admin/dead-letters/{queue}",
        "/api/v1/admin/dead-letters/{queue}/{message_id}",
    }
    [record] = answers[f"{PULL_SYNC}/registered-clients"].json()
    assert (record["user_id"], record["last_error"], record["capabilities"]) == (HOSTILE, HOSTILE, [HOSTILE[:64]])
    assert answers["register"].json()["message"].startswith(f"Client {HOSTILE} is registered at ")


async def test_text_like_sql_is_stored_as_it_is(
    http: httpx.AsyncClient, ingest: CaptureStore, database: Database
) -> None:
    """In every place where a client's text reaches PostgreSQL; what is looked for is found, and nothing else."""
    users = sorted(INJECTIONS)
    async with served(HEALTH) as url:
        for user in users:
            assert (await register(http, url, user)).status_code == 200
    await store(ingest, *INJECTIONS)
    listed = (await http.get(f"{PULL_SYNC}/registered-clients")).json()
    assert [client["user_id"] for client in listed] == users
    for number, user in enumerate(users):
        path = quote(user, safe="")
        assert (await http.get(f"{PULL_SYNC}/clients/{path}")).json()["user_id"] == user
        after = await http.get(f"{PULL_SYNC}/registered-clients", params={"after": user})
        assert [client["user_id"] for client in after.json()] == users[number + 1 :]
        assert (await http.post(f"{PULL_SYNC}/nudge/{path}")).status_code in {202, 409}
        assert (await http.patch(f"{PULL_SYNC}/clients/{path}", json={"paused": True})).json()["state"] == "paused"
        [holding] = (await http.get(f"/api/v1/ranking/users/{path}")).json()
        assert holding["pokemon_name"] == user
        found = (await http.get("/api/v1/admin/quarantine", params={"user_id": user})).json()
        assert [(item["user_id"], item["problem"], item["raw"]) for item in found] == [(user, user, json.dumps(user))]
    connection = await asyncpg.connect(database.ingest_url)
    try:
        rows = await connection.fetch("SELECT user_id, capture_id, pokemon_name, metadata FROM captures.events")
    finally:
        await connection.close()
    assert sorted(tuple(row) for row in rows) == sorted(
        (user, user, user, json.dumps({user: user}, ensure_ascii=False)) for user in users
    )
    for user in users:
        assert (await http.delete(f"{PULL_SYNC}/unregister-client/{quote(user, safe='')}")).status_code == 200
    assert (await http.get(f"{PULL_SYNC}/registered-clients")).json() == []


def raw_answer(url: str, request: bytes) -> bytes:
    """What a server answers to bytes that may be no HTTP, up to the end of its headers."""
    address = urlsplit(url)
    with socket.create_connection((address.hostname or "", address.port or 0), timeout=10) as connection:
        connection.sendall(request)
        answer = b""
        while b"\r\n\r\n" not in answer and (part := connection.recv(65_536)):
            answer += part
    return answer.lower()


REQUESTS: Final = {
    "live": b"GET /health/live HTTP/1.1\r\nhost: localhost\r\n\r\n",
    "client's health": b"GET /api/client/health HTTP/1.1\r\nhost: localhost\r\n\r\n",
    "client's captures": b"GET /api/client/sync-data HTTP/1.1\r\nhost: localhost\r\n\r\n",
    "unknown path": b"GET /%3Cscript%3E HTTP/1.1\r\nhost: localhost\r\n\r\n",
    "wrong method": b"PUT /health/live HTTP/1.1\r\nhost: localhost\r\n\r\n",
    "bad value": b"GET /api/client/sync-data?since=%3Cscript%3E HTTP/1.1\r\nhost: localhost\r\n\r\n",
    "no HTTP": b"<script>\r\n\r\n",
}


def test_no_browser_guesses_what_an_answer_is(stack: Stack) -> None:
    """Each answer of each service says `nosniff`, whoever in the process gave it."""
    names = ("registry", "ingest-1", "puller-1", "client-1")
    stack.start_together(*names)
    without = [
        (name, request)
        for name, request, answer in _answers(stack, names)
        if b"x-content-type-options: nosniff" not in answer
    ]
    assert without == []


def _answers(stack: Stack, names: tuple[str, ...]) -> Iterator[tuple[str, str, bytes]]:
    for name in names:
        for request, sent in REQUESTS.items():
            answer = raw_answer(stack.url(name), sent)
            assert answer.startswith(b"http/1.1 "), (name, request)
            yield name, request, answer
