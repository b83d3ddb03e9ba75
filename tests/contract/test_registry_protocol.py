"""The registry speaks "Served by the registry" of the protocol: every endpoint, every field, every refusal.

The expectations are written out here by hand, as deployed clients know them, and not taken from the models. Postgres
and RabbitMQ are real; the puller is played by the test, which takes the requests from the queue and settles them.
"""

from __future__ import annotations

import asyncio
import json
import re
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol, Self
from urllib.parse import quote, urlsplit
from uuid import uuid4

import aio_pika
import asyncpg
import httpx
import pytest
from aio_pika.abc import AbstractIncomingMessage
from fastapi import FastAPI
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dev.docs import registry_document
from dev.servers.ports import free_port
from services.client.app import build_app as build_client
from services.client.settings import ClientSettings
from services.registry.api.openapi import operations
from services.registry.app import build_app
from services.registry.settings import RegistrySettings
from tests.serving import served

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
PROBLEM = re.compile(r"urn:pullsync:problem:[a-z]+(-[a-z]+)*")
UUID_TEXT = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
DEADLINE_S = 20.0
PULL_SYNC = "/api/v1/pull-sync"
FIELDS = ("user_id", "client_url", "client_type", "capabilities")
POSTS = (
    "register-client",
    "sync-all?wait_s=0",
    "sync-recent?wait_s=0",
    "sync-all-background",
    "scheduler/start",
    "scheduler/stop",
    "scheduler/set-interval",
    "cleanup-inactive",
    "claims",
    "heartbeat",
)
WITH_BODY = (
    "register-client",
    "sync-all?wait_s=0",
    "sync-all-background",
    "scheduler/set-interval",
    "claims",
    "heartbeat",
)
OPERATIONS = [(path, method) for path, method, _ in operations(registry_document())]

many_examples = settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(min_value=1, max_value=40)
    | st.floats()
    | st.text(st.characters(exclude_categories=()), max_size=20)
    | st.sampled_from(["user_1", "web", "\x00", "\ud800", "x" * 300, "2026-01-31T12:00:00Z", "http://127.0.0.1:1"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=8,
)
json_bodies = json_values | st.fixed_dictionaries(
    {}, optional=dict.fromkeys([*FIELDS, "since", "interval", "limit"], json_values)
)

JSON = {"content-type": "application/json"}

Answer = Callable[[str], bytes]


class Database(Protocol):
    """What these tests need of the fixture `database`."""

    @property
    def registry_url(self) -> str:
        """Where the registry's schema is."""

    @property
    def ingest_url(self) -> str:
        """Where ingest's schema is."""


def response(body: object, status: str = "200 OK", headers: str = "") -> bytes:
    """An HTTP answer with `body` as JSON."""
    content = json.dumps(body).encode()
    head = f"HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {len(content)}\r\n{headers}\r\n"
    return head.encode() + content


def healthy(user_id: str | None = None, **changes: Any) -> bytes:
    """The health of a client; without a user it is anybody's."""
    return response({"status": "healthy", "client_id": user_id, **changes})


@asynccontextmanager
async def client_server(answer: Answer) -> AsyncIterator[str]:
    """A server on a free port that answers to each path what the test says, to the byte; its URL."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            writer.write(answer(head.split(b" ")[1].decode()))
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass  # the caller went away, as it may
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


@pytest.fixture
async def client_url() -> AsyncIterator[str]:
    """A healthy client that answers for everybody."""

    def answer(path: str) -> bytes:
        return healthy() if path == "/api/client/health" else response({}, "404 Not Found")

    async with client_server(answer) as url:
        yield url


@pytest.fixture
def registry_settings(database: Database, broker_url: str) -> RegistrySettings:
    """A registry over an empty database."""
    return RegistrySettings(
        database_url=database.registry_url, rabbitmq_url=broker_url, pull_sync_timeout=5.0, registry_limit_syncs="0"
    )


@asynccontextmanager
async def running(settings: RegistrySettings, *, broker_away: bool = False) -> AsyncIterator[httpx.AsyncClient]:
    """The registry, ready, and something that talks to it. An error that it does not handle is raised here."""
    app = build_app(settings)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(
            transport=httpx.ASGITransport(app), base_url="http://localhost", timeout=60, headers=JSON
        ) as http,
    ):
        if not broker_away:
            await eventually(lambda: ready(http))
        yield http


@pytest.fixture
async def http(registry_settings: RegistrySettings) -> AsyncIterator[httpx.AsyncClient]:
    """Talks to a registry without clients."""
    async with running(registry_settings) as client:
        yield client


def registration(client_url: str, user_id: str = "user_1") -> dict[str, Any]:
    """What the original client sends when it starts."""
    return {
        "client_url": client_url,
        "user_id": user_id,
        "client_type": "web",
        "capabilities": ["capture", "favorite"],
    }


async def register(http: httpx.AsyncClient, client_url: str, *users: str) -> None:
    """Register each of them at the same address."""
    for user in users:
        answer = await http.post(f"{PULL_SYNC}/register-client", json=registration(client_url, user))
        assert answer.status_code == 200, answer.text


async def registered(http: httpx.AsyncClient) -> list[str]:
    """The user ids that the registry knows."""
    return [each["user_id"] for each in (await http.get(f"{PULL_SYNC}/registered-clients")).json()]


async def eventually(condition: Callable[[], Awaitable[bool]]) -> None:
    """Return when the condition holds.

    Raises:
        TimeoutError: it did not hold in time.
    """
    async with asyncio.timeout(DEADLINE_S):
        while not await condition():  # noqa: ASYNC110 - what is waited for happens in a server
            await asyncio.sleep(0)


async def ready(http: httpx.AsyncClient) -> bool:
    """Whether the registry has all that it needs."""
    return (await http.get("/health/ready")).status_code == 200


@asynccontextmanager
async def playing_puller(
    broker_url: str, outcomes: Mapping[str, Mapping[str, Any]] = MappingProxyType({})
) -> AsyncIterator[list[dict[str, Any]]]:
    """Takes each `PullRequested` from the queue and settles it at once; yields the requests that came."""
    requests: list[dict[str, Any]] = []
    async with await aio_pika.connect(broker_url) as connection:
        channel = await connection.channel()
        exchange = await channel.get_exchange("pullsync")
        queue = await channel.get_queue("puller.pull-requested")

        async def settle(message: AbstractIncomingMessage) -> None:
            async with message.process():
                request = json.loads(message.body)
                requests.append(request)
                settled = [
                    {
                        "pull_id": target["pull_id"],
                        "user_id": target["user_id"],
                        "outcome": "stored",
                        **outcomes.get(target["user_id"], {}),
                    }
                    for target in request["targets"]
                ]
                body = json.dumps({"schema_version": 1, "outcomes": settled}).encode()
                await exchange.publish(aio_pika.Message(body), "pull.settled")

        consumer = await queue.consume(settle)
        yield requests
        await queue.cancel(consumer)


def assert_refused(answer: httpx.Response, *statuses: int, kind: str | None = None) -> str:
    """An RFC 9457 problem whose `detail` is one sentence, as deployed clients read it; that sentence."""
    assert answer.status_code in statuses, (answer.status_code, answer.text[:300])
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    invalid = body["type"] == "urn:pullsync:problem:invalid-request"
    assert list(body) == ["type", "title", "status", "detail", *(["errors"] if invalid else [])]
    assert PROBLEM.fullmatch(body["type"])
    assert kind is None or body["type"] == f"urn:pullsync:problem:{kind}"
    assert body["status"] == answer.status_code
    assert all(isinstance(body[member], str) and body[member].strip() for member in ("title", "detail"))
    assert "\n" not in body["detail"]
    if invalid:
        assert body["errors"]
        assert all(list(error) == ["field", "detail"] and "".join(error.values()).strip() for error in body["errors"])
        assert all(f"{error['field']}: {error['detail']}" in body["detail"] for error in body["errors"])
    return str(body["detail"])


def assert_says(answer: httpx.Response) -> dict[str, Any]:
    """A 200 with a `message`; the body."""
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    assert isinstance(body["message"], str)
    return body


# ---------------------------------------------------------------- registering


async def test_register(http: httpx.AsyncClient, client_url: str) -> None:
    """200 and a message; the client is listed with its four fields, and what is known of it beside."""
    answer = await http.post(f"{PULL_SYNC}/register-client", json=registration(client_url))
    said = assert_says(answer)
    assert (list(said), said["pull_token"], said["client_token"]) == (
        ["message", "pull_token", "client_token"],
        None,
        None,
    )
    [listed] = (await http.get(f"{PULL_SYNC}/registered-clients")).json()
    assert {field: listed[field] for field in FIELDS} == registration(client_url)
    assert TIME.fullmatch(listed["registered_at"])
    assert TIME.fullmatch(listed["next_pull_at"])
    assert (listed["in_flight"], listed["failures"], listed["pending"], listed["stored"]) == (False, 0, 0, 0)
    one = await http.get(f"{PULL_SYNC}/clients/user_1")
    assert (one.status_code, one.json()) == (200, listed)


async def test_type_and_capabilities_may_be_left_out(http: httpx.AsyncClient, client_url: str) -> None:
    """Who and where is enough; keys that a newer client adds are ignored."""
    body = {"client_url": f"{client_url}/", "user_id": "user_1", "newer": {"key": 1}}
    assert_says(await http.post(f"{PULL_SYNC}/register-client", json=body))
    [listed] = (await http.get(f"{PULL_SYNC}/registered-clients")).json()
    assert {field: listed[field] for field in FIELDS} == {**registration(client_url), "capabilities": []}


async def test_registering_again_replaces_the_address(http: httpx.AsyncClient, client_url: str) -> None:
    """A client that moved or restarted is one client still."""
    await register(http, client_url, "user_1")
    await register(http, client_url.replace("127.0.0.1", "localhost"), "user_1")
    [listed] = (await http.get(f"{PULL_SYNC}/registered-clients")).json()
    assert listed["client_url"].startswith("http://localhost:")


async def test_the_reference_client_registers_itself(registry_settings: RegistrySettings, tmp_path: Path) -> None:
    """Both sides over real HTTP: the client starts, is asked for its health, and is listed."""
    async with (
        served(lambda _port: build_app(registry_settings)) as registry_port,
        served(lambda port: reference_client(tmp_path, port, registry_port)) as client_port,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{registry_port}") as http,
    ):

        async def is_listed() -> bool:
            return await registered(http) == ["ash"]

        await eventually(is_listed)
        await eventually(lambda: ready(http))
        [listed] = (await http.get(f"{PULL_SYNC}/registered-clients")).json()
        expected = registration(f"http://localhost:{client_port}", "ash")
        assert {field: listed[field] for field in FIELDS} == expected


def reference_client(folder: Path, port: int, registry_port: int) -> FastAPI:
    """The client that ships with the registry."""
    settings = ClientSettings(
        client_user_id="ash",
        client_port=port,
        client_database=folder / "captures.sqlite3",
        client_import_file=folder / "client-sync-data.json",
        backend_url=f"http://127.0.0.1:{registry_port}",
    )
    return build_client(settings)


async def test_registrations_survive_a_restart(registry_settings: RegistrySettings, client_url: str) -> None:
    """The original client registers once and never again; also the timer's settings stay."""
    async with running(registry_settings) as http:
        await register(http, client_url, "user_1", "user_2")
        await http.post(f"{PULL_SYNC}/scheduler/stop")
        await http.post(f"{PULL_SYNC}/scheduler/set-interval", json={"interval": 77})
        before = (await http.get(f"{PULL_SYNC}/registered-clients")).json()
    async with running(registry_settings) as http:
        assert [each["user_id"] for each in before] == ["user_1", "user_2"]
        assert [each["user_id"] for each in (await http.get(f"{PULL_SYNC}/status")).json()["clients"]] == [
            "user_1",
            "user_2",
        ]
        after = (await http.get(f"{PULL_SYNC}/registered-clients")).json()
        assert [[each[field] for field in FIELDS] for each in after] == [
            [each[field] for field in FIELDS] for each in before
        ]
        scheduler = (await http.get(f"{PULL_SYNC}/scheduler/status")).json()
        assert (scheduler["running"], scheduler["sync_interval"]) == (False, 77)


ODD_USERS = [
    "a/b",
    "/a//b/",
    "100%",
    "%41",
    "a b",
    "a?b#c",
    "Zoë \U0001f600",
    "\ufffd",
    "..",
    "'; DROP TABLE registry.clients; --",
    "ü" * 255,
]


async def test_any_user_id_can_be_looked_at_and_unregistered(
    http: httpx.AsyncClient, client_url: str, subtests: pytest.Subtests
) -> None:
    """Slashes, percent signs and all letters are part of the name, and only of this name."""
    await register(http, client_url, "other")
    for user_id in ODD_USERS:
        with subtests.test(user_id=user_id):
            await register(http, client_url, user_id)
            path = quote(user_id, safe="").replace(".", "%2E")
            assert (await http.get(f"{PULL_SYNC}/clients/{path}")).json()["user_id"] == user_id
            assert_says(await http.delete(f"{PULL_SYNC}/unregister-client/{path}"))
            assert await registered(http) == ["other"]
            assert_refused(await http.delete(f"{PULL_SYNC}/unregister-client/{path}"), 404)


@pytest.mark.parametrize("path", ["nobody", "", "%00", "a%00b", "x" * 255])
async def test_an_unknown_user_is_404(http: httpx.AsyncClient, client_url: str, path: str) -> None:
    """Also where no user could have that name, and no user of a similar name is taken for it."""
    similar = ["\ufffd", "a\ufffdb", "?"]
    await register(http, client_url, *similar)
    assert_refused(await http.delete(f"{PULL_SYNC}/unregister-client/{path}"), 404)
    assert_refused(await http.get(f"{PULL_SYNC}/clients/{path}"), 404)
    assert sorted(await registered(http)) == sorted(similar)


@pytest.mark.parametrize("name", ["%FF", "%ED%A0%80", "a%C3", "%C0%AF"])
async def test_a_name_that_is_no_text_is_refused(http: httpx.AsyncClient, client_url: str, name: str) -> None:
    """In every path and query that takes one: the HTTP server reads such bytes as U+FFFD, which is somebody's name."""
    similar = ["\ufffd", "a\ufffd", "\ufffd\ufffd", "\ufffd\ufffd\ufffd"]
    await register(http, client_url, *similar)
    paths = [(method, re.sub(r"\{\w+\}", name, path)) for path, method in OPERATIONS if "{" in path]
    queries = [
        ("GET", f"{PULL_SYNC}/registered-clients?after={name}"),
        ("GET", f"{PULL_SYNC}/registered-clients?search={name}"),
        ("GET", f"{PULL_SYNC}/status?after={name}"),
        ("GET", f"/api/v1/ranking/users?after={name}"),
        ("GET", f"/api/v1/admin/quarantine?user_id={name}"),
        ("GET", f"/api/v1/admin/events?topics=client&user_id={name}"),
    ]
    assert len(paths) > 10
    for method, path in [*paths, *queries]:
        answer = await http.request(method.upper(), path)
        assert_refused(answer, 400, kind="undecodable-url")
    assert sorted(await registered(http)) == sorted(similar)


async def test_head_is_answered_as_get(http: httpx.AsyncClient) -> None:
    """With the same status and headers, and without a body; of pages as of the API."""
    read = [path for path, method in OPERATIONS if method == "get" and "{" not in path]
    streams = {"/api/v1/admin/events"}
    pages = ["/docs", "/openapi.json", "/dashboard", "/dashboard/", f"{PULL_SYNC}/clients/nobody", "/nothing"]
    for path in [*read, *pages]:
        if path in streams:
            continue
        got, head = await http.get(path), await http.head(path)
        assert (head.status_code, head.content) == (got.status_code, b""), path
        assert head.headers.get("content-type") == got.headers.get("content-type"), path
    assert {"/", "/health", "/health/live", "/health/ready", "/metrics"} <= set(read)


async def test_what_head_must_not_ask_for_says_so(http: httpx.AsyncClient) -> None:
    """Streams have no end, and what changes something is no reading: 405, with what the path takes."""
    stream = f"{PULL_SYNC}/runs/{uuid4()}/events"
    for path, allowed in (
        ("/api/v1/admin/events?topics=status", "GET"),
        (stream, "GET"),
        (f"{PULL_SYNC}/sync-all", "POST"),
        (f"{PULL_SYNC}/unregister-client/nobody", "DELETE"),
    ):
        answer = await http.head(path)
        assert (answer.status_code, answer.headers["allow"]) == (405, allowed), path
    for path, allowed in (
        (stream, "GET"),
        ("/health", "GET, HEAD"),
        ("/dashboard", "GET, HEAD"),
        (f"{PULL_SYNC}/clients/nobody", "GET, HEAD, PATCH"),
    ):
        answer = await http.put(path)
        assert (answer.status_code, answer.headers["allow"]) == (405, allowed), path


@pytest.mark.parametrize("path", ["x" * 256, "x" * 5_000, quote("ü") * 256])
async def test_a_user_id_that_is_too_long_is_refused(http: httpx.AsyncClient, path: str) -> None:
    """Nobody can be registered by it, and it is not repeated."""
    for method, where in (
        ("GET", f"{PULL_SYNC}/clients/{path}"),
        ("PATCH", f"{PULL_SYNC}/clients/{path}"),
        ("DELETE", f"{PULL_SYNC}/unregister-client/{path}"),
        ("POST", f"{PULL_SYNC}/nudge/{path}"),
        ("GET", f"/api/v1/ranking/users/{path}"),
        ("GET", f"{PULL_SYNC}/registered-clients?after={path}"),
    ):
        answer = await http.request(method, where, json={} if method == "PATCH" else None)
        assert "255" in assert_refused(answer, 422)
        assert len(answer.text) < 500


async def test_unregister(http: httpx.AsyncClient, client_url: str) -> None:
    """200 with a message, and the client is gone; the second time 404, which names it."""
    await register(http, client_url, "user_1")
    assert list(assert_says(await http.delete(f"{PULL_SYNC}/unregister-client/user_1"))) == ["message"]
    assert await registered(http) == []
    refused = await http.delete(f"{PULL_SYNC}/unregister-client/user_1")
    assert "user_1" in assert_refused(refused, 404, kind="unknown-client")


async def test_paging(http: httpx.AsyncClient, client_url: str) -> None:
    """`Link` leads from page to page through all clients, each once; the last page has none, or an empty one after."""
    users = sorted([*(f"user_{n}" for n in range(7)), "a/b", "ü & ?", "\U0001f600"])
    await register(http, client_url, *users)
    plain = await http.get(f"{PULL_SYNC}/registered-clients")
    assert [each["user_id"] for each in plain.json()] == users
    assert "link" not in plain.headers
    for limit in (1, 3, 5, 10):
        seen: list[str] = []
        path: str | None = f"{PULL_SYNC}/registered-clients?limit={limit}"
        while path:
            page = await http.get(path)
            assert len(page.json()) <= limit
            seen += [each["user_id"] for each in page.json()]
            path = page.links.get("next", {}).get("url")
        assert seen == users


async def test_status(http: httpx.AsyncClient, client_url: str) -> None:
    """How many clients, and each with what is known of it."""
    empty = (await http.get(f"{PULL_SYNC}/status")).json()
    assert (empty["registered_clients"], empty["clients"]) == (0, [])
    await register(http, client_url, "user_1", "user_2")
    answer = await http.get(f"{PULL_SYNC}/status")
    assert answer.status_code == 200
    body = answer.json()
    assert body["registered_clients"] == 2
    assert [{field: each[field] for field in FIELDS} for each in body["clients"]] == [
        registration(client_url, "user_1"),
        registration(client_url, "user_2"),
    ]
    assert (body["pending_captures"], body["failing_clients"], body["in_flight"]) == (0, 0, 0)
    assert body["scheduler"] == {"running": True, "sync_interval": 30}
    assert 0 <= body["lag_s"] < DEADLINE_S


# ---------------------------------------------------------------- syncing


@pytest.mark.parametrize(
    "request_body",
    [
        {"json": {}},
        {"json": {"since": None}},
        {},
        {"content": b"null"},
        {"json": {"since": "2026-01-31T12:00:00.000Z"}},
    ],
)
async def test_sync_all(
    http: httpx.AsyncClient, client_url: str, broker_url: str, request_body: dict[str, Any]
) -> None:
    """Every client was pulled when it answers; with a `since` only from there on."""
    await register(http, client_url, "user_1", "user_2")
    outcomes = {"user_1": {"stored": 3}, "user_2": {"stored": 1}}
    headers = {"content-type": "application/json"}
    async with playing_puller(broker_url, outcomes) as requests:
        answer = await http.post(f"{PULL_SYNC}/sync-all", headers=headers, **request_body)
    assert answer.status_code == 200
    body = answer.json()
    assert isinstance(body.pop("processing_time"), float)
    assert UUID_TEXT.fullmatch(body.pop("run_id"))
    assert body == {
        "success": True,
        "clients_processed": 2,
        "total_captures": 4,
        "failed_clients": [],
        "errors": [],
    }
    since = (request_body.get("json") or {}).get("since")
    assert [request["since"] for request in requests] == [since and since.replace(".000Z", "Z")]
    assert sorted(target["user_id"] for target in requests[0]["targets"]) == ["user_1", "user_2"]
    assert requests[0]["targets"][0]["client_url"] == client_url


async def test_sync_all_tells_who_failed(http: httpx.AsyncClient, client_url: str, broker_url: str) -> None:
    """`success` is false; the URL and a sentence of each failed client are there, and the others count."""
    await register(http, client_url, "user_1", "user_2")
    failure = {"outcome": "failed", "reason": "timeout", "error": "no whole answer within 15 s"}
    async with playing_puller(broker_url, {"user_1": failure, "user_2": {"stored": 5}}):
        answer = await http.post(f"{PULL_SYNC}/sync-all", json={})
    assert answer.status_code == 200
    body = answer.json()
    assert body["success"] is False
    assert (body["clients_processed"], body["total_captures"]) == (1, 5)
    assert body["failed_clients"] == [client_url]
    [error] = body["errors"]
    assert "user_1" in error
    assert "no whole answer" in error
    [one] = [each for each in (await http.get(f"{PULL_SYNC}/registered-clients")).json() if each["failures"]]
    assert (one["user_id"], one["last_reason"]) == ("user_1", "timeout")


@pytest.mark.parametrize("path", ["sync-all", "sync-recent"])
async def test_a_sync_over_no_clients(http: httpx.AsyncClient, path: str) -> None:
    """A success over nothing, at once."""
    answer = await http.post(f"{PULL_SYNC}/{path}")
    assert answer.status_code == 200
    body = answer.json()
    assert UUID_TEXT.fullmatch(body.pop("run_id"))
    assert body == {
        "success": True,
        "clients_processed": 0,
        "total_captures": 0,
        "failed_clients": [],
        "errors": [],
        "processing_time": 0.0,
    }


async def test_sync_recent(http: httpx.AsyncClient, client_url: str, broker_url: str) -> None:
    """The same shape, and the pullers are asked for the last 15 minutes."""
    await register(http, client_url, "user_1")
    async with playing_puller(broker_url, {"user_1": {"stored": 2}}) as requests:
        answer = await http.post(f"{PULL_SYNC}/sync-recent")
    assert answer.status_code == 200
    assert (answer.json()["success"], answer.json()["total_captures"]) == (True, 2)
    age = datetime.now(UTC) - datetime.fromisoformat(requests[0]["since"])
    assert timedelta(minutes=15) <= age <= timedelta(minutes=15, seconds=DEADLINE_S)


async def test_a_client_with_more_is_pulled_until_nothing_is_left(
    http: httpx.AsyncClient, client_url: str, broker_url: str
) -> None:
    """The registry asks for the next page by itself."""
    await register(http, client_url, "user_1")
    page: dict[str, Any] = {"stored": 10, "more_pending": True}
    async with playing_puller(broker_url, {"user_1": page}) as requests:
        syncing = asyncio.create_task(http.post(f"{PULL_SYNC}/sync-all"))

        async def three_pages_came() -> bool:
            return len(requests) >= 3

        await eventually(three_pages_came)
        page["more_pending"] = False
        answer = await syncing
    assert answer.json()["total_captures"] == 10 * len(requests)


async def test_a_sync_that_takes_long_goes_on(http: httpx.AsyncClient, client_url: str) -> None:
    """202 with where to look, and there the run's figures; without a puller it stays open."""
    await register(http, client_url, "user_1")
    for path in ("sync-all", "sync-recent"):
        answer = await http.post(f"{PULL_SYNC}/{path}?wait_s=0")
        assert answer.status_code == 202
        body = answer.json()
        assert isinstance(body["message"], str)
        assert UUID_TEXT.fullmatch(body["run_id"])
        run = (await http.get(body["status_url"])).json()
        assert (run["run_id"], run["kind"], run["finished_at"]) == (body["run_id"], path, None)
        assert (run["requested"], run["settled"], run["failures"]) == (1, 0, [])


@pytest.mark.parametrize("body", [{"json": {}}, {}, {"json": {"since": "2026-01-31T12:00:00+02:00"}}])
async def test_sync_all_background(
    http: httpx.AsyncClient, client_url: str, broker_url: str, body: dict[str, Any]
) -> None:
    """Accepted at once, with where to look; the run ends later."""
    await register(http, client_url, "user_1")
    answer = assert_says(await http.post(f"{PULL_SYNC}/sync-all-background", **body))

    async def is_finished() -> bool:
        return (await http.get(answer["status_url"])).json()["finished_at"] is not None

    assert not await is_finished()
    async with playing_puller(broker_url) as requests:
        await eventually(is_finished)
    assert requests[0]["since"] == ("2026-01-31T10:00:00Z" if body.get("json") else None)


@pytest.mark.parametrize("run_id", ["00000000-0000-0000-0000-000000000000", "nonsense", "%00"])
async def test_an_unknown_run(http: httpx.AsyncClient, run_id: str) -> None:
    """404 for one that is not known, 422 for what is no id."""
    answer = await http.get(f"{PULL_SYNC}/runs/{run_id}")
    assert_refused(answer, 404, 422, kind="unknown-run" if answer.status_code == 404 else "invalid-request")


# ---------------------------------------------------------------- the scheduler


async def test_scheduler_status(http: httpx.AsyncClient) -> None:
    """Whether it runs, its intervals, and the last cleanup."""

    async def was_cleaned_up() -> bool:
        return (await http.get(f"{PULL_SYNC}/scheduler/status")).json()["last_cleanup"] is not None

    await eventually(was_cleaned_up)
    answer = await http.get(f"{PULL_SYNC}/scheduler/status")
    assert answer.status_code == 200
    body = answer.json()
    assert TIME.fullmatch(body.pop("last_cleanup"))
    assert {name: body[name] for name in ("running", "sync_interval", "cleanup_interval")} == {
        "running": True,
        "sync_interval": 30,
        "cleanup_interval": 3600,
    }


async def test_scheduler_stop_and_start(http: httpx.AsyncClient, client_url: str) -> None:
    """Each answers with a message, may be repeated, and decides whether claims are answered."""
    await register(http, client_url, "user_1")
    for _ in range(2):
        assert list(assert_says(await http.post(f"{PULL_SYNC}/scheduler/stop"))) == ["message"]
    assert (await http.get(f"{PULL_SYNC}/scheduler/status")).json()["running"] is False
    assert (await http.post(f"{PULL_SYNC}/claims", json={"limit": 10})).json()["targets"] == []
    for _ in range(2):
        assert list(assert_says(await http.post(f"{PULL_SYNC}/scheduler/start"))) == ["message"]
    assert (await http.get(f"{PULL_SYNC}/scheduler/status")).json()["running"] is True
    [target] = (await http.post(f"{PULL_SYNC}/claims", json={"limit": 10})).json()["targets"]
    assert (target["user_id"], target["client_url"]) == ("user_1", client_url)


@pytest.mark.parametrize(
    ("query", "body", "expected"),
    [
        ("?interval=45", {}, 45),
        ("", {"json": {"interval": 45}}, 45),
        ("?interval=45", {"json": {}}, 45),
        ("?interval=45", {"content": b"", "headers": {"content-type": "application/json"}}, 45),
        ("", {"json": {"interval": 5}}, 5),
        ("?interval=86400", {}, 86_400),
    ],
)
async def test_set_interval(http: httpx.AsyncClient, query: str, body: dict[str, Any], expected: int) -> None:
    """In the query or in the body: callers of both kinds exist."""
    assert list(assert_says(await http.post(f"{PULL_SYNC}/scheduler/set-interval{query}", **body))) == ["message"]
    assert (await http.get(f"{PULL_SYNC}/scheduler/status")).json()["sync_interval"] == expected


@pytest.mark.parametrize("interval", [4, 0, -1, -(10**30), 86_401, 10**12, 10**400])
async def test_an_interval_out_of_range_is_refused(http: httpx.AsyncClient, interval: int) -> None:
    """400, in the query as in the body, and the old one stays."""
    for request in ({"params": {"interval": str(interval)}}, {"json": {"interval": interval}}):
        answer = await http.post(f"{PULL_SYNC}/scheduler/set-interval", **request)
        assert_refused(answer, 400, 422)
        if abs(interval) < 10**12:
            assert answer.status_code == 400
    assert (await http.get(f"{PULL_SYNC}/scheduler/status")).json()["sync_interval"] == 30


@pytest.mark.parametrize("interval", ["30", 30.5, 1e308, True, False, [30], {"interval": 30}, None, "\x00", "\ud800"])
async def test_an_interval_of_a_wrong_type_is_refused(http: httpx.AsyncClient, interval: object) -> None:
    """Nothing is guessed from it, and the old one stays."""
    answer = await http.post(f"{PULL_SYNC}/scheduler/set-interval", content=json.dumps({"interval": interval}))
    assert_refused(answer, 400, 422)
    assert (await http.get(f"{PULL_SYNC}/scheduler/status")).json()["sync_interval"] == 30


@pytest.mark.parametrize("query", ["", "?interval=", "?interval=soon", "?interval=30.5", "?interval=true", "?x=30"])
async def test_an_interval_that_is_missing_or_no_number_is_refused(http: httpx.AsyncClient, query: str) -> None:
    """The sentence names it."""
    assert "interval" in assert_refused(await http.post(f"{PULL_SYNC}/scheduler/set-interval{query}"), 400, 422)


async def test_cleanup_inactive(http: httpx.AsyncClient, client_url: str, database: Database) -> None:
    """Removes who was silent for the whole retention, tells how many, and when."""
    await register(http, client_url, "silent", "lively")
    connection = await asyncpg.connect(database.registry_url)
    await connection.execute(
        """UPDATE registry.clients SET updated_at = now() - interval '31 days', failures = 9, last_pull_at = now(),
               inactive_since = now() - interval '30 days'
           WHERE user_id = 'silent'"""
    )
    await connection.close()
    body = assert_says(await http.post(f"{PULL_SYNC}/cleanup-inactive"))
    assert body["removed_clients"] == 1
    assert await registered(http) == ["lively"]
    assert assert_says(await http.post(f"{PULL_SYNC}/cleanup-inactive"))["removed_clients"] == 0
    assert TIME.fullmatch((await http.get(f"{PULL_SYNC}/scheduler/status")).json()["last_cleanup"])


# ---------------------------------------------------------------- ranking and system


@pytest.fixture
async def ranked(database: Database) -> None:
    """Four Pokémon are held, one no more."""
    connection = await asyncpg.connect(database.ingest_url)
    await connection.execute(
        """INSERT INTO captures.ranking (pokemon_id, pokemon_name, holders, updated_at)
           VALUES (25, 'pikachu', 2, now()), (4, 'charmander', 5, now()), (1, 'bulbasaur', 2, now()),
                  (10001, 'deoxys-attack', 1, now()), (7, 'squirtle', 0, now())"""
    )
    await connection.execute(
        "UPDATE captures.totals SET events = 12, holdings = 10, quarantined = 3, updated_at = now()"
    )
    await connection.close()


@pytest.mark.usefixtures("ranked")
@pytest.mark.parametrize("path", ["/api/v1/ranking", "/api/v1/ranking/"])
async def test_ranking(http: httpx.AsyncClient, path: str) -> None:
    """With and without the slash, without a redirect: most held first, the lower number first on a tie."""
    answer = await http.get(path)
    assert answer.status_code == 200
    body = answer.json()
    assert all(TIME.fullmatch(entry.pop("last_updated")) for entry in body)
    assert body == [
        {"pokemon_id": number, "pokemon_name": name, "favorite_count": holders, "id": number}
        for number, name, holders in [
            (4, "charmander", 5),
            (1, "bulbasaur", 2),
            (25, "pikachu", 2),
            (10001, "deoxys-attack", 1),
        ]
    ]
    limited = (await http.get(path, params={"limit": 2})).json()
    assert [entry["pokemon_id"] for entry in limited] == [4, 1]


async def test_an_empty_ranking_is_an_empty_list(http: httpx.AsyncClient) -> None:
    """Before the first capture."""
    answer = await http.get("/api/v1/ranking")
    assert (answer.status_code, answer.json()) == (200, [])


async def test_the_ranking_has_ten_entries_unless_told(http: httpx.AsyncClient, database: Database) -> None:
    """As the original: 10; more when asked."""
    connection = await asyncpg.connect(database.ingest_url)
    await connection.execute(
        """INSERT INTO captures.ranking (pokemon_id, pokemon_name, holders, updated_at)
           SELECT n, 'p', 1, now() FROM generate_series(1, 30) AS n"""
    )
    await connection.close()
    assert [entry["id"] for entry in (await http.get("/api/v1/ranking")).json()] == list(range(1, 11))
    assert len((await http.get("/api/v1/ranking?limit=1025")).json()) == 30


@pytest.mark.usefixtures("ranked")
async def test_ranking_stats(http: httpx.AsyncClient) -> None:
    """Totals over all users."""
    answer = await http.get("/api/v1/ranking/stats")
    assert answer.status_code == 200
    body = answer.json()
    assert TIME.fullmatch(body.pop("last_updated"))
    assert body == {"total_pokemon": 4, "total_favorites": 10, "total_captures": 12}


async def test_a_limit_out_of_range_is_refused(http: httpx.AsyncClient, subtests: pytest.Subtests) -> None:
    """The sentence names it; nobody gets the whole table by a slip."""
    for path in ("/api/v1/ranking", "/api/v1/ranking/", f"{PULL_SYNC}/registered-clients"):
        for limit in ("0", "-1", "1000000000", "1e9", str(10**400), "many", "", "1.5"):
            with subtests.test(path=path, limit=limit[:20]):
                assert "limit" in assert_refused(await http.get(path, params={"limit": limit}), 400, 422)


@pytest.mark.usefixtures("ranked")
async def test_database_status(http: httpx.AsyncClient, client_url: str) -> None:
    """Rows by table, their sum, and whether there are any."""
    await register(http, client_url, "user_1")
    answer = await http.get("/api/v1/admin/database-status")
    tables = {"clients": 1, "captures": 12, "holdings": 10, "ranking": 4, "quarantine": 3}
    assert answer.status_code == 200
    assert answer.json() == {"status": "healthy", "tables": tables, "total_records": 30, "is_empty": False}


async def test_the_status_of_an_empty_database(http: httpx.AsyncClient) -> None:
    """Every table is listed with 0."""
    body = (await http.get("/api/v1/admin/database-status")).json()
    assert set(body["tables"].values()) == {0}
    assert (body["status"], body["total_records"], body["is_empty"]) == ("healthy", 0, True)


async def test_health_and_root(http: httpx.AsyncClient) -> None:
    """The process answers, and says where to go from here."""
    answer = await http.get("/health")
    assert answer.status_code == 200
    assert answer.json()["status"] == "healthy"
    assert re.fullmatch(r"\d+\.\d+\.\d+", answer.json()["version"])
    welcome = (await http.get("/")).json()
    assert (welcome["docs"], welcome["dashboard"]) == ("/docs", "/dashboard")
    assert (await http.get("/docs")).status_code == 200
    paths = (await http.get("/openapi.json")).json()["paths"]
    assert f"{PULL_SYNC}/scheduler/set-interval" in paths


async def test_everybody_is_an_administrator_without_tokens(http: httpx.AsyncClient) -> None:
    """Whatever he shows; a page need not ask him for a token."""
    for headers in ({}, {"authorization": "Bearer something-or-other"}):
        answer = await http.get("/api/v1/admin/access", headers=headers)
        assert answer.json() == {"scope": "admin", "needs_token": False}


async def test_unknown_paths_and_methods_have_the_same_shape(http: httpx.AsyncClient) -> None:
    """Also these have a `detail`, and say which method it would be."""
    assert_refused(await http.get(f"{PULL_SYNC}/nothing"), 404, kind="unknown-path")
    answer = await http.get(f"{PULL_SYNC}/sync-all")
    assert_refused(answer, 405, kind="method-not-allowed")
    assert answer.headers["allow"] == "POST"


# ---------------------------------------------------------------- bad input


BAD_REGISTRATIONS: list[tuple[str, Any]] = [
    ("user_id", ""),
    ("user_id", None),
    ("user_id", 1),
    ("user_id", True),
    ("user_id", ["user_1"]),
    ("user_id", "NUL \x00"),
    ("user_id", "line\nbreak"),
    ("user_id", "half of a pair \ud800"),
    ("user_id", "x" * 256),
    ("client_type", 5),
    ("client_type", None),
    ("client_type", "\x00"),
    ("client_type", "\udfff"),
    ("client_type", "x" * 65),
    ("capabilities", "capture"),
    ("capabilities", {"capture": True}),
    ("capabilities", [1]),
    ("capabilities", ["\x00"]),
    ("capabilities", ["\ud800"]),
    ("capabilities", ["x" * 65]),
    ("capabilities", ["capture"] * 33),
    ("client_url", None),
    ("client_url", 3001),
    ("client_url", ["http://localhost:3001"]),
]


async def test_a_bad_registration_is_refused(
    http: httpx.AsyncClient, client_url: str, subtests: pytest.Subtests
) -> None:
    """The sentence names the field, and nothing is written."""
    for field, value in BAD_REGISTRATIONS:
        with subtests.test(field=field, value=ascii(value)[:40]):
            body = json.dumps({**registration(client_url), field: value})
            answer = await http.post(f"{PULL_SYNC}/register-client", content=body)
            assert field in assert_refused(answer, 400, 422)
            if answer.status_code == 422:
                assert answer.json()["errors"][0]["field"].startswith(field)
            assert await registered(http) == []


@pytest.mark.parametrize("field", ["user_id", "client_url"])
async def test_a_registration_without_who_or_where_is_refused(
    http: httpx.AsyncClient, client_url: str, field: str
) -> None:
    """The sentence names what is missing."""
    body = {key: value for key, value in registration(client_url).items() if key != field}
    assert field in assert_refused(await http.post(f"{PULL_SYNC}/register-client", json=body), 400, 422)


BAD_URLS = [
    "",
    " ",
    "localhost:3001",
    "//HOST",
    "/api",
    "ftp://HOST",
    "file:///etc/passwd",
    "javascript:alert(1)",
    "http://",
    "http:///path",
    "http://:3001",
    "http:HOST",
    "http://user:secret@HOST",
    "http://user@HOST",
    "http://@HOST",
    "http://HOST?a=1",
    "http://HOST?",
    "http://HOST#a",
    "http://HOST#",
    "http://HOST/x?",
    " http://HOST",
    "http://HOST ",
    "http://HO ST",
    "http://HOST\n",
    "http://HOST/\x00",
    "http://HOST/\ud800",
    "http://HOST/\u200b",
    "http://127.0.0.1:99999",
    "http://127.0.0.1:-1",
    "http://127.0.0.1:port",
    "http://127.0.0.1:0",
    "http://[::1",
    "http://::1:3001",
    "http://[nonsense]:3001",
    "http://[fe80::1%25lo]:1",
    "http://[::1]:1",
    "http://[::ffff:169.254.169.254]/",
    "http://169.254.169.254/latest",
    "http://0.0.0.0:3001",
    "http://255.255.255.255:3001",
    "http://224.0.0.1:3001",
    "http://..:1",
    "http://a..b:1",
    "http://" + "x" * 64 + ".example",
    "http://xn--a:1",
    "http://\u2100:1",
    "http://%31%32%37.0.0.1:1",
    "http://HOST\\@evil.example",
    "http://HOST/" + "x" * 3_000,
]


async def test_a_bad_client_url_is_refused(http: httpx.AsyncClient, subtests: pytest.Subtests) -> None:
    """Whatever is behind it would answer as healthy: it is refused for what it is, and nothing is written."""
    async with client_server(lambda _path: healthy()) as good:
        for number, url in enumerate(BAD_URLS):
            with subtests.test(url=ascii(url)[:60]):
                user_id = f"user_{number}"
                body = json.dumps(registration(url.replace("HOST", urlsplit(good).netloc), user_id))
                assert_refused(await http.post(f"{PULL_SYNC}/register-client", content=body), 400, 422)
                assert user_id not in await registered(http)


async def test_a_client_at_an_ipv6_address(http: httpx.AsyncClient) -> None:
    """An address in brackets is as good as another, where the machine has IPv6."""
    server = await asyncio.start_server(answer_healthy, "::1", 0)
    async with server:
        url = f"http://[::1]:{server.sockets[0].getsockname()[1]}"
        await register(http, url, "user_1")
    assert (await http.get(f"{PULL_SYNC}/clients/user_1")).json()["client_url"] == url


async def answer_healthy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One healthy answer."""
    await reader.readuntil(b"\r\n\r\n")
    writer.write(healthy())
    await writer.drain()
    writer.close()


ROGUES: dict[str, bytes] = {
    "closes": b"",
    "no HTTP": b"220 smtp ready\r\n",
    "odd status line": b"HTTP/1.1 \xff\xfe 200 OK\r\n\r\n",
    "odd header": b"HTTP/1.1 200 OK\r\n\xff\xfe\xed\xa0\x80: \xff\r\n\xff\r\n\r\n",
    "odd encoding": b"HTTP/1.1 200 OK\r\ncontent-encoding: \xff\r\ncontent-length: 2\r\n\r\n{}",
    "short body": b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{}",
    "bad chunks": b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n{}",
    "error": response({"status": "healthy"}, "500 Internal Server Error"),
    "created": response({"status": "healthy"}, "201 Created"),
    "redirect": response({}, "302 Found", "location: http://127.0.0.1:1/\r\n"),
    "no JSON": b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello",
    "no object": response([]),
    "no status": response({"client_id": "user_1"}),
    "wrong type": response({"status": 1}),
    "surrogate": response({"status": "healthy", "client_id": "\ud800"}),
    "other user": healthy("somebody else"),
    "compressed": response({"status": "healthy"}, headers="content-encoding: gzip\r\n"),
    "large head": b"HTTP/1.1 200 OK\r\nx: " + b"x" * 100_000 + b"\r\n\r\n",
    "large body": healthy(padding="x" * 5_000_000),
    "above the cap": healthy(padding="x" * 100_000),
    "deep": b"HTTP/1.1 200 OK\r\ncontent-length: 60000\r\n\r\n" + b"[" * 60_000,
}


async def test_a_client_that_does_not_answer_properly_is_not_registered(
    http: httpx.AsyncClient, subtests: pytest.Subtests
) -> None:
    """400 with what it did; nothing that it sends makes an error of ours."""
    for number, (rogue, sent) in enumerate(ROGUES.items()):
        with subtests.test(rogue):
            async with client_server(lambda _path, sent=sent: sent) as url:  # type: ignore[misc] # the default binds it
                body = registration(url, f"user_{number}")
                detail = assert_refused(await http.post(f"{PULL_SYNC}/register-client", json=body), 400)
            assert url in detail
            assert len(detail) < 600
            assert f"user_{number}" not in await registered(http)


HEALTHY: dict[str, bytes] = {
    "byte order mark": b"\xef\xbb\xbf" + json.dumps({"status": "healthy", "client_id": "ash"}).encode(),
    "wrong information": b'{"status":"ok","client_id":"ash","timestamp":"today","version":1,"x":"\\ud83d"}',
    "nobody set": b'{"status":"ok","client_id":"","timestamp":"0001-01-01T00:00:00Z"}',
}


@pytest.mark.parametrize("body", HEALTHY.values(), ids=HEALTHY)
async def test_what_is_not_needed_of_a_health_may_be_wrong(http: httpx.AsyncClient, body: bytes) -> None:
    """Who answers is what counts, and that it can be read."""
    sent = b"HTTP/1.1 200 OK\r\ncontent-encoding: utf-8\r\ncontent-length: %d\r\n\r\n" % len(body) + body
    async with client_server(lambda _path: sent) as url:
        assert_says(await http.post(f"{PULL_SYNC}/register-client", json=registration(url, "ash")))
    assert await registered(http) == ["ash"]


async def test_a_health_in_another_encoding_is_told(http: httpx.AsyncClient) -> None:
    """By its name."""
    body = json.dumps({"status": "healthy"}).encode("utf-16")
    sent = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body) + body
    async with client_server(lambda _path: sent) as url:
        detail = assert_refused(await http.post(f"{PULL_SYNC}/register-client", json=registration(url, "ash")), 400)
    assert "it seems to be in UTF-16, and JSON is sent in UTF-8" in detail


async def test_a_client_that_hangs_is_not_registered(registry_settings: RegistrySettings) -> None:
    """It is given up after the timeout."""
    quick = registry_settings.model_copy(update={"pull_sync_timeout": 0.3})
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        async with running(quick) as http:
            answer = await http.post(f"{PULL_SYNC}/register-client", json=registration(url))
            assert "timeout" in assert_refused(answer, 400)
            assert await registered(http) == []


async def test_a_client_that_is_away_is_not_registered(http: httpx.AsyncClient) -> None:
    """Nobody listens there."""
    url = f"http://127.0.0.1:{free_port()}"
    answer = await http.post(f"{PULL_SYNC}/register-client", json=registration(url))
    assert "connect" in assert_refused(answer, 400)
    assert await registered(http) == []


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_a_client_where_the_policy_forbids_is_not_called(
    registry_settings: RegistrySettings, client_url: str, host: str
) -> None:
    """By its address as by its name; the sentence says so."""
    public = registry_settings.model_copy(update={"pull_sync_networks": frozenset({"public"})})
    async with running(public) as http:
        body = registration(client_url.replace("127.0.0.1", host))
        assert "forbidden_address" in assert_refused(await http.post(f"{PULL_SYNC}/register-client", json=body), 400)


async def test_a_client_at_a_port_that_is_left_out_is_not_called(
    registry_settings: RegistrySettings, client_url: str
) -> None:
    """The sentence names the setting."""
    narrow = registry_settings.model_copy(update={"pull_sync_ports": (range(80, 81),)})
    async with running(narrow) as http:
        answer = await http.post(f"{PULL_SYNC}/register-client", json=registration(client_url))
        assert "PULL_SYNC_PORTS" in assert_refused(answer, 400)


async def test_a_since_that_is_no_time_is_refused(
    http: httpx.AsyncClient, database: Database, subtests: pytest.Subtests
) -> None:
    """Taking it for nothing would pull everything, or miss something; and no run begins."""
    texts = ["yesterday", "2026-13-01", "20261130", "0", "-1.5", "", "\x00", "\ud800", "1760000000000", "12:00"]
    for path in ("sync-all", "sync-all-background"):
        for since in [*texts, 1e400, True, [], {}, -1, 1760000000000]:
            with subtests.test(path=path, since=ascii(since)):
                before = await number_of_runs(database)
                answer = await http.post(f"{PULL_SYNC}/{path}", content=json.dumps({"since": since}))
                assert "since" in assert_refused(answer, 400, 422)
                assert await number_of_runs(database) == before


async def number_of_runs(database: Database) -> int:
    """Runs that were ever begun."""
    connection = await asyncpg.connect(database.registry_url)
    number: int = await connection.fetchval("SELECT count(*) FROM registry.sync_runs")
    await connection.close()
    return number


@pytest.mark.parametrize(
    ("since", "day"),
    [
        ("2020-01-01", "2020-01-01"),
        ("2026-01-31T12:00:00", "2026-01-31"),
        ("0001-01-01T00:00:00Z", "0001-01-02"),
        ("0001-01-01T00:00:00+14:00", "0001-01-02"),
        ("9999-12-31T23:59:59.999999Z", "9999-12-30"),
    ],
)
async def test_any_iso_time_is_a_since(http: httpx.AsyncClient, since: str, day: str) -> None:
    """A time without a zone is UTC, and what is beyond the ends of time is at the end."""
    answer = await http.post(f"{PULL_SYNC}/sync-all-background", json={"since": since})
    run = (await http.get(assert_says(answer)["status_url"])).json()
    assert TIME.fullmatch(run["since"])
    assert run["since"].startswith(day)


@pytest.mark.parametrize("wait_s", ["-1", "301", "nan", "inf", "soon", ""])
async def test_a_wait_out_of_range_is_refused(http: httpx.AsyncClient, database: Database, wait_s: str) -> None:
    """And no run begins."""
    assert_refused(await http.post(f"{PULL_SYNC}/sync-all", params={"wait_s": wait_s}), 400, 422)
    assert await number_of_runs(database) == 0


async def test_a_body_that_is_no_json_object_is_refused(
    http: httpx.AsyncClient, database: Database, subtests: pytest.Subtests
) -> None:
    """Each with a sentence, and nothing begins."""
    bodies = [b"{", b"\xff\xfe", b"{'a': 1}", b"[" * 100_000, b"1" * 10_000, b'"text"', b"[]", b"5", b'{"limit": }']
    for path in WITH_BODY:
        for body in bodies:
            with subtests.test(path=path, body=body[:20]):
                assert_refused(await http.post(f"{PULL_SYNC}/{path}", content=body), 400, 422)
    assert await number_of_runs(database) == 0


@pytest.mark.parametrize("path", POSTS)
async def test_a_body_of_5_mb_is_refused(http: httpx.AsyncClient, client_url: str, path: str) -> None:
    """No request of ours is near that; a body is not read for ever."""
    body = {**registration(client_url), "since": None, "interval": 30, "limit": 1, "padding": "x" * 5_000_000}
    assert_refused(await http.post(f"{PULL_SYNC}/{path}", json=body), 413, kind="body-too-large")
    assert await registered(http) == []


@pytest.mark.parametrize("limit", [0, -1, 10**9, "many", 1.5, None, []])
async def test_a_claim_out_of_range_is_refused(http: httpx.AsyncClient, client_url: str, limit: object) -> None:
    """And no lease is handed out."""
    await register(http, client_url, "user_1")
    answer = await http.post(f"{PULL_SYNC}/claims", json={"limit": limit})
    assert "limit" in assert_refused(answer, 400, 422)
    assert (await http.get(f"{PULL_SYNC}/clients/user_1")).json()["in_flight"] is False


async def test_a_heartbeat_keeps_gives_back_and_leaves(http: httpx.AsyncClient, client_url: str) -> None:
    """What is given back is due again, and what is in hand when its puller ends."""
    await register(http, client_url, "user_1")
    holder_id, numbers = str(uuid4()), count(1)

    async def claim(answered: int) -> list[str]:
        holder = {"holder_id": holder_id, "number": next(numbers), "answered": answered}
        claims = (await http.post(f"{PULL_SYNC}/claims", json={"limit": 10, "holder": holder})).json()
        return [target["pull_id"] for target in claims["targets"]]

    async def beat(**members: Any) -> None:
        body = {"holder_id": holder_id, "answered": 1, **members}
        assert (await http.post(f"{PULL_SYNC}/heartbeat", json=body)).status_code == 200

    [first] = await claim(answered=0)
    await beat(in_hand=[first])
    assert await claim(answered=1) == []
    await beat(given_back=[first])
    [second] = await claim(answered=2)
    assert second != first
    await beat(answered=3, in_hand=[second], leaves=True)
    [third] = await claim(answered=3)
    assert third not in {first, second}


@many_examples
@given(path=st.sampled_from(POSTS), body=json_bodies)
async def test_any_json_is_answered(http: httpx.AsyncClient, path: str, body: Any) -> None:
    """A 2xx with an object, or a 4xx with a sentence; never a 5xx, and nobody is registered."""
    headers = {"content-type": "application/json"}
    answer = await http.post(f"{PULL_SYNC}/{path}", content=json.dumps(body), headers=headers)
    if answer.status_code in {200, 202}:
        assert isinstance(answer.json(), dict)
    else:
        assert_refused(answer, 400, 422)
    assert await registered(http) == []


@many_examples
@given(path=st.sampled_from(WITH_BODY), body=st.binary(min_size=1, max_size=60))
async def test_any_bytes_are_answered(http: httpx.AsyncClient, path: str, body: bytes) -> None:
    """Bytes that are hardly ever JSON get a 4xx with a sentence."""
    headers = {"content-type": "application/json"}
    answer = await http.post(f"{PULL_SYNC}/{path}", content=body, headers=headers)
    assert answer.status_code in {200, 202} or assert_refused(answer, 400, 422)


@many_examples
@given(text=st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40))
async def test_any_text_in_path_and_query_is_answered(http: httpx.AsyncClient, text: str) -> None:
    """Never a 5xx, whatever stands where a user, a run or a number should."""
    quoted = quote(text, safe="").replace(".", "%2E")
    for method, path in [
        ("DELETE", f"{PULL_SYNC}/unregister-client/{quoted}"),
        ("GET", f"{PULL_SYNC}/clients/{quoted}"),
        ("GET", f"{PULL_SYNC}/runs/{quoted}"),
        ("GET", f"{PULL_SYNC}/registered-clients?after={quoted}"),
        ("GET", f"/api/v1/ranking?limit={quoted}"),
        ("POST", f"{PULL_SYNC}/scheduler/set-interval?interval={quoted}"),
    ]:
        assert (await http.request(method, path)).status_code < 500


# ---------------------------------------------------------------- something is away


async def test_without_ingests_tables(http: httpx.AsyncClient, client_url: str, database: Database) -> None:
    """What needs them is a 503 with a sentence; the rest works."""
    connection = await asyncpg.connect(database.ingest_url)
    await connection.execute("DROP SCHEMA captures CASCADE")
    await connection.close()
    for path in ("/api/v1/ranking", "/api/v1/ranking/stats", "/api/v1/admin/database-status"):
        assert "ingest" in assert_refused(await http.get(path), 503, kind="captures-not-ready")
    await register(http, client_url, "user_1")


async def test_without_a_broker(registry_settings: RegistrySettings, client_url: str) -> None:
    """It serves what it can, says that it is not ready, and a sync goes on until the broker is back."""
    alone = registry_settings.model_copy(update={"rabbitmq_url": "amqp://guest:guest@127.0.0.1:1/"})
    async with running(alone, broker_away=True) as http:
        await register(http, client_url, "user_1")
        assert (await http.get("/health")).status_code == 200
        answer = await http.get("/health/ready")
        checks = {"database": True, "database_writes": True, "broker": False}
        assert (answer.status_code, answer.json()["checks"]) == (503, checks)
        assert (await http.post(f"{PULL_SYNC}/sync-all?wait_s=0")).status_code == 202


async def test_without_a_database(registry_settings: RegistrySettings, client_url: str) -> None:
    """503 with a sentence on every endpoint that needs it, and all is well again when it is back."""
    parts = urlsplit(registry_settings.database_url)
    async with Line(parts.hostname or "", parts.port or 5432) as line:
        through = parts._replace(netloc=f"{parts.username}:{parts.password}@127.0.0.1:{line.port}").geturl()
        async with running(registry_settings.model_copy(update={"database_url": through})) as http:
            await register(http, client_url, "user_1")
            await line.cut()
            assert (await http.get("/health")).status_code == 200
            answer = await http.get("/health/ready")
            assert (answer.status_code, answer.json()["checks"]["database"]) == (503, False)
            for path in ("registered-clients", "clients/user_1", "status", "scheduler/status"):
                assert_refused(await http.get(f"{PULL_SYNC}/{path}"), 503, kind="database-away")
            for path in ("/api/v1/ranking", "/api/v1/ranking/stats", "/api/v1/admin/database-status"):
                assert_refused(await http.get(path), 503)
            assert_refused(await http.delete(f"{PULL_SYNC}/unregister-client/user_1"), 503)
            bodies: dict[str, Any] = {
                "register-client": registration(client_url),
                "scheduler/set-interval": {"interval": 30},
                "claims": {"limit": 1},
                "heartbeat": {"holder_id": str(uuid4()), "answered": 0},
            }
            for path in POSTS:
                assert_refused(await http.post(f"{PULL_SYNC}/{path}", json=bodies.get(path, {})), 503)
            await line.mend()
            await eventually(lambda: ready(http))
            assert await registered(http) == ["user_1"]


class Line:
    """A TCP line to a server, which can be cut and mended."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self.port = 0

    async def __aenter__(self) -> Self:
        await self.mend()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.cut()

    async def mend(self) -> None:
        """Take connections, always on the same port."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def cut(self) -> None:
        """Break all connections and take no more."""
        if self._server is not None:
            self._server.close()
        for writer in self._writers:
            writer.transport.abort()
        if self._server is not None:
            await self._server.wait_closed()
        self._server = None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection(*self._target)
        self._writers |= {writer, far_writer}
        await asyncio.gather(_copy(reader, far_writer), _copy(far_reader, writer))


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Until either side ends."""
    try:
        while chunk := await reader.read(65_536):
            writer.write(chunk)
            await writer.drain()
    except OSError:
        pass  # the line was cut
    finally:
        writer.close()
