"""What operators use of the registry's HTTP API: runs as they go on, clients of their own pace, nudges, numbers, pages.

Postgres and RabbitMQ are real, and the registry is served by uvicorn; the puller is played by the test.
"""

from __future__ import annotations

import asyncio
import json
import socket
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from urllib.parse import quote

import asyncpg
import httpx
import pytest
import uvicorn
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.registry.app import build_app
from services.registry.routes import runs as run_routes
from services.registry.settings import RegistrySettings
from shared.contracts.messages import PullTarget
from tests.registry_parts import Database, Registry, failed, outcome, registry_over
from tests.waiting import eventually

PULL_SYNC: Final = "/api/v1/pull-sync"
PROBLEM: Final = "application/problem+json"
DEADLINE_S: Final = 20.0
ODD_USERS: Final = ("a/b", "/a//b/", "100%", "%41", "a b", "a?b#c", "Zoë \U0001f600", "..", "a+b&c=d", "ü" * 255)
NOBODY: Final = "00000000-0000-0000-0000-000000000000"


@pytest.fixture
async def parts(database: Database) -> AsyncIterator[Registry]:
    """The registry's parts over the same database, to play pullers and to prepare clients."""
    async with registry_over(database, running=True) as registry:
        yield registry


@pytest.fixture
def registry_settings(database: Database, broker_url: str) -> RegistrySettings:
    """With a spacing of nudges that no test outlasts."""
    return RegistrySettings(
        database_url=database.registry_url,
        rabbitmq_url=broker_url,
        pull_sync_nudge_spacing=60.0,
        pull_sync_nudge_burst=1,
        registry_limit_syncs="0",
    )


@asynccontextmanager
async def served(settings: RegistrySettings) -> AsyncIterator[httpx.AsyncClient]:
    """The registry behind a real server, and something that talks to it."""
    app = build_app(settings)
    server = uvicorn.Server(uvicorn.Config(app, lifespan="off", log_config=None, ws="none"))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        base_url = f"http://127.0.0.1:{listener.getsockname()[1]}{PULL_SYNC}"
        async with app.router.lifespan_context(app), httpx.AsyncClient(base_url=base_url, trust_env=False) as http:
            try:
                yield http
            finally:
                server.should_exit = True
                await serving


@pytest.fixture
async def http(registry_settings: RegistrySettings) -> AsyncIterator[httpx.AsyncClient]:
    """Talks to a registry without clients."""
    async with served(registry_settings) as client:
        yield client


def path_of(user_id: str) -> str:
    """As one segment of a path."""
    return quote(user_id, safe="").replace(".", "%2E")


def assert_problem(answer: httpx.Response, status: int, kind: str) -> None:
    """A refusal of that kind, with a sentence."""
    assert (answer.status_code, answer.headers["content-type"]) == (status, PROBLEM), answer.text
    assert answer.json()["type"] == f"urn:pullsync:problem:{kind}"
    assert answer.json()["detail"]


async def pages(http: httpx.AsyncClient, path: str) -> list[list[dict[str, Any]]]:
    """All pages, each from where the header of the last one leads."""
    found = []
    while path:
        answer = await http.get(path)
        assert answer.status_code == 200, answer.text
        found.append(answer.json())
        path = str(http.base_url.join(answer.links["next"]["url"])) if "next" in answer.links else ""
    return found


async def start(http: httpx.AsyncClient, path: str = "sync-all-background") -> str:
    """A run; its id."""
    answer = await http.post(path)
    assert answer.status_code in {200, 202}, answer.text
    return str(answer.json()["run_id"])


# ---------------------------------------------------------------- runs


@pytest.mark.parametrize("wait_s", ["-1", "301", "nan", "inf", "soon", ""])
async def test_a_wait_out_of_range_is_refused(http: httpx.AsyncClient, wait_s: str) -> None:
    """And no run is started."""
    for path in ("sync-all", "sync-recent"):
        assert_problem(await http.post(path, params={"wait_s": wait_s}), 422, "invalid-request")
    assert (await http.get("runs")).json() == []


async def test_a_run_is_told_as_it_goes_on(http: httpx.AsyncClient, parts: Registry) -> None:
    """The answer of 202 leads to it; it tells what was requested, settled, stored and failed, and why."""
    await parts.register("ash", "misty", "brock")
    answer = await http.post("sync-all?wait_s=0")
    assert answer.status_code == 202
    targets = {}

    async def all_claimed() -> bool:
        rows = await parts.pool.fetch("SELECT user_id, pull_id, client_url, next_pull_at FROM registry.clients")
        targets.update({row["user_id"]: row for row in rows})
        return all(row["pull_id"] for row in rows)

    await eventually(all_claimed)
    await settle(parts, targets["ash"], stored=3)
    await settle(parts, targets["misty"], fails=True)
    body = (await http.get(answer.json()["status_url"].removeprefix(PULL_SYNC))).json()
    told = {name: body[name] for name in ("requested", "settled", "stored", "failed", "failed_by_reason", "state")}
    assert told == {
        "requested": 3,
        "settled": 2,
        "stored": 3,
        "failed": 1,
        "failed_by_reason": {"timeout": 1},
        "state": "running",
    }
    assert body["rate_per_s"] > 0
    assert body["time_left_s"] >= 0
    assert len(body["failures"]) == 1


async def settle(parts: Registry, row: asyncpg.Record, *, stored: int = 0, fails: bool = False) -> None:
    """End the pull that holds that client."""
    target = PullTarget(
        pull_id=row["pull_id"],
        user_id=row["user_id"],
        client_url=row["client_url"],
        lease_expires_at=row["next_pull_at"],
    )
    await parts.leases.settle([failed(target) if fails else outcome(target, stored=stored)])


async def settle_all(parts: Registry) -> None:
    """End all pulls under way."""
    for row in await parts.pool.fetch("SELECT * FROM registry.clients WHERE pull_id IS NOT NULL"):
        await settle(parts, row, stored=1)


class Events:
    """What a stream of server-sent events says."""

    def __init__(self, answer: httpx.Response) -> None:
        self._lines = answer.aiter_lines()

    async def following(self) -> tuple[str, dict[str, Any]]:
        """The next event's name and data.

        Raises:
            StopAsyncIteration: the stream has ended.
        """
        name, data = "", ""
        async for line in self._lines:
            field, _, value = line.partition(": ")
            if field == "event":
                name = value
            elif field == "data":
                data += value
            elif not line and data:
                return name, json.loads(data)
        raise StopAsyncIteration


async def test_a_run_is_streamed(http: httpx.AsyncClient, parts: Registry) -> None:
    """At once as it is, then each change, at last its end; then the stream ends."""
    await parts.register("ash", "misty")
    run_id = await start(http)
    async with http.stream("GET", f"runs/{run_id}/events") as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        events = Events(answer)
        name, data = await events.following()
        assert (name, data["run_id"], data["settled"], data["state"]) == ("progress", run_id, 0, "running")
        row = None

        async def claimed() -> bool:
            nonlocal row
            row = await parts.pool.fetchrow("SELECT * FROM registry.clients WHERE pull_id IS NOT NULL LIMIT 1")
            return row is not None

        await eventually(claimed)
        assert row is not None
        await settle(parts, row, fails=True)
        name, data = await events.following()
        assert (name, data["settled"], data["failed_by_reason"]) == ("progress", 1, {"timeout": 1})
        await eventually(lambda: settled_all(parts, http, run_id))
        name, data = await events.following()
        while name == "progress":
            name, data = await events.following()
        assert (name, data["settled"], data["state"], data["stored"]) == ("finished", 2, "finished", 1)
        with pytest.raises(StopAsyncIteration):
            await events.following()


async def settled_all(parts: Registry, http: httpx.AsyncClient, run_id: str) -> bool:
    """Settle what is under way; whether the run has ended."""
    await settle_all(parts)
    return bool((await http.get(f"runs/{run_id}")).json()["state"] != "running")


async def test_a_change_of_unknown_captures_alone_is_streamed(http: httpx.AsyncClient, parts: Registry) -> None:
    """Each number of a complete run counts as progress."""
    await parts.register("ash")
    run_id = await parts.runs.start_complete(delete_unknown=False)
    async with http.stream("GET", f"runs/{run_id}/events") as answer:
        events = Events(answer)
        await events.following()
        await parts.pool.execute("UPDATE registry.sync_runs SET unknown = 3")
        _, data = await events.following()
        assert data["unknown"] == 3


async def test_a_cancelled_or_ended_run_is_streamed(http: httpx.AsyncClient, parts: Registry) -> None:
    """Who comes late is told the end, and nothing else."""
    await parts.register("ash")
    run_id = await start(http)
    assert (await http.post(f"runs/{run_id}/cancel")).json()["state"] == "cancelled"
    async with http.stream("GET", f"runs/{run_id}/events") as answer:
        events = Events(answer)
        name, data = await events.following()
        assert (name, data["state"], data["cancelled"]) == ("finished", "cancelled", 1)
        with pytest.raises(StopAsyncIteration):
            await events.following()


async def test_an_unknown_run_is_refused_before_the_stream_begins(http: httpx.AsyncClient) -> None:
    """As everywhere else."""
    for path in (f"runs/{NOBODY}/events", f"runs/{NOBODY}", f"runs/{NOBODY}/clients"):
        assert_problem(await http.get(path), 404, "unknown-run")
    assert_problem(await http.post(f"runs/{NOBODY}/cancel"), 404, "unknown-run")
    assert_problem(await http.get("runs/nonsense/events"), 422, "invalid-request")


async def test_streams_are_as_many_as_there_may_be(
    http: httpx.AsyncClient, parts: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each asks the database for as long as it lasts; one more is told to come again, and may when one has ended."""
    monkeypatch.setattr(run_routes, "MOST_STREAMS", 2)
    await parts.register("ash")
    path = f"runs/{await start(http)}/events"
    async with http.stream("GET", path) as first, http.stream("GET", path) as second:
        lines = [stream.aiter_lines() for stream in (first, second)]  # a stream ends with what reads it
        assert [await anext(each) for each in lines] == ["event: progress"] * 2
        refused = await http.get(path)
        assert_problem(refused, 503, "too-many-streams")
        assert refused.headers["retry-after"] == "5"

    async def taken() -> bool:
        async with http.stream("GET", path) as stream:
            return stream.status_code == 200

    await eventually(taken)


async def test_a_burst_is_not_more_than_there_may_be(
    http: httpx.AsyncClient, parts: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those who come at once are counted before any of their streams has begun."""
    monkeypatch.setattr(run_routes, "MOST_STREAMS", 2)
    await parts.register("ash")
    path = f"runs/{await start(http)}/events"
    async with AsyncExitStack() as streams:
        answers = await asyncio.gather(*(streams.enter_async_context(http.stream("GET", path)) for _ in range(20)))
        assert Counter(answer.status_code for answer in answers) == {200: 2, 503: 18}


async def test_who_goes_away_from_a_stream_leaves_nothing_behind(http: httpx.AsyncClient, parts: Registry) -> None:
    """No task goes on asking the database for somebody who does not listen."""
    await parts.register("ash")
    run_id = await start(http)

    await http.get("runs")
    before = len(asyncio.all_tasks())
    async with http.stream("GET", f"runs/{run_id}/events") as answer:
        await Events(answer).following()
        assert len(asyncio.all_tasks()) > before

    async def as_before() -> bool:
        return len(asyncio.all_tasks()) <= before

    await eventually(as_before)


async def test_a_cancel_is_told(http: httpx.AsyncClient, parts: Registry) -> None:
    """The figures, at once; 409 for one that has ended, and the one who waited for it is told."""
    await parts.register("ash", "misty")
    waiting = asyncio.create_task(http.post("sync-all", timeout=60))

    async def started() -> bool:
        return bool((await http.get("runs")).json())

    await eventually(started)
    [run] = (await http.get("runs")).json()
    body = (await http.post(f"runs/{run['run_id']}/cancel")).json()
    assert (body["state"], body["requested"], body["settled"], body["cancelled"]) == ("cancelled", 2, 0, 2)
    assert_problem(await http.post(f"runs/{run['run_id']}/cancel"), 409, "run-finished")
    assert (await waiting).json()["success"] is False


async def test_a_run_outlives_its_registry(registry_settings: RegistrySettings, parts: Registry) -> None:
    """The next one goes on with it, and every client is settled once."""
    await parts.register("ash", "misty", "brock")
    async with served(registry_settings) as http:
        run_id = await start(http)
        [row, *_] = await parts.pool.fetch("SELECT * FROM registry.clients")

        async def claimed() -> bool:
            nonlocal row
            row = await parts.record("ash")
            return row["pull_id"] is not None

        await eventually(claimed)
        await settle(parts, row, stored=1)
    async with served(registry_settings) as http:
        await parts.let_leases_end()
        await eventually(lambda: settled_all(parts, http, run_id))
        body = (await http.get(f"runs/{run_id}")).json()
        assert (body["requested"], body["settled"], body["stored"], body["failed"]) == (3, 3, 3, 0)


async def test_deletion_may_be_asked_for_in_the_body(http: httpx.AsyncClient) -> None:
    """What it says is done or refused, and never passed over."""
    bodies: tuple[object, ...] = ({"delete_unkown": True}, {"delete_unknown": "yes"}, {"delete_unknown": None}, [])
    for body in bodies:
        assert_problem(await http.post("sync-complete-state", json=body), 422, "invalid-request")
    answer = await http.post("sync-complete-state", json={"delete_unknown": True})
    assert answer.status_code == 202
    assert (await http.get(f"runs/{answer.json()['run_id']}")).json()["delete_unknown"] is True


async def test_nobody_is_sent_to_where_his_host_header_says(http: httpx.AsyncClient) -> None:
    """A slash too many is another path."""
    answer = await http.get("status/")
    assert (answer.status_code, answer.headers.get("location")) == (404, None)


async def test_one_complete_run_at_a_time(http: httpx.AsyncClient, parts: Registry) -> None:
    """202 with its address, 409 for another, which names the first; its clients are listed by outcome."""
    await parts.register("ash")
    answer = await http.post("sync-complete-state?delete_unknown=true")
    assert answer.status_code == 202
    run_id = answer.json()["run_id"]
    refused = await http.post("sync-complete-state")
    assert_problem(refused, 409, "complete-run-under-way")
    assert run_id in refused.json()["detail"]
    assert (await http.get(f"runs/{run_id}")).json()["delete_unknown"] is True
    assert (await http.get(f"runs/{run_id}/clients?outcome=differing")).json() == []
    [waiting] = (await http.get(f"runs/{run_id}/clients?outcome=waiting")).json()
    assert (waiting["user_id"], waiting["missing_examples"]) == ("ash", [])
    assert_problem(await http.get(f"runs/{run_id}/clients?outcome=odd"), 422, "invalid-request")


async def test_runs_and_their_clients_come_in_pages(http: httpx.AsyncClient, parts: Registry) -> None:
    """The header leads through all of them, once each, in order."""
    await parts.register(*(f"user_{n}" for n in range(5)))
    started = [await start(http) for _ in range(5)]
    found = await pages(http, "runs?limit=2")
    assert [run["run_id"] for page in found for run in page] == started[::-1]
    assert [len(page) for page in found] == [2, 2, 1]
    found = await pages(http, f"runs/{started[0]}/clients?limit=2&outcome=waiting")
    assert [part["user_id"] for page in found for part in page] == [f"user_{n}" for n in range(5)]
    assert (await http.get("runs", params={"before": NOBODY})).json() == []


# ---------------------------------------------------------------- clients


async def test_clients_come_in_pages(http: httpx.AsyncClient, parts: Registry) -> None:
    """With any id as a cursor, and by state; the status leads to the rest of them."""
    for user in ODD_USERS:
        await parts.pool.execute(
            """INSERT INTO registry.clients (user_id, client_url, client_type, capabilities, failures)
               VALUES ($1, 'http://localhost:1', 'web', '{}', 1)""",
            user,
        )
    for path in ("registered-clients?limit=3", "registered-clients?limit=1&state=failing"):
        found = [client["user_id"] for page in await pages(http, path) for client in page]
        assert found == sorted(ODD_USERS, key=str.encode)
    status = await http.get("status?limit=2")
    rest = await pages(http, str(http.base_url.join(status.links["next"]["url"])))
    assert [client["user_id"] for client in status.json()["clients"]] + [
        client["user_id"] for page in rest for client in page
    ] == sorted(ODD_USERS, key=str.encode)
    assert (await http.get("registered-clients?state=paused")).json() == []


async def test_clients_are_found_by_how_their_ids_begin(http: httpx.AsyncClient, parts: Registry) -> None:
    """Page by page, each of which leads on with the same search; together with a state."""
    await parts.register("ash", "misty_1", "misty_2", "misty_3", "mistz")
    found = await pages(http, "registered-clients?search=misty&limit=2")
    assert [[client["user_id"] for client in page] for page in found] == [["misty_1", "misty_2"], ["misty_3"]]
    await parts.clients.pause("misty_2")
    [active] = await pages(http, "registered-clients?search=misty_&state=active")
    assert [client["user_id"] for client in active] == ["misty_1", "misty_3"]
    [paused] = await pages(http, "registered-clients?search=mist&state=paused")
    assert [client["user_id"] for client in paused] == ["misty_2"]
    assert_problem(await http.get("registered-clients", params={"search": "a\0"}), 404, "unknown-client")
    assert_problem(await http.get("registered-clients", params={"search": "a" * 256}), 422, "invalid-request")


async def test_any_client_can_be_changed_and_nudged(http: httpx.AsyncClient, parts: Registry) -> None:
    """Whatever its id is like; only that one."""
    await parts.register("other")
    for user in ODD_USERS:
        await parts.pool.execute(
            """INSERT INTO registry.clients (user_id, client_url, client_type, capabilities)
               VALUES ($1, 'http://localhost:1', 'web', '{}')""",
            user,
        )
        answer = await http.patch(f"clients/{path_of(user)}", json={"sync_interval_s": 300})
        assert (answer.status_code, answer.json()["user_id"], answer.json()["sync_interval_s"]) == (200, user, 300)
        answer = await http.post(f"nudge/{path_of(user)}")
        assert answer.status_code == 202
    other = (await http.get("clients/other")).json()
    assert (other["sync_interval_s"], other["state"]) == (None, "active")
    for path in ("nobody", "a%00b", "x" * 255):
        assert_problem(await http.patch(f"clients/{path}", json={}), 404, "unknown-client")
        assert_problem(await http.post(f"nudge/{path}"), 404, "unknown-client")


@pytest.mark.parametrize(
    "body",
    [
        {"sync_interval_s": 4},
        {"sync_interval_s": 86_401},
        {"sync_interval_s": 10**30},
        {"sync_interval_s": 30.0},
        {"sync_interval_s": "30"},
        {"sync_interval_s": True},
        {"paused": None},
        {"paused": "yes"},
        {"paused": 1},
        {"interval": 30},
        [],
        None,
    ],
)
async def test_a_change_that_cannot_be_is_refused(http: httpx.AsyncClient, parts: Registry, body: object) -> None:
    """Whole: nothing of it is done."""
    await parts.register("ash")
    before = (await http.get("clients/ash")).json()
    sent = {"paused": True, **body} if isinstance(body, dict) and "paused" not in body else body
    assert_problem(await http.patch("clients/ash", json=sent), 422, "invalid-request")
    assert (await http.get("clients/ash")).json()["state"] == before["state"]


async def test_a_client_is_paused_and_resumed(http: httpx.AsyncClient, parts: Registry) -> None:
    """It shows, nudges are refused, runs go without it; null gives it the scheduler's interval again."""
    await parts.register("ash")
    body = (await http.patch("clients/ash", json={"paused": True, "sync_interval_s": 60})).json()
    assert (body["state"], body["sync_interval_s"]) == ("paused", 60)
    assert_problem(await http.post("nudge/ash"), 409, "not-pulled")
    assert (await http.post("sync-all")).json()["clients_processed"] == 0
    status = (await http.get("status")).json()
    assert (status["registered_clients"], status["active_clients"], status["paused_clients"]) == (1, 0, 1)
    body = (await http.patch("clients/ash", json={"paused": False, "sync_interval_s": None})).json()
    assert (body["state"], body["sync_interval_s"]) == ("active", None)
    assert (await http.post("nudge/ash")).status_code == 202


async def test_nudges_are_spaced(http: httpx.AsyncClient, parts: Registry) -> None:
    """202 for the first and for the one that is booked, then 429 with the seconds to wait; 409 while stopped."""
    await parts.register("ash")
    first = await http.post("nudge/ash")
    second = await http.post("nudge/ash")
    assert (first.status_code, second.status_code) == (202, 202)
    due = [datetime.fromisoformat(answer.json()["due_at"]) for answer in (first, second)]
    assert due[1] - due[0] == timedelta(seconds=60)
    assert due[0] <= datetime.now(UTC) + timedelta(seconds=1)
    refused = await http.post("nudge/ash")
    assert_problem(refused, 429, "nudged-too-often")
    assert 1 <= int(refused.headers["retry-after"]) <= 60
    assert refused.headers["ratelimit-policy"] == '"nudges";q=1;w=60'
    assert refused.headers["ratelimit"] == f'"nudges";r=0;t={refused.headers["retry-after"]}'
    await http.post("scheduler/stop")
    assert_problem(await http.post("nudge/ash"), 409, "not-pulled")


async def test_a_nudge_is_asked_of_the_pullers_at_once(http: httpx.AsyncClient, parts: Registry) -> None:
    """The dispatcher is woken, and the client is leased."""
    await parts.register("ash")
    await http.post("nudge/ash")

    async def in_flight() -> bool:
        return bool((await http.get("clients/ash")).json()["in_flight"])

    await eventually(in_flight)


# ---------------------------------------------------------------- numbers


async def test_the_last_hour_is_told(http: httpx.AsyncClient, parts: Registry) -> None:
    """Minute by minute, in the words of the API."""
    await parts.register("ash")
    await parts.leases.settle([failed(await parts.only_due())])
    minutes = (await http.get("status/minutes")).json()
    assert len(minutes) == 60
    [told] = [minute for minute in minutes if minute["pulls"]]
    assert (told["failed"], told["failed_by_reason"], told["stored_captures"]) == (1, {"timeout": 1}, 0)
    assert told["minute"] >= minutes[-2]["minute"]


async def test_the_numbers_are_told(http: httpx.AsyncClient, parts: Registry) -> None:
    """In the status and in that of the scheduler alike."""
    empty = (await http.get("status")).json()["recent"]
    assert (empty["pulls"], empty["success_rate"], empty["duration_median_s"]) == (0, None, None)
    await parts.register("ash", "misty", "brock", "may")
    a, b, *_ = await parts.leases.claim_due(3)
    await parts.leases.settle([outcome(a, stored=3, pending=2, duration_s=0.1), failed(b)])
    for path in ("status", "scheduler/status"):
        body = (await http.get(path)).json()
        assert [body[f"{state}_clients"] for state in ("registered", "active", "failing", "inactive", "paused")] == [
            4,
            3,
            1,
            0,
            0,
        ]
        assert (body["in_flight"], body["pending_captures"], body["stored_captures"]) == (1, 2, 3)
        assert 0 <= body["lag_s"] < DEADLINE_S
        recent = body["recent"]
        assert (recent["pulls"], recent["success_rate"], recent["failed_by_reason"]) == (2, 0.5, {"timeout": 1})
        assert 0.1 <= recent["duration_median_s"] <= 0.119
        assert 0.25 <= recent["duration_p99_s"] <= 0.2975


# ---------------------------------------------------------------- whatever is sent

odd_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=40) | st.sampled_from(
    ["\x00", "'", "%", "../..", "\U0010ffff", "9" * 400, NOBODY, "NaN", "1e400", "-0", "null"]
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=odd_text, number=st.integers() | st.floats() | odd_text)
async def test_nothing_that_is_sent_is_an_error_of_ours(http: httpx.AsyncClient, text: str, number: object) -> None:
    """Any id, cursor, number and body is answered, or refused in words."""
    path = path_of(text)
    query = {"after": text, "before": text, "limit": str(number), "wait_s": "0", "state": text, "outcome": text}
    content = json.dumps({"sync_interval_s": number if not isinstance(number, float) else str(number), "paused": text})
    answers = [
        await http.get(f"clients/{path}"),
        await http.patch(f"clients/{path}", content=content, headers={"content-type": "application/json"}),
        await http.post(f"nudge/{path}"),
        await http.get("registered-clients", params={"after": text}),
        await http.get("registered-clients", params=query),
        await http.get("runs", params={"before": text}),
        await http.get("runs", params=query),
        await http.get(f"runs/{path}"),
        await http.get(f"runs/{path}/clients", params={"after": text}),
        await http.get(f"runs/{path}/events"),
        await http.post(f"runs/{path}/cancel"),
        await http.get("status", params={"limit": str(number)}),
        await http.post("sync-recent", params={"wait_s": str(number)}) if not isinstance(number, float | int) else None,
    ]
    for answer in answers:
        assert answer is None or answer.status_code < 500, (answer.url, answer.text)


async def test_a_run_since_any_time(http: httpx.AsyncClient, parts: Registry) -> None:
    """From the first year to the last; the timer's own pulls never ask with a `since`."""
    await parts.register("ash")
    for since in ("0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z", "1969-12-31T23:59:59-12:00"):
        answer = await http.post("sync-all?wait_s=0", json={"since": since})
        assert answer.status_code == 202, answer.text
    await parts.pool.execute("UPDATE registry.clients SET pull_id = NULL, demanded_at = NULL, next_pull_at = now()")
    await parts.leases.claim_due(1)
    assert (await parts.record())["pull_since"] is None
