"""Who sees what in the dashboard, by his token; and how he comes and goes."""

from __future__ import annotations

import pytest
from playwright.async_api import Browser, Page, expect

from dev.broker import Broker
from dev.database import Database
from dev.stack import Stack
from tests.pages.operating import (
    ADMIN,
    OPERATE,
    READ,
    SERVICE,
    SMALL_PHONE,
    TOKENS,
    bury,
    goes,
    overflow,
    put_clients,
    put_failed_pull,
    put_failed_run,
    put_quarantined,
    said,
    signs_in,
    watching,
)
from tests.pages.visiting import serious_faults

BUTTONS = {
    "#/": {"Stop", "Set"},
    "#/clients": set(),
    "#/clients/ash": {"Pull now", "Pause", "Set"},
    "#/runs": {"Sync all", "Sync recent", "Compare all"},
    "#/queues": {"Replay all", "Replay", "Try all again", "Try again"},
}
"""What an operator may do, by view, when there is something of everything."""
READY = {
    "#/": "Running",
    "#/clients": "ash",
    "#/clients/ash": "What is known",
    "#/runs": "one client failed",
    "#/queues": "was put here by hand",
}


@pytest.fixture
async def guarded(stack: Stack, database: Database, broker: Broker) -> Stack:
    """A registry with tokens, which has something of everything."""
    await put_clients(database, {"user_id": "ash", "failures": 1, "last_reason": "connect", "last_error": "not there"})
    await put_failed_run(database, "ash", "not there")
    await put_failed_pull(database, "ash", "not there")
    await put_quarantined(database, "ash", problem="it is no capture", raw="{}")
    await bury(broker, b"no JSON at all")
    stack.configure("registry", **TOKENS)
    stack.start("registry")
    return stack


async def buttons(page: Page, view: str) -> set[str]:
    """Those of a view, once it is all there."""
    await goes(page, view)
    if view == "#/queues":
        await page.get_by_text("Look at the oldest").click()
        await expect(page.get_by_text("it is no capture")).to_be_visible()
    await expect(page.get_by_text(READY[view]).first).to_be_visible()
    return set(await page.locator("main button").all_inner_texts())


@pytest.mark.parametrize(
    ("token", "standing", "operates", "removes"),
    [(READ, "may look", False, False), (OPERATE, "may operate", True, False), (ADMIN, "may do all", True, True)],
)
async def test_buttons_are_for_who_may_use_them(
    browser: Browser,
    guarded: Stack,
    token: str,
    standing: str,
    operates: bool,  # noqa: FBT001 - a column
    removes: bool,  # noqa: FBT001 - a column
) -> None:
    """Who may only look sees none at all, in any view; clients are removed by administrators."""
    async with watching(browser, guarded, **SMALL_PHONE) as page:
        await signs_in(page, token)
        await expect(page.get_by_role("banner")).to_contain_text(standing)
        assert await overflow(page) == 0
        for view, expected in BUTTONS.items():
            found = await buttons(page, view)
            more = {"Remove"} if removes and view == "#/clients/ash" else set()
            assert found == (expected if operates else set()) | more, view


async def test_a_wrong_token_is_refused_in_words(browser: Browser, guarded: Stack) -> None:
    """And nothing of the registry is shown; the next one may be right."""
    async with watching(browser, guarded) as page:
        field = page.get_by_label("Token")
        assert await field.get_attribute("type") == "password"
        assert await field.get_attribute("autocomplete") == "off"
        await expect(page.get_by_role("alert")).to_have_count(0)
        for wrong, why in (("wrong-01234567890", "The registry does not know this token"), (SERVICE, "token")):
            await signs_in(page, wrong)
            await expect(page.get_by_role("alert")).to_contain_text(why)
            await expect(page.get_by_role("navigation")).to_have_count(0)
            assert await serious_faults(page) == []
        await signs_in(page, "with a blank")
        await expect(page.get_by_role("alert")).to_contain_text("copy it whole")
        await signs_in(page, READ)
        await expect(page.get_by_role("heading", level=1)).to_have_text("Overview")
        await expect(page.get_by_text("Live", exact=True)).to_be_visible()


async def test_a_token_is_kept_in_the_tab_alone(browser: Browser, guarded: Stack) -> None:
    """A reload keeps it, another tab has none, and whoever signs out leaves nothing behind."""
    async with watching(browser, guarded, "#/clients") as page:
        await signs_in(page, READ)
        await expect(page.get_by_role("link", name="ash")).to_be_visible()
        await page.reload()
        await expect(page.get_by_role("link", name="ash")).to_be_visible()
        other = await page.context.new_page()
        await other.goto("/dashboard")
        await expect(other.get_by_label("Token")).to_be_visible()
        kept = "() => JSON.stringify([{...sessionStorage}, {...localStorage}, document.cookie, location.href])"
        assert (await page.evaluate(kept)).count(READ) == 1
        await page.get_by_role("button", name="Sign out").click()
        await expect(page.get_by_label("Token")).to_be_visible()
        await expect(page.get_by_text("ash")).to_have_count(0)
        assert READ not in await page.evaluate(kept)


async def test_a_token_that_may_do_less_has_no_buttons_any_more(browser: Browser, guarded: Stack) -> None:
    """As soon as that is met: by the stream, when the registry was started anew, or by an action."""
    change = "(token) => sessionStorage.setItem(sessionStorage.key(0), token)"  # as if this one opened less
    async with watching(browser, guarded, "#/clients/ash") as page:
        await signs_in(page, ADMIN)
        await expect(page.get_by_role("button", name="Remove")).to_be_visible()
        guarded.stop("registry")
        await expect(page.get_by_role("banner")).to_contain_text("Not live since")
        await page.evaluate(change, OPERATE)
        guarded.start("registry")
        await expect(page.get_by_role("banner")).to_contain_text("may operate")
        await expect(page.get_by_role("button", name="Remove")).to_have_count(0)
        await page.evaluate(change, READ)
        await page.get_by_role("button", name="Pause").click()
        await expect(said(page).locator(".bad")).to_be_visible()
        await expect(page.get_by_role("banner")).to_contain_text("may look")
        await expect(page.get_by_role("main").get_by_role("button")).to_have_count(0)


async def test_a_token_that_is_taken_back_leads_to_the_form(browser: Browser, guarded: Stack) -> None:
    """With a sentence, whether it is met by the stream or by an action."""
    change = "() => sessionStorage.setItem(sessionStorage.key(0), 'taken-back-0123456789')"
    async with watching(browser, guarded) as page:
        await signs_in(page, OPERATE)
        await expect(page.get_by_role("button", name="Stop")).to_be_visible()
        await page.evaluate(change)
        await goes(page, "#/clients")
        await expect(page.get_by_role("alert")).to_contain_text("does not know this token")
        await signs_in(page, OPERATE)
        await page.get_by_role("link", name="ash").click()
        await expect(page.get_by_role("button", name="Pause")).to_be_visible()
        await page.evaluate(change)
        await page.get_by_role("button", name="Pause").click()
        await expect(page.get_by_role("alert")).to_contain_text("does not know this token")
        await expect(page.get_by_label("Token")).to_be_visible()
