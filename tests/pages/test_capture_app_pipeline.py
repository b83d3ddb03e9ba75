"""The capture app before the whole pipeline: what is captured without a network is stored when it is back."""

from __future__ import annotations

from playwright.async_api import Browser, expect

from tests.e2e.world import World, start_clients
from tests.pages.capturing import DEADLINE_MS, CaptureApp
from tests.pages.visiting import visiting


async def test_what_is_captured_offline_is_stored_when_the_network_is_back(browser: Browser, world: World) -> None:
    """The page starts without a network, keeps captures over a reload, hands them over, and shows them on their way."""
    await start_clients(world, 1)
    async with visiting(browser, world.stack.url("client-1")) as context:
        app = await CaptureApp.open(context)
        await app.is_kept()
        await context.set_offline(True)
        await app.reload()
        await app.says("The client has not answered since")
        await app.capture("Bulbasaur", "Charmander")
        await app.press("Favourite: Charmander", "Release Bulbasaur")
        done = ["Bulbasaur captured", "Charmander captured", "Charmander is a favourite", "Bulbasaur released"]
        await app.reaches("saved", *done)
        await app.reload()
        await app.reaches("saved", *done)
        assert await app.count("saved") == 4
        assert await world.pending("client-1") == 0

        await context.set_offline(False)
        await app.reaches("stored", *done)
        await expect(app.page.locator("#hindrance")).to_have_count(0)
        await expect(app.page.locator(".ranking .name")).to_have_text(["Charmander"], timeout=DEADLINE_MS)
        assert await world.stored() == sorted(("user_1", each) for each in await app.ids())
        assert await world.ranking() == {4: 1}


async def test_the_way_of_a_capture_is_told_with_its_times(browser: Browser, world: World) -> None:
    """Each step has a time of its own, in the order of the steps, and keeps it."""
    await start_clients(world, 1)
    async with visiting(browser, world.stack.url("client-1")) as context:
        app = await CaptureApp.open(context)
        await app.capture("Pikachu")
        await app.reaches("stored", "Pikachu captured")
        times = await app.times("Pikachu captured")
        assert len(times) == 4
        assert times == sorted(times)
        await app.reload()
        assert await app.times("Pikachu captured") == times
