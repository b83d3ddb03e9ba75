"""Each answer of the registry has the id of its request, a problem and an error that nobody foresaw, too."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest
from fastapi import FastAPI
from structlog.contextvars import get_contextvars

from services.registry.api.problems import install_error_handlers
from services.registry.api.request_ids import HEADER, RequestIds
from services.registry.errors import UnknownClientError


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    """Talks to an app with these middlewares."""
    app = FastAPI()
    install_error_handlers(app)
    app.add_middleware(RequestIds)
    app.get("/bound")(bound)
    app.get("/refused")(refused)
    app.get("/broken")(broken)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://app") as client:
        yield client


async def bound() -> str:
    """The id that log lines and messages of this request have."""
    return str(get_contextvars()["request_id"])


async def refused() -> None:
    """A problem."""
    user_id = "ash"
    raise UnknownClientError(user_id)


async def broken() -> None:
    """A bug."""
    raise ZeroDivisionError


async def test_the_callers_id_is_kept(http: httpx.AsyncClient) -> None:
    """Where it is a plain word."""
    answer = await http.get("/bound", headers={HEADER: "gate-17"})
    assert (answer.json(), answer.headers[HEADER]) == ("gate-17", "gate-17")


@pytest.mark.parametrize("asked", ["", "a b", "x" * 65, 'a","level":"error', "\x1b[2J"])
async def test_what_is_no_id_is_not_repeated(http: httpx.AsyncClient, asked: str) -> None:
    """It gets a new one, and the next request another."""
    first = await http.get("/bound", headers={HEADER: asked})
    second = await http.get("/bound", headers={HEADER: asked})
    assert first.json() == first.headers[HEADER]
    assert len({asked, first.json(), second.json()}) == 3


@pytest.mark.parametrize(("path", "status"), [("/refused", 404), ("/broken", 500), ("/nowhere", 404)])
async def test_problems_have_it(http: httpx.AsyncClient, path: str, status: int) -> None:
    """Once, whoever answers."""
    answer = await http.get(path, headers={HEADER: "gate-17"})
    assert (answer.status_code, answer.headers.get_list(HEADER)) == (status, ["gate-17"])
