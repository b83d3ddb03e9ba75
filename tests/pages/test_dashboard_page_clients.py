"""Clients in the dashboard: found among many, seen as they change, and what an operator does about one."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from playwright.async_api import Browser, Page, expect

from dev.database import Database
from dev.devices import PHONE
from dev.stack import Stack
from tests.e2e.world import API, World
from tests.pages.operating import (
    MARKUP,
    agrees,
    execute,
    goes,
    overflow,
    put_clients,
    put_failed_pull,
    put_failed_run,
    put_quarantined,
    running,
    said,
    watching,
)
from tests.waiting import eventually

MANY = 100_000


async def record(world: World, user_id: str) -> dict[str, Any]:
    """What the registry says of a client."""
    answer = await world.http.get(f"{world.stack.url('registry')}{API}/clients/{user_id}")
    return dict(answer.json())


async def shown(page: Page, *user_ids: str) -> None:
    """The list has these, in this order."""
    await expect(page.locator("main table tbody a")).to_have_text(user_ids)


async def test_a_client_that_dies_is_seen_to_fail(browser: Browser, stack: Stack, database: Database) -> None:
    """Without a reload, and whoever stands in the list with the keyboard stays where he is."""
    async with running(stack, database, clients=2), watching(browser, stack, "#/clients") as page:
        row = page.get_by_role("row").filter(has_text="user_2")
        await expect(row).to_contain_text("active")
        link = row.get_by_role("link", name="user_2")
        await link.focus()
        await page.evaluate("() => { window.sameDocument = true; }")
        stack.kill("client-2")
        await expect(row).to_contain_text("failing")
        await expect(row).to_contain_text("connect")
        await expect(page.get_by_role("row").filter(has_text="user_1")).to_contain_text("active")
        await expect(link).to_be_focused()
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("heading", level=1)).to_have_text("user_2")
        await expect(page.get_by_role("heading", level=1)).to_be_focused()
        await expect(page.get_by_text("not connected: ").first).to_be_visible()
        assert await page.evaluate("() => window.sameDocument")
        await page.go_back()
        await expect(row).to_contain_text("failing")


async def test_a_client_is_pulled_paused_and_resumed(browser: Browser, stack: Stack, database: Database) -> None:
    """Each says what came of it, and what is known of the client follows."""
    async with running(stack, database, clients=1) as world:
        await eventually(lambda: was_pulled(world))
        async with watching(browser, stack, "#/clients/user_1") as page:
            known = page.get_by_role("region", name="What is known")
            await page.get_by_label("Own interval").fill("86400")
            await page.get_by_role("button", name="Set", exact=True).click()
            await expect(said(page)).to_have_text("The client user_1 is pulled every 86,400 seconds.")
            await world.capture("client-1")
            await page.get_by_role("button", name="Pull now").click()
            await expect(said(page)).to_have_text("The client user_1 is due now.")
            history = page.get_by_role("region", name="History")
            await expect(history.get_by_role("row").filter(has_text="stored")).to_have_count(1)
            await world.told("client-1")

            await page.get_by_role("button", name="Pause").click()
            await expect(said(page)).to_contain_text("The client user_1 is paused")
            await expect(known.get_by_text("paused", exact=True)).to_be_visible()
            await expect(page.get_by_role("button", name="Pull now")).to_have_count(0)
            assert (await record(world, "user_1"))["state"] == "paused"
            await page.get_by_role("button", name="Resume").click()
            await expect(said(page)).to_have_text("The client user_1 is pulled again.")
            await expect(known.get_by_text("active", exact=True)).to_be_visible()


async def was_pulled(world: World) -> bool:
    """Whether the first client was, since it registered."""
    return bool((await record(world, "user_1")).get("last_success_at"))


async def test_no_pull_is_told_while_none_comes(browser: Browser, stack: Stack, database: Database) -> None:
    """Of a scheduler that is stopped; when it runs again it is told when."""
    stack.start("registry")
    await put_clients(database, {"user_id": "ash"})
    async with watching(browser, stack, "#/clients") as page:
        row = page.get_by_role("row").filter(has_text="ash")
        await expect(row).to_contain_text("in 23 hr")
        await execute(database.registry_url, "UPDATE registry.scheduler SET running = false")
        await expect(row).to_contain_text("when the scheduler runs")
        await execute(database.registry_url, "UPDATE registry.scheduler SET running = true")
        await expect(row).to_contain_text("in 23 hr")


async def test_a_client_is_removed(browser: Browser, stack: Stack, database: Database) -> None:
    """Only after a question that says what is lost."""
    stack.start("registry")
    await put_clients(database, {"user_id": "ash", "pending": 3}, {"user_id": "misty"})
    async with watching(browser, stack, "#/clients/ash") as page:
        remove = page.get_by_role("button", name="Remove", exact=True)
        await remove.click()
        await expect(page.get_by_role("dialog")).to_contain_text("3 captures are still at the client")
        await page.get_by_role("dialog").get_by_role("button", name="Cancel").click()
        await expect(remove).to_be_visible()
        await remove.click()
        await agrees(page, "Remove")
        await expect(said(page)).to_have_text("The client ash is removed.")
        await expect(page.get_by_text("No client is registered for ash.")).to_be_visible()
        await goes(page, "#/clients")
        await shown(page, "misty")


async def test_one_is_found_among_many(browser: Browser, stack: Stack, database: Database) -> None:
    """By pages that lead forth and back, by the beginning of the user id, by state; a link leads to what is shown."""
    stack.start("registry")
    await execute(
        database.registry_url,
        """INSERT INTO registry.clients (user_id, client_url, client_type, capabilities, next_pull_at, failures)
           SELECT 'user-' || lpad(n::text, 6, '0'), 'http://127.0.0.1:9', 'web', '{}', now() + interval '1 day',
               (n % 1000 = 7)::int
           FROM generate_series(1, $1) AS n""",
        MANY,
    )
    first, second = ([f"user-{n:06}" for n in range(start, start + 50)] for start in (1, 51))
    async with watching(browser, stack, "#/clients") as page:
        await shown(page, *first)
        await page.get_by_role("link", name="Next").click()
        await shown(page, *second)
        await expect(page.get_by_role("link", name="Next")).to_be_focused()
        await page.get_by_role("link", name="Next").click()
        await expect(page.get_by_role("link", name="user-000101")).to_be_visible()
        await page.reload()
        await expect(page.get_by_role("link", name="user-000101")).to_be_visible()
        await page.get_by_role("link", name="Previous").click()
        await shown(page, *second)
        await page.go_back()
        await expect(page.get_by_role("link", name="user-000101")).to_be_visible()
        await page.get_by_role("link", name="First").click()
        await shown(page, *first)

        await page.get_by_label("User id begins with").press_sequentially("user-09900")
        await shown(page, *(f"user-{n:06}" for n in range(99_000, 99_010)))
        await page.get_by_role("link", name="Failing").click()
        await shown(page, "user-099007")
        await expect(page.get_by_label("User id begins with")).to_have_value("user-09900")
        assert page.url.endswith("#/clients?state=failing&search=user-09900")
        await page.reload()
        await shown(page, "user-099007")
        await page.get_by_label("User id begins with").fill("user-x")
        await expect(page.get_by_text("No client is like that.")).to_be_visible()


async def broken_words(page: Page) -> list[str]:
    """The words of the table that are not in one line, but for those of the user ids."""
    found = await page.locator("main th, main td:not(.who)").evaluate_all(
        """(cells) => cells.flatMap((cell) => {
            const texts = document.createTreeWalker(cell, NodeFilter.SHOW_TEXT);
            const broken = [];
            while (texts.nextNode()) {
                for (const word of texts.currentNode.data.matchAll(/[^ \\n]+/g)) {
                    const range = document.createRange();
                    range.setStart(texts.currentNode, word.index);
                    range.setEnd(texts.currentNode, word.index + word[0].length);
                    if (range.getClientRects().length > 1) broken.push(word[0]);
                }
            }
            return broken;
        })"""
    )
    return list(found)


async def test_a_long_id_leaves_the_others_their_room(browser: Browser, stack: Stack, database: Database) -> None:
    """It is broken where it must be, the words of the other columns nowhere, and the page is as wide as the window."""
    stack.start("registry")
    long = {"user_id": "W" * 255, "failures": 3, "last_reason": "connect", "last_error": "away", "pending": 12_345}
    await put_clients(database, long, {"user_id": "ash"})
    async with watching(browser, stack, "#/clients") as page:
        await shown(page, "W" * 255, "ash")
        assert await broken_words(page) == []
        assert await overflow(page) == 0


async def test_an_id_is_not_taken_for_another(browser: Browser, stack: Stack, database: Database) -> None:
    """What nobody sees is shown by its number, be it a blank; the link leads to the client all the same."""
    stack.start("registry")
    turned, blank = "ash\u202eytsim", " a  b"
    await put_clients(database, {"user_id": turned}, {"user_id": blank}, {"user_id": "ação"})
    async with watching(browser, stack, "#/clients") as page:
        await shown(page, "\\u0020a\\u0020 b", "ash\\u202eytsim", "\u2068ação\u2069")
        await page.get_by_role("link", name="ytsim").click()
        await expect(page.get_by_role("region", name="What is known")).to_be_visible()
        assert page.url.endswith("#/clients/" + quote(turned))


async def nothing_ran(page: Page) -> None:
    """No element came of text, and no link to anywhere but within the page."""
    assert await page.locator("main img, main script, main a:not([href^='#/'])").count() == 0
    assert await page.evaluate("() => window.ran") is None


async def test_what_clients_say_is_text(browser: Browser, stack: Stack, database: Database) -> None:
    """Markup in a user id, an address or an error is shown, and nothing of it runs; whatever an id is, it is found."""
    stack.start("registry")
    odd = f"{MARKUP}/%2e%2e/?a#b"
    await put_clients(
        database,
        {"user_id": odd, "client_url": "javascript:window.ran='it ran'", "client_type": MARKUP, "failures": 1}
        | {"last_reason": MARKUP, "last_error": MARKUP},
    )
    await put_failed_run(database, odd, MARKUP)
    await put_failed_pull(database, odd, MARKUP)
    await put_quarantined(database, odd, problem=MARKUP, raw=MARKUP)
    async with watching(browser, stack, "#/clients", **PHONE) as page:
        await page.get_by_role("link", name=odd).click()
        await expect(page.get_by_role("heading", level=1)).to_have_text(odd)
        assert page.url.endswith("#/clients/" + quote(odd, safe="!()*'"))
        await expect(page.get_by_text(MARKUP, exact=True)).to_have_count(4)
        await expect(page.get_by_text("javascript:window.ran='it ran'")).to_be_visible()
        await nothing_ran(page)
        await page.get_by_role("button", name="Pause").click()
        await expect(page.get_by_text("paused", exact=True)).to_be_visible()
        await page.get_by_role("button", name="Remove").click()
        await expect(page.get_by_role("dialog")).to_contain_text(f"Remove {odd}?")
        await page.keyboard.press("Escape")
        await goes(page, "#/runs")
        await page.get_by_text("Clients that failed").click()
        await expect(page.get_by_role("cell").filter(has_text=MARKUP)).to_have_count(2)
        await nothing_ran(page)
        await goes(page, "#/queues")
        await expect(page.get_by_role("region", name="As it came")).to_have_text(MARKUP)
        await nothing_ran(page)
