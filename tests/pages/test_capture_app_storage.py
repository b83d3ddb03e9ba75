"""The capture app when the browser's disk fails, is taken away, or does not open: nothing vanishes, and it goes on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from playwright.async_api import Browser, expect

from tests.client_process import post, until
from tests.pages.capturing import CaptureApp, counting
from tests.pages.visiting import visiting

if TYPE_CHECKING:
    from tests.client_process import Start

FULL_DISK = """
    globalThis.isFull = false;
    for (const name of ["add", "put"]) {
        const write = IDBObjectStore.prototype[name];
        IDBObjectStore.prototype[name] = function (record) {
            const request = write.call(this, record);
            if (isFull) this.transaction.abort();
            return request;
        };
    }"""
"""While `isFull`, transactions that write something end as they do when there is no space: they are aborted."""


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
