"""The capture app from one version to the next, and from the browser's copy: always a page of one version."""

from __future__ import annotations

import asyncio
import shutil
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest
from aiohttp import ClientSession, web
from playwright.async_api import Browser, expect

from tests.client_process import DEADLINE_S, ROOT, free_port, until
from tests.pages.capturing import CaptureApp
from tests.pages.visiting import visiting

if TYPE_CHECKING:
    from tests.client_process import Process, Start

LATE_S: Final = 4.0
"""Longer than the worker waits for the page."""
TITLE: Final = "PullSync Pokédex"
KEPT: Final = "caches.keys()"
IN_PLACE: Final = """navigator.serviceWorker.getRegistration().then(
    ({ installing, waiting, active }) => !installing && !waiting && active.state === "activated")"""
FAILING_STORAGE: Final = "caches.match = caches.open = () => Promise.reject(new DOMException('', 'QuotaExceededError'))"


class Front:
    """A proxy before a client: passes on what comes, but for what it is told to do otherwise."""

    def __init__(self, client: Process) -> None:
        self.url = f"http://127.0.0.1:{free_port()}"
        self.client = client
        self.instead: Callable[[str], web.Response | None] = lambda _path: None
        """What it answers to a path by itself."""
        self.late = ""
        """How the paths end whose answers are late."""
        self.passed: list[str] = []
        """The paths that it passed on."""

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """One request."""
        if (own := self.instead(request.path)) is not None:
            return own
        if self.late and request.path.endswith(self.late):
            await asyncio.sleep(LATE_S)
        self.passed.append(request.path)
        body = await request.read()
        url = self.client.url + request.path_qs
        async with (
            ClientSession(auto_decompress=False) as session,
            session.request(request.method, url, headers=request.headers, data=body, allow_redirects=False) as found,
        ):
            headers = {name: value for name, value in found.headers.items() if name.lower() != "transfer-encoding"}
            return web.Response(status=found.status, headers=headers, body=await found.read())

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Listen for as long as the block lasts."""
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self.answer)
        runner = web.AppRunner(app)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", int(self.url.rpartition(":")[2])).start()
            yield
        finally:
            await runner.cleanup()


@pytest.fixture
async def front(start: Start) -> AsyncIterator[Front]:
    """One, before a client."""
    front = Front(await start())
    async with front.running():
        yield front


def version(folder: Path, title: str) -> Path:
    """A checkout whose page has another title, and modules that do not fit to those of other versions."""
    for name in ("services", "shared"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    files = folder / "services" / "client" / "web"
    edit(files / "index.html", f"<title>{TITLE}</title>", f"<title>{title}</title>")
    edit(files / "app.js", "import { whileSeen }", "import { whileSeen, added }")
    edit(files / "polling.js", "const AFTER_FAILURE_MS", "export const added = 1;\nconst AFTER_FAILURE_MS")
    return folder


def edit(file: Path, old: str, new: str) -> None:
    """Replace what is there."""
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new), encoding="utf-8")


@pytest.fixture
def next_version(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The one after that of this checkout."""
    return version(tmp_path_factory.mktemp("next-version"), "The next version")


@pytest.fixture
def third_version(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The one after the next."""
    return version(tmp_path_factory.mktemp("third-version"), "The third version")


async def replace(client: Process, start: Start, checkout: Path) -> Process:
    """Another client in its place."""
    client.process.kill()
    await client.status()
    return await start(CLIENT_PORT=str(client.port), PYTHONPATH=str(checkout))


async def test_a_new_page_takes_the_old_ones_place(
    browser: Browser, start: Start, next_version: Path, third_version: Path
) -> None:
    """As a whole, also without the client; the one before is kept for tabs that start from it just then, none older."""
    client = await start()
    async with visiting(browser, client.url) as context:
        app = await CaptureApp.open(context)
        await app.is_kept()
        [oldest] = await app.page.evaluate(KEPT)
        newer = await replace(client, start, next_version)
        await app.reload()
        await expect(app.page).to_have_title("The next version")

        async def is_kept() -> bool:
            names = await app.page.evaluate(KEPT)
            return bool(set(names) - {oldest}) and bool(await app.page.evaluate(IN_PLACE))

        await until(is_kept, "the new page is not kept")
        answer = f"fetch('/{oldest.rpartition('-')[2]}/app.js').then(({{ status }}) => status)"
        assert await app.page.evaluate(answer) == 200
        newer.process.kill()
        await newer.status()
        await app.reload()
        await expect(app.page).to_have_title("The next version")

        await start(CLIENT_PORT=str(client.port), PYTHONPATH=str(third_version))
        await app.reload()
        await expect(app.page).to_have_title("The third version")

        async def is_dropped() -> bool:
            names = await app.page.evaluate(KEPT)
            return len(names) == 2 and oldest not in names

        await until(is_dropped, "the oldest page is still kept")


async def test_a_new_page_waits_for_its_own_files(
    browser: Browser, start: Start, front: Front, next_version: Path
) -> None:
    """When one of them comes late, that of the kept page does not stand in for it: they do not fit."""
    async with visiting(browser, front.url) as context:
        app = await CaptureApp.open(context)
        await app.is_kept()
        front.client = await replace(front.client, start, next_version)
        front.late = "/polling.js"
        await app.reload()
        await expect(app.page).to_have_title("The next version")


async def test_the_kept_page_starts_from_kept_files(
    browser: Browser, start: Start, front: Front, next_version: Path
) -> None:
    """Though the client, by now of the next version, answers again right after it did not."""
    async with visiting(browser, front.url) as context:
        app = await CaptureApp.open(context)
        await app.is_kept()
        front.client = await replace(front.client, start, next_version)
        front.instead = lambda path: web.Response(status=503) if path in {"/", "/service-worker.js"} else None
        front.passed.clear()
        await app.reload()
        await expect(app.page).to_have_title(TITLE)
        await app.capture("Bulbasaur")
        assert [path for path in front.passed if not path.startswith("/api/")] == []


async def test_a_client_that_dies_while_the_page_loads_is_not_missed(browser: Browser, front: Front) -> None:
    """The page that it gave is the one that is kept, so the kept files are its files."""
    async with visiting(browser, front.url) as context:
        app = await CaptureApp.open(context)
        await app.is_kept()
        front.instead = lambda path: None if path == "/" else web.Response(status=503)
        front.passed.clear()
        await app.reload()
        assert front.passed == ["/"]


@pytest.mark.parametrize("status", [302, 401])
async def test_a_login_before_the_client_is_shown(browser: Browser, front: Front, status: int) -> None:
    """Whether it is at another address, or asked for by the browser: the kept page would hide it for good."""

    def login(path: str) -> web.Response:
        if path == "/login":
            return web.Response(text="Who are you?")
        return web.Response(status=status, text="Who are you?", headers={"location": "/login"})

    async with visiting(browser, front.url) as context:
        app = await CaptureApp.open(context)
        await app.is_kept()
        front.instead = login
        await app.page.goto("/")
        await expect(app.page.locator("body")).to_have_text("Who are you?")


async def test_a_storage_that_fails_does_not_hide_the_client(browser: Browser, start: Start) -> None:
    """What the browser can't read any more is asked of the client."""
    client = await start()
    async with visiting(browser, client.url) as context:
        app = await CaptureApp.open(context)
        await app.is_kept()
        await app.reload()
        [worker] = context.service_workers
        await worker.evaluate(f"() => {{ {FAILING_STORAGE} }}")
        await app.reload()


async def test_a_client_that_hangs_does_not_hold_up_the_start(browser: Browser, start: Start) -> None:
    """The page is taken from the browser, when the client takes the connection and answers nothing."""
    client = await start()
    async with visiting(browser, client.url) as context:
        app = await CaptureApp.open(context)
        await app.is_kept()
        client.process.send_signal(signal.SIGSTOP)
        await app.page.reload(timeout=DEADLINE_S * 1_000, wait_until="commit")
        await app.ready()
        await app.capture("Bulbasaur")
        client.process.send_signal(signal.SIGCONT)
        await app.reaches("handed", "Bulbasaur captured")
