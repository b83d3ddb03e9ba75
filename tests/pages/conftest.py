"""A real browser. A missing one is installed where that is allowed, else an error that says what to install."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import Browser, async_playwright

from dev.servers.install import ensure_chromium


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
