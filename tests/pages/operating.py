"""An operator at the dashboard of a running stack, and what he may find there."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final
from urllib.parse import quote, urlsplit, urlunsplit
from uuid import uuid4

import aio_pika
import asyncpg
import httpx
from playwright.async_api import Browser, Locator, Page, expect

from dev.broker import MONITORING_USER, Broker
from dev.database import Database
from dev.devices import PHONE
from dev.stack import Stack
from tests.e2e.world import World, start_clients
from tests.pages.visiting import visiting
from tests.servers import MONITORING_PASSWORD, Servers
from tests.waiting import eventually

BATCHES: Final = "ingest.capture-batches"
SMALL_PHONE: Final[dict[str, Any]] = {**PHONE, "viewport": {"width": 320, "height": 640}}
MARKUP: Final = "<img src=x onerror=\"window.ran='it ran'\"> <script>window.ran='it ran'</script>"
READ, OPERATE, ADMIN, ENROL, SERVICE = (
    f"{name}-01234567890" for name in ("read", "operate", "admin", "enrol", "serve")
)
TOKENS: Final = {
    "OPERATOR_TOKENS": f"read:{READ},operate:{OPERATE},admin:{ADMIN}",
    "REGISTRATION_TOKENS": ENROL,
    "SERVICE_TOKENS": SERVICE,
    "PULL_TOKEN_KEYS": "the-key-of-tokens-0123456789abcdef",
}

_CLIENT: Final = {
    "client_url": "http://127.0.0.1:9",
    "client_type": "web",
    "failures": 0,
    "last_reason": None,
    "last_error": None,
    "pending": 0,
}

expect.set_options(timeout=30_000)


@asynccontextmanager
async def running(stack: Stack, database: Database, *, clients: int) -> AsyncIterator[World]:
    """All services, and so many clients that are registered."""
    async with httpx.AsyncClient(timeout=70) as http:
        stack.start_together("registry", "ingest-1", "puller-1")
        world = World(stack=stack, database=database, http=http)
        if clients:
            await start_clients(world, clients)
        yield world


@asynccontextmanager
async def watching(browser: Browser, stack: Stack, at: str = "#/", **options: Any) -> AsyncIterator[Page]:
    """The page in a fresh profile; whatever it must not do fails the test at its end."""
    async with visiting(browser, stack.url("registry"), **options) as context:
        page = await context.new_page()
        await page.goto(f"/dashboard{at}")
        yield page


async def signs_in(page: Page, token: str) -> None:
    """Type a token into the form, and send it."""
    await page.get_by_label("Token").fill(token)
    await page.get_by_role("button", name="Sign in").click()


async def goes(page: Page, to: str) -> None:
    """Follow a link of the page's own to another view."""
    await page.evaluate("(to) => { location.hash = to; }", to)


async def agrees(page: Page, label: str) -> None:
    """Say yes in the dialog that asks first."""
    await page.get_by_role("dialog").get_by_role("button", name=label, exact=True).click()
    await expect(page.get_by_role("dialog")).to_have_count(0)


async def overflow(page: Page) -> int:
    """By how many pixels the page is wider than what is seen of it."""
    root = "document.documentElement"
    return int(await page.evaluate(f"() => {root}.scrollWidth - {root}.clientWidth"))


def said(page: Page) -> Locator:
    """What came of the last action."""
    return page.locator(".notices [role=status]")


async def colours(canvas: Locator) -> set[str]:
    """Those that are drawn and not transparent, as `red,green,blue`."""
    found = await canvas.evaluate(
        """(canvas) => {
            const copy = new OffscreenCanvas(canvas.width, canvas.height).getContext("2d");
            copy.drawImage(canvas, 0, 0);
            const { data } = copy.getImageData(0, 0, canvas.width, canvas.height);
            const found = new Set();
            for (let at = 0; at < data.length; at += 4) {
                if (data[at + 3] === 255) found.add(data.slice(at, at + 3).join());
            }
            return [...found];
        }"""
    )
    return set(found)


async def put_clients(database: Database, *clients: Mapping[str, object]) -> None:
    """Put clients into the registry's table, as if they had registered long ago; none of them is due."""
    await execute(
        database.registry_url,
        """INSERT INTO registry.clients (user_id, client_url, client_type, capabilities, next_pull_at, failures,
               last_reason, last_error, last_pull_at, pending)
           SELECT user_id, client_url, client_type, '{}', now() + interval '1 day', failures, last_reason, last_error,
               now(), pending
           FROM jsonb_to_recordset($1::text::jsonb) AS c (user_id text, client_url text, client_type text, failures int,
               last_reason text, last_error text, pending int)""",
        json.dumps([{**_CLIENT, **client} for client in clients]),
    )


async def put_failed_run(database: Database, user_id: str, error: str) -> None:
    """Put a run into the registry's table that is over, and in which this client failed."""
    await execute(
        database.registry_url,
        """WITH run AS (
               INSERT INTO registry.sync_runs (kind, finished_at, requested, settled, failed, failed_by_reason)
               VALUES ('sync-all', now(), 2, 2, 1, '{"connect": 1}') RETURNING run_id
           )
           INSERT INTO registry.sync_run_clients (run_id, user_id, client_url, settled_at, reason, error)
           SELECT run_id, $1, 'http://127.0.0.1:9', now(), 'connect', $2 FROM run""",
        user_id,
        error,
    )


async def put_failed_pull(database: Database, user_id: str, error: str) -> None:
    """Put a pull that failed into a client's history."""
    await execute(
        database.registry_url,
        """INSERT INTO registry.pulls (user_id, pull_id, outcome, reason, error)
           VALUES ($1, $2, 'failed', 'connect', $3)""",
        user_id,
        uuid4(),
        error,
    )


async def put_quarantined(database: Database, user_id: str, *, problem: str, raw: str) -> None:
    """Put something into quarantine that can't be read."""
    await execute(
        database.ingest_url,
        """INSERT INTO captures.quarantine (user_id, fingerprint, problem, raw, pull_id)
           VALUES ($1, $2, $3, $4, $5)""",
        user_id,
        raw.encode(),
        problem,
        raw,
        uuid4(),
    )


async def execute(url: str, statement: str, *values: object) -> None:
    """One statement."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statement, *values)
    finally:
        await connection.close()


async def bury(broker: Broker, *bodies: bytes) -> None:
    """Put messages into the dead-letter queue of capture batches."""
    async with await aio_pika.connect(broker.admin_url) as connection:
        channel = await connection.channel()
        for body in bodies:
            message = aio_pika.Message(body, delivery_mode=2, type="CaptureBatch", app_id="puller")
            await channel.default_exchange.publish(message, routing_key=f"{BATCHES}.dead")


async def messages_in(broker: Broker, queue: str, number: int) -> None:
    """Wait until there are so many messages in the queue."""
    async with await aio_pika.connect(broker.admin_url) as connection:
        channel = await connection.channel()

        async def are_there() -> bool:
            declared = await channel.declare_queue(queue, passive=True)
            return declared.declaration_result.message_count == number

        await eventually(are_there)


def management_of(servers: Servers) -> dict[str, str]:
    """The registry's settings by which it reads the queues, and links to them."""
    parts = urlsplit(servers.management_url)
    login = f"{MONITORING_USER}:{quote(MONITORING_PASSWORD)}"
    return {
        "RABBITMQ_MANAGEMENT_URL": urlunsplit(parts._replace(netloc=f"{login}@{parts.netloc}")),
        "RABBITMQ_MANAGEMENT_LINK": servers.management_url,
    }
