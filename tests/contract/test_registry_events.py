"""The stream of what goes on: each topic whole, at once and at each change, to as many as may look; through outages.

Postgres and RabbitMQ are real, and the registry is served by uvicorn; the puller is played by the test.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from random import SystemRandom
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

import httpx
import pytest

from services.registry.app import build_app
from services.registry.live.topics import Topic, Topics, View
from services.registry.routes import events as event_routes
from services.registry.settings import RegistrySettings
from tests.chaos.proxy import Link
from tests.registry_parts import Database, Registry, failed, registry_over
from tests.serving import served
from tests.waiting import eventually

EVENTS: Final = "/api/v1/admin/events"
PULL_SYNC: Final = "/api/v1/pull-sync"
COMMON: Final = ("status", "runs", "queues", "minutes", "ranking")
DEADLINE_S: Final = 30.0

Event = tuple[str, Any]


@pytest.fixture
async def parts(database: Database) -> AsyncIterator[Registry]:
    """The registry's parts over the same database, to play pullers and to prepare clients."""
    async with registry_over(database, running=True) as registry:
        yield registry


@asynccontextmanager
async def talking(database_url: str, broker_url: str) -> AsyncIterator[httpx.AsyncClient]:
    """Something that talks to a registry behind a real server, which has the database at that URL."""
    settings = RegistrySettings(database_url=database_url, rabbitmq_url=broker_url)
    async with (
        served(lambda _port: build_app(settings)) as port,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=DEADLINE_S) as http,
    ):
        yield http


@pytest.fixture
async def http(database: Database, broker_url: str) -> AsyncIterator[httpx.AsyncClient]:
    """Talks to a registry without clients."""
    async with talking(database.registry_url, broker_url) as found:
        yield found


class Viewer:
    """Who looks at the stream."""

    def __init__(self, answer: httpx.Response) -> None:
        self._lines = answer.aiter_lines()

    async def following(self) -> Event:
        """The name and the data of the next event."""
        name, data = "", ""
        async with asyncio.timeout(DEADLINE_S):
            async for line in self._lines:
                field, _, value = line.partition(": ")
                if field == "event":
                    name = value
                elif field == "data":
                    data += value
                elif not line and data:
                    return name, json.loads(data)
        pytest.fail("the stream has ended")

    async def until(self, topic: str, holds: Callable[[Any], bool]) -> Any:
        """What the first event of that topic says for which it holds."""
        async with asyncio.timeout(DEADLINE_S):
            while True:
                name, data = await self.following()
                if name == topic and holds(data):
                    return data


@asynccontextmanager
async def viewer(http: httpx.AsyncClient, *topics: str, **parameters: object) -> AsyncIterator[Viewer]:
    """Somebody who looks at these topics."""
    query: Any = {"topics": topics, **parameters}
    async with http.stream("GET", EVENTS, params=query) as answer:
        assert answer.status_code == 200, await answer.aread()
        assert answer.headers["content-type"].startswith("text/event-stream")
        yield Viewer(answer)


async def test_each_topic_is_told_at_once(http: httpx.AsyncClient, parts: Registry) -> None:
    """Whole, and as the endpoints tell it that are asked once."""
    await parts.register("ash", "misty")
    run_id = (await http.post(f"{PULL_SYNC}/sync-all-background")).json()["run_id"]
    async with viewer(http, *COMMON, "clients", "client", user_id="ash") as looking:
        told = dict([await looking.following() for _ in range(7)])
    assert set(told) == {*COMMON, "clients", "client"}
    status = (await http.get(f"{PULL_SYNC}/scheduler/status")).json()
    assert set(told["status"]) == set(status)
    assert (told["status"]["registered_clients"], told["status"]["running"]) == (2, True)
    [run] = told["runs"]
    assert set(run) == set((await http.get(f"{PULL_SYNC}/runs/{run_id}")).json()) - {"failures"}
    assert (run["run_id"], run["requested"], run["state"]) == (run_id, 2, "running")
    assert told["queues"] == (await http.get("/api/v1/admin/queues")).json()
    assert [minute.keys() for minute in told["minutes"]] == [
        minute.keys() for minute in (await http.get(f"{PULL_SYNC}/status/minutes")).json()
    ]
    assert told["ranking"] == (await http.get("/api/v1/ranking")).json()
    assert [client["user_id"] for client in told["clients"]["clients"]] == ["ash", "misty"]
    assert told["clients"]["next"] is None
    known = set((await http.get(f"{PULL_SYNC}/clients/ash")).json())
    assert {"next_slot_at"} == known - set(told["client"]["client"]) == known - set(told["clients"]["clients"][0])
    assert told["client"]["pulls"] == []


async def test_a_change_is_told(http: httpx.AsyncClient, parts: Registry) -> None:
    """And nothing else: of a topic that stays as it is there is no second event."""
    async with viewer(http, "clients", "ranking") as looking:
        first = dict([await looking.following(), await looking.following()])
        assert first == {"clients": {"clients": [], "next": None}, "ranking": []}
        users = ["ash", "brock", "misty"]
        for number, user in enumerate(users, start=1):
            await parts.register(user)
            name, data = await looking.following()
            assert (name, [client["user_id"] for client in data["clients"]]) == ("clients", users[:number])
        await parts.clients.unregister("brock")
        await parts.clients.unregister("misty")
        await looking.until("clients", lambda data: len(data["clients"]) == 1)
        await parts.leases.settle([failed(await parts.only_due())])
        data = await looking.until("clients", lambda data: bool(data["clients"][0]["failures"]))
        assert (data["clients"][0]["state"], data["clients"][0]["last_reason"]) == ("failing", "timeout")


async def test_a_page_of_clients_is_followed(http: httpx.AsyncClient, parts: Registry) -> None:
    """Of a state, of those whose ids begin so, behind one of them; it says where the next one begins."""
    await parts.register("ash", "misty_1", "misty_2", "misty_3", "misty_4", "oak")
    await parts.clients.pause("misty_2")
    async with viewer(http, "clients", state="active", search="misty", after="misty_0", limit=2) as looking:
        _, data = await looking.following()
        assert [client["user_id"] for client in data["clients"]] == ["misty_1", "misty_3"]
        assert data["next"] == "misty_3"
        await parts.clients.unregister("misty_4")
        data = await looking.until("clients", lambda data: data["next"] is None)
        assert [client["user_id"] for client in data["clients"]] == ["misty_1", "misty_3"]
        await parts.clients.pause("misty_1")
        data = await looking.until("clients", lambda data: len(data["clients"]) == 1)
        assert [client["user_id"] for client in data["clients"]] == ["misty_3"]


async def test_a_client_is_followed(http: httpx.AsyncClient, parts: Registry) -> None:
    """Before it is registered, while it is, with its history, and when it has gone."""
    async with viewer(http, "client", user_id="a/ü") as looking:
        assert await looking.following() == ("client", {"client": None, "pulls": []})
        await parts.register("misty")
        await parts.clients.unregister("misty")
        await parts.pool.execute(
            "INSERT INTO registry.clients (user_id, client_url, client_type, capabilities) "
            "VALUES ('a/ü', 'http://localhost:3001', 'web', '{}')"
        )
        data = await looking.until("client", lambda data: data["client"] is not None)
        assert data["client"]["user_id"] == "a/ü"
        await parts.leases.settle([failed(await parts.only_due())])
        data = await looking.until("client", lambda data: bool(data["pulls"]))
        assert [pull["reason"] for pull in data["pulls"]] == ["timeout"]
        await parts.clients.unregister("a/ü")
        data = await looking.until("client", lambda data: data["client"] is None)
        assert len(data["pulls"]) == 1


@pytest.mark.parametrize(
    ("query", "status", "kind"),
    [
        ({}, 422, "invalid-request"),
        ({"topics": "weather"}, 422, "invalid-request"),
        ({"topics": "clients", "limit": 201}, 422, "invalid-request"),
        ({"topics": "clients", "state": "asleep"}, 422, "invalid-request"),
        ({"topics": "clients", "search": "\0"}, 404, "unknown-client"),
        ({"topics": "client", "user_id": "\0"}, 404, "unknown-client"),
        ({"topics": "client"}, 400, "refused"),
    ],
)
async def test_what_can_not_be_told_is_refused(
    http: httpx.AsyncClient, query: dict[str, Any], status: int, kind: str
) -> None:
    """Before a stream begins, with a sentence."""
    answer = await http.get(EVENTS, params=query)
    assert (answer.status_code, answer.json()["type"]) == (status, f"urn:pullsync:problem:{kind}")


async def test_streams_are_as_many_as_there_may_be(http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """One more is told to come again, and may when one has ended."""
    monkeypatch.setattr(event_routes, "MOST_STREAMS", 2)
    async with viewer(http, "ranking") as first, viewer(http, "ranking") as second:
        for looking in (first, second):
            await looking.following()
        refused = await http.get(EVENTS, params={"topics": "ranking"})
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "5")
        assert refused.json()["type"] == "urn:pullsync:problem:too-many-streams"

    async def taken() -> bool:
        async with http.stream("GET", EVENTS, params={"topics": "ranking"}) as stream:
            return stream.status_code == 200

    await eventually(taken)


async def test_a_burst_is_not_more_than_there_may_be(http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those who come at once are counted before any of their streams has begun."""
    monkeypatch.setattr(event_routes, "MOST_STREAMS", 2)
    async with AsyncExitStack() as streams:
        opened = (streams.enter_async_context(http.stream("GET", f"{EVENTS}?topics=ranking")) for _ in range(20))
        answers = await asyncio.gather(*opened)
        assert Counter(answer.status_code for answer in answers) == {200: 2, 503: 18}


async def test_who_goes_away_leaves_nothing_behind(http: httpx.AsyncClient) -> None:
    """No task goes on asking the database for somebody who does not listen."""

    async def ready() -> bool:
        return (await http.get("/health/ready")).is_success

    await eventually(ready)  # until then the registry itself begins tasks
    before = len(asyncio.all_tasks())
    async with viewer(http, *COMMON, "clients") as looking:
        await looking.following()
        assert len(asyncio.all_tasks()) > before

    async def as_before() -> bool:
        return len(asyncio.all_tasks()) <= before

    await eventually(as_before)


async def test_all_viewers_share_one_reading(parts: Registry) -> None:
    """However many look at what is the same for all."""
    read: list[Topic] = []

    async def status() -> dict[str, int]:
        read.append("status")
        await asyncio.sleep(0)
        return {"read": len(read)}

    topics = Topics(common={"status": status}, clients=parts.clients, pulls=parts.pulls)
    said = await asyncio.gather(*(topics.source("status", View())() for _ in range(50)))
    assert set(said) == {'{"read":1}'}
    assert read == ["status"]


async def test_who_looks_at_the_same_clients_shares_one_reading(parts: Registry) -> None:
    """However many they are; it is made anew for who comes when the others have gone."""
    await parts.register("ash")
    topics = Topics(common={}, clients=parts.clients, pulls=parts.pulls)
    views: tuple[tuple[Topic, View], ...] = (
        ("clients", View()),
        ("clients", View(search="a")),
        ("client", View(user_id="ash")),
        ("client", View(user_id="misty")),
    )
    for topic, view in views:
        sources = [topics.source(topic, replace(view)) for _ in range(50)]
        assert len(set(map(id, await asyncio.gather(*(source() for source in sources))))) == 1
    said = [json.loads(await topics.source(topic, view)()) for topic, view in views]
    assert [len(page["clients"]) for page in said[:2]] == [1, 1]
    assert [(client["client"] or {}).get("user_id") for client in said[2:]] == ["ash", None]

    first = topics.source("clients", View())
    assert len(json.loads(await first())["clients"]) == 1
    await parts.register("misty")
    del sources, first
    assert len(json.loads(await topics.source("clients", View())())["clients"]) == 2


async def test_no_event_can_be_taken_for_markup(http: httpx.AsyncClient, parts: Registry) -> None:
    """Whatever a client called itself: the text stays the same, the bytes have none."""
    await parts.register("ash")
    await parts.pool.execute("UPDATE registry.clients SET last_error = '<script>alert(1)&amp;</script>'")
    async with http.stream("GET", EVENTS, params={"topics": "clients"}) as answer:
        lines = answer.aiter_lines()
        _, data = [await anext(lines) for _ in range(2)]
    assert not set("<>&") & set(data)
    [client] = json.loads(data.removeprefix("data: "))["clients"]
    assert client["last_error"] == "<script>alert(1)&amp;</script>"


@pytest.mark.parametrize("silent", [False, True])
async def test_an_outage_of_the_database_is_told(
    database: Database,
    broker_url: str,
    parts: Registry,
    silent: bool,  # noqa: FBT001 - a column
) -> None:
    """Once, in a sentence; the stream goes on, with what needs no database, tells all anew, and that it is well."""
    address = urlsplit(database.registry_url)
    link = Link("postgres", [address.port or 5432])
    await link.open()
    try:
        login = address.netloc.rpartition("@")[0]
        reached = urlunsplit(address._replace(netloc=f"{login}@127.0.0.1:{link.port}"))
        async with talking(reached, broker_url) as http, viewer(http, "ranking", "clients", "queues") as looking:
            assert {(await looking.following())[0] for _ in range(3)} == {"ranking", "clients", "queues"}
            try:
                if silent:
                    link.stall()
                else:
                    await link.refuse()
                    link.cut(SystemRandom())
                assert await looking.following() == (
                    "problem",
                    {"detail": "The database is not available; try again soon."},
                )
                await parts.register("ash")
            finally:
                link.resume()
                await link.open()
            again = dict([await looking.following(), await looking.following()])
            assert set(again) == {"ranking", "clients"}
            assert [client["user_id"] for client in again["clients"]["clients"]] == ["ash"]
            assert await looking.following() == ("problem", {"detail": None})
    finally:
        await link.close()
