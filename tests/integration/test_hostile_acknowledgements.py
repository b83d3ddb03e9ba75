"""Clients that do not take an acknowledgement, or take it and do not say so, on a real RabbitMQ and Postgres."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import uuid4

import aio_pika
import httpx
from aio_pika.abc import AbstractQueue

from dev.database import Database
from services.ingest.app import build_app
from services.ingest.settings import IngestSettings
from services.puller.client_api import ClientApi
from services.puller.publisher import BatchPublisher
from services.puller.pull import Puller
from shared.contracts.encoding import decoded
from shared.contracts.messages import Outcome, PullOutcome, PullSettled, PullTarget, Reason
from shared.contracts.topology import PULL_SETTLED
from shared.outbound.client_http import ClientHttp, OutboundPolicy
from shared.rabbitmq.broker import Publisher, make_broker
from shared.rabbitmq.settlements import Settlements
from tests.raw_server import OK, Answer, endless_body, reset_after, trickle, wait_for_ever
from tests.waiting import eventually

GOOD: Final = OK + b"content-length: 2\r\n\r\n{}"

REFUSALS: Final[dict[str, Answer]] = {
    "refused": b"HTTP/1.1 400 No\r\ncontent-length: 0\r\n\r\n",
    "failed": b"HTTP/1.1 500 Oops\r\ncontent-length: 0\r\n\r\n",
    "redirected": b"HTTP/1.1 307 Go\r\nlocation: /\r\ncontent-length: 0\r\n\r\n",
    "lost": reset_after(b""),
    "lost in the answer": reset_after(OK + b"content-length: 9\r\n\r\n{"),
    "never answered": wait_for_ever,
    "answered slowly": trickle(OK + b"content-length: 100000\r\n\r\n", b" "),
    "answered without end": endless_body,
}


class Client:
    """It has one capture until it was told of it; while it is bad it answers as it likes to what it is told."""

    def __init__(self, user_id: str, bad_answer: Answer, *, takes: bool) -> None:
        self.user_id = user_id
        self.url = ""
        self.told: list[list[str]] = []
        self.good = False
        self._bad_answer = bad_answer
        self._takes = takes
        self._pending = ["a"]

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        """Listen."""
        talks: set[asyncio.Task[None] | None] = set()

        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            talks.add(asyncio.current_task())
            with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
                await self._talk(reader, writer)
            writer.close()

        server = await asyncio.start_server(talk, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        yield
        server.close()
        for each in filter(None, talks):
            each.cancel()
        await asyncio.gather(*filter(None, talks))
        await server.wait_closed()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        if head.startswith(b"get"):
            body = json.dumps({"user_id": self.user_id, "captures": [self._capture(each) for each in self._pending]})
            writer.write(OK + b"content-length: %d\r\n\r\n" % len(body) + body.encode())
            return
        length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])
        self.told.append(json.loads(await reader.readexactly(length))["capture_ids"])
        if self.good or self._takes:
            self._pending.clear()
        answer = GOOD if self.good else self._bad_answer
        if isinstance(answer, bytes):
            writer.write(answer)
        else:
            await answer(writer)

    def _capture(self, capture_id: str) -> dict[str, object]:
        return {
            "capture_id": capture_id,
            "pokemon_id": 25,
            "action": "capture",
            "timestamp": "2026-01-31T12:00:00.000Z",
        }


@asynccontextmanager
async def ingest(database: Database, broker_url: str) -> AsyncIterator[None]:
    """The whole service, consuming; it waits a second for a client."""
    app = build_app(IngestSettings(database_url=database.ingest_url, rabbitmq_url=broker_url, pull_sync_timeout=3.0))
    web = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://ingest")
    async with app.router.lifespan_context(app), web:

        async def ready() -> bool:
            return (await web.get("/health/ready")).is_success

        await eventually(ready)
        yield


@asynccontextmanager
async def puller(broker_url: str) -> AsyncIterator[Puller]:
    """The puller's parts, on the real RabbitMQ."""
    broker = make_broker(broker_url, service="puller")
    policy = OutboundPolicy(frozenset({"loopback"}))
    async with ClientHttp(policy=policy, timeout_s=30.0, body_limit_bytes=1024 * 1024) as http:
        await broker.connect()
        publisher = Publisher(broker)
        yield Puller(
            client_api=ClientApi(http=http),
            batches=BatchPublisher(publisher=publisher),
            settlements=Settlements(publisher=publisher),
        )
        await broker.stop()


class Settled:
    """What the registry would read."""

    def __init__(self, queue: AbstractQueue) -> None:
        self._queue = queue
        self._outcomes: dict[str, PullOutcome] = {}

    async def next_of(self, clients: list[Client]) -> dict[str, PullOutcome]:
        """The next outcome of each of them."""

        async def came() -> bool:
            message = await self._queue.get(fail=False, no_ack=True)
            if message is not None:
                outcomes = decoded(PullSettled, message.body).outcomes
                self._outcomes |= {outcome.user_id: outcome for outcome in outcomes}
            return self._outcomes.keys() == {client.user_id for client in clients}

        await eventually(came)
        found, self._outcomes = self._outcomes, {}
        return found


async def pull(parts: Puller, clients: list[Client]) -> None:
    """Pull each once, all at once."""
    expires = datetime.now(UTC) + timedelta(hours=1)
    targets = [
        PullTarget(pull_id=uuid4(), user_id=client.user_id, client_url=client.url, lease_expires_at=expires)
        for client in clients
    ]
    await asyncio.gather(*map(parts.pull, targets))


async def test_who_can_not_be_told_is_told_again(database: Database, broker_url: str) -> None:
    """It is stored, and settled as unacknowledged; it is told again after a while, and by the next pull.

    Beside each that keeps its capture is one that has taken the acknowledgement before it failed: there nothing is left
    to pull. A healthy client among them is told at once.
    """
    async with AsyncExitStack() as stack:
        clients = [
            Client(f"{name}, {'taken' if takes else 'kept'}", answer, takes=takes)
            for name, answer in REFUSALS.items()
            for takes in (True, False)
        ]
        healthy = Client("healthy", GOOD, takes=True)
        for client in (*clients, healthy):
            await stack.enter_async_context(client.serving())
        await stack.enter_async_context(ingest(database, broker_url))
        parts = await stack.enter_async_context(puller(broker_url))
        connection = await stack.enter_async_context(await aio_pika.connect(broker_url))
        channel = await connection.channel()
        settled = Settled(await channel.get_queue(PULL_SETTLED.name, ensure=False))

        await pull(parts, [*clients, healthy])
        first = await settled.next_of([*clients, healthy])
        assert {(each.outcome, each.stored) for each in first.values()} == {(Outcome.STORED, 1)}
        assert first.pop("healthy").reason is None
        assert {name for name, each in first.items() if each.reason is not Reason.UNACKNOWLEDGED} == set()

        async def told_again() -> bool:
            return all(len(client.told) >= 2 for client in clients)

        await eventually(told_again)
        for client in clients:
            client.good = True
        await pull(parts, clients)
        second = await settled.next_of(clients)
        for name, each in second.items():
            expected = (Outcome.NOTHING, 0, 0) if "taken" in name else (Outcome.STORED, 0, 1)
            assert (each.outcome, each.stored, each.duplicates, each.reason) == (*expected, None), name
        assert all(ids == ["a"] for client in clients for ids in client.told)
        await pull(parts, clients)
        assert {each.outcome for each in (await settled.next_of(clients)).values()} == {Outcome.NOTHING}
        assert healthy.told == [["a"]]
