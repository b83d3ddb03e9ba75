"""The client tells the registry of fresh captures: each is nudged for, and none of them waits for that."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import structlog
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.client.backend import BACKOFF_CAP_S
from services.client.nudge import Nudger, nudge_url

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, MutableMapping

    Log = list[MutableMapping[str, Any]]
    Answer = httpx.Response | Exception

BOOKED = httpx.Response(202, json={"message": "due", "due_at": "2026-01-31T12:00:00.000Z"})


class FakeRegistry:
    """Answers as it is told to, and remembers what it was asked."""

    def __init__(self) -> None:
        self.requests: list[httpx.Request] = []
        self.answer: Answer = BOOKED
        self.meanwhile: Callable[[], None] = lambda: None
        """Happens while a nudge is under way."""
        self.open = asyncio.Event()
        self.open.set()

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        """Take a request."""
        self.requests.append(request)
        self.meanwhile()
        await self.open.wait()
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


class Client:
    """A nudger, and what it is told and tells."""

    def __init__(self, http: httpx.AsyncClient, *, timeout_s: float = 60.0) -> None:
        self.wanted = asyncio.Event()
        self.registered = asyncio.Event()
        self.registered.set()
        self.unknown = 0
        self.nudger = Nudger(
            http=http,
            url=nudge_url("http://backend", "a/b é"),
            wanted=self.wanted,
            registered=self.registered,
            on_unknown=self._is_unknown,
            random=random.Random(1),  # noqa: S311 - jitter, not a secret
            timeout_s=timeout_s,
        )

    def _is_unknown(self) -> None:
        self.unknown += 1

    async def capture(self) -> float:
        """A fresh capture, and the step that it leads to."""
        self.wanted.set()
        return await self.nudger.step()


@pytest.fixture
def registry() -> FakeRegistry:
    """A registry that books every nudge."""
    return FakeRegistry()


@pytest.fixture
async def client(registry: FakeRegistry) -> AsyncIterator[Client]:
    """A registered client without captures."""
    async with httpx.AsyncClient(transport=httpx.MockTransport(registry)) as http:
        yield Client(http)


@pytest.fixture
def logged() -> Any:
    """Log entries, as they come."""
    with structlog.testing.capture_logs() as entries:
        yield entries


async def all_turns() -> None:
    """Let everything happen that can happen now."""
    for _ in range(50):
        await asyncio.sleep(0)


async def test_a_nudge_is_a_post_without_content(client: Client, registry: FakeRegistry, logged: Log) -> None:
    """To the path of the protocol, with the user quoted; the next may follow at once, and nothing is logged."""
    assert await client.capture() == 0.0
    [request] = registry.requests
    assert (request.method, request.url.raw_path) == ("POST", b"/api/v1/pull-sync/nudge/a%2Fb%20%C3%A9")
    assert (request.content, request.headers["content-length"]) == (b"", "0")
    assert not client.wanted.is_set()
    assert logged == []


async def test_nothing_is_sent_without_a_capture_or_a_registration(client: Client, registry: FakeRegistry) -> None:
    """It waits for both, in either order, and then sends one."""
    client.registered.clear()
    step = asyncio.create_task(client.nudger.step())
    await all_turns()
    client.wanted.set()
    await all_turns()
    assert registry.requests == []
    client.wanted.set()
    client.registered.set()
    await step
    step = asyncio.create_task(client.nudger.step())
    await all_turns()
    assert len(registry.requests) == 1
    step.cancel()


async def test_captures_during_a_nudge_share_the_next(client: Client, registry: FakeRegistry) -> None:
    """The one under way may come too early for them, so there is one more; and no third."""
    registry.meanwhile = client.wanted.set
    await client.capture()
    assert client.wanted.is_set()
    registry.meanwhile = lambda: None
    await client.nudger.step()
    assert not client.wanted.is_set()
    assert len(registry.requests) == 2


@pytest.mark.parametrize(
    "answer",
    [
        httpx.ConnectError("refused"),
        httpx.ReadError(""),
        httpx.RemoteProtocolError("the server disconnected"),
        httpx.Response(302, headers={"location": "http://elsewhere"}),
        httpx.Response(500),
        httpx.Response(503, json={"detail": "The database is not available; try again soon."}),
    ],
)
async def test_a_nudge_that_was_not_heard_stays_wanted(client: Client, registry: FakeRegistry, answer: Answer) -> None:
    """It is sent again after a pause, without a new capture."""
    registry.answer = answer
    assert 0.25 <= await client.capture() <= 0.5
    assert client.wanted.is_set()
    assert client.unknown == 0
    registry.answer = BOOKED
    assert await client.nudger.step() == 0.0
    assert not client.wanted.is_set()


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 409, 422])
async def test_a_refused_nudge_is_not_repeated(client: Client, registry: FakeRegistry, status: int) -> None:
    """It would be refused again; and only at 404 the registration is doubted."""
    registry.answer = httpx.Response(status, json={"detail": "no"})
    assert 0.25 <= await client.capture() <= 0.5
    assert not client.wanted.is_set()
    assert client.unknown == (status == 404)


@pytest.mark.parametrize(
    ("header", "pause_s"),
    [
        ("2", 2.0),
        ("0.25", 0.25),
        ("0", 0.0),
        (None, 1.0),
        ("", 1.0),
        ("soon", 1.0),
        ("Sat, 31 Jan 2026 12:00:00 GMT", 1.0),
        ("-5", 0.0),
        ("nan", 0.0),
        ("inf", BACKOFF_CAP_S),
        ("9" * 5_000, BACKOFF_CAP_S),
    ],
)
async def test_a_client_that_is_booked_already_keeps_quiet(
    client: Client, registry: FakeRegistry, logged: Log, header: str | None, pause_s: float
) -> None:
    """429 is no failure: nothing is repeated, and the next nudge waits as long as it says, within reason."""
    registry.answer = httpx.Response(429, headers={} if header is None else {"retry-after": header})
    assert await client.capture() == pause_s
    assert not client.wanted.is_set()
    assert logged == []


async def test_a_run_of_failures_is_told_at_its_begin_and_at_its_end(
    client: Client, registry: FakeRegistry, logged: Log
) -> None:
    """Whatever the reasons in between; pauses grow up to the cap, and after a success all begins anew."""
    answers: list[Answer] = [httpx.Response(409, json={"detail": "the scheduler is stopped"})]
    answers += [httpx.ConnectError("refused"), httpx.Response(500), httpx.Response(404)] * 5
    pauses = []
    for registry.answer in answers:
        pauses.append(await client.capture())
    assert all(BACKOFF_CAP_S / 2 <= pause <= BACKOFF_CAP_S for pause in pauses[6:])
    assert len(set(pauses)) == len(pauses)
    assert [(each["event"], each["log_level"]) for each in logged] == [("not_nudged", "warning")]
    assert logged[0]["reason"] == "HTTP 409: the scheduler is stopped"
    registry.answer = httpx.Response(429)
    await client.capture()
    assert (logged[-1]["event"], logged[-1]["after_failures"]) == ("nudged_again", 16)
    registry.answer = httpx.ConnectError("refused")
    assert await client.capture() <= 0.5
    assert [each["event"] for each in logged] == ["not_nudged", "nudged_again", "not_nudged"]


async def test_a_nudge_that_hangs_is_given_up_and_stays_wanted(registry: FakeRegistry, logged: Log) -> None:
    """Its whole time is limited."""
    registry.open.clear()
    async with httpx.AsyncClient(transport=httpx.MockTransport(registry)) as http:
        client = Client(http, timeout_s=0.01)
        assert await client.capture() <= 0.5
    assert client.wanted.is_set()
    assert logged[0]["reason"] == "TimeoutError"


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(plan=st.lists(st.tuples(st.sampled_from([202, 429, 500, 503, 404, 409, 0]), st.booleans()), max_size=12))
async def test_no_capture_is_left_without_a_nudge(plan: list[tuple[int, bool]]) -> None:
    """For any answers, and captures that come during any nudge: one was answered that began after the last capture."""
    registry = FakeRegistry()
    async with httpx.AsyncClient(transport=httpx.MockTransport(registry)) as http:
        client = Client(http)
        captures, failures, answered_for = 1, 0, 0
        client.wanted.set()
        while client.wanted.is_set():
            status, another = plan.pop(0) if plan else (202, False)
            before = captures
            captures += another
            registry.meanwhile = client.wanted.set if another else lambda: None
            registry.answer = httpx.Response(status) if status else httpx.ConnectError("refused")
            await client.nudger.step()
            if status in {0, 500, 503}:
                failures += 1
            else:
                answered_for = before
    assert answered_for == captures
    assert len(registry.requests) <= captures + failures
