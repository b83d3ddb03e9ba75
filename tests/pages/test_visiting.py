"""The visitor of the other tests does note what a page must not do."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from fastapi import FastAPI
from fastapi.responses import HTMLResponse
from playwright.async_api import Browser

from shared.serving.web_pages import HEADERS
from tests.pages.visiting import Loading, serious_faults, visiting
from tests.serving import served

PAGES = {
    "good": "<p>text",
    "complains": "<script>console.error('a complaint')</script>",
    "breaks": "<script>throw new Error('broken')</script>",
    "calls": "<img src='http://127.0.0.2:9/x.png' alt=''>",
    "inline": "<button onclick='alert(1)'>text</button>",
    "unnamed": "<button></button><img src='/good'>",
}


@pytest.fixture
async def url() -> AsyncIterator[str]:
    """A server of good and bad pages; the one with something inline has the policy of ours."""
    app = FastAPI()

    async def page(name: str) -> HTMLResponse:
        text = f"<!doctype html><html lang='en'><title>a page</title><link rel='icon' href='data:,'><main>{PAGES[name]}"
        return HTMLResponse(text, headers=HEADERS if name == "inline" else {})

    app.get("/{name}")(page)
    async with served(lambda _port: app) as port:
        yield f"http://127.0.0.1:{port}"


async def test_a_good_page(browser: Browser, url: str) -> None:
    """There is nothing to note, but its size."""
    async with visiting(browser, url) as context:
        page = await context.new_page()
        loading = await Loading.of(page)
        await page.goto("/good", wait_until="networkidle")
        assert await serious_faults(page) == []
        assert loading.total_bytes > 100


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("complains", "console: a complaint"),
        ("breaks", "uncaught: .*broken"),
        ("calls", "another host: http://127.0.0.2:9/x.png"),
        ("inline", "console: .*Content Security Policy"),
    ],
)
async def test_a_bad_page_fails_the_visit(browser: Browser, url: str, name: str, fault: str) -> None:
    """And why is told."""
    with pytest.raises(AssertionError, match=fault):
        async with visiting(browser, url) as context:
            await (await context.new_page()).goto(f"/{name}", wait_until="networkidle")


async def test_what_hinders_people_is_found(browser: Browser, url: str) -> None:
    """A button and an image without names."""
    async with visiting(browser, url) as context:
        page = await context.new_page()
        await page.goto("/unnamed", wait_until="networkidle")
        faults = " ".join(await serious_faults(page))
    assert "button-name" in faults
    assert "image-alt" in faults
