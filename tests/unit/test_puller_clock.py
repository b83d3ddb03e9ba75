"""The clock of the puller's host may be wrong, and may jump: claims come as ever, and no request is dropped."""

from __future__ import annotations

import asyncio
import sys
import time
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Final, Self
from uuid import UUID

import httpx
import pytest

from services.puller import app, loop
from services.puller.client_api import ClientApi
from services.puller.consumers import RequestedPulls
from services.puller.loop import Pulls, Timer
from services.puller.publisher import BatchPublisher
from services.puller.pull import Puller
from services.puller.registry_api import RegistryApi
from shared.contracts.messages import Message, PullRequested, PullSettled, PullTarget
from shared.outbound.client_http import ClientHttp, OutboundPolicy
from shared.rabbitmq.broker import Publisher
from shared.rabbitmq.settlements import Settlements
from tests.raw_server import OK, served
from tests.waiting import eventually

EVERY_S: Final = 0.05
NOTHING: Final = b'{"user_id": "user_1", "captures": []}'
STEPS_H: Final = (6, -12, 24 * 365, -24 * 365 * 2)


class WallClock:
    """The host's, as every module of the puller sees it; time's own steady clocks are left alone."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ahead = timedelta()
        clock, time_s, time_ns = self, time.time, time.time_ns

        class Datetime(datetime):
            @classmethod
            def now(cls, tz: tzinfo | None = None) -> Self:
                return cls.fromtimestamp((datetime.now(UTC) + clock.ahead).timestamp(), tz)

        monkeypatch.setattr(time, "time", lambda: time_s() + self.ahead.total_seconds())
        monkeypatch.setattr(time, "time_ns", lambda: time_ns() + int(self.ahead.total_seconds()) * 10**9)
        for name, module in list(sys.modules.items()):
            if name.startswith(("services.puller", "shared")) and getattr(module, "datetime", None) is datetime:
                monkeypatch.setattr(module, "datetime", Datetime)


@pytest.fixture
def wall_clock(monkeypatch: pytest.MonkeyPatch) -> WallClock:
    """Of this test."""
    assert app.__name__ in sys.modules, "the composition root loads every module whose clock is to be wrong"
    return WallClock(monkeypatch)


class Published(Publisher):
    """Keeps which pulls were settled."""

    def __init__(self) -> None:
        self.settled: list[UUID] = []

    async def publish(self, message: Message, *, routing_key: str) -> None:
        """Keep it."""
        assert routing_key
        assert isinstance(message, PullSettled)
        self.settled += [outcome.pull_id for outcome in message.outcomes]


async def always() -> bool:
    """RabbitMQ is there."""
    return True


def pulls_with(http: ClientHttp, published: Published) -> Pulls:
    """The puller's parts."""
    batches, settlements = BatchPublisher(publisher=published), Settlements(publisher=published)
    return Pulls(
        puller=Puller(client_api=ClientApi(http=http), batches=batches, settlements=settlements), concurrency=10
    )


def client_http() -> ClientHttp:
    """HTTP to clients on this machine."""
    return ClientHttp(policy=OutboundPolicy(frozenset({"loopback"})), timeout_s=30.0, body_limit_bytes=1_024)


@pytest.mark.parametrize("hours", STEPS_H)
async def test_a_request_is_handled_whatever_the_clock_says(wall_clock: WallClock, hours: int) -> None:
    """A lease that seems to have ended years ago, or never to end, is pulled and settled all the same."""
    target_id, expires, published = UUID(int=7), datetime.now(UTC) + timedelta(minutes=2), Published()
    async with served(OK + b"content-length: %d\r\n\r\n" % len(NOTHING) + NOTHING) as url, client_http() as http:
        target = PullTarget(pull_id=target_id, user_id="user_1", client_url=url, lease_expires_at=expires)
        wall_clock.ahead = timedelta(hours=hours)
        await RequestedPulls(pulls=pulls_with(http, published)).handle(PullRequested(targets=(target,)))
    assert published.settled == [target_id]


async def test_the_timer_neither_stalls_nor_stampedes(wall_clock: WallClock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Claims go on after each step, and there are never more than the time that has really passed allows."""
    monkeypatch.setattr(loop, "CLAIM_EVERY_S", EVERY_S)
    claims: list[float] = []

    async def claim(_request: httpx.Request) -> httpx.Response:
        claims.append(asyncio.get_running_loop().time())
        return httpx.Response(200, json={"targets": []})

    registry_http = httpx.AsyncClient(transport=httpx.MockTransport(claim))
    async with registry_http, client_http() as http:
        registry = RegistryApi(http=registry_http, backend_url="http://registry", key_fingerprint=None)
        parts = pulls_with(http, Published())
        timer = asyncio.create_task(Timer(registry=registry, pulls=parts, can_hand_over=always).run())
        for hours in STEPS_H:
            wall_clock.ahead = timedelta(hours=hours)
            seen = len(claims)

            async def goes_on(seen: int = seen) -> bool:
                return len(claims) >= seen + 5

            await eventually(goes_on)
        timer.cancel()
        await asyncio.gather(timer, return_exceptions=True)
    assert len(claims) - 1 <= (claims[-1] - claims[0]) / (EVERY_S / 2) * 1.05
