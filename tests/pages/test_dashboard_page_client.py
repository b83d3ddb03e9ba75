"""One client in the dashboard: what is done to it is told of it alone, and its id looks like no other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import quote

import pytest
from playwright.async_api import Browser, Page, Request, Route, expect

from dev.database import Database
from dev.stack import Stack
from tests.pages.operating import (
    agrees,
    execute,
    goes,
    put_clients,
    put_failed_run,
    put_quarantined,
    said,
    watching,
)


@asynccontextmanager
async def holding(page: Page, path: str) -> AsyncIterator[None]:
    """Requests to this path wait until the end of the block; meanwhile one of them has to come."""
    came, may_go = asyncio.Event(), asyncio.Event()

    async def hold(route: Route) -> None:
        came.set()
        await may_go.wait()
        await route.continue_()

    await page.route(path, hold)
    try:
        yield
        await asyncio.wait_for(came.wait(), 30)
    finally:
        may_go.set()
    await page.unroute_all(behavior="wait")


async def test_a_slow_action_is_told_of_its_own_client(browser: Browser, stack: Stack, database: Database) -> None:
    """Whatever is seen by then; it does not stand in the way of another client, and to ask twice is answered."""
    stack.start("registry")
    await put_clients(database, {"user_id": "ash"}, {"user_id": "misty"})
    async with watching(browser, stack, "#/clients/ash") as page:
        pause, own = page.get_by_role("button", name="Pause"), page.get_by_role("button", name="Set", exact=True)
        async with holding(page, "**/clients/ash"):
            await pause.click()
            await expect(pause).to_have_attribute("aria-disabled", "true")
            await pause.dispatch_event("click")
            await expect(said(page)).to_have_text("What was asked for before is still under way.")
            await own.click()
            await expect(own).to_have_attribute("aria-disabled", "true")
            await goes(page, "#/clients/misty")
            await expect(page.get_by_role("heading", level=1)).to_have_text("misty")
            await expect(pause).to_have_attribute("aria-disabled", "false")
            await page.get_by_role("button", name="Pull now").click()
            await expect(said(page)).to_have_text("The client misty is due now.")
        await expect(said(page)).to_contain_text("The client ash ")


async def test_trouble_is_told_with_its_client(browser: Browser, stack: Stack, database: Database) -> None:
    """Where another one is seen by then."""
    stack.start("registry")
    await put_clients(database, {"user_id": "ash"}, {"user_id": "misty"})
    async with watching(browser, stack, "#/clients/ash") as page:
        pause = page.get_by_role("button", name="Pause")
        async with holding(page, "**/clients/ash"):
            await pause.click()
            await goes(page, "#/clients/misty")
            await expect(pause).to_have_attribute("aria-disabled", "false")
            await execute(database.registry_url, "DELETE FROM registry.clients WHERE user_id = 'ash'")
        await expect(said(page)).to_contain_text("ash: ")
        await expect(said(page).locator(".bad")).to_be_visible()


@pytest.mark.parametrize(
    ("user_id", "seen"),
    [
        ("\u202egnp.exe", "\\u202egnp.exe"),
        ("ash\u200b", "ash\\u200b"),
        (" two  blanks ", "\\u0020two\\u0020 blanks\\u0020"),
        ("no\u00a0break", "no\\u00a0break"),
        ("tag\U000e0041", "tag\\u{e0041}"),
        ("back\\u202eslash", "back\\u005cu202eslash"),
        ("\u05d0\u05e9", "\u2068\u05d0\u05e9\u2069"),
    ],
)
async def test_no_user_id_looks_like_another(
    browser: Browser, stack: Stack, database: Database, user_id: str, seen: str
) -> None:
    """What nobody sees of it is written out where it is named, and it does not turn the words around it."""
    stack.start("registry")
    await put_clients(database, {"user_id": user_id})
    await put_quarantined(database, user_id, problem="it is no capture", raw="{}")
    await put_failed_run(database, user_id, "not there")
    async with watching(browser, stack, f"#/clients/{quote(user_id, safe='')}") as page:
        await expect(page.get_by_role("heading", level=1)).to_have_text(seen)
        assert await page.title() == f"{seen} · PullSync"
        await page.get_by_role("button", name="Remove").click()
        await expect(page.get_by_role("dialog").get_by_role("heading")).to_have_text(f"Remove {seen}?")
        await agrees(page, "Remove")
        await expect(said(page)).to_have_text(f"The client {seen} is removed.")
        await expect(page.get_by_text(f"No client is registered for {seen}.")).to_be_visible()
        await goes(page, "#/queues")
        await expect(page.get_by_role("link", name=seen, exact=True)).to_be_visible()
        await goes(page, "#/runs")
        await page.get_by_text("Clients that failed").click()
        await expect(page.get_by_role("cell").get_by_role("link")).to_have_text(seen)


async def test_a_question_goes_with_its_page(browser: Browser, stack: Stack, database: Database) -> None:
    """Back is no answer to it; and where what had the focus is gone, that goes to the title."""
    stack.start("registry")
    await put_clients(database, {"user_id": "ash"})
    async with watching(browser, stack, "#/clients") as page:
        await page.get_by_role("link", name="ash").click()
        title = page.get_by_role("heading", level=1)
        await page.get_by_role("button", name="Remove").click()
        await expect(page.get_by_role("dialog")).to_be_visible()
        await page.go_back()
        await expect(page.get_by_role("dialog")).to_have_count(0)
        await expect(title).to_have_text("Clients")
        await expect(title).to_be_focused()
        await goes(page, "#/clients/ash")
        await page.get_by_role("button", name="Remove").click()
        await agrees(page, "Remove")
        await expect(page.get_by_text("No client is registered for ash.")).to_be_visible()
        await expect(title).to_be_focused()
        await page.get_by_role("button", name="Close").focus()
        await page.keyboard.press("Enter")
        await expect(said(page)).to_have_text("")
        await expect(title).to_be_focused()


@pytest.mark.parametrize("view", ["#/clients?search=%00", f"#/clients/{'x' * 256}"])
async def test_a_link_that_can_not_be_is_told(browser: Browser, stack: Stack, view: str) -> None:
    """Once, and nobody asks for it again and again; the page goes on elsewhere."""
    stack.start("registry")
    async with watching(browser, stack) as page:
        await expect(page.get_by_text("Live", exact=True)).to_be_visible()
        asked: list[Request] = []
        page.on("request", lambda request: asked.append(request) if "/admin/events" in request.url else None)
        await page.clock.install()
        await goes(page, view)
        await expect(page.get_by_role("banner")).to_contain_text("Not possible")
        await expect(page.get_by_role("main").locator(".notice")).to_have_count(1)
        await page.clock.run_for(60_000)
        assert len(asked) == 1
        await goes(page, "#/clients")
        await expect(page.get_by_text("No client is registered.")).to_be_visible()
        await expect(page.get_by_text("Live", exact=True)).to_be_visible()
