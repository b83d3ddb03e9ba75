"""The dashboard drives a real stack: runs from their start to their end, and the timer."""

from __future__ import annotations

from typing import Any

from playwright.async_api import Browser, Page, Request, expect

from dev.database import Database
from dev.stack import Stack
from tests.e2e.world import API, World
from tests.pages.operating import agrees, colours, running, said, watching
from tests.waiting import eventually


async def scheduler(world: World) -> dict[str, Any]:
    """What the registry says of its timer."""
    answer = await world.http.get(f"{world.stack.url('registry')}{API}/scheduler/status")
    return dict(answer.json())


async def test_a_run_with_a_client_that_fails(browser: Browser, stack: Stack, database: Database) -> None:
    """It is started in the page, seen to its end without a reload, and tells who failed and why."""
    async with running(stack, database, clients=2) as world, watching(browser, stack, "#/runs") as page:
        await expect(page.get_by_text("There were no runs")).to_be_visible()
        await world.capture("client-1")
        stack.kill("client-2")
        await page.get_by_role("button", name="Sync all").click()
        await expect(said(page)).to_have_text("The sync has started.")
        run = page.locator(".runs > li").first
        await expect(run.get_by_role("heading")).to_contain_text("finished with failures")
        await expect(run).to_contain_text("2 of 2 clients")
        await expect(run).to_contain_text("one client failed (connect 1)")
        progress = run.get_by_role("progressbar")
        assert await progress.get_attribute("max") == "2"
        assert await progress.get_attribute("value") == "2"
        await run.get_by_text("Clients that failed").click()
        row = run.get_by_role("row").filter(has_text="user_2")
        await expect(row).to_contain_text("connect")
        await expect(row).to_contain_text("not connected")
        await expect(run.get_by_role("row").filter(has_text="user_1")).to_have_count(0)


async def test_a_run_is_cancelled(browser: Browser, stack: Stack, database: Database) -> None:
    """After a question, of which no is an answer as well; while it goes on it shows how far it is."""
    async with running(stack, database, clients=1), watching(browser, stack, "#/runs") as page:
        cancels: list[Request] = []
        page.on("request", lambda request: cancels.append(request) if request.url.endswith("/cancel") else None)
        stack.kill("puller-1")
        await page.get_by_role("button", name="Compare all").click()
        run = page.locator(".runs > li").first
        await expect(run.get_by_role("heading")).to_contain_text("running")
        await expect(run).to_contain_text("0 of one client")
        assert await run.get_by_role("progressbar").get_attribute("value") == "0"
        cancel = run.get_by_role("button", name="Cancel the run")
        await cancel.click()
        await page.keyboard.press("Escape")
        await expect(page.get_by_role("dialog")).to_have_count(0)
        await expect(cancel).to_be_focused()
        await expect(run.get_by_role("heading")).to_contain_text("running")
        await cancel.click()
        await agrees(page, "Cancel the run")
        await expect(said(page)).to_have_text("The run is cancelled; one client was not pulled for it.")
        await expect(run.get_by_role("heading")).to_contain_text("cancelled")
        await expect(cancel).to_have_count(0)
        assert len(cancels) == 1


async def sets_interval(page: Page, seconds: str) -> None:
    """By the form."""
    await page.get_by_label("New interval").fill(seconds)
    await page.get_by_role("button", name="Set", exact=True).click()


async def test_the_timer_is_stopped_set_and_started(browser: Browser, stack: Stack, database: Database) -> None:
    """Each shows at once, and is so in the registry."""
    async with running(stack, database, clients=0) as world, watching(browser, stack) as page:
        card = page.get_by_role("region", name="Scheduler")
        await expect(card).to_contain_text("Running")
        await card.get_by_role("button", name="Stop").click()
        await agrees(page, "Stop")
        await expect(said(page)).to_have_text("The scheduler is stopped.")
        await expect(card).to_contain_text("Stopped")
        assert (await scheduler(world))["running"] is False
        await sets_interval(page, "42")
        await expect(said(page)).to_have_text("Each client is pulled every 42 seconds.")
        await expect(card).to_contain_text("every 42 seconds")
        assert (await scheduler(world))["sync_interval"] == 42
        await card.get_by_role("button", name="Start").click()
        await expect(said(page)).to_have_text("The scheduler is running.")
        await expect(card.get_by_text("Running", exact=True)).to_be_visible()
        assert (await scheduler(world))["running"] is True


async def test_what_the_registry_refuses_is_told_in_its_words(browser: Browser, stack: Stack) -> None:
    """And the page goes on."""
    stack.start("registry")
    async with watching(browser, stack) as page:
        await page.get_by_label("New interval").evaluate("(input) => { input.form.noValidate = true; }")
        await sets_interval(page, "1")
        await expect(said(page)).to_have_text("The interval must be from 5 to 86400 seconds, not 1.")
        await expect(said(page).locator(".bad")).to_be_visible()
        await sets_interval(page, "43")
        await expect(said(page)).to_have_text("Each client is pulled every 43 seconds.")


async def test_numbers_and_ranking_follow(browser: Browser, stack: Stack, database: Database) -> None:
    """A capture that is stored is counted, plotted, told in words and in a table, and ranked; nobody reloads."""
    async with running(stack, database, clients=1) as world, watching(browser, stack) as page:
        await expect(page.locator(".tile").filter(has_text="Clients")).to_contain_text("1")
        await world.capture("client-1")
        await expect(page.locator(".tile").filter(has_text="Captures stored")).to_contain_text("1")
        await expect(page.get_by_role("region", name="Ranking")).to_contain_text("Pikachu")
        await expect(page.get_by_role("region", name="Ranking")).to_contain_text("held by one user")
        throughput = page.get_by_role("region", name="Throughput").first
        await expect(throughput.get_by_text("Captures stored: 1, at most 1 in a minute")).to_be_visible()
        await throughput.get_by_text("As a table").click()
        await expect(throughput.get_by_role("row")).to_have_count(61)

        async def is_drawn() -> bool:
            return bool(await colours(throughput.locator("canvas")))

        await eventually(is_drawn)
