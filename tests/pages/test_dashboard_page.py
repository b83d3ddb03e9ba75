"""The dashboard as a page: small, of one host, in two languages, for everybody; live, and honest when it is not."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, Page, Request, expect

from dev.broker import Broker
from dev.database import Database
from dev.devices import DESKTOP
from dev.stack import Stack
from services.registry.app import DASHBOARD
from tests.pages.operating import (
    SMALL_PHONE,
    bury,
    colours,
    execute,
    goes,
    management_of,
    overflow,
    put_clients,
    put_failed_pull,
    put_failed_run,
    put_quarantined,
    watching,
)
from tests.pages.visiting import Loading, serious_faults, visiting
from tests.servers import Servers
from tests.waiting import eventually

FIRST_LOAD_BYTES = 150_000
LONG = "user-of-a-very-long-name-" + "x" * 200
VIEWS = {
    "#/": "Throughput",
    "#/clients": "Last pull",
    f"#/clients/{LONG}": "What is known",
    "#/runs": "one client failed",
    "#/queues": "Look at the oldest",
    "#/nowhere": "This link leads nowhere",
}
"""Each with a text that is there when all of it is."""


@pytest.fixture
async def full(stack: Stack, database: Database, broker: Broker, servers: Servers) -> Stack:
    """A registry that has something of everything."""
    await put_clients(
        database,
        {"user_id": LONG, "failures": 2, "last_reason": "connect", "last_error": "not there " * 20},
        {"user_id": "misty", "pending": 1_234_567},
    )
    await put_failed_run(database, LONG, "not there " * 20)
    await put_failed_pull(database, LONG, "not there " * 20)
    await put_quarantined(database, LONG, problem="it is no capture", raw='{"long": "' + "x" * 300 + '"}')
    await execute(
        database.registry_url,
        """INSERT INTO registry.pull_minutes (minute, backend, reason, bucket, pulls, stored)
           SELECT date_trunc('minute', now()) - make_interval(mins => n), 0, reason, 20, n, n
           FROM generate_series(0, 30) AS n, unnest(ARRAY['', 'connect', 'timeout', 'tls']) AS reason""",
    )
    await bury(broker, b'{"long": "' + b"x" * 300 + b'"}')
    stack.configure("registry", **management_of(servers))
    stack.start("registry")
    return stack


async def test_the_first_load_is_small_and_of_one_host(browser: Browser, full: Stack) -> None:
    """All that the overview takes, compressed; a visit fails for a request to another host."""
    async with visiting(browser, full.url("registry")) as context:
        page = await context.new_page()
        loading = await Loading.of(page)
        await page.goto("/dashboard")
        await expect(page.locator("canvas")).to_have_count(3)
        await expect(page.get_by_text("Live", exact=True)).to_be_visible()
        assert 20_000 < loading.total_bytes < FIRST_LOAD_BYTES


async def opened(page: Page) -> None:
    """Open all that can be opened in a view."""
    closed, loading = page.locator("main details:not([open]) > summary"), page.get_by_text("Loading …")

    async def nothing_is_left() -> bool:
        if await closed.count():
            await closed.first.click()
        return await closed.count() + await loading.count() == 0

    await eventually(nothing_is_left)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("device", [DESKTOP, SMALL_PHONE], ids=["desktop", "phone"])
async def test_nothing_hinders_anybody(browser: Browser, full: Stack, device: dict[str, Any], scheme: Any) -> None:
    """Axe finds nothing serious in any view, and nowhere must one scroll sideways."""
    async with watching(browser, full, color_scheme=scheme, **device) as page:
        for view, text in VIEWS.items():
            await goes(page, view)
            await expect(page.get_by_text(text).first).to_be_visible()
            await opened(page)
            assert await serious_faults(page) == [], view
            assert await overflow(page) == 0, view
        await goes(page, f"#/clients/{LONG}")
        await page.get_by_role("button", name="Remove").click()
        await expect(page.get_by_role("dialog")).to_be_visible()
        assert await serious_faults(page) == []


async def test_plots_have_the_colours_of_the_page(browser: Browser, full: Stack) -> None:
    """They are drawn anew when it turns dark."""
    async with watching(browser, full, color_scheme="light") as page:
        canvas = page.get_by_role("region", name="Failures").locator("canvas")

        async def has(colour: str) -> bool:
            return colour in await colours(canvas)

        await eventually(lambda: has("179,38,30"))
        await page.emulate_media(color_scheme="dark")
        await eventually(lambda: has("255,155,146"))
        assert not await has("179,38,30")


async def test_the_keyboard_is_enough(browser: Browser, full: Stack) -> None:
    """The first key leads past the navigation, and what is opened and asked can be answered."""
    async with watching(browser, full, "#/clients/misty") as page:
        await expect(page.get_by_role("button", name="Pull now")).to_be_visible()
        await page.keyboard.press("Tab")
        await expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("main")).to_be_focused()
        for name in ("All clients", "Pull now", "Pause", "Remove"):
            await page.keyboard.press("Tab")
            await expect(page.get_by_role("main").get_by_text(name, exact=True)).to_be_focused()
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("dialog").get_by_role("button", name="Cancel")).to_be_focused()
        await page.keyboard.press("Tab")
        await page.keyboard.press("Enter")
        await expect(page.get_by_text("No client is registered for misty.")).to_be_visible()


async def test_it_speaks_portuguese(browser: Browser, full: Stack) -> None:
    """By the browser's language, and says so to screen readers."""
    async with watching(browser, full, locale="pt-BR") as page:
        await expect(page.get_by_role("heading", level=1)).to_have_text("Resumo")
        await expect(page.get_by_text("Ao vivo", exact=True)).to_be_visible()
        assert await page.locator("html").get_attribute("lang") == "pt-BR"
        assert await page.title() == "Resumo · PullSync"
        await page.get_by_role("link", name="Clientes", exact=True).click()
        await expect(page.get_by_role("row").filter(has_text="misty")).to_contain_text("1.234.567")
        await page.get_by_role("link", name="misty").click()
        await page.get_by_role("button", name="Pausar").click()
        await expect(page.locator(".notices")).to_contain_text("O cliente misty está pausado")
        await page.get_by_role("button", name="Remover").click()
        await expect(page.get_by_role("dialog")).to_contain_text("1.234.567 capturas ainda estão só no cliente")


async def test_it_comes_back_when_the_registry_does(browser: Browser, stack: Stack, database: Database) -> None:
    """While it is away that is said, with since when; what changed meanwhile is seen afterwards, without a reload."""
    stack.start("registry")
    async with watching(browser, stack, "#/clients") as page:
        await expect(page.get_by_text("No client is registered.")).to_be_visible()
        stack.stop("registry")
        await expect(page.get_by_role("banner")).to_contain_text("Not live since")
        await expect(page.get_by_text("It is tried again by itself.")).to_be_visible()
        await put_clients(database, {"user_id": "ash"})
        stack.start("registry")
        await expect(page.get_by_role("link", name="ash")).to_be_visible()
        await expect(page.get_by_text("Live", exact=True)).to_be_visible()
        await expect(page.get_by_text("It is tried again by itself.")).to_have_count(0)


async def test_a_registry_that_is_away_at_first(browser: Browser, stack: Stack) -> None:
    """A page that was loaded before it went waits for it, and says so."""
    stack.start("registry")
    async with watching(browser, stack) as page:
        await expect(page.get_by_text("Live", exact=True)).to_be_visible()
        await page.route("**/api/v1/admin/access", lambda route: route.abort())
        await page.reload()
        await expect(page.get_by_role("alert")).to_contain_text("The registry does not answer")
        await page.unroute("**/api/v1/admin/access")
        await expect(page.get_by_text("Live", exact=True)).to_be_visible()


async def test_an_outage_of_the_database_is_told(browser: Browser, stack: Stack, database: Database) -> None:
    """In the registry's words, for as long as it lasts; the ranking's tables are away here, and come back."""
    stack.start("registry")
    async with watching(browser, stack) as page:
        await expect(page.get_by_text("Nobody holds a Pokémon yet.")).to_be_visible()
        await execute(database.ingest_url, "ALTER VIEW captures.published_ranking RENAME TO away")
        await expect(page.get_by_text("The captures are not set up yet")).to_be_visible()
        await execute(database.ingest_url, "ALTER VIEW captures.away RENAME TO published_ranking")
        await expect(page.get_by_text("The captures are not set up yet")).to_have_count(0)


async def test_a_tab_that_nobody_sees_listens_to_nothing(browser: Browser, stack: Stack, database: Database) -> None:
    """Its stream is closed, and opened again for who comes back; there is one at a time, whatever is looked at."""
    stack.start("registry")
    open_streams: list[Request] = []

    def begun(request: Request) -> None:
        if "/admin/events" in request.url:
            open_streams.append(request)

    def ended(request: Request) -> None:
        if request in open_streams:
            open_streams.remove(request)

    async def are_open(number: int) -> None:
        async def counted() -> bool:
            return len(open_streams) == number

        await eventually(counted)

    hide = """(hidden) => {
        Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
        document.dispatchEvent(new Event("visibilitychange"));
    }"""
    async with visiting(browser, stack.url("registry")) as context:
        page = await context.new_page()
        page.on("request", begun)
        page.on("requestfinished", ended)
        page.on("requestfailed", ended)
        await page.goto("/dashboard")
        for view in ("#/clients", "#/runs", "#/queues", "#/clients"):
            await goes(page, view)
            await expect(page.get_by_text("Live", exact=True)).to_be_visible()
        await are_open(1)
        assert "topics=clients" in open_streams[0].url
        await page.evaluate(hide, True)
        await expect(page.get_by_role("banner")).to_contain_text("Paused")
        await are_open(0)
        await put_clients(database, {"user_id": "ash"})
        await page.evaluate(hide, False)
        await expect(page.get_by_role("link", name="ash")).to_be_visible()
        await are_open(1)


def texts(language: str) -> dict[str, str]:
    """The page's texts by name; forms are one text."""
    text = (DASHBOARD / f"texts_{language}.js").read_text(encoding="utf-8")
    entries = re.split(r"^  (?=\"?[\w-]+\"?:)", text, flags=re.MULTILINE)[1:]
    return {entry.partition(":")[0].strip('"'): entry.partition(":")[2] for entry in entries}


def test_each_text_is_there_in_both_languages() -> None:
    """With the same values in it; and each that is used is there, and each that is there is used."""
    english, portuguese = texts("en"), texts("pt")
    assert list(english) == list(portuguese)

    def values(text: str) -> set[str]:
        return set(re.findall(r"\{(\w+)\}", text))

    assert {name: values(text) for name, text in english.items()} == {
        name: values(text) for name, text in portuguese.items()
    }
    code = "\n".join(file.read_text(encoding="utf-8") for file in Path(DASHBOARD).glob("[!t]*.js"))
    used = set(re.findall(r"[\"`]([\w-]+)[\"`]", code))
    prefixes = set(re.findall(r"[\"`](\w+_)\$\{", code))
    assert set(re.findall(r"\bt\(\"([\w-]+)\"", code)) <= set(english)
    assert [name for name in english if name not in used and not any(name.startswith(p) for p in prefixes)] == []
