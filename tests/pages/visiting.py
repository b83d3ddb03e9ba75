"""A visit to a page, by somebody who notes whatever a page must not do."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final
from urllib.parse import urlsplit

from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Browser, BrowserContext, ConsoleMessage, Page, Request

_PASSED_OVER: Final = (
    "Failed to load resource",  # each request that fails, as they do while a server is away
    "The Cross-Origin-Opener-Policy header has been ignored",  # at plain http by a name
)


@asynccontextmanager
async def visiting(browser: Browser, url: str, **options: Any) -> AsyncIterator[BrowserContext]:
    """A fresh browser profile whose pages call the relative paths of `url`; in English, unless the options tell.

    At its end it fails for errors on the console (broken scripts and rules of the Content-Security-Policy among them)
    and for requests to another host than that of `url`.
    """
    faults: list[str] = []
    context = await browser.new_context(base_url=url, **{"locale": "en-GB", **options})

    def heard(message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"} and not message.text.startswith(_PASSED_OVER):
            faults.append(f"console: {message.text}")

    def requested(request: Request) -> None:
        asked = urlsplit(request.url)
        if asked.scheme.startswith("http") and asked.netloc != urlsplit(url).netloc:
            faults.append(f"another host: {request.url}")

    context.on("console", heard)
    context.on("weberror", lambda error: faults.append(f"uncaught: {error.error}"))
    context.on("request", requested)
    try:
        yield context
    finally:
        await context.close()
    assert not faults, "\n".join(faults)


async def serious_faults(page: Page) -> list[str]:
    """What axe finds on the page as it is now that hinders people seriously: rule, and the first places."""
    results = await Axe().run(page)
    return [
        f"{found['id']}: {found['help']} at {[node['target'] for node in found['nodes'][:5]]}"
        for found in results.response["violations"]
        if found["impact"] in {"serious", "critical"}
    ]


class Loading:
    """Counts what a page's requests weigh on the wire, headers included."""

    def __init__(self) -> None:
        self.total_bytes = 0

    @classmethod
    async def of(cls, page: Page) -> Loading:
        """Begins to count for a page that is about to go somewhere."""
        loading = cls()
        devtools = await page.context.new_cdp_session(page)
        devtools.on("Network.loadingFinished", loading._finished)
        await devtools.send("Network.enable")
        return loading

    def _finished(self, event: dict[str, Any]) -> None:
        self.total_bytes += int(event["encodedDataLength"])
