"""Long lists in the dashboard's view of runs: those of before, and the clients that failed in one."""

from __future__ import annotations

from playwright.async_api import Browser, Page, expect

from dev.database import Database
from dev.stack import Stack
from tests.pages.operating import execute, goes, watching

SHOWN = 50


async def put_runs(database: Database, number: int) -> None:
    """Put runs that are over into the registry's table, all at once."""
    await execute(
        database.registry_url,
        """INSERT INTO registry.sync_runs (kind, requested, settled, finished_at, created_at)
           SELECT 'sync-recent', 2, 2, now(), now() + make_interval(secs => n * 0.001)
           FROM generate_series(1, $1) AS n""",
        number,
    )


async def put_going_run(database: Database, *, failed: int) -> None:
    """Put a run that goes on, and in which so many clients failed."""
    await execute(
        database.registry_url,
        """WITH run AS (
               INSERT INTO registry.sync_runs (kind, requested, settled, failed, failed_by_reason)
               VALUES ('sync-all', 1000, $1, $1, jsonb_build_object('connect', $1::int)) RETURNING run_id
           )
           INSERT INTO registry.sync_run_clients (run_id, user_id, client_url, settled_at, reason, error)
           SELECT run_id, 'user-' || lpad(n::text, 4, '0'), 'http://127.0.0.1:9', now(), 'connect', 'not there'
           FROM run, generate_series(1, $1) AS n""",
        failed,
    )


async def one_more_fails(database: Database, user_id: str) -> None:
    """In the run that goes on."""
    await execute(
        database.registry_url,
        """WITH run AS (
               UPDATE registry.sync_runs SET settled = settled + 1, failed = failed + 1
               WHERE finished_at IS NULL RETURNING run_id
           )
           INSERT INTO registry.sync_run_clients (run_id, user_id, client_url, settled_at, reason, error)
           SELECT run_id, $1, 'http://127.0.0.1:9', now(), 'connect', 'not there' FROM run""",
        user_id,
    )


async def test_earlier_runs_are_seen_to_end(browser: Browser, stack: Stack, database: Database) -> None:
    """Also those that are not among the latest; and there is never a gap in what is shown."""
    stack.start("registry")
    await put_going_run(database, failed=1)
    await put_runs(database, 10)
    async with watching(browser, stack, "#/runs") as page:
        runs = page.locator(".runs > li")
        earlier = page.get_by_role("button", name="Earlier runs")
        await expect(runs).to_have_count(10)
        await earlier.click()
        await expect(runs).to_have_count(11)
        await expect(runs.last.get_by_role("heading")).to_contain_text("running")
        await execute(database.registry_url, "UPDATE registry.sync_runs SET settled = requested, finished_at = now()")
        await expect(runs.last.get_by_role("heading")).to_contain_text("finished")
        await expect(runs.last.get_by_role("button", name="Cancel the run")).to_have_count(0)

        await put_runs(database, 25)  # between these and those that were shown are some that nobody saw
        await expect(runs).to_have_count(10)
        await earlier.click()
        await expect(runs).to_have_count(30)
        await goes(page, "#/")
        await goes(page, "#/runs")
        await expect(runs).to_have_count(10)
        await earlier.click()
        await earlier.click()
        await expect(runs).to_have_count(36)
        await expect(earlier).to_have_count(0)


async def failures(page: Page, number: int) -> None:
    """So many are shown."""
    await expect(page.locator(".runs details tbody tr")).to_have_count(number)


async def test_clients_that_fail_add_to_those_shown(browser: Browser, stack: Stack, database: Database) -> None:
    """However many somebody has opened; and what goes wrong is said there, and asked for again."""
    stack.start("registry")
    await put_going_run(database, failed=3 * SHOWN)
    async with watching(browser, stack, "#/runs") as page:
        opened, more = page.locator(".runs summary"), page.get_by_role("button", name="Show more")
        await opened.click()
        await failures(page, SHOWN)
        await more.click()
        await failures(page, 2 * SHOWN)
        await one_more_fails(database, "user-0000")
        await expect(page.get_by_role("link", name="user-0000")).to_be_visible()
        await failures(page, 2 * SHOWN)
        await more.click()
        await more.click()
        await failures(page, 3 * SHOWN + 1)

        away = {"detail": "The database is away."}
        await page.route("**/clients?limit=*", lambda route: route.fulfill(status=503, json=away))
        await opened.click()
        await opened.click()
        await expect(page.locator(".runs details").get_by_text("The database is away.")).to_be_visible()
        await page.unroute("**/clients?limit=*")
        await page.get_by_role("button", name="Try again").click()
        await failures(page, SHOWN)
        await expect(page.get_by_text("The database is away.")).to_have_count(0)
