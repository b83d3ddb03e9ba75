"""The client makes itself known to the registry, and keeps itself known."""

from __future__ import annotations

import json
import random
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import structlog

from services.client.backend import BACKOFF_CAP_S, backoff_s
from services.client.database import Database
from services.client.pull_access import PullAccess, Tokens
from services.client.registration import Registrar
from services.client.store import CaptureStore
from shared.contracts.client_protocol import Registration
from shared.postgres.sql import load_queries

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, MutableMapping
    from pathlib import Path

    Log = list[MutableMapping[str, Any]]

CHECK_S = 7.0
REGISTRATION_TOKEN = "of-registration"
TOLD = {"message": "ok", "pull_token": "pull_ours", "client_token": "client_ours"}
OLD = Tokens(for_pulls="pull_old", for_registry="client_old")
OURS = {"client_url": "http://localhost:3001", "user_id": "a/b é"}


class FakeRegistry:
    """Answers as it is told to, and remembers what it was asked."""

    def __init__(self) -> None:
        self.requests: list[httpx.Request] = []
        self.post: httpx.Response | Exception = httpx.Response(200, json={"message": "ok"})
        self.get: httpx.Response | Exception = httpx.Response(200, json=OURS)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        """Take a request."""
        self.requests.append(request)
        answer = self.post if request.method == "POST" else self.get
        if isinstance(answer, Exception):
            raise answer
        return answer

    @property
    def methods(self) -> list[str]:
        """What it was asked since it was last looked at."""
        methods = [each.method for each in self.requests]
        self.requests.clear()
        return methods


class Monotonic:
    """A clock that moves only when told to."""

    now = 0.0

    def __call__(self) -> float:
        """Seconds."""
        return self.now


@pytest.fixture
def registry() -> FakeRegistry:
    """A registry that is content."""
    return FakeRegistry()


@pytest.fixture
def monotonic() -> Monotonic:
    """Zero, until it is moved."""
    return Monotonic()


@pytest.fixture
async def tokens(tmp_path: Path) -> AsyncIterator[PullAccess]:
    """The client's token, none yet, on a real disk."""
    queries = load_queries("services.client")
    async with Database(path=tmp_path / "captures.sqlite3", queries=queries) as database:
        yield PullAccess(
            store=CaptureStore(database=database, queries=queries, user_id="ash", clock=lambda: datetime.now(UTC))
        )


@pytest.fixture
async def registrar(registry: FakeRegistry, monotonic: Monotonic, tokens: PullAccess) -> AsyncIterator[Registrar]:
    """A registrar of a user whose id needs quoting."""
    async with httpx.AsyncClient(transport=httpx.MockTransport(registry)) as http:
        yield Registrar(
            http=http,
            backend_url="http://backend",
            registration=Registration(**OURS, client_type="web", capabilities=["capture", "favorite"]),
            registration_token=REGISTRATION_TOKEN,
            pull_access=tokens,
            check_s=CHECK_S,
            random=random.Random(1),  # noqa: S311 - jitter, not a secret
            monotonic=monotonic,
        )


@pytest.fixture
def logged() -> Any:
    """Log entries, as they come."""
    with structlog.testing.capture_logs() as entries:
        yield entries


async def test_it_registers_with_the_four_fields(registrar: Registrar, registry: FakeRegistry) -> None:
    """The body is the one of the protocol, to the path of the protocol."""
    assert await registrar.step() == CHECK_S
    [request] = registry.requests
    assert (request.method, str(request.url)) == ("POST", "http://backend/api/v1/pull-sync/register-client")
    assert json.loads(request.content) == {**OURS, "client_type": "web", "capabilities": ["capture", "favorite"]}


async def test_it_asks_whether_it_is_still_known(registrar: Registrar, registry: FakeRegistry) -> None:
    """Once registered it only asks, with its id quoted, as long as the record is right."""
    await registrar.step()
    registry.requests.clear()
    assert await registrar.step() == CHECK_S
    [request] = registry.requests
    assert request.method == "GET"
    assert request.url.raw_path == b"/api/v1/pull-sync/clients/a%2Fb%20%C3%A9"


async def test_a_registry_that_forgot_is_told_again(registrar: Registrar, registry: FakeRegistry) -> None:
    """404 leads to a registration at once, and then to asking again."""
    await registrar.step()
    registry.get = httpx.Response(404, json={"detail": "unknown"})
    registry.requests.clear()
    assert await registrar.step() == CHECK_S
    assert registry.methods == ["GET", "POST"]
    registry.get = httpx.Response(200, json=OURS)
    await registrar.step()
    assert registry.methods == ["GET"]


async def test_another_url_in_the_record_is_put_right(registrar: Registrar, registry: FakeRegistry) -> None:
    """A record with another address is replaced; a trailing slash makes no difference."""
    await registrar.step()
    registry.requests.clear()
    registry.get = httpx.Response(200, json={**OURS, "client_url": "http://localhost:3001/"})
    await registrar.step()
    assert registry.methods == ["GET"]
    registry.get = httpx.Response(200, json={**OURS, "client_url": "http://localhost:4000"})
    await registrar.step()
    assert registry.methods == ["GET", "POST"]


@pytest.mark.parametrize(
    "answer",
    [
        httpx.ConnectError("refused"),
        httpx.ReadTimeout(""),
        httpx.Response(500),
        httpx.Response(403),
        httpx.Response(200, text="not JSON"),
        httpx.Response(200, json=["no", "record"]),
        httpx.Response(200, json={"client_url": 5}),
    ],
)
async def test_any_other_answer_to_the_question_is_quietly_left(
    registrar: Registrar, registry: FakeRegistry, logged: Log, answer: httpx.Response | Exception
) -> None:
    """It asks again later, registers nothing, and says nothing above debug."""
    await registrar.step()
    registry.requests.clear()
    logged.clear()
    registry.get = answer
    assert await registrar.step() == CHECK_S
    assert registry.methods == ["GET"]
    assert {each["log_level"] for each in logged} <= {"debug"}


async def test_while_the_backend_is_away_it_tries_ever_more_rarely(
    registrar: Registrar, registry: FakeRegistry, monotonic: Monotonic, logged: Log
) -> None:
    """Pauses grow up to the cap; one line on the first failure, one more only after ten minutes."""
    registry.post = httpx.ConnectError("refused")
    pauses = []
    for _ in range(30):
        pauses.append(await registrar.step())
        monotonic.now += pauses[-1]
    assert 0.25 <= pauses[0] <= 0.5
    assert all(BACKOFF_CAP_S / 2 <= pause <= BACKOFF_CAP_S for pause in pauses[6:])
    assert len(set(pauses[6:])) > 20
    assert 300 < monotonic.now < 600 + BACKOFF_CAP_S
    assert [each["event"] for each in logged] == ["not_registered"]
    monotonic.now += 600
    await registrar.step()
    assert len(logged) == 2
    registry.post = httpx.Response(200, json={"message": "ok"})
    assert await registrar.step() == CHECK_S
    assert (logged[-1]["event"], logged[-1]["after_failures"]) == ("registered", 31)


async def test_a_refusal_is_told_with_its_detail_and_retried_slowly(
    registrar: Registrar, registry: FakeRegistry, logged: Log
) -> None:
    """4xx: the registry's own sentence is logged once, and the next attempt comes at the pace of the checks."""
    registry.post = httpx.Response(400, json={"detail": "Client is not reachable at http://localhost:3001"})
    for _ in range(3):
        assert await registrar.step() == CHECK_S
    assert registry.methods == ["POST"] * 3
    [entry] = logged
    assert "Client is not reachable at http://localhost:3001" in entry["reason"]
    registry.post = httpx.Response(422, json={"detail": [{"loc": ["body"]}]})
    await registrar.step()
    assert "422" in logged[-1]["reason"]
    assert "loc" in logged[-1]["reason"]


@pytest.mark.parametrize(
    ("header", "least_s"), [("42", 42.0), ("0", 0.0), ("100000", 3_600.0), ("soon", CHECK_S), (None, CHECK_S)]
)
async def test_too_many_registrations_are_spread(
    registrar: Registrar, registry: FakeRegistry, header: str | None, least_s: float
) -> None:
    """429: it waits as long as it is told, and not with all others to the same moment."""
    registry.post = httpx.Response(429, headers={} if header is None else {"retry-after": header})
    pauses = {await registrar.step() for _ in range(20)}
    assert all(least_s <= pause_s <= 1.5 * least_s for pause_s in pauses)
    assert len(pauses) == (20 if least_s else 1)
    registry.post = httpx.Response(200, json={"message": "ok"})
    assert await registrar.step() == CHECK_S


async def test_a_server_error_is_retried_soon(registrar: Registrar, registry: FakeRegistry) -> None:
    """5xx counts as being away."""
    registry.post = httpx.Response(503)
    assert await registrar.step() < 1


async def test_others_can_tell_whether_it_is_registered(registrar: Registrar, registry: FakeRegistry) -> None:
    """Only while the registry has said so, and not yet, when it forgot or has another address, the opposite."""
    registry.post = httpx.Response(503)
    await registrar.step()
    assert not registrar.registered.is_set()
    registry.post = httpx.Response(200, json={"message": "ok"})
    await registrar.step()
    assert registrar.registered.is_set()
    registry.get, registry.post = httpx.Response(404), httpx.ConnectError("refused")
    await registrar.step()
    assert not registrar.registered.is_set()


@pytest.mark.parametrize(("status", "asked"), [(200, ["GET"]), (503, ["GET"]), (404, ["GET", "POST"])])
async def test_a_doubt_is_looked_into_at_once(
    registrar: Registrar, registry: FakeRegistry, status: int, asked: list[str]
) -> None:
    """It counts as not registered until the record was asked for, and registers only where that is missing."""
    await registrar.step()
    registry.requests.clear()
    assert not registrar.woken.is_set()
    registrar.doubt()
    assert registrar.woken.is_set()
    assert not registrar.registered.is_set()
    registry.get = httpx.Response(status, json=OURS)
    assert await registrar.step() == CHECK_S
    assert registrar.registered.is_set()
    assert registry.methods == asked


def test_the_backoff_never_passes_its_cap() -> None:
    """However many failures, the pause is between half the cap and the cap, and the numbers stay finite."""
    seeded = random.Random(1)  # noqa: S311 - jitter, not a secret
    for failures in (10, 1_000, 10**9):
        assert BACKOFF_CAP_S / 2 <= backoff_s(failures, seeded) <= BACKOFF_CAP_S


def shown(registry: FakeRegistry) -> list[tuple[str, str | None]]:
    """Method and token of each request since this was asked last."""
    found = [(request.method, request.headers.get("authorization")) for request in registry.requests]
    registry.requests.clear()
    return found


async def test_it_keeps_the_token_that_it_is_told(
    registrar: Registrar, registry: FakeRegistry, tokens: PullAccess
) -> None:
    """The first time it shows the registration token, and from then on its own; a new process has it, too."""
    registry.post = httpx.Response(200, json=TOLD)
    await registrar.step()
    await registrar.step()
    assert shown(registry) == [("POST", f"Bearer {REGISTRATION_TOKEN}"), ("GET", "Bearer client_ours")]
    registrar.doubt()
    registry.get = httpx.Response(404)
    await registrar.step()
    assert shown(registry) == [("GET", "Bearer client_ours"), ("POST", "Bearer client_ours")]
    another = PullAccess(store=tokens._store)  # noqa: SLF001 - as a new process has it
    await another.load()
    assert (another.for_registry, another.is_open) == ("client_ours", False)


@pytest.mark.parametrize("status", [401, 403])
async def test_a_token_that_is_worth_nothing_is_replaced(
    registrar: Registrar, registry: FakeRegistry, tokens: PullAccess, status: int
) -> None:
    """The registry was made anew, or has removed this client: it registers as anybody would."""
    await tokens.keep(OLD)
    answers = iter([httpx.Response(status), httpx.Response(200, json=TOLD)])
    registry_call = registry.__call__

    def call(request: httpx.Request) -> httpx.Response:
        registry_call(request)
        return next(answers)

    registrar._http._transport = httpx.MockTransport(call)  # noqa: SLF001 - one answer after the other
    await registrar.step()
    assert shown(registry) == [("POST", "Bearer client_old"), ("POST", f"Bearer {REGISTRATION_TOKEN}")]
    assert tokens.for_registry == "client_ours"


@pytest.mark.parametrize(
    ("answer", "is_open"),
    [
        ({"message": "ok", "pull_token": None, "client_token": None}, True),
        ({"message": "ok"}, False),
        ({**TOLD, "pull_token": 7}, False),
        ({**TOLD, "client_token": "with\nlines"}, False),
        ({**TOLD, "client_token": ""}, False),
        ([], False),
    ],
)
async def test_only_a_registry_without_tokens_opens_the_client(
    registrar: Registrar,
    registry: FakeRegistry,
    tokens: PullAccess,
    answer: Any,
    is_open: bool,  # noqa: FBT001 - a column
) -> None:
    """And then it still has its own, to be shown to the registry: once that has tokens again, the client is closed."""
    await tokens.keep(OLD)
    registry.post = httpx.Response(200, json=answer)
    await registrar.step()
    assert (tokens.for_registry, tokens.is_open) == ("client_old", is_open)
    again = PullAccess(store=tokens._store)  # noqa: SLF001 - as a new process has it
    await again.load()
    assert (again.for_registry, again.is_open) == ("client_old", is_open)
    registry.post = httpx.Response(200, json=TOLD)
    registrar.doubt()
    registry.get = httpx.Response(404)
    await registrar.step()
    assert (tokens.for_registry, tokens.is_open) == ("client_ours", False)


async def test_a_refused_puller_makes_it_ask_now_and_then(
    registrar: Registrar, registry: FakeRegistry, monotonic: Monotonic
) -> None:
    """Perhaps there is a new token; somebody who tries tokens can't make it register all the time."""
    registry.post = httpx.Response(200, json=TOLD)
    await registrar.step()
    registrar.doubt_token()
    assert not registrar.woken.is_set()
    monotonic.now += CHECK_S
    registrar.doubt_token()
    assert registrar.woken.is_set()
    shown(registry)
    await registrar.step()
    assert [method for method, _ in shown(registry)] == ["POST"]


async def test_a_record_that_it_may_not_see_makes_it_register_rarely(
    registrar: Registrar, registry: FakeRegistry, monotonic: Monotonic
) -> None:
    """It can't know whether it is still known, and registering again does no harm."""
    await registrar.step()
    registry.get = httpx.Response(401)
    shown(registry)
    await registrar.step()
    assert [method for method, _ in shown(registry)] == ["GET"]
    monotonic.now += 2_701
    await registrar.step()
    assert [method for method, _ in shown(registry)] == ["GET", "POST"]


async def test_a_client_that_was_removed_registers_at_once(
    registrar: Registrar, registry: FakeRegistry, tokens: PullAccess
) -> None:
    """Its token is worth nothing any more, by which it knows."""
    registry.post = httpx.Response(200, json=TOLD)
    await registrar.step()
    registry.get = httpx.Response(401)
    shown(registry)
    await registrar.step()
    assert shown(registry) == [("GET", "Bearer client_ours"), ("POST", "Bearer client_ours")]
    assert tokens.for_registry == "client_ours"
