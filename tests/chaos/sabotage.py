"""`python -m tests.chaos.sabotage KIND SERVICE`: a service with a fault built in, to prove that the harness finds it.

The services themselves have no such switch. A sabotage that no longer finds what it changes ends its service.
"""

from __future__ import annotations

import asyncio
import runpy
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

import asyncpg
import httpx

from services.ingest import app as ingest
from services.ingest import consumers
from services.ingest.consumers import CaptureBatches
from services.puller import publisher
from services.puller.publisher import BatchPublisher
from shared.contracts.client_protocol import ACKNOWLEDGE_PATH
from shared.contracts.messages import CaptureBatch, Pull
from shared.rabbitmq import broker

_A_MOMENT_S: Final = 3.0
_TELL_S: Final = 3.0


def acknowledge_early() -> None:
    """Ingest tells clients that their captures are stored, and only then stores them."""
    handle = CaptureBatches.handle

    async def handle_late(self: CaptureBatches, batch: CaptureBatch) -> None:
        await _tell(batch)
        await handle(self, batch)

    vars(consumers)["CaptureBatches"].handle = handle_late


def store_later() -> None:
    """Ingest tells clients at once, and RabbitMQ as well, and keeps the captures in memory for a moment."""
    handle = CaptureBatches.handle
    under_way: set[asyncio.Task[None]] = set()

    async def store(self: CaptureBatches, batch: CaptureBatch) -> None:
        await asyncio.sleep(_A_MOMENT_S)
        await handle(self, batch)

    async def handle_later(self: CaptureBatches, batch: CaptureBatch) -> None:
        await _tell(batch)
        task = asyncio.create_task(store(self, batch))
        under_way.add(task)
        task.add_done_callback(under_way.discard)

    vars(consumers)["CaptureBatches"].handle = handle_later


async def _tell(batch: CaptureBatch) -> None:
    for pull in batch.pulls:
        await _tell_client(pull)


async def _tell_client(pull: Pull) -> None:
    if not pull.captures:
        return
    body = {"capture_ids": [capture.capture_id for capture in pull.captures]}
    with suppress(httpx.HTTPError):
        async with httpx.AsyncClient(timeout=_TELL_S, trust_env=False) as http:
            await http.post(f"{pull.client_url}{ACKNOWLEDGE_PATH}", json=body)


def store_twice() -> None:
    """Ingest no longer sees that a capture is stored already: the table has no key, and nobody asks.

    RabbitMQ is told a moment after the commit, so that what kills an ingest does so in between.
    """
    migrate = vars(ingest)["migrate"]
    handle = CaptureBatches.handle

    async def handle_and_wait(self: CaptureBatches, batch: CaptureBatch) -> None:
        await handle(self, batch)
        await asyncio.sleep(_A_MOMENT_S)

    async def migrate_and_forget(url: str, **options: Any) -> None:
        await migrate(url, **options)
        connection = await asyncpg.connect(url)
        await connection.execute("ALTER TABLE captures.events DROP CONSTRAINT IF EXISTS events_pkey")
        await connection.close()

    vars(ingest).update(migrate=migrate_and_forget)
    vars(consumers)["CaptureBatches"].handle = handle_and_wait


def tell_when_published() -> None:
    """The puller itself tells a client that its captures are stored, as soon as RabbitMQ has confirmed to have them.

    Told before the commit, but nothing is lost: RabbitMQ keeps what it has confirmed, and ingest stores it in the end.
    """
    add = BatchPublisher.add

    async def add_and_tell(self: BatchPublisher, pull: Pull) -> None:
        await add(self, pull)
        await _tell_client(pull)

    vars(publisher)["BatchPublisher"].add = add_and_tell


def publish_unconfirmed() -> None:
    """As above, but nobody waits until RabbitMQ has confirmed a message, so what it refuses is lost.

    Without confirms alone, nothing is lost: a client keeps its captures until they are committed, and the next pull
    brings them again. So this takes away both, and `tell_when_published` shows what each does: it differs from this in
    nothing but the confirms.
    """
    channel = vars(broker)["Channel"]

    def unconfirmed(**options: Any) -> object:
        return channel(**{**options, "publisher_confirms": False, "on_return_raises": False})

    vars(broker).update(Channel=unconfirmed)
    tell_when_published()


SABOTAGES: Final[Mapping[str, tuple[Callable[[], None], Sequence[str]]]] = {
    "acknowledge-early": (acknowledge_early, ("ingest",)),
    "store-later": (store_later, ("ingest",)),
    "store-twice": (store_twice, ("ingest",)),
    "tell-when-published": (tell_when_published, ("puller",)),
    "publish-unconfirmed": (publish_unconfirmed, ("puller",)),
}
"""What each does, and to which services."""


def programs(kind: str | None) -> dict[str, list[str]]:
    """The arguments of Python for the services that are not run as they are."""
    services = () if kind is None else SABOTAGES[kind][1]
    return {service: ["-m", "tests.chaos.sabotage", str(kind), service] for service in services}


if __name__ == "__main__":
    SABOTAGES[sys.argv[1]][0]()
    runpy.run_module(f"services.{sys.argv[2]}", run_name="__main__")
