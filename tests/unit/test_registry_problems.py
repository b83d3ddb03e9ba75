"""Every error of the registry becomes problem details of RFC 9457, whose `detail` deployed clients read."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Annotated, Any
from uuid import uuid4

import asyncpg
import httpx
import pytest
import structlog
from fastapi import FastAPI, Query
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.types import Message, Receive, Scope, Send

import services.registry.app  # noqa: F401 - with it every module is imported that adds to the tree of errors
from services.registry.api import problems
from services.registry.api.problems import BODY_BYTES, BodyLimit, answer, install_error_handlers
from services.registry.captures import SCHEMA_MISSING
from services.registry.errors import (
    InvalidField,
    InvalidRequestError,
    RegistryError,
    UnavailableError,
    UnknownClientError,
)
from shared.postgres.database import TRANSIENT
from shared.postgres.illness import ILL

MIB = 1024 * 1024


class Item(BaseModel):
    """What the test app reads."""

    number: int
    name: str = ""


class Throwing:
    """An app that raises what the test says, and counts what it did before."""

    def __init__(self) -> None:
        self.error: Exception = RegistryError()
        self.calls = 0
        self.app = FastAPI(strict_content_type=False)
        install_error_handlers(self.app)
        self.app.get("/raise")(self.throw)
        self.app.post("/bodiless")(self.bodiless)
        self.app.post("/items")(self.items)
        self.app.get("/items/{number}")(self.bodiless)
        self.app.patch("/items/{number}")(self.bodiless)

    async def throw(self) -> None:
        """The error of the test."""
        raise self.error

    async def bodiless(self) -> None:
        """Does something, and reads no body."""
        self.calls += 1

    async def items(self, body: list[Item], limit: Annotated[int, Query()] = 1) -> None:
        """Reads a body and a number."""
        self.calls += len(body) + limit


@pytest.fixture
def throwing() -> Throwing:
    """The app."""
    return Throwing()


@pytest.fixture
async def http(throwing: Throwing) -> AsyncIterator[httpx.AsyncClient]:
    """Talks to it, as over a network: an error that ends in a 500 is not raised here, too."""
    transport = httpx.ASGITransport(throwing.app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://app") as client:
        yield client


def problem(response: httpx.Response) -> dict[str, Any]:
    """The problem's members, if it is one."""
    assert response.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = response.json()
    assert body["status"] == response.status_code
    return body


def subclasses(kind: type[RegistryError]) -> Iterator[type[RegistryError]]:
    """Those of the service, at any depth; not those that other tests made up."""
    for subclass in kind.__subclasses__():
        if subclass.__module__.startswith("services."):
            yield subclass
        yield from subclasses(subclass)


def test_each_kind_of_problem_has_a_name_of_its_own() -> None:
    """A caller that compares `type` must not take one for another."""
    kinds = list(subclasses(RegistryError))
    assert len({kind.slug for kind in kinds}) == len(kinds) > 10
    for kind in kinds:
        assert kind.slug.replace("-", "").isalnum(), kind
        assert kind.slug == kind.slug.lower()
        assert kind.title[0].isupper()
        assert 400 <= kind.status < 600


def test_a_class_is_named_after_itself() -> None:
    """Whoever adds an error sets its status, and no more."""
    assert (UnknownClientError.slug, UnknownClientError.title) == ("unknown-client", "Unknown client")

    class TooManyHTTPRequestsError(UnknownClientError):
        status = 429

    assert (TooManyHTTPRequestsError.slug, TooManyHTTPRequestsError.title) == (
        "too-many-http-requests",
        "Too many http requests",
    )

    class NamedError(RegistryError):
        slug = "another-name"
        title = "Another name"

    assert (NamedError.slug, NamedError.title) == ("another-name", "Another name")


async def test_an_error_of_ours(throwing: Throwing, http: httpx.AsyncClient) -> None:
    """Its status, its name, its sentence; and `Retry-After` only where it is known."""
    throwing.error = UnknownClientError("user_1")
    response = await http.get("/raise")
    assert "retry-after" not in response.headers
    assert problem(response) == {
        "type": "urn:pullsync:problem:unknown-client",
        "title": "Unknown client",
        "status": 404,
        "detail": "No client is registered for user 'user_1'.",
    }


@pytest.mark.parametrize(("seconds", "header"), [(0, "0"), (0.2, "1"), (7, "7"), (7.01, "8"), (-3.0, "0")])
def test_retry_after_is_whole_seconds_and_never_too_early(seconds: float, header: str) -> None:
    """The header knows no fractions; who comes back too early is refused again."""
    error = UnavailableError("Too busy.")
    error.retry_after_s = seconds
    assert answer(error).headers["retry-after"] == header


def test_an_error_without_a_sentence_says_its_title() -> None:
    """`detail` is never empty."""
    assert b'"detail":"Unavailable"' in bytes(answer(UnavailableError()).body)


@pytest.mark.parametrize(
    ("error", "status", "kind"),
    [
        *(
            (error("secret"), 503, "database-away")
            for error in TRANSIENT
            if not issubclass(error, (*ILL, asyncpg.InvalidAuthorizationSpecificationError))
        ),
        *((error("secret"), 503, "database-ill") for error in ILL if not issubclass(error, SCHEMA_MISSING)),
        (asyncpg.InvalidPasswordError("secret"), 503, "database-refuses"),
        (asyncpg.UndefinedTableError("secret"), 503, "captures-not-ready"),
        (asyncpg.UndefinedColumnError("secret"), 503, "captures-not-ready"),
        (asyncpg.InvalidSchemaNameError("secret"), 503, "captures-not-ready"),
        (asyncpg.UniqueViolationError("secret"), 500, "internal-error"),
        (ZeroDivisionError("secret"), 500, "internal-error"),
        (HTTPException(418, "A teapot."), 418, "refused"),
    ],
)
async def test_errors_of_others(
    throwing: Throwing, http: httpx.AsyncClient, error: Exception, status: int, kind: str
) -> None:
    """The database is away, or something is broken here: a sentence, and not what it said."""
    throwing.error = error
    response = await http.get("/raise")
    body = problem(response)
    assert (response.status_code, body["type"]) == (status, f"urn:pullsync:problem:{kind}")
    assert body["detail"].endswith(".")
    assert "secret" not in response.text


async def test_routing(http: httpx.AsyncClient) -> None:
    """Unknown paths, and unknown methods, which name those that are known."""
    assert problem(await http.get("/nothing"))["type"] == "urn:pullsync:problem:unknown-path"
    response = await http.delete("/items/1")
    assert problem(response)["type"] == "urn:pullsync:problem:method-not-allowed"
    assert response.headers["allow"] == "GET, PATCH"


async def test_values_that_can_not_be(http: httpx.AsyncClient) -> None:
    """Each with its place, in the sentence for people and in `errors` for programs."""
    response = await http.post("/items?limit=many", json=[{"number": 1}, {"number": "much"}, {}])
    body = problem(response)
    assert response.status_code == 422
    assert body["type"] == "urn:pullsync:problem:invalid-request"
    assert [error["field"] for error in body["errors"]] == ["limit", "1.number", "2.number"]
    assert body["detail"] == "; ".join(f"{error['field']}: {error['detail']}" for error in body["errors"])


async def test_a_missing_body_is_called_so(http: httpx.AsyncClient) -> None:
    """It has no name in the request."""
    assert problem(await http.post("/items"))["errors"] == [{"field": "body", "detail": "Field required"}]


async def test_thousands_of_faults_make_no_large_answer(http: httpx.AsyncClient) -> None:
    """The first are named, the rest are counted."""
    response = await http.post("/items", json=[{}] * 5_000)
    assert len(problem(response)["errors"]) == 20
    assert len(response.content) < 3_000
    assert response.json()["detail"].endswith("; and 4980 more")


@pytest.mark.parametrize("content", [b"{", b"\xff\xfe", b"[" * 100_000, b'{"a": }'])
async def test_a_body_that_is_no_json(http: httpx.AsyncClient, content: bytes) -> None:
    """Whatever it is instead."""
    response = await http.post("/items", content=content, headers={"content-type": "application/json"})
    assert (response.status_code, problem(response)["type"]) == (400, "urn:pullsync:problem:malformed-body")


@given(value=st.recursive(st.text() | st.integers() | st.none(), lambda inner: st.lists(inner, max_size=3)))
async def test_what_was_sent_is_not_repeated(value: object) -> None:
    """A caller's words must not come back in ours."""
    canary = uuid4().hex
    transport = httpx.ASGITransport(Throwing().app)
    async with httpx.AsyncClient(transport=transport, base_url="http://app") as http:
        response = await http.post(f"/items?limit={canary}", json=[{"number": [canary, value], canary: canary}])
    assert response.status_code == 422
    assert canary not in response.text


async def chunks(total_bytes: int) -> AsyncIterator[bytes]:
    """A body of that size whose size nobody was told."""
    for _ in range(total_bytes // 1024):
        yield b" " * 1024


@pytest.mark.parametrize("content", [b" " * (5 * MIB), chunks(5 * MIB)], ids=["announced", "chunked"])
async def test_a_body_above_the_limit(http: httpx.AsyncClient, content: Any) -> None:
    """413 with a sentence, whether its size was told or not."""
    response = await http.post("/items", content=content, headers={"content-type": "application/json"})
    body = problem(response)
    assert (response.status_code, body["type"]) == (413, "urn:pullsync:problem:body-too-large")
    assert str(BODY_BYTES) in body["detail"]


async def test_an_announced_body_above_the_limit_does_nothing(throwing: Throwing, http: httpx.AsyncClient) -> None:
    """Also where the body would not be read: what is refused has had no effect."""
    response = await http.post("/bodiless", content=b" " * (BODY_BYTES + 1))
    assert (response.status_code, throwing.calls) == (413, 0)
    assert problem(response)["type"] == "urn:pullsync:problem:body-too-large"
    assert (await http.post("/bodiless", content=b" " * BODY_BYTES)).status_code == 200


async def test_a_body_of_no_known_size_is_not_read_to_its_end(http: httpx.AsyncClient) -> None:
    """It would fill the memory; so the rest of it is never asked for."""
    read = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal read
        while read < 100 * MIB:
            read += 1024
            yield b" " * 1024

    assert (await http.post("/items", content=endless())).status_code == 413
    assert read < 2 * BODY_BYTES


async def test_a_body_that_is_too_slow(http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """408, and the connection ends with it."""
    monkeypatch.setattr(problems, "BODY_S", 0.05)

    async def slow() -> AsyncIterator[bytes]:
        yield b"["
        await asyncio.Event().wait()

    response = await http.post("/items", content=slow())
    assert problem(response)["type"] == "urn:pullsync:problem:body-too-slow"
    assert (response.status_code, response.headers["connection"]) == (408, "close")


async def test_a_slow_body_behind_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who was answered already can't be refused any more: he is as one who has gone."""
    monkeypatch.setattr(problems, "BODY_S", 0.05)
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def slow() -> Message:
        await asyncio.Event().wait()
        raise AssertionError

    async def early(_scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send(await receive())

    await BodyLimit(early)({"type": "http", "headers": []}, slow, send)
    assert [message["type"] for message in sent] == ["http.response.start", "http.disconnect"]


def test_the_first_faults_are_kept() -> None:
    """Up to twenty there is nothing to count."""
    fields = [InvalidField(field=f"f{number}", detail="no") for number in range(20)]
    assert str(InvalidRequestError(fields)).endswith("f19: no")


async def test_an_outage_is_logged_once_however_many_requests_meet_it() -> None:
    """Each is answered; the log is not flooded."""
    app = FastAPI()
    install_error_handlers(app)

    @app.get("/")
    async def away() -> None:
        raise ConnectionRefusedError

    transport = httpx.ASGITransport(app)
    with structlog.testing.capture_logs() as logged:
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
            answers = [await http.get("/") for _ in range(20)]
    assert [each.status_code for each in answers] == [503] * 20
    assert [line["event"] for line in logged] == ["database_away"]
