"""A page of everything that a client has, on its way through the whole of ingest."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aio_pika
import httpx
from msgspec.structs import replace

from dev.database import Database
from services.ingest.app import build_app
from services.ingest.settings import IngestSettings
from shared.contracts.encoding import decoded, encoded
from shared.contracts.messages import CaptureBatch, Difference, Pull, PullOutcome, PullSettled, Reason
from shared.contracts.topology import CAPTURE_BATCHES, PULL_SETTLED
from tests.complete_pages import capture, page_of, pull_of
from tests.waiting import eventually


class Client:
    """A client that is told what to forget, when it is not down."""

    def __init__(self) -> None:
        self.down = False
        self.told: list[list[str]] = []

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve `acknowledge`."""
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        body = await reader.readexactly(int(head.partition(b"content-length:")[2].partition(b"\r\n")[0]))
        if not self.down:
            self.told.append(json.loads(body)["capture_ids"])
        status = b"503 Down" if self.down else b"200 OK"
        writer.write(b"HTTP/1.1 " + status + b"\r\ncontent-length: 2\r\n\r\n{}")
        await writer.drain()
        writer.close()


@asynccontextmanager
async def served(client: Client) -> AsyncIterator[str]:
    """The client's URL."""
    server = await asyncio.start_server(client.talk, "127.0.0.1", 0)
    yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    server.close()
    await server.wait_closed()


@asynccontextmanager
async def service(database: Database, broker_url: str) -> AsyncIterator[None]:
    """The whole service, consuming."""
    app = build_app(IngestSettings(database_url=database.ingest_url, rabbitmq_url=broker_url, pull_sync_timeout=3.0))
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://ingest") as web,
    ):

        async def ready() -> bool:
            return (await web.get("/health/ready")).is_success

        await eventually(ready)
        yield


async def settled(broker_url: str, *pulls: Pull) -> list[PullOutcome]:
    """Publish each pull as the puller would, and take its outcome as the registry would, one after the other."""
    outcomes: list[PullOutcome] = []
    connection = await aio_pika.connect_robust(broker_url)
    async with connection:
        channel = await connection.channel()
        exchange = await channel.get_exchange("pullsync", ensure=False)
        queue = await channel.get_queue(PULL_SETTLED.name, ensure=False)

        async def came() -> bool:
            message = await queue.get(fail=False, no_ack=True)
            if message is not None:
                outcomes.extend(decoded(PullSettled, message.body).outcomes)
            return message is not None

        for pull in pulls:
            body = encoded(CaptureBatch(pulls=(pull,)))
            message = aio_pika.Message(body, delivery_mode=aio_pika.DeliveryMode.PERSISTENT)
            await exchange.publish(message, routing_key=CAPTURE_BATCHES.routing())
            await eventually(came)
    return outcomes


async def test_a_page_on_its_way_through_the_service(database: Database, broker_url: str) -> None:
    """It settles with its difference, and the client is told only what it does not know; the same message again too."""
    client = Client()
    async with served(client) as url, service(database, broker_url):
        ordinary = replace(pull_of([capture("a"), capture("b")]), client_url=url)
        page = replace(page_of(None, "d", delete=True), unacknowledged=("d",))
        complete = replace(pull_of([capture("b"), capture("c"), capture("d")], page=page), client_url=url, pending=3)
        first, second, third = await settled(broker_url, ordinary, complete, complete)
    assert client.told == [["a", "b"], ["d"], ["d"]]
    assert first.difference is None
    assert (second.stored, second.duplicates, second.pending, second.more_pending, second.reason) == (
        2,
        1,
        2,
        False,
        None,
    )
    assert second.difference == Difference(
        until="d", missing=2, unknown=1, deleted=1, missing_examples=("c", "d"), unknown_examples=("a",)
    )
    assert third.difference == replace(second.difference, unknown=0, deleted=0, unknown_examples=())


async def test_who_knows_everything_is_not_called(database: Database, broker_url: str) -> None:
    """A client that is down and has nothing to be told settles without a reason; else with one, but compared."""
    client = Client()
    client.down = True
    async with served(client) as url, service(database, broker_url):
        known = replace(pull_of([capture("a")], page=page_of()), client_url=url)
        page = replace(page_of(), unacknowledged=("a",))
        untold = replace(pull_of([capture("a")], page=page), client_url=url)
        first, second = await settled(broker_url, known, untold)
    assert (first.reason, first.difference) == (
        None,
        Difference(until=None, missing=1, unknown=0, deleted=0, missing_examples=("a",)),
    )
    assert (second.reason, second.difference) == (
        Reason.UNACKNOWLEDGED,
        Difference(until=None, missing=0, unknown=0, deleted=0),
    )
