"""The capture app when the browser's disk fails, is taken away, or does not open: nothing vanishes, and it goes on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from playwright.async_api import Browser, expect

from tests.client_process import post, until
from tests.pages.capturing import DEADLINE_MS, FULL_DISK, CaptureApp, counting
from tests.pages.visiting import visiting

if TYPE_CHECKING:
    from tests.client_process import Start

TAKE_AWAY: Final = """
    () => {
        globalThis.really = IDBFactory.prototype.open;
        IDBFactory.prototype.open = () => { throw new DOMException("it is away", "UnknownError"); };
        return new Promise((done) => {
            const request = really.call(indexedDB, "pullsync", 7);
            request.onupgradeneeded = () => request.transaction.abort();
            request.onerror = () => done();
        });
    }"""
"""Has the database closed for another version, which then does not come; from then on it can't be opened."""

GIVE_BACK: Final = "() => { IDBFactory.prototype.open = really; }"

HOLD_DELETION: Final = """
    () => new Promise((done) => {
        const request = indexedDB.open("pullsync", 1);
        request.onsuccess = () => {
            globalThis.held = request.result;
            indexedDB.deleteDatabase("pullsync");
            done();
        };
    })"""
"""As another page of this site that has the database deleted, and does not let go of it."""


async def test_what_became_of_a_capture_is_learnt_after_the_disk_was_full(browser: Browser, start: Start) -> None:
    """A write that fails ends nothing for good: the client is asked again, and its answer is kept."""
    client = await start()
    async with visiting(browser, client.url) as context:
        await context.add_init_script(FULL_DISK)
        app = await CaptureApp.open(context)
        await app.capture("Bulbasaur")
        await app.reaches("handed", "Bulbasaur captured")
        await app.page.evaluate("isFull = true")
        asked = counting(app.page, "/capture-states")
        assert (await post(client, "/api/client/acknowledge", {"capture_ids": await app.ids()})).status_code == 200
        await until(lambda: len(asked) >= 2, "the states are not asked for")
        await expect(app.event("Bulbasaur captured")).to_have_attribute("data-state", "handed")
        await app.page.evaluate("isFull = false")
        await app.reaches("stored", "Bulbasaur captured")


async def test_what_is_known_does_not_vanish_while_the_disk_is_away(browser: Browser, start: Start) -> None:
    """It is shown as it was read last, with the reason, until the disk can be read again; and goes on then."""
    client = await start()
    async with visiting(browser, client.url) as context:
        app = await CaptureApp.open(context)
        await app.capture("Bulbasaur")
        await app.reaches("handed", "Bulbasaur captured")
        await app.page.evaluate(TAKE_AWAY)
        await app.says("This browser's storage has not been usable since")
        await expect(app.event("Bulbasaur captured")).to_have_attribute("data-state", "handed")
        await expect(app.button("Release Bulbasaur")).to_be_visible()

        await app.page.evaluate(GIVE_BACK)
        await expect(app.page.locator("#hindrance")).to_have_count(0, timeout=DEADLINE_MS)
        assert (await post(client, "/api/client/acknowledge", {"capture_ids": await app.ids()})).status_code == 200
        await app.reaches("stored", "Bulbasaur captured")


async def test_a_newer_version_in_another_tab_is_told(browser: Browser, start: Start) -> None:
    """Which has changed the database's form: what to do is said, and what was saved stays in sight."""
    client = await start()
    async with visiting(browser, client.url) as context:
        app = await CaptureApp.open(context)
        await app.capture("Bulbasaur")
        other = await context.new_page()
        await other.goto("/web/icon.svg")
        await other.evaluate(
            "new Promise((done) => { indexedDB.open('pullsync', 2).onsuccess = ({ target }) => done(); })"
        )
        await app.says("A newer version of this page is open in another tab. Load this page again")
        await expect(app.event("Bulbasaur captured")).to_be_visible()


async def test_a_disk_that_does_not_open_is_told(browser: Browser, start: Start) -> None:
    """All else is there meanwhile, and captures can be made as soon as it opens."""
    client = await start()
    async with visiting(browser, client.url) as context:
        other = await context.new_page()
        await other.goto("/web/icon.svg")
        await other.evaluate(HOLD_DELETION)
        app = CaptureApp(await context.new_page())
        await app.page.goto("/")
        await expect(app.button("Capture Bulbasaur")).to_be_disabled(timeout=DEADLINE_MS)
        await app.says("This browser's storage does not open")
        await expect(app.page.locator(".top .badge")).to_contain_text("Client answers")

        await other.evaluate("held.close()")
        await app.ready()
        await app.capture("Bulbasaur")
        await app.reaches("handed", "Bulbasaur captured")
        await expect(app.page.locator("#hindrance")).to_have_count(0)


async def test_what_can_not_be_taken_over_is_told(browser: Browser, start: Start) -> None:
    """Since it can't be written; it is brought in once it can."""
    client = await start()
    made = {"pokemon_id": 1, "pokemon_name": "bulbasaur", "capture_id": "of-curl"}
    assert (await post(client, "/api/client/add-capture", made)).status_code == 200
    async with visiting(browser, client.url) as context:
        await context.add_init_script(FULL_DISK + "isFull = true;")
        app = await CaptureApp.open(context)
        await app.says("This browser's storage has not been usable since")
        await expect(app.page.locator(".event")).to_have_count(0)
        await app.page.evaluate("isFull = false")
        await app.reaches("handed", "Bulbasaur captured")
        await expect(app.page.locator("#hindrance")).to_have_count(0)


async def test_a_held_key_and_hasty_presses_are_one_capture(browser: Browser, start: Start) -> None:
    """Each further one would undo what the one before has done."""
    client = await start()
    async with visiting(browser, client.url) as context:
        app = await CaptureApp.open(context)
        await app.button("Capture Bulbasaur").focus()
        for _ in range(10):
            await app.page.keyboard.down("Enter")
            await app.page.evaluate("new Promise(requestAnimationFrame)")
        await app.page.keyboard.up("Enter")
        await app.button("Capture Ivysaur").evaluate("(button) => { button.click(); button.click(); }")
        await app.capture("Venusaur")
        await expect(app.page.locator(".event h3")).to_have_text(
            ["Venusaur captured", "Ivysaur captured", "Bulbasaur captured"]
        )


async def test_a_try_that_can_not_be_written_names_the_pokemon(browser: Browser, start: Start) -> None:
    """As a capture that can't be written does."""
    client = await start()
    async with visiting(browser, client.url) as context:
        await context.add_init_script(FULL_DISK)
        app = await CaptureApp.open(context)
        await context.set_offline(True)
        await app.capture("Pikachu")
        [pikachu] = await app.ids()
        other = {"pokemon_id": 150, "pokemon_name": "mewtwo", "capture_id": pikachu}
        assert (await post(client, "/api/client/add-capture", other)).status_code == 200
        await context.set_offline(False)
        await app.reaches("refused", "Pikachu captured")
        await app.page.evaluate("isFull = true")
        await app.press("Try again: Pikachu captured")
        await app.says("Pikachu was NOT saved")
