"""The capture app hands over what it has: in order, once each, whatever dies in between. On real client processes."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
from playwright.async_api import Browser, BrowserContext, Request, Route, expect

from tests.client_process import Process, get, post, until
from tests.pages.capturing import DEADLINE_MS, CaptureApp
from tests.pages.visiting import visiting

if TYPE_CHECKING:
    from tests.client_process import Start

ADD = "/api/client/add-capture"
FIRST = ("Bulbasaur", "Ivysaur", "Venusaur", "Charmander", "Charmeleon", "Charizard", "Squirtle", "Wartortle")
NEXT = ("Blastoise", "Caterpie", "Metapod", "Butterfree", "Weedle", "Kakuna", "Beedrill", "Pidgey")


def handed_over(context: BrowserContext) -> list[dict[str, Any]]:
    """What pages of the context send to be added, from now on."""
    sent: list[dict[str, Any]] = []

    def note(request: Request) -> None:
        if request.url.endswith(ADD):
            sent.append(json.loads(request.post_data or ""))

    context.on("request", note)
    return sent


async def captures_of(client: Process) -> list[dict[str, Any]]:
    """All that the client has, oldest first."""
    found: list[dict[str, Any]] = (await get(client, "/api/client/all-captures"))["captures"]
    return found


async def kill(client: Process) -> None:
    """As a crash would."""
    client.process.send_signal(signal.SIGKILL)
    await client.status()


async def test_the_page_starts_while_the_client_is_dead(browser: Browser, start: Start) -> None:
    """And keeps what is captured meanwhile, until the client is started again."""
    client = await start()
    async with visiting(browser, client.url) as context:
        app = await CaptureApp.open(context)
        await app.is_kept()
        await kill(client)
        await app.reload()
        await app.capture("Pikachu")
        await app.says("Captures stay on this device")
        again = await start(CLIENT_PORT=str(client.port))
        await app.reaches("handed", "Pikachu captured")
        assert [each["capture_id"] for each in await captures_of(again)] == await app.ids()


async def test_two_tabs_hand_over_each_capture_once_and_in_order(browser: Browser, start: Start) -> None:
    """While both capture at the same time, and both show all of it."""
    client = await start()
    async with visiting(browser, client.url) as context:
        sent = handed_over(context)
        one, other = await CaptureApp.open(context), await CaptureApp.open(context)
        await asyncio.gather(one.capture(*FIRST), other.capture(*NEXT))
        done = [f"{name} captured" for name in (*FIRST, *NEXT)]
        await asyncio.gather(one.reaches("handed", *done), other.reaches("handed", *done))
        ids = [each["capture_id"] for each in sent]
        assert ids == await one.ids() == await other.ids()
        assert len(set(ids)) == len(done)
        times = [each["timestamp"] for each in sent]
        assert times == sorted(set(times))
        assert [each["capture_id"] for each in await captures_of(client)] == ids


async def test_a_client_that_is_killed_in_the_middle_has_each_capture_once(browser: Browser, start: Start) -> None:
    """When it is started again, the rest is handed over, and what it had already is not there twice."""
    client = await start()
    async with visiting(browser, client.url) as context:
        app = await CaptureApp.open(context)
        await context.set_offline(True)
        await app.capture(*FIRST, *NEXT)
        sent = handed_over(context)

        def strike(_: Request) -> None:
            if len(sent) >= 5 and client.process.returncode is None:
                client.process.kill()

        context.on("request", strike)
        await context.set_offline(False)
        await client.status()
        await app.says("The client has not answered since")
        assert await app.count("saved") > 0

        again = await start(CLIENT_PORT=str(client.port))
        await app.reaches("handed", *(f"{name} captured" for name in (*FIRST, *NEXT)))
        assert [each["capture_id"] for each in await captures_of(again)] == await app.ids()


async def test_a_lost_answer_makes_no_second_capture(browser: Browser, start: Start) -> None:
    """The client has stored it, and the page was not told: it hands the same over again."""
    client = await start()
    async with visiting(browser, client.url) as context:
        app = await CaptureApp.open(context)
        sent = handed_over(context)

        async def lose_the_answer(route: Route) -> None:
            await route.fetch()
            await route.abort()

        await app.page.route(f"**{ADD}", lose_the_answer, times=1)
        await app.capture("Pikachu")
        await app.reaches("handed", "Pikachu captured")
        assert len(sent) == 2
        assert sent[0] == sent[1]
        assert [each["capture_id"] for each in await captures_of(client)] == [sent[0]["capture_id"]]


async def test_a_client_that_lost_its_database_gets_everything_again(
    browser: Browser, start: Start, tmp_path: Path
) -> None:
    """What was handed over and not stored is on this device only, and handed over once more, with its time."""
    client = await start()
    async with visiting(browser, client.url) as context:
        app = await CaptureApp.open(context)
        await app.capture(*FIRST)
        await app.reaches("handed", *(f"{name} captured" for name in FIRST))
        before = await captures_of(client)
        await kill(client)
        shutil.rmtree(tmp_path / "client-data")
        again = await start(CLIENT_PORT=str(client.port))

        async def has_all() -> bool:
            return await captures_of(again) == before

        await until(has_all, "the captures did not come back")
        await app.reaches("handed", *(f"{name} captured" for name in FIRST))


async def test_a_refused_capture_is_kept_and_holds_up_no_other(browser: Browser, start: Start, tmp_path: Path) -> None:
    """It is shown with what the client says, survives a reload, and can be tried again."""
    client = await start()
    async with visiting(browser, client.url) as context:
        app = await CaptureApp.open(context)
        await context.set_offline(True)
        await app.capture("Pikachu", "Bulbasaur")
        pikachu, bulbasaur = await app.ids()
        other = {"pokemon_id": 150, "pokemon_name": "mewtwo", "capture_id": pikachu}
        assert (await post(client, ADD, other)).status_code == 200
        await context.set_offline(False)
        await app.reaches("refused", "Pikachu captured")
        await app.reaches("handed", "Bulbasaur captured")
        await app.says("The client refused 1 capture")
        await expect(app.button("Capture Pikachu")).to_be_visible()
        await app.reload()
        await expect(app.event("Pikachu captured")).to_contain_text("The client refused it:")

        await kill(client)
        shutil.rmtree(tmp_path / "client-data")
        again = await start(CLIENT_PORT=str(client.port))
        await app.press("Try again: Pikachu captured")
        await app.reaches("handed", "Pikachu captured", "Bulbasaur captured")
        assert [each["capture_id"] for each in await captures_of(again)] == [pikachu, bulbasaur]


async def test_what_another_browser_has_captured_is_taken_over(browser: Browser, start: Start) -> None:
    """And what curl has; from then on they are followed and held like those that were made here."""
    client = await start()
    async with visiting(browser, client.url) as context:
        app = await CaptureApp.open(context)
        await app.capture("Pikachu")
        await app.reaches("handed", "Pikachu captured")
    form = {"pokemon_id": 10_100, "pokemon_name": "whatever", "action": "favorite"}
    assert (await post(client, ADD, form)).status_code == 200
    async with visiting(browser, client.url) as context:
        app = await CaptureApp.open(context)
        await app.reaches("handed", "Pikachu captured", "Raichu Alola is a favourite")
        await app.press("Held")
        names = app.page.locator(".entry h3")
        await expect(names).to_have_text(["Pikachu", "Raichu Alola"])
        ids = await app.ids()
        assert (await post(client, "/api/client/acknowledge", {"capture_ids": ids})).status_code == 200
        await app.reaches("stored", "Pikachu captured", "Raichu Alola is a favourite")
        await app.press("Release Pikachu")
        await expect(names).to_have_text(["Raichu Alola"])
        assert [each["metadata"]["removed"] for each in await captures_of(client)] == [False, False, True]


async def test_more_than_a_page_is_taken_over(browser: Browser, start: Start) -> None:
    """As many as there are, once each, and asked about by at most 1,000 ids."""
    client = await start()
    total = 1_203
    async with httpx.AsyncClient(base_url=client.url) as http:
        for number in range(1, total + 1):
            body = {"pokemon_id": number, "pokemon_name": "", "capture_id": f"of-curl-{number}"}
            assert (await http.post(ADD, json=body)).status_code == 200
    async with visiting(browser, client.url) as context:
        app = await CaptureApp.open(context)
        await expect(app.page.locator(".summary .handed .count")).to_have_text("1,203", timeout=DEADLINE_MS)
        await expect(app.page.locator("#captures header")).to_contain_text("The latest 50 of 1,203.")


async def test_a_tab_that_is_closed_at_once_loses_nothing(browser: Browser, start: Start) -> None:
    """What the page has shown as saved is there in the next tab, though the client was dead all the while."""
    client = await start()
    async with visiting(browser, client.url) as context:
        app = await CaptureApp.open(context)
        await app.is_kept()
        await kill(client)
        await app.press("Capture Pikachu")
        await app.page.locator(".event").wait_for()
        await app.page.close()
        app = await CaptureApp.open(context)
        await app.reaches("saved", "Pikachu captured")
        again = await start(CLIENT_PORT=str(client.port))
        await app.reaches("handed", "Pikachu captured")
        assert len(await captures_of(again)) == 1


async def test_times_increase_when_the_clock_is_set_back(browser: Browser, start: Start) -> None:
    """So the last thing that the user did is the last by time."""
    client = await start()
    async with visiting(browser, client.url) as context:
        app = await CaptureApp.open(context)
        await app.capture("Pikachu")
        await app.page.clock.set_fixed_time("2020-01-01T00:00:00Z")
        await app.press("Release Pikachu")
        await app.reaches("handed", "Pikachu released")
        captured, released = await captures_of(client)
        assert captured["timestamp"] < released["timestamp"]
        assert (captured["metadata"]["removed"], released["metadata"]["removed"]) == (False, True)
