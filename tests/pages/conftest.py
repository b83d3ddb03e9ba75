"""A real browser. A missing one is installed where that is allowed, else an error that says what to install."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest
from playwright.async_api import Browser, async_playwright

from dev.database import Database
from dev.servers.install import ensure_chromium
from dev.stack import Stack
from tests.client_process import starting_clients
from tests.e2e.world import World

if TYPE_CHECKING:
    from tests.client_process import Start


@pytest.fixture(scope="session")
def chromium() -> Path:
    """The program."""
    return ensure_chromium()


@pytest.fixture
async def browser(chromium: Path) -> AsyncIterator[Browser]:
    """Chromium, without a window; each test makes the contexts that it needs by `tests.pages.visiting`."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium)
        yield browser
        await browser.close()


@pytest.fixture
async def world(stack: Stack, database: Database) -> AsyncIterator[World]:
    """Registry, puller and ingest, ready; clients are started by each test."""
    async with httpx.AsyncClient(timeout=70) as http:
        stack.start_together("registry", "ingest-1", "puller-1")
        yield World(stack=stack, database=database, http=http)


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Start]:
    """Starts clients on one database, and ends what is left of them."""
    async with starting_clients(tmp_path) as launch:
        yield launch
