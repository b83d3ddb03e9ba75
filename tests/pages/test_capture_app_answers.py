"""The capture app before odd answers: of a proxy in the client's place, of a busy client, of a newer client."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest
from playwright.async_api import Browser, Route, expect

from tests.client_process import get, post, until
from tests.pages.capturing import DEADLINE_MS, CaptureApp, counting
from tests.pages.visiting import visiting

if TYPE_CHECKING:
    from tests.client_process import Start

ADD: Final = "/api/client/add-capture"
NOTE_BADGES: Final = """
    () => {
        globalThis.badges = new Set();
        const note = () => badges.add(document.querySelector(".top .badge span").textContent);
        new MutationObserver(note).observe(document.querySelector(".top"), { subtree: true, characterData: true,
            childList: true, attributes: true });
        note();
    }"""


@pytest.mark.parametrize(
    ("status", "kind", "body"),
    [
        (200, "text/html", "<html>Log in first</html>"),
        (400, "text/html", "<html>The plain HTTP request was sent to HTTPS port</html>"),
        (413, "text/html", "<html>Request Entity Too Large</html>"),
        (422, "application/json", '{"detail": "of another server"}'),
    ],
)
async def test_what_answers_in_the_clients_place_refuses_nothing(
    browser: Browser, start: Start, status: int, kind: str, body: str
) -> None:
    """The captures wait, the page says why, and they are handed over once it is the client that answers."""
    client = await start()
    async with visiting(browser, client.url) as context:
        app = await CaptureApp.open(context)
        await app.page.route(f"**{ADD}", lambda route: route.fulfill(status=status, content_type=kind, body=body))
        await app.capture("Bulbasaur", "Ivysaur")
        await app.says("Something that is not the client has answered in its place since")
        await app.says(f"It says: HTTP {status}")
        await expect(app.page.locator(".event[data-state=saved]")).to_have_count(2)
        await app.page.unroute_all()
        await app.reaches("handed", "Bulbasaur captured", "Ivysaur captured")
        await expect(app.page.locator("#hindrance")).to_have_count(0)


async def test_a_lost_way_for_captures_alone_changes_no_badge(browser: Browser, start: Start) -> None:
    """While all else comes through, the client answers, as the badge has it throughout."""
    client = await start()
    async with visiting(browser, client.url) as context:
        app = await CaptureApp.open(context)
        await expect(app.page.locator(".top .badge")).to_contain_text("Client answers")
        await app.page.evaluate(NOTE_BADGES)
        await app.page.route(f"**{ADD}", lambda route: route.fulfill(content_type="text/html", body="<html></html>"))
        tried, looked = counting(app.page, ADD), counting(app.page, "/ranking")
        await app.capture("Bulbasaur")
        await until(lambda: len(tried) >= 4 and len(looked) >= 2, "it is not tried again")
        assert await app.page.evaluate("[...badges]") == ["Client answers"]


async def test_a_pause_that_the_client_asks_for_is_kept(browser: Browser, start: Start) -> None:
    """Also when there is more to hand over, and when the network is back."""
    client = await start()
    async with visiting(browser, client.url) as context:
        app = await CaptureApp.open(context)
        await context.set_offline(True)
        await app.capture("Bulbasaur", "Ivysaur", "Venusaur")
        await app.says("The client has not answered since")
        tried, looked = counting(app.page, ADD), counting(app.page, "/ranking")

        async def second_is_too_many(route: Route) -> None:
            if len(tried) == 1:
                await route.continue_()
            else:
                headers = {"retry-after": "300"}
                await route.fulfill(status=429, headers=headers, json={"error": "Not so fast."})

        await app.page.route(f"**{ADD}", second_is_too_many)
        await context.set_offline(False)
        await app.says("The client has had no time since")
        await app.capture("Charmander")
        await app.page.evaluate("dispatchEvent(new Event('online'))")
        before = len(looked)
        await until(lambda: len(looked) >= before + 2, "nothing else is asked for")
        assert len(tried) == 2


async def test_a_notice_ends_when_another_tab_has_handed_all_over(browser: Browser, start: Start) -> None:
    """Though this one was told to wait for long."""
    client = await start()
    async with visiting(browser, client.url) as context:
        one, other = await CaptureApp.open(context), await CaptureApp.open(context)
        headers = {"retry-after": "300"}
        busy = {"error": "Not so fast."}
        await one.page.route(f"**{ADD}", lambda route: route.fulfill(status=429, headers=headers, json=busy))
        await other.page.route(f"**{ADD}", lambda route: route.abort())
        await one.capture("Bulbasaur")
        await one.says("The client has had no time since")
        await other.page.unroute_all()
        await one.reaches("handed", "Bulbasaur captured")
        await expect(one.page.locator("#hindrance")).to_have_count(0)


async def test_what_is_held_is_what_the_database_says(browser: Browser, start: Start) -> None:
    """Of captures whose times are still to come, the later time decides; whatever order they came in."""
    client = await start()
    made = {"pokemon_id": 1, "pokemon_name": "bulbasaur"}
    late = {**made, "capture_id": "a-late", "timestamp": "2131-01-01T00:00:00Z"}
    early = {**made, "capture_id": "b-early", "timestamp": "2130-01-01T00:00:00Z", "removed": True}
    for each in (late, early):
        assert (await post(client, ADD, each)).status_code == 200
    async with visiting(browser, client.url) as context:
        app = await CaptureApp.open(context)
        await expect(app.page.locator(".event")).to_have_count(2, timeout=DEADLINE_MS)
        await expect(app.button("Release Bulbasaur")).to_be_visible()


async def test_a_clock_that_was_ahead_does_not_decide_for_long(browser: Browser, start: Start) -> None:
    """A capture counts from when it was pulled at the latest: what another device does afterwards is later."""
    client = await start()
    async with visiting(browser, client.url) as context:
        app = await CaptureApp.open(context)
        await app.page.clock.set_fixed_time("2130-01-01T00:00:00Z")
        await app.capture("Bulbasaur")
        await app.reaches("handed", "Bulbasaur captured")
        await get(client, "/api/client/sync-data")
        await app.reaches("pulled", "Bulbasaur captured")
        assert (await post(client, ADD, {"pokemon_id": 1, "pokemon_name": "bulbasaur", "removed": True})).is_success
        app = await CaptureApp.open(context)
        await app.reaches("handed", "Bulbasaur released")
        await expect(app.button("Capture Bulbasaur")).to_be_visible()


async def test_words_of_a_newer_client_break_nothing(browser: Browser, start: Start) -> None:
    """A state that this page does not know changes nothing, also after it was loaded again."""
    client = await start()

    async def unknown(route: Route) -> None:
        ids = (route.request.post_data_json or {})["capture_ids"]
        states = [{"capture_id": each, "state": "unheard-of", "pulled_at": None, "stored_at": None} for each in ids]
        await route.fulfill(json={"captures": states})

    async with visiting(browser, client.url) as context:
        app = await CaptureApp.open(context)
        await app.page.route("**/capture-states", unknown)
        asked = counting(app.page, "/capture-states")
        await app.capture("Bulbasaur")
        await until(lambda: len(asked) >= 2, "the states are not asked for")
        await app.reload()
        await app.reaches("handed", "Bulbasaur captured")


async def test_what_is_said_of_a_capture_is_not_cut_off(browser: Browser, start: Start) -> None:
    """By the notice that follows it: they are heard one after the other."""
    client = await start()
    async with visiting(browser, client.url) as context:
        app = await CaptureApp.open(context)
        await context.set_offline(True)
        await app.press("Capture Bulbasaur")
        hindrance = app.page.locator("#spoken-hindrance")
        await expect(hindrance).to_contain_text("The client has not answered since", timeout=DEADLINE_MS)
        await expect(app.page.locator("#spoken")).to_have_text("Bulbasaur captured. Saved on this device.")
