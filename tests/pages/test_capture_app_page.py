"""The capture app as a page: who can use it, in which language, what it weighs, and what foreign text does to it."""

from __future__ import annotations

import asyncio
import gzip
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
from playwright.async_api import Browser, expect

from dev.devices import DESKTOP, PHONE
from services.client.page import WEB, WORKER, read_capture_app
from tests.client_process import post
from tests.pages.capturing import DEADLINE_MS, CaptureApp
from tests.pages.visiting import Loading, serious_faults, visiting

if TYPE_CHECKING:
    from tests.client_process import Process, Start
    from tests.e2e.world import World

ADD = "/api/client/add-capture"
MARKUP = "<img src=x onerror=alert(1)><b>bold</b>"
NARROW: dict[str, Any] = {**PHONE, "viewport": {"width": 320, "height": 640}}


@pytest.fixture
async def client(start: Start) -> Process:
    """One, without a registry."""
    return await start()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("device", [PHONE, DESKTOP, NARROW], ids=["phone", "desktop", "narrow"])
async def test_nobody_is_hindered(browser: Browser, client: Process, scheme: str, device: dict[str, Any]) -> None:
    """By what axe can find in each section, empty and with captures; nothing is wider than the screen, or small."""
    async with visiting(browser, client.url, color_scheme=scheme, **device) as context:
        app = await CaptureApp.open(context)
        assert await serious_faults(app.page) == []
        await app.press("Capture Bulbasaur", "Favourite: Charmander")
        await context.set_offline(True)
        await app.press("Release Bulbasaur")
        await app.says("The client has not answered since")
        for section in ("captures", "ranking", "pokedex"):
            await app.page.goto(f"/#{section}")
            await expect(app.page.locator(f"#{section}")).to_be_visible()
            assert await serious_faults(app.page) == []
            assert not await app.is_too_wide()
            assert await app.small_targets() == []


async def test_it_speaks_portuguese(browser: Browser, client: Process) -> None:
    """To who has told the browser so, in all that is seen or heard, numbers and times as well."""
    async with visiting(browser, client.url, locale="pt-BR") as context:
        app = await CaptureApp.open(context)
        await expect(app.page.locator("html")).to_have_attribute("lang", "pt-BR")
        await app.press("Capturar Bulbasaur", "Favorito: Charmander", "Soltar Bulbasaur")
        await app.reaches("handed", "Bulbasaur: capturado", "Charmander: agora é favorito", "Bulbasaur: solto")
        await expect(app.page.locator("#pokedex header")).to_contain_text("1.025 Pokémon")
        await expect(app.page.locator("#spoken")).to_have_text("Bulbasaur: solto. Salvo neste aparelho.")
        words = await app.page.locator("body").inner_text()
        assert not re.search(r"\b(Capture|Release|Handed|Stored|Search|Favourites|Client answers)\b", words)


def test_every_text_is_in_both_languages() -> None:
    """By the same name, with the same values in it."""
    english, portuguese = (WEB / "texts.js").read_text(encoding="utf-8").split("const pt = {")
    texts = [re.findall(r"^  (\w+):((?:.|\n    )*)", each, re.MULTILINE) for each in (english, portuguese)]
    values = [{name: set(re.findall(r"\{\w+\}", text)) for name, text in each} for each in texts]
    assert values[0] == values[1]
    assert len(values[0]) > 50


async def test_all_other_languages_get_english(browser: Browser, client: Process) -> None:
    """Rather than none."""
    async with visiting(browser, client.url, locale="ja-JP") as context:
        app = await CaptureApp.open(context)
        await expect(app.button("Capture Bulbasaur")).to_be_visible()
        await expect(app.page.locator("html")).to_have_attribute("lang", "en")


async def test_the_first_load_is_small(browser: Browser, client: Process) -> None:
    """With the table of species, and with all files that are kept for a start without the client."""
    async with visiting(browser, client.url, **PHONE) as context:
        app = CaptureApp(await context.new_page())
        loading = await Loading.of(app.page)
        asked: set[str] = set()
        context.on("request", lambda request: asked.add(urlsplit(request.url).path))
        await app.page.goto("/", wait_until="networkidle")
        await app.ready()
        await app.is_kept()
        assert 30_000 < loading.total_bytes < 150_000
        kept = read_capture_app()
        files = {path for path in asked if not path.startswith("/api/")} - {"/", f"/{WORKER}"}
        assert f"{kept.root}species.csv" in files
        assert files <= {kept.root, *kept.files}
        assert sum(len(gzip.compress(file.read_bytes())) for file in kept.files.values()) < 150_000


async def test_foreign_text_is_shown_as_text(browser: Browser, client: Process) -> None:
    """Names that somebody else has typed, of a Pokémon that is in no table."""
    body = {"pokemon_id": 77_777, "pokemon_name": MARKUP, "action": "favorite"}
    assert (await post(client, ADD, body)).status_code == 200
    async with visiting(browser, client.url) as context:
        app = await CaptureApp.open(context)
        shown = re.compile("img src=x onerror", re.IGNORECASE)
        await expect(app.page.locator(".event h3")).to_have_text(shown, timeout=DEADLINE_MS)
        await app.press("Favourites")
        await expect(app.page.locator(".entry h3")).to_have_text(shown)
        assert await app.page.locator("main b, main [onerror]").count() == 0


async def test_foreign_text_in_the_ranking_is_shown_as_text(browser: Browser, world: World) -> None:
    """It comes from all users."""
    world.stack.start("client-1")
    await world.capture("client-1", pokemon_id=77_777, pokemon_name=MARKUP)
    async with visiting(browser, world.stack.url("client-1")) as context:
        app = await CaptureApp.open(context)
        name = app.page.locator(".ranking .name")
        await expect(name).to_have_text(re.compile("img src=x", re.IGNORECASE), timeout=DEADLINE_MS)
        assert await app.page.locator("main b, main [onerror]").count() == 0


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("pikachu", ["Pikachu"]),
        ("PIKÁCHU ", ["Pikachu"]),
        ("mr mime", ["Mr Mime"]),
        ("25", ["Pikachu", "Articuno"]),
        ("#0025", ["Pikachu", "Articuno"]),
    ],
)
async def test_a_pokemon_is_found(browser: Browser, client: Process, query: str, found: list[str]) -> None:
    """By name or number, whatever the accents and the case."""
    async with visiting(browser, client.url) as context:
        app = await CaptureApp.open(context)
        await app.page.get_by_role("searchbox").fill(query)
        names = app.page.locator(".entry h3")
        await expect(names.first).to_have_text(found[0])
        await expect(names).to_have_count(1 if len(found) == 1 else 11)


async def test_all_of_them_come_while_one_scrolls(browser: Browser, client: Process) -> None:
    """And what can't be found is said, with what to do."""
    async with visiting(browser, client.url, **PHONE) as context:
        app = await CaptureApp.open(context)
        entries = app.page.locator(".entry")
        assert await entries.count() < 200

        async with asyncio.timeout(DEADLINE_MS / 1_000):
            while await app.button("Show more").count():
                await app.page.mouse.wheel(0, 20_000)
        await expect(entries).to_have_count(1_025)
        await app.page.get_by_role("searchbox").fill("nobody")
        await expect(app.page.locator("#pokedex .empty")).to_contain_text("Try a part of the name, or its number.")
        await app.page.get_by_role("searchbox").fill("")
        await app.press("Held")
        await expect(app.page.locator("#pokedex .empty")).to_contain_text("capture one")


async def test_the_keyboard_keeps_its_place(browser: Browser, client: Process) -> None:
    """On the button that was pressed, which means something else then; or on its neighbour, when it is gone."""
    async with visiting(browser, client.url) as context:
        app = await CaptureApp.open(context)
        await app.page.keyboard.press("Tab")
        await expect(app.page.get_by_role("link", name="Skip to the Pokédex")).to_be_focused()
        for name in ("Bulbasaur", "Ivysaur", "Venusaur"):
            await app.button(f"Capture {name}").focus()
            await app.page.keyboard.press("Enter")
            await expect(app.button(f"Release {name}")).to_be_focused()
            await expect(app.page.locator("#spoken")).to_have_text(f"{name} captured. Saved on this device.")
        await app.press("Held")
        for name, neighbour in (("Ivysaur", "Venusaur"), ("Venusaur", "Bulbasaur")):
            await app.button(f"Release {name}").focus()
            await app.page.keyboard.press("Space")
            await expect(app.button(f"Release {neighbour}")).to_be_focused()
        await app.page.keyboard.press("Space")
        await expect(app.page.get_by_role("heading", name="Pokédex", exact=True)).to_be_focused()


async def test_a_double_click_is_one_capture(browser: Browser, client: Process) -> None:
    """The second click would release what the first has captured."""
    async with visiting(browser, client.url) as context:
        app = await CaptureApp.open(context)
        await app.button("Capture Bulbasaur").dblclick()
        await app.reaches("handed", "Bulbasaur captured")
        await app.capture("Ivysaur")
        await app.reaches("handed", "Ivysaur captured")
        await expect(app.page.locator(".event")).to_have_count(2)
