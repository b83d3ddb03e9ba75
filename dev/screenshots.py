"""`make screenshots`: the pictures of both web pages in `docs/images/`, of a real stack at work.

Private servers, all services and some clients run for some minutes in a temporary folder: captures are made all the
while, two clients end on the way, and a run is started. What the pictures show is what came of that. No two are the
same, so they are made by hand, when a page has changed.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any, Final

from playwright.sync_api import Browser, Page, sync_playwright

from dev.broker import create_broker, monitoring_url
from dev.database import create_database
from dev.devices import DESKTOP, PHONE
from dev.local_http import open_local
from dev.servers.errors import DevError
from dev.servers.install import ensure_chromium, ensure_rabbitmq_server
from dev.servers.postgres import PostgresServer
from dev.servers.rabbitmq import RabbitMQNode
from dev.stack import CHECKOUT, Stack
from shared.contracts.species import shipped_species

IMAGES: Final = CHECKOUT / "docs" / "images"
_DEVICES: Final = {"phone": {**PHONE, "color_scheme": "dark"}, "desktop": DESKTOP}

_CLIENTS: Final = tuple(f"client-{number}" for number in range(1, 9))
_ENDING: Final = _CLIENTS[-2:]
_WORKING_S: Final = 300.0
_ENDS_AFTER_S: Final = 200.0
_PAUSE_S: Final = 0.25
_SPECIES: Final = 151
_HTTP_TIMEOUT_S: Final = 10.0


def main() -> int:
    """Make the pictures anew; gives the exit status."""
    try:
        with TemporaryDirectory(prefix="pullsync-screenshots-") as folder, _running(Path(folder)) as stack:
            _work(stack)
            _take_all(stack)
    except DevError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


@contextmanager
def _running(folder: Path) -> Iterator[Stack]:
    ensure_rabbitmq_server()
    password, monitoring_password = secrets.token_urlsafe(), secrets.token_urlsafe()
    with ExitStack() as servers:
        postgres = servers.enter_context(PostgresServer(folder / "postgres", durable=False))
        rabbitmq = servers.enter_context(RabbitMQNode(folder / "rabbitmq"))
        database = asyncio.run(create_database(postgres.url, "pullsync", password=password))
        broker = asyncio.run(
            create_broker(
                rabbitmq.url, rabbitmq.management_url, password=password, monitoring_password=monitoring_password
            )
        )
        stack = Stack(
            folder=folder / "services",
            registry_url=database.registry_url,
            ingest_url=database.ingest_url,
            rabbitmq_urls=broker.urls,
            env={"PULL_SYNC_INTERVAL": "5", "PULL_SYNC_BACKOFF_CAP": "15"},
        )
        stack.configure(
            "registry",
            RABBITMQ_MANAGEMENT_URL=monitoring_url(rabbitmq.management_url, monitoring_password),
            RABBITMQ_MANAGEMENT_LINK=rabbitmq.management_url,
        )
        servers.enter_context(stack)
        stack.start_together("registry", "ingest-1", "puller-1")
        stack.start_together(*_CLIENTS)
        yield stack


def _work(stack: Stack) -> None:
    """Users capture for some minutes, some Pokémon more than others; two clients end."""
    print(f"working for {_WORKING_S:g} s", flush=True)
    random, names, begun = Random(7), shipped_species(), time.monotonic()  # noqa: S311 - whose capture, and of what
    living = list(_CLIENTS)
    while (now := time.monotonic() - begun) < _WORKING_S:
        if now > _ENDS_AFTER_S and _ENDING[0] in living:
            for name in _ENDING:
                stack.kill(name)
                living.remove(name)
        number = min(random.randint(1, _SPECIES) for _ in range(3))
        action = random.choice(["capture", "capture", "favorite"])
        body = {"pokemon_id": number, "pokemon_name": names[number], "action": action}
        _post(f"{stack.url(random.choice(living))}/api/client/add-capture", body)
        time.sleep(_PAUSE_S)


def _take_all(stack: Stack) -> None:
    IMAGES.mkdir(parents=True, exist_ok=True)
    registry = stack.url("registry")
    _post(f"{registry}/api/v1/pull-sync/sync-all", {})
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=ensure_chromium())
        for device, options in _DEVICES.items():
            with _visit(browser, options, f"{registry}/dashboard") as page:
                page.locator("canvas").first.wait_for()
                page.get_by_role("heading", name="Ranking").wait_for()
                _take(page, f"dashboard-{device}")
        _post(f"{registry}/api/v1/pull-sync/scheduler/stop", {})  # so that something stays handed over
        for device, options in _DEVICES.items():
            with _visit(browser, options, stack.url("client-1")) as page:
                page.locator(".entry .stored").first.wait_for()
                page.get_by_role("button", name="Capture ").first.click()
                page.locator(".entry .handed").first.wait_for()
                page.evaluate("scrollTo(0, 0)")
                _take(page, f"capture-app-{device}")
        browser.close()


@contextmanager
def _visit(browser: Browser, options: dict[str, Any], url: str) -> Iterator[Page]:
    context = browser.new_context(locale="en-GB", **options)
    try:
        page = context.new_page()
        page.goto(url)
        yield page
    finally:
        context.close()


def _take(page: Page, name: str) -> None:
    path = IMAGES / f"{name}.png"
    page.screenshot(path=path)
    print(f"{path.relative_to(CHECKOUT)} ({path.stat().st_size // 1024} kB)", flush=True)


def _post(url: str, body: dict[str, Any]) -> None:
    open_local(url, body=json.dumps(body).encode(), timeout_s=_HTTP_TIMEOUT_S).close()


if __name__ == "__main__":
    sys.exit(main())
