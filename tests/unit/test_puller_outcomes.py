"""What a puller asks a client for, and what it tells of one that does not answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Final, cast
from uuid import UUID

import pytest

from services.puller.client_api import ClientApi
from services.puller.publisher import BatchPublisher
from services.puller.pull import Asked, Puller
from shared.contracts.encoding import UnreadableMessageError, decoded, encoded
from shared.contracts.messages import LONGEST_RETRY_AFTER_S, Outcome, PullOutcome, PullTarget, Reason
from shared.contracts.times import EARLIEST
from shared.outbound.client_http import ClientHttp, OutboundPolicy
from shared.rabbitmq.settlements import Settlements
from tests.raw_server import OK

NOTHING: Final = OK + b'\r\n{"user_id": "ash", "captures": null}'


class Settled:
    """Keeps the outcomes."""

    def __init__(self) -> None:
        self.outcomes: list[PullOutcome] = []

    async def add(self, outcome: PullOutcome) -> None:
        """Keep it."""
        self.outcomes.append(outcome)


@asynccontextmanager
async def client(answer: bytes, asked: list[str]) -> AsyncIterator[str]:
    """A client that answers this, and keeps what it was asked for."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        asked.append(head.split(b" ")[1].decode())
        writer.write(answer)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        await server.wait_closed()


async def pulled(answer: bytes, *, since: datetime | None = None) -> tuple[PullOutcome, str]:
    """How a pull of a client that answers this ends, and what the client was asked for."""
    asked: list[str] = []
    settled = Settled()
    policy = OutboundPolicy(frozenset({"loopback"}))
    async with client(answer, asked) as url, ClientHttp(policy=policy, timeout_s=5.0, body_limit_bytes=1_000) as http:
        puller = Puller(
            client_api=ClientApi(http=http),
            batches=cast("BatchPublisher", None),
            settlements=cast("Settlements", settled),
        )
        target = PullTarget(pull_id=UUID(int=1), user_id="ash", client_url=url, lease_expires_at=datetime.now(UTC))
        await puller.pull(target, Asked(since=since))
    (outcome,) = settled.outcomes
    return outcome, asked[0]


@pytest.mark.parametrize(
    ("head", "seconds"),
    [
        *((b"429 Busy\r\nretry-after: 120", 120.0), (b"503 Busy\r\nRetry-After: 7", 7.0), (b"429 Busy", 0.0)),
        *((b"429 Busy\r\nretry-after: 999999999", LONGEST_RETRY_AFTER_S), (b"500 No\r\nretry-after: 120", 0.0)),
        (b"503 B\r\ndate: Sat, 31 Jan 2026 12:00:00 GMT\r\nretry-after: Sat, 31 Jan 2026 12:01:30 GMT", 90.0),
    ],
)
async def test_a_busy_client_says_when_to_come_back(head: bytes, seconds: float) -> None:
    """The outcome has it as a number, and in the sentence for the operator."""
    outcome, _ = await pulled(b"HTTP/1.1 " + head + b"\r\ncontent-length: 0\r\n\r\n")
    assert (outcome.outcome, outcome.reason, outcome.retry_after_s) == (Outcome.FAILED, Reason.HTTP_STATUS, seconds)
    assert (" and asks for " in (outcome.error or "")) == (seconds > 0)
    assert decoded(PullOutcome, encoded(outcome)) == outcome


def test_no_outcome_has_more_than_the_bound() -> None:
    """Whoever sends it: a client with captures that exist nowhere else is asked again."""
    outcome = PullOutcome(pull_id=UUID(int=1), user_id="ash", outcome=Outcome.FAILED)
    assert b"retry_after_s" not in encoded(outcome)
    for wrong in (b"3600.5", b"-1"):
        with pytest.raises(UnreadableMessageError):
            decoded(PullOutcome, encoded(outcome)[:-1] + b',"retry_after_s":' + wrong + b"}")


@pytest.mark.parametrize(
    ("since", "asked"),
    [
        (None, None),
        (EARLIEST, None),
        (datetime(1, 1, 1, tzinfo=UTC), None),
        (datetime(1, 1, 3, tzinfo=UTC), "0001-01-03T00:00:00.000Z"),
        (datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC), "9999-12-30T23:59:59.999Z"),
    ],
)
async def test_a_since_that_nobody_set_asks_for_everything(since: datetime | None, asked: str | None) -> None:
    """Clients have captures with times before it, as their own clock was not set either."""
    outcome, path = await pulled(NOTHING, since=since)
    assert outcome.outcome == Outcome.NOTHING
    assert path == "/api/client/sync-data?limit=1000" + (f"&since={asked}" if asked else "")
