"""The capture app where something is missing: storage, a secure context, a right, the client's database, the client."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from aiohttp import web
from playwright.async_api import Browser, async_playwright, expect

from tests.client_process import Registry, free_port, get, post, until
from tests.pages.capturing import DEADLINE_MS, FULL_DISK, CaptureApp
from tests.pages.visiting import visiting

if TYPE_CHECKING:
    from tests.client_process import Start

NAME = "pokedex.test"
PULL_TOKEN = "pull." + "p" * 40
CLIENT_TOKEN = "client." + "c" * 40


async def test_without_storage_nothing_can_be_captured(browser: Browser, start: Start) -> None:
    """As where the browser lets the site keep nothing: the page says what to do, and shows nothing as saved."""
    client = await start()
    async with visiting(browser, client.url) as context:
        await context.add_init_script(
            "IDBFactory.prototype.open = () => { throw new DOMException('access is denied', 'SecurityError'); }"
        )
        app = CaptureApp(await context.new_page())
        await app.page.goto("/")
        await app.says("allow the site to store data, then load the page again")
        await expect(app.button("Capture Bulbasaur")).to_be_disabled()
        await expect(app.page.locator(".event")).to_have_count(0)


async def test_a_full_disk_saves_nothing_and_says_so(browser: Browser, start: Start) -> None:
    """What could not be written is not shown as saved, and not handed over; once there is space, it can be."""
    client = await start()
    async with visiting(browser, client.url) as context:
        await context.add_init_script(FULL_DISK)
        app = await CaptureApp.open(context)
        await app.capture("Bulbasaur")
        await app.reaches("handed", "Bulbasaur captured")
        await app.page.evaluate("isFull = true")
        await app.press("Capture Ivysaur")
        await app.says("Ivysaur was NOT saved")
        await expect(app.page.locator("#spoken")).to_contain_text("Ivysaur was NOT saved")
        await expect(app.button("Capture Ivysaur")).to_be_visible()
        await expect(app.page.locator(".event")).to_have_count(1)

        await app.page.evaluate("isFull = false")
        await app.press("Capture Ivysaur")
        await app.reaches("handed", "Ivysaur captured")
        await expect(app.page.locator(".notice.bad")).to_have_count(0)
        assert (await get(client, "/api/client/stats"))["total_captures"] == 2


async def test_what_was_cleared_is_not_shown_as_saved(browser: Browser, start: Start) -> None:
    """When the user clears the site's data while the page is open; it can be used on."""
    client = await start()
    async with visiting(browser, client.url) as context:
        app = await CaptureApp.open(context)
        await context.set_offline(True)
        await app.capture("Bulbasaur")
        devtools = await context.new_cdp_session(app.page)
        await devtools.send("Storage.clearDataForOrigin", {"origin": client.url, "storageTypes": "indexeddb"})
        await expect(app.page.locator(".event")).to_have_count(0)
        await expect(app.button("Capture Bulbasaur")).to_be_visible()
        await app.capture("Ivysaur")
        await context.set_offline(False)
        await app.reaches("handed", "Ivysaur captured")


async def test_a_client_that_can_not_write_is_asked_again(browser: Browser, start: Start, tmp_path: Path) -> None:
    """Its own words are shown, and it gets the capture once it can write."""
    client = await start()
    async with visiting(browser, client.url) as context:
        app = await CaptureApp.open(context)
        with closing(sqlite3.connect(tmp_path / "client-data" / "captures.sqlite3", isolation_level=None)) as database:
            database.execute("BEGIN IMMEDIATE")
            await app.capture("Bulbasaur")
            await app.says("The client's database can't be used")
            await app.reaches("saved", "Bulbasaur captured")
            assert await app.count("saved") == 1
            database.execute("ROLLBACK")
        await app.reaches("handed", "Bulbasaur captured")
        await expect(app.page.locator("#hindrance")).to_have_count(0)


async def test_a_client_that_can_not_write_is_told_while_nothing_waits(
    browser: Browser, start: Start, tmp_path: Path
) -> None:
    """The page asks for its health: what is wrong stands there before anything is captured, and goes with its end."""
    client = await start()
    async with visiting(browser, client.url) as context:
        app = await CaptureApp.open(context)
        file = tmp_path / "client-data" / "captures.sqlite3"
        elsewhere = file.rename(file.with_name("elsewhere"))
        await post(client, "/api/client/acknowledge", {"capture_ids": []})
        await app.says("The client can't take captures now")
        await app.says("Put the file back where it was")
        elsewhere.rename(file)
        await post(client, "/api/client/acknowledge", {"capture_ids": []})
        await expect(app.page.locator("#hindrance")).to_have_count(0, timeout=DEADLINE_MS)


async def test_where_no_context_is_secure_it_works_without_a_start_offline(chromium: Path, start: Start) -> None:
    """By a name and plain http there are no locks and no service workers; two tabs capture all the same."""
    client = await start(CLIENT_HOSTS=NAME)
    url = f"http://{NAME}:{client.port}"
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=chromium, args=[f"--host-resolver-rules=MAP {NAME} 127.0.0.1"]
        )
        async with visiting(browser, url) as context:
            one, other = await CaptureApp.open(context), await CaptureApp.open(context)
            assert not await one.page.evaluate("isSecureContext || !!navigator.locks || !!navigator.serviceWorker")
            await one.capture("Bulbasaur", "Ivysaur")
            await other.capture("Venusaur")
            done = [f"{name} captured" for name in ("Bulbasaur", "Ivysaur", "Venusaur")]
            await one.reaches("handed", *done)
            await other.reaches("handed", *done)
            found = (await get(client, "/api/client/all-captures"))["captures"]
            assert [each["capture_id"] for each in found] == await one.ids()
        await browser.close()


class GuardedRegistry(Registry):
    """Tells clients tokens, as a registry with operators' tokens does."""

    async def register(self, request: web.Request) -> web.Response:
        """Register, and tell both."""
        response = await super().register(request)
        assert response.status == 200
        return web.json_response(
            {"message": "registered", "pull_token": PULL_TOKEN, "client_token": CLIENT_TOKEN}, status=200
        )


async def test_where_pulls_take_a_token_it_shows_what_is_its_own(browser: Browser, start: Start) -> None:
    """The page has no token, and says that it does not show all; what is captured in it is handed over and followed."""
    registry = GuardedRegistry(free_port())
    async with registry.running():
        client = await start(BACKEND_URL=registry.url)
        await until(lambda: "registered" in client.events, "the client did not register")
        foreign = {"pokemon_id": 150, "pokemon_name": "mewtwo"}
        assert (await post(client, "/api/client/add-capture", foreign)).status_code == 200
        async with visiting(browser, client.url) as context:
            app = await CaptureApp.open(context)
            await app.says("This page shows those that were made in this browser.")
            await app.capture("Bulbasaur")
            await app.reaches("handed", "Bulbasaur captured")
            await expect(app.page.locator(".event")).to_have_count(1)
