"""Queues, dead letters and the quarantine in the dashboard, on a real RabbitMQ."""

from __future__ import annotations

from datetime import UTC, datetime

from playwright.async_api import Browser, expect

from dev.broker import Broker
from dev.database import Database
from dev.stack import Stack
from tests.pages.operating import (
    BATCHES,
    agrees,
    bury,
    goes,
    management_of,
    messages_in,
    put_quarantined,
    running,
    said,
    watching,
)
from tests.servers import Servers


async def test_queues_are_shown_as_they_fill(browser: Browser, stack: Stack, servers: Servers) -> None:
    """As the management API has them, with a link to it; a queue that nobody reads stands out."""
    stack.configure("registry", **management_of(servers))
    stack.start("registry")
    async with watching(browser, stack, "#/queues") as page:
        settled = page.get_by_role("row").filter(has=page.get_by_text("registry.pull-settled", exact=True))
        await expect(settled).to_contain_text("work")
        await expect(settled.get_by_role("cell").nth(4)).to_have_text("1")
        nobody = page.get_by_role("row").filter(has=page.get_by_text(BATCHES, exact=True))
        await expect(nobody.locator(".bad").first).to_be_visible()
        link = page.get_by_role("link", name="Management UI")
        assert await link.get_attribute("href") == servers.management_url


async def test_dead_letters_are_seen_and_looked_at(
    browser: Browser, stack: Stack, servers: Servers, broker: Broker
) -> None:
    """As soon as they die, also in the overview; what is in them is text."""
    stack.configure("registry", **management_of(servers))
    stack.start("registry")
    async with watching(browser, stack, "#/queues") as page:
        card = page.get_by_role("region", name="Dead letters")
        await expect(card).to_contain_text("There are none.")
        await page.clock.set_fixed_time(datetime.now(UTC))  # so that it is not looked again for the time that passed
        await bury(broker, b'{"oldest": "<b>bold</b>"}', b"no JSON at all")
        await expect(card.get_by_role("heading", name=BATCHES)).to_contain_text("2")
        await goes(page, "#/")
        await expect(page.get_by_text("2 messages could not be handled.")).to_be_visible()
        await page.get_by_role("link", name="Dead letters").click()
        await card.get_by_text("Look at the oldest").click()
        oldest = card.locator(".letter").first
        await expect(oldest).to_contain_text("CaptureBatch from puller (25 bytes) was put here by hand.")
        beginning = oldest.get_by_role("region", name="Beginning of the body")
        await expect(beginning).to_have_text('{"oldest": "<b>bold</b>"}')
        await oldest.get_by_text("Whole body").click()
        await expect(oldest.get_by_role("region", name="Whole body")).to_have_text('{"oldest": "<b>bold</b>"}')


async def test_dead_letters_are_replayed(browser: Browser, stack: Stack, broker: Broker) -> None:
    """One, and then all; they go where they came from, once somebody has said yes."""
    await bury(broker, b"the oldest", b"no JSON at all", b"\xff\x00")
    stack.start("registry")
    async with watching(browser, stack, "#/queues") as page:
        card = page.get_by_role("region", name="Dead letters")
        await card.get_by_text("Look at the oldest").click()
        await expect(card.locator(".letter")).to_have_count(3)
        await card.locator(".letter").first.get_by_role("button", name="Replay").click()
        await agrees(page, "Replay")
        await expect(said(page)).to_have_text("One message was replayed.")
        await expect(card.get_by_role("heading", name=BATCHES)).to_contain_text("2")
        await expect(card.locator(".letter")).to_have_count(2)
        await expect(card.locator(".letter").first).to_contain_text("no JSON at all")
        await messages_in(broker, BATCHES, 1)

        await card.get_by_role("button", name="Replay all").click()
        await page.keyboard.press("Escape")
        await expect(page.get_by_role("dialog")).to_have_count(0)
        await messages_in(broker, f"{BATCHES}.dead", 2)
        await card.get_by_role("button", name="Replay all").click()
        await agrees(page, "Replay all")
        await expect(said(page)).to_have_text("2 messages were replayed.")
        await expect(card).to_contain_text("There are none.")
        await messages_in(broker, BATCHES, 3)


async def test_without_the_management_api(browser: Browser, stack: Stack, broker: Broker) -> None:
    """What to set is told, and dead letters are there all the same."""
    await bury(broker, b"no JSON at all")
    stack.start("registry")
    async with watching(browser, stack, "#/queues") as page:
        await expect(page.get_by_text("RABBITMQ_MANAGEMENT_URL is not set")).to_be_visible()
        await expect(page.get_by_role("link", name="Management UI")).to_have_count(0)
        await expect(page.get_by_role("heading", name=BATCHES)).to_contain_text("1")
        await goes(page, "#/")
        await expect(page.get_by_text("Whether messages could not be handled is not known here.")).to_be_visible()
        await page.get_by_role("main").get_by_role("link", name="Queues").click()
        await expect(page.get_by_role("heading", level=1)).to_have_text("Queues")


async def test_dead_letters_come_back_after_an_odd_answer(browser: Browser, stack: Stack, broker: Broker) -> None:
    """As of something on the way that answers what is no list; that is said, and the next look is as any other."""
    await bury(broker, b"no JSON at all")
    stack.start("registry")
    async with watching(browser, stack, "#/queues") as page:
        await expect(page.get_by_role("heading", name=BATCHES)).to_contain_text("1")
        card = page.get_by_role("region", name="Dead letters")
        await page.route("**/admin/dead-letters", lambda route: route.fulfill(json={"welcome": "to the hotel"}))
        await card.get_by_text("Look at the oldest").click()
        await expect(card.get_by_text("Something answered 200 that is not the registry")).to_be_visible()
        await page.unroute("**/admin/dead-letters")
        await card.get_by_text("Look at the oldest").click()
        await card.get_by_text("Look at the oldest").click()
        await expect(card.locator(".letter")).to_have_count(1)
        await expect(card.get_by_text("Something answered")).to_have_count(0)


async def test_a_body_is_shown_as_it_came(browser: Browser, stack: Stack, broker: Broker) -> None:
    """Or it is said how it is written instead."""
    long = '{"b": 12345678901234567890, "a": "' + "x" * 2_000 + '"}'
    await bury(broker, b'{"b": 12345678901234567890,  "a": 1.0}', b"\xff\x00", long.encode())
    stack.start("registry")
    async with watching(browser, stack, "#/queues") as page:
        await page.get_by_text("Look at the oldest").click()
        letters = page.locator(".letter")
        await expect(letters).to_have_count(3)
        whole = letters.get_by_role("region", name="Whole body")
        for number in range(3):
            await letters.nth(number).get_by_text("Whole body").click()
            await expect(whole).to_have_count(number + 1)
        assert await whole.nth(0).inner_text() == '{"b": 12345678901234567890,  "a": 1.0}'
        await expect(whole.nth(1)).to_have_text("(It is no text. In base64:) /wA=")
        await expect(whole.nth(2)).to_contain_text("(JSON, written anew: order, blanks and long numbers may differ.)")


async def test_what_is_in_quarantine_is_tried_again(browser: Browser, stack: Stack, database: Database) -> None:
    """What can be stored now leaves it, and the page sees it go; what can't stays."""
    async with running(stack, database, clients=0):
        readable = '{"capture_id": "a", "pokemon_id": 25, "pokemon_name": "pikachu", "action": "capture",'
        readable += ' "timestamp": "2026-01-31T12:00:00Z", "removed": false}'
        await put_quarantined(database, "ash", problem="some problem of before", raw=readable)
        await put_quarantined(database, "misty", problem="it is no capture", raw="{}")
        async with watching(browser, stack, "#/queues") as page:
            card = page.get_by_role("region", name="Quarantine")
            await expect(card.locator(".letter")).to_have_count(2)
            first = card.locator(".letter").first
            await expect(first).to_contain_text("some problem of before")
            await first.get_by_role("button", name="Try again").click()
            await expect(said(page)).to_have_text("One item is tried again.")
            await expect(card.locator(".letter")).to_have_count(1)
            await expect(card.locator(".letter")).to_contain_text("misty")
            await card.get_by_role("button", name="Try all again").click()
            await agrees(page, "Try all again")
            await expect(said(page)).to_have_text("One item is tried again.")
            await expect(card.locator(".letter")).to_contain_text("misty")
