"""The client as a real process nudges a registry, and no answer of the registry's ever touches a capture."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web

from shared.contracts.client_protocol import ADD_CAPTURE_PATH, STATS_PATH
from tests.client_process import BULBASAUR, Process, Registry, free_port, get, post, starting_clients
from tests.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.client_process import Start

OFTEN = "0.05"
NEVER = "86400"
"""Seconds between two checks of the registration."""


class NudgedRegistry(Registry):
    """Remembers each nudge, and answers as it is told to."""

    def __init__(self, port: int) -> None:
        super().__init__(port)
        self.nudges: list[tuple[str, bytes]] = []
        """Path as it was sent, and body."""
        self.connections: set[Any] = set()
        self.answers: list[int] = []
        """Statuses of the next answers; then it is 202, and 404 for a client without a record."""
        self.headers: dict[str, str] = {}
        self.open = asyncio.Event()
        """While it is not set, nudges wait for their answer."""
        self.open.set()
        self.most_at_once = 0
        self._at_once = 0

    def routes(self) -> list[web.RouteDef]:
        """One more."""
        return [*super().routes(), web.post("/api/v1/pull-sync/nudge/{user_id}", self.nudge)]

    async def nudge(self, request: web.Request) -> web.Response:
        """Take a nudge."""
        assert request.transport is not None
        self.connections.add(request.transport.get_extra_info("peername"))
        self.nudges.append((request.raw_path, await request.read()))
        self._at_once += 1
        self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            await self.open.wait()
        finally:
            self._at_once -= 1
        known = request.match_info["user_id"] in self.records
        status = self.answers.pop(0) if self.answers else 202 if known else 404
        return web.json_response({"detail": "in its own words"}, status=status, headers=self.headers)

    async def nudged(self, times: int) -> None:
        """Wait for that many nudges in all."""

        async def enough() -> bool:
            return len(self.nudges) >= times

        await eventually(enough)

    async def registered(self, times: int = 1) -> None:
        """Wait for that many registrations in all, the last of them in force."""

        async def done() -> bool:
            return self.registrations >= times and bool(self.records)

        await eventually(done)

    async def quiet(self) -> None:
        """Wait for so many checks of a client that checks often, that a retry would have come meanwhile."""
        enough = self.checks + 15

        async def passed() -> bool:
            return self.checks >= enough

        await eventually(passed)


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Start]:
    """Starts clients, and ends what is left of them."""
    async with starting_clients(tmp_path) as launch:
        yield launch


@asynccontextmanager
async def nudging(
    start: Start, *, check: str = OFTEN, **variables: str
) -> AsyncIterator[tuple[NudgedRegistry, Process]]:
    """A registry, and a client that is registered there and nudges; stopped at the end, with nothing to complain of."""
    registry = NudgedRegistry(free_port())
    settings = {"CLIENT_NUDGE": "true", "CLIENT_REGISTRATION_CHECK": check, **variables}
    async with registry.running():
        client = await start(BACKEND_URL=registry.url, **settings)
        await registry.registered()
        yield registry, client
        assert await client.stop() == 0
        registry.open.set()
    assert "Traceback" not in client.output


async def add(client: Process, pokemon_id: int, **changes: Any) -> None:
    """A capture, which is accepted."""
    response = await post(client, ADD_CAPTURE_PATH, {**BULBASAUR, "pokemon_id": pokemon_id, **changes})
    assert response.status_code == 200, response.text


async def test_each_capture_is_followed_by_a_nudge(start: Start) -> None:
    """To the quoted path, without a body, on one connection; a removal counts, and what came again does not."""
    async with nudging(start, check=NEVER, CLIENT_USER_ID="ash/é") as (registry, client):
        for number in range(1, 6):
            await add(client, number)
            await registry.nudged(number)
        await add(client, 5)
        await add(client, 5, removed=True)
        await registry.nudged(6)
    assert registry.nudges == [("/api/v1/pull-sync/nudge/ash%2F%C3%A9", b"")] * 6
    assert len(registry.connections) == 1
    assert client.events == ["listening", "registered"]


async def test_a_duplicate_or_a_refused_capture_is_none(start: Start) -> None:
    """Nothing new is there to be pulled, also when a page repeats a request, or gives an id twice."""
    async with nudging(start) as (registry, client):
        await add(client, 1)
        await registry.nudged(1)
        await add(client, 2, capture_id="page-2")
        await registry.nudged(2)
        await registry.quiet()
        await add(client, 1)
        await add(client, 2, capture_id="page-2")
        for refused, status in (({"pokemon_id": 0}, 400), ({"pokemon_id": 3, "capture_id": "page-2"}, 409)):
            assert (await post(client, ADD_CAPTURE_PATH, {**BULBASAUR, **refused})).status_code == status
        await registry.quiet()
    assert len(registry.nudges) == 2


@pytest.mark.parametrize("setting", [{}, {"CLIENT_NUDGE": "false"}], ids=["unset", "false"])
async def test_without_the_setting_nothing_is_sent(start: Start, setting: dict[str, str]) -> None:
    """The original's behaviour: the timer pulls."""
    registry = NudgedRegistry(free_port())
    async with registry.running():
        client = await start(BACKEND_URL=registry.url, CLIENT_REGISTRATION_CHECK=OFTEN, **setting)
        await registry.registered()
        await add(client, 1)
        await registry.quiet()
        assert await client.stop() == 0
    assert registry.nudges == []


async def test_captures_that_come_during_a_nudge_share_the_next(start: Start) -> None:
    """While the registry keeps one waiting, twenty captures are answered; after it they make one more."""
    async with nudging(start) as (registry, client):
        registry.open.clear()
        await add(client, 1)
        await registry.nudged(1)
        await asyncio.gather(*(add(client, number) for number in range(2, 22)))
        assert len(registry.nudges) == 1
        registry.open.set()
        await registry.nudged(2)
        await registry.quiet()
    assert (len(registry.nudges), registry.most_at_once) == (2, 1)


async def test_a_client_that_is_booked_already_is_left_to_that_pull(start: Start) -> None:
    """429: not repeated, and the time that it names is kept, whatever is captured meanwhile."""
    async with nudging(start) as (registry, client):
        registry.answers, registry.headers = [429], {"Retry-After": "30"}
        await add(client, 1)
        await registry.nudged(1)
        for number in range(2, 6):
            await add(client, number)
        await registry.quiet()
    assert len(registry.nudges) == 1
    assert client.events == ["listening", "registered"]


@pytest.mark.parametrize("status", [403, 409])
async def test_a_refusal_is_told_and_not_repeated(start: Start, status: int) -> None:
    """The scheduler stands still, say: one line with the registry's words, and the next capture tries again."""
    async with nudging(start) as (registry, client):
        registry.answers = [status]
        await add(client, 1)
        await registry.nudged(1)
        await registry.quiet()
        assert len(registry.nudges) == 1
        await add(client, 2)
        await registry.nudged(2)
        await registry.quiet()
    assert len(registry.nudges) == 2
    assert client.events == ["listening", "registered", "not_nudged", "nudged_again"]
    assert f"HTTP {status}: in its own words" in client.output


async def test_a_failing_registry_is_nudged_until_it_answers(start: Start) -> None:
    """500, 503 and then 202: three nudges for one capture, and a line at either end."""
    async with nudging(start) as (registry, client):
        registry.answers = [500, 503]
        await add(client, 1)
        await registry.nudged(3)
        await registry.quiet()
    assert len(registry.nudges) == 3
    assert client.events == ["listening", "registered", "not_nudged", "nudged_again"]


async def test_a_registry_that_forgot_is_registered_with_at_once(start: Start) -> None:
    """404: the check comes now and not in a day; the registration makes the client due, so no second nudge is sent."""
    async with nudging(start, check=NEVER) as (registry, client):
        registry.records.clear()
        await add(client, 1)
        await registry.registered(2)
        assert len(registry.nudges) == 1
        await add(client, 2)
        await registry.nudged(2)
    assert (registry.registrations, registry.checks, len(registry.nudges)) == (2, 1, 2)


async def test_a_registry_without_nudges_is_not_registered_with_again(start: Start) -> None:
    """404 from one that does know the client, as before there were nudges: it is asked for the record, and left."""
    async with nudging(start, check=NEVER) as (registry, client):
        registry.answers = [404]
        await add(client, 1)
        await registry.nudged(1)

        async def asked() -> bool:
            return registry.checks == 1

        await eventually(asked)
        await add(client, 2)
        await registry.nudged(2)
    assert (registry.registrations, registry.checks) == (1, 1)


async def test_a_registry_that_is_away_is_nudged_when_it_is_back(start: Start) -> None:
    """Nobody listens: captures are taken all the same, and when somebody does, one nudge comes by itself."""
    registry = NudgedRegistry(free_port())
    async with registry.running():
        client = await start(BACKEND_URL=registry.url, CLIENT_NUDGE="true", CLIENT_REGISTRATION_CHECK=NEVER)
        await registry.registered()
    for number in range(1, 6):
        await add(client, number)

    async def told() -> bool:
        return "not_nudged" in client.events

    await eventually(told)
    assert (await get(client, STATS_PATH))["pending_sync"] == 5
    async with registry.running():
        await registry.nudged(1)

        async def over() -> bool:
            return "nudged_again" in client.events

        await eventually(over)
        assert await client.stop() == 0
    assert len(registry.nudges) == 1
    assert client.events == ["listening", "registered", "not_nudged", "nudged_again"]


async def test_a_nudge_without_an_answer_is_given_up_and_sent_again(start: Start) -> None:
    """Not after the 30 s that a registration may take: the connection may be dead, and the next one is not."""
    async with nudging(start) as (registry, client):
        registry.open.clear()
        await add(client, 1)
        await registry.nudged(2)
        registry.open.set()
        await registry.quiet()
    assert len(registry.nudges) == 2
    assert "TimeoutError" in client.output


async def test_a_hung_nudge_does_not_hold_up_the_stop(start: Start) -> None:
    """It is cut off, and the client ends with status 0 and without a trace."""
    async with nudging(start) as (registry, client):
        registry.open.clear()
        await add(client, 1)
        await registry.nudged(1)
    assert client.events == ["listening", "registered"]


async def test_nothing_is_sent_before_the_client_is_registered(start: Start) -> None:
    """While the registry refuses it, captures wait for it; then one nudge is sent for all of them."""
    registry = NudgedRegistry(free_port())
    registry.detail = "not yet"
    async with registry.running():
        client = await start(BACKEND_URL=registry.url, CLIENT_NUDGE="true", CLIENT_REGISTRATION_CHECK=OFTEN)
        for number in range(1, 4):
            await add(client, number)

        async def tried() -> bool:
            return registry.registrations > 3

        await eventually(tried)
        assert registry.nudges == []
        registry.detail = None
        await registry.nudged(1)
        await registry.quiet()
        assert await client.stop() == 0
    assert len(registry.nudges) == 1
