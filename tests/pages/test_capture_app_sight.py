"""The capture app to the eye: what must be seen is in sight, whatever the screen, its colours, and foreign text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pytest
from playwright.async_api import Browser, Locator, expect

from dev.devices import DESKTOP, PHONE
from tests.client_process import post
from tests.pages.capturing import DEADLINE_MS, CaptureApp
from tests.pages.visiting import visiting

if TYPE_CHECKING:
    from tests.client_process import Process, Start

ADD: Final = "/api/client/add-capture"
TURNED: Final = "safe\u202egnp\u2066"
FULL_DISK: Final = "() => { IDBObjectStore.prototype.add = () => { throw new DOMException('', 'QuotaExceededError') } }"
NAMED: Final = {"pokemon_id": 25, "pokemon_name": "pikachu", "favorite_count": 2}


@pytest.fixture
async def client(start: Start) -> Process:
    """One, without a registry."""
    return await start()


@pytest.mark.parametrize("device", [PHONE, DESKTOP], ids=["phone", "desktop"])
async def test_what_was_not_saved_is_in_sight(browser: Browser, client: Process, device: dict[str, Any]) -> None:
    """However far down the list the button is."""
    async with visiting(browser, client.url, **device) as context:
        app = await CaptureApp.open(context)
        await app.page.evaluate(FULL_DISK)
        await app.button("Capture Charizard").scroll_into_view_if_needed()
        await app.press("Capture Nidoran F")
        words = app.page.locator(".notice", has_text="Nidoran F was NOT saved")
        await expect(words).to_be_in_viewport(ratio=1)
        assert not await app.is_too_wide()


async def test_a_refusal_leads_to_its_capture(browser: Browser, client: Process) -> None:
    """Which is in another section, on a phone."""
    async with visiting(browser, client.url, **PHONE) as context:
        app = await CaptureApp.open(context)
        await context.set_offline(True)
        await app.press("Capture Bulbasaur")
        await app.page.goto("/#captures")
        [bulbasaur] = await app.ids()
        other = {"pokemon_id": 150, "pokemon_name": "mewtwo", "capture_id": bulbasaur}
        assert (await post(client, ADD, other)).status_code == 200
        await app.page.goto("/#pokedex")
        await context.set_offline(False)
        await app.page.locator(".notice", has_text="refused 1 capture").get_by_role("link").click()
        await expect(app.event("Bulbasaur captured")).to_be_visible()


async def test_chosen_is_seen_in_the_systems_colours(browser: Browser, client: Process) -> None:
    """Where there are no others: a chosen button, the section, and how far a capture is."""
    async with visiting(browser, client.url, forced_colors="active", **PHONE) as context:
        app = await CaptureApp.open(context)
        await app.press("Favourite: Bulbasaur")
        chosen, other = app.button("All"), app.button("Held")
        assert await look(chosen, "backgroundColor") != await look(other, "backgroundColor")
        star, no_star = app.button("Favourite: Bulbasaur"), app.button("Favourite: Ivysaur")
        await expect(star).to_have_attribute("aria-pressed", "true")
        assert await look(star, "backgroundColor") != await look(no_star, "backgroundColor")
        tabs = app.page.locator("nav a")
        assert await look(tabs.nth(0), "borderTopColor") != await look(tabs.nth(1), "borderTopColor")
        await app.page.goto("/#captures")
        await app.reaches("handed", "Bulbasaur is a favourite")
        steps = app.event("Bulbasaur is a favourite").locator(".step")
        dots = [await look(steps.nth(place), "backgroundColor", "::after") for place in (0, 3)]
        canvas = await look(app.page.locator("body"), "backgroundColor")
        assert len({*dots, canvas}) == 3


async def look(element: Locator, name: str, part: str | None = None) -> str:
    """A property as it is drawn."""
    return str(await element.evaluate("(it, [name, part]) => getComputedStyle(it, part)[name]", [name, part]))


async def test_a_name_turns_nothing_round(browser: Browser, client: Process) -> None:
    """Characters that would have the words after them written backwards are not shown."""
    body = {"pokemon_id": 77_777, "pokemon_name": TURNED, "action": "favorite"}
    assert (await post(client, ADD, body)).status_code == 200
    async with visiting(browser, client.url) as context:
        app = await CaptureApp.open(context)
        await expect(app.event("Safegnp is a favourite")).to_be_visible(timeout=DEADLINE_MS)


async def test_a_ranking_of_another_form_breaks_nothing(browser: Browser, client: Process) -> None:
    """What has no name or no time is left out, and the rest of the page is drawn on."""
    async with visiting(browser, client.url) as context:
        page = await context.new_page()
        told = {"ranking": [None, {"id": 1, "score": 3}, {**NAMED, "pokemon_name": None}, NAMED], "as_of": "soon"}
        await page.route("**/api/client/ranking*", lambda route: route.fulfill(json=told))
        app = CaptureApp(page)
        await page.goto("/")
        await app.ready()
        await expect(page.locator(".ranking .name")).to_have_text(["Pikachu"], timeout=DEADLINE_MS)
        await app.capture("Bulbasaur")


@pytest.mark.parametrize("width", [640, 1024])
async def test_the_search_fits_its_words(browser: Browser, client: Process, width: int) -> None:
    """Also in Portuguese, which has more of them."""
    size = {"width": width, "height": 800}
    async with visiting(browser, client.url, locale="pt-BR", viewport=size) as context:
        app = await CaptureApp.open(context)
        fits = """it => {
            const { font, paddingLeft, paddingRight } = getComputedStyle(it);
            const drawn = Object.assign(document.createElement("canvas").getContext("2d"), { font });
            const clearing = 24; // the browser's own button
            const room = it.clientWidth - parseFloat(paddingLeft) - parseFloat(paddingRight) - clearing;
            return drawn.measureText(it.placeholder).width <= room;
        }"""
        assert await app.page.get_by_role("searchbox").evaluate(fits)
