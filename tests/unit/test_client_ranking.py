"""The client passes on the registry's ranking, and spares the registry whoever asks for it."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from services.client.errors import RegistryAwayError
from services.client.ranking import FRESH_S, RegistryRanking, ranking_url

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from shared.contracts.client_protocol import Ranking

NOON = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)
ENTRIES: list[dict[str, Any]] = [
    {
        "pokemon_id": number,
        "pokemon_name": f"name {number}",
        "favorite_count": 200 - number,
        "id": number,
        "last_updated": "2026-01-31T11:00:00.000Z",
    }
    for number in range(1, 101)
]


class FakeRegistry:
    """Answers as it is told to, and remembers what it was asked."""

    def __init__(self) -> None:
        self.requests: list[httpx.Request] = []
        self.answer: httpx.Response | Exception = httpx.Response(200, json=ENTRIES)
        self.asked = asyncio.Event()
        self.open = asyncio.Event()
        self.open.set()

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        """Take a request."""
        self.requests.append(request)
        self.asked.set()
        await self.open.wait()
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


class Client:
    """A ranking, and the clock that it goes by."""

    def __init__(self, http: httpx.AsyncClient, *, timeout_s: float = 60.0) -> None:
        self.now = 1.0
        self.token: str | None = None
        self.ranking = RegistryRanking(
            http=http,
            url=ranking_url("http://backend/sub", "a/b é"),
            token=lambda: self.token,
            clock=lambda: NOON,
            monotonic=lambda: self.now,
            timeout_s=timeout_s,
        )

    async def problem(self) -> str:
        """Why there is no ranking; one sentence or two."""
        with pytest.raises(RegistryAwayError) as caught:
            await self.ranking.top(10)
        assert str(caught.value).endswith(".")
        assert str(caught.value).isprintable()
        return str(caught.value)


@pytest.fixture
def registry() -> FakeRegistry:
    """A registry with a hundred ranked Pokémon."""
    return FakeRegistry()


@pytest.fixture
async def http(registry: FakeRegistry) -> AsyncIterator[httpx.AsyncClient]:
    """Leads to it."""
    async with httpx.AsyncClient(transport=httpx.MockTransport(registry)) as made:
        yield made


@pytest.fixture
def client(http: httpx.AsyncClient) -> Client:
    """A client of it."""
    return Client(http)


def numbers(ranking: Ranking) -> list[int]:
    """The Pokémon in a ranking."""
    return [entry.pokemon_id for entry in ranking.ranking]


async def test_it_is_what_the_registry_says(registry: FakeRegistry, client: Client) -> None:
    """Asked by the client's own path, with its token where it has one; each entry without what is there twice."""
    answer = json.loads((await client.ranking.top(1)).model_dump_json())
    shown = {name: value for name, value in ENTRIES[0].items() if name != "id"}
    assert answer == {"ranking": [shown], "as_of": "2026-01-31T12:00:00.000Z"}
    client.token = "client_own"
    client.now += FRESH_S
    await client.ranking.top(1)
    path = b"/sub/api/v1/pull-sync/clients/a%2Fb%20%C3%A9/ranking?limit=100"
    assert [request.url.raw_path for request in registry.requests] == [path] * 2
    assert [request.headers.get("authorization") for request in registry.requests] == [None, "Bearer client_own"]


async def test_it_is_asked_once_in_two_seconds(registry: FakeRegistry, client: Client) -> None:
    """However many want however much of it."""
    assert numbers(await client.ranking.top(100)) == list(range(1, 101))
    client.now += FRESH_S - 0.001
    assert numbers(await client.ranking.top(3)) == [1, 2, 3]
    assert len(registry.requests) == 1
    registry.answer = httpx.Response(200, json=ENTRIES[5:])
    client.now += 0.001
    assert numbers(await client.ranking.top(2)) == [6, 7]
    assert len(registry.requests) == 2


@pytest.mark.parametrize("answer", [httpx.Response(200, json=ENTRIES), httpx.ConnectError("refused")])
async def test_all_wait_for_one_request(
    registry: FakeRegistry, client: Client, answer: httpx.Response | Exception
) -> None:
    """Fifty pages at once are one request, however long that takes, and what it ends in is told to all of them."""
    registry.answer = answer
    registry.open.clear()
    asked = [asyncio.ensure_future(client.ranking.top(10)) for _ in range(50)]
    await registry.asked.wait()
    client.now += 60
    registry.open.set()
    told = await asyncio.gather(*asked, return_exceptions=True)
    assert len({str(each) for each in told}) == 1
    assert len(registry.requests) == 1


async def test_a_failure_is_kept_as_long_and_no_longer(registry: FakeRegistry, client: Client) -> None:
    """A registry that is away is not asked by each page either; when it is back, so is the ranking."""
    registry.answer = httpx.ConnectError("refused")
    first = await client.problem()
    assert "ConnectError: refused" in first
    registry.answer = httpx.Response(200, json=ENTRIES)
    client.now += FRESH_S - 0.001
    assert await client.problem() == first
    assert len(registry.requests) == 1
    client.now += 0.001
    assert numbers(await client.ranking.top(1)) == [1]
    registry.answer = httpx.ConnectError("refused")
    client.now += FRESH_S
    assert await client.problem() == first


async def test_one_who_goes_away_does_not_keep_the_others_waiting(registry: FakeRegistry, client: Client) -> None:
    """His request is given up, and the next one asks."""
    registry.open.clear()
    gone = asyncio.ensure_future(client.ranking.top(10))
    await registry.asked.wait()
    gone.cancel()
    registry.open.set()
    assert numbers(await client.ranking.top(1)) == [1]
    assert len(registry.requests) == 2


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (httpx.Response(401, json={"detail": "no token"}), ("HTTP 401: no token", "CLIENT_REGISTRATION_TOKEN")),
        (httpx.Response(403, json={"detail": "another's"}), ("HTTP 403: another's", "CLIENT_REGISTRATION_TOKEN")),
        (httpx.Response(404, json={"detail": "who?"}), ("HTTP 404: who?", "is registered", "update a registry")),
        (httpx.Response(429, json={"detail": "slowly"}), ("HTTP 429: slowly", "try again")),
        (httpx.Response(503, json={"detail": "a\nb\u202e"}), (r"HTTP 503: a\u000ab\u202e", "registry's log")),
        (httpx.Response(302, headers={"location": "http://elsewhere/"}), ("HTTP 302",)),
        (httpx.Response(200, text="<html>"), ("no ranking", "BACKEND_URL")),
        (httpx.Response(200, json={"ranking": []}), ("no ranking", "BACKEND_URL")),
        (httpx.Response(200, json=[{**ENTRIES[0], "favorite_count": "3"}]), ("no ranking", "BACKEND_URL")),
        (httpx.ConnectError("no\nroute"), ("ConnectError: no", "look whether it runs", "BACKEND_URL", "stays here")),
        (httpx.ReadTimeout(""), ("ReadTimeout", "look whether it runs")),
    ],
)
async def test_why_there_is_none_is_told(
    registry: FakeRegistry, client: Client, answer: httpx.Response | Exception, words: tuple[str, ...]
) -> None:
    """What is wrong, in the registry's words where it has some, and what to do."""
    registry.answer = answer
    sentence = await client.problem()
    for word in words:
        assert word in sentence


async def test_a_registry_that_does_not_answer_is_given_up(registry: FakeRegistry, http: httpx.AsyncClient) -> None:
    """After some seconds, since a page waits."""
    registry.open.clear()
    assert "no answer within 0.01 s" in await Client(http, timeout_s=0.01).problem()


async def test_a_registry_without_a_ranking_has_an_empty_one(registry: FakeRegistry, client: Client) -> None:
    """Nobody holds anything: that is no failure."""
    registry.answer = httpx.Response(200, json=[])
    assert numbers(await client.ranking.top(10)) == []
