"""The capture app in one tab, as its user sees it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import urlsplit

from playwright.async_api import BrowserContext, Locator, Page, Request, expect

DEADLINE_MS: Final = 30_000
FULL_DISK: Final = """
    globalThis.isFull = false;
    for (const name of ["add", "put"]) {
        const write = IDBObjectStore.prototype[name];
        IDBObjectStore.prototype[name] = function (record) {
            const request = write.call(this, record);
            if (isFull) this.transaction.abort();
            return request;
        };
    }"""
"""While `isFull`, transactions that write something end as they do when there is no space: they are aborted."""
_STATES: Final = ("saved", "handed", "pulled", "stored")


class CaptureApp:
    """A tab with the page. What is waited for is an error when it does not come within the deadline."""

    def __init__(self, page: Page) -> None:
        self.page = page

    @classmethod
    async def open(cls, context: BrowserContext) -> CaptureApp:
        """A new tab, ready to be used."""
        app = cls(await context.new_page())
        await app.page.goto("/")
        await app.ready()
        return app

    async def reload(self) -> None:
        """Load it again, until it can be used."""
        await self.page.reload()
        await self.ready()

    async def ready(self) -> None:
        """Wait for the Pokédex, and for what is on the disk."""
        await expect(self.page.locator(".entry button").first).to_be_enabled(timeout=DEADLINE_MS)

    def button(self, name: str) -> Locator:
        """By its whole name."""
        return self.page.get_by_role("button", name=name, exact=True)

    async def press(self, *names: str) -> None:
        """Press these buttons, one after the other."""
        for name in names:
            await self.button(name).click()

    async def capture(self, *names: str) -> None:
        """Capture these, and wait until the page says that each is saved."""
        for name in names:
            await self.press(f"Capture {name}")
            await expect(self.button(f"Release {name}")).to_be_visible(timeout=DEADLINE_MS)

    def event(self, words: str) -> Locator:
        """One of the latest captures, by what it says."""
        return self.page.locator(".event", has=self.page.get_by_role("heading", name=words, exact=True))

    async def reaches(self, state: str, *words: str) -> None:
        """Wait until these captures have come so far, or farther."""
        later = _STATES[_STATES.index(state) :] if state in _STATES else (state,)
        for each in words:
            has = re.compile(f"^({'|'.join(later)})$")
            await expect(self.event(each)).to_have_attribute("data-state", has, timeout=DEADLINE_MS)

    async def times(self, words: str) -> list[str]:
        """Of the steps that a capture has come to, in their order."""
        found: Sequence[Any] = await self.event(words).locator("time").evaluate_all("all => all.map(it => it.dateTime)")
        return [str(each) for each in found]

    async def ids(self) -> list[str]:
        """Of the latest captures, the oldest first."""
        found: Sequence[Any] = await self.page.locator(".event").evaluate_all("all => all.map(it => it.dataset.id)")
        return [str(each) for each in reversed(found)]

    async def says(self, words: str | re.Pattern[str]) -> None:
        """Wait until a notice says so."""
        await expect(self.page.locator(".notice", has_text=words).first).to_be_visible(timeout=DEADLINE_MS)

    async def count(self, state: str) -> int:
        """The number that the summary has for a state."""
        return int(await self.page.locator(f".summary .{state} .count").inner_text())

    async def is_too_wide(self) -> bool:
        """Whether one would have to scroll sideways."""
        wide = "(({ scrollWidth, clientWidth }) => scrollWidth > clientWidth)(document.documentElement)"
        return bool(await self.page.evaluate(wide))

    async def small_targets(self) -> list[str]:
        """The texts of buttons and fields that a finger could miss."""
        found: list[str] = await self.page.evaluate(
            """() => [...document.querySelectorAll("button, input, nav a")]
                .filter((each) => each.checkVisibility())
                .filter((each) => Math.min(each.offsetWidth, each.offsetHeight) < 44)
                .map((each) => each.outerHTML)"""
        )
        return found

    async def is_kept(self) -> None:
        """Wait until the page would start without the client."""
        async with asyncio.timeout(DEADLINE_MS / 1_000):
            await self.page.evaluate("navigator.serviceWorker.ready")


def counting(page: Page, path: str) -> list[Request]:
    """The requests of this tab whose path ends so, from now on."""
    found: list[Request] = []
    page.on("request", lambda request: found.append(request) if urlsplit(request.url).path.endswith(path) else None)
    return found
