"""How our pages are served: what is there and nothing else, compressed, asked for each time, under a strict policy."""

from __future__ import annotations

import gzip
import re
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from shared.serving.web_pages import COMMON, serve_page

VENDOR = COMMON / "vendor"


@pytest.fixture
async def http(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    """Calls an app with one page at `/page`."""
    (tmp_path / "index.html").write_text("<!doctype html><title>a page</title>" + "filling " * 100)
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "one.js").write_text("export const one = 1;\n" * 50)
    (tmp_path / "app.webmanifest").write_text("{}")
    app = FastAPI()
    serve_page(app, tmp_path, at="/page")
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
        yield client


async def test_every_file_has_its_type_and_is_compressed(http: httpx.AsyncClient) -> None:
    """A browser runs no module and installs no app of another type."""
    for path, media_type in {
        "/page": "text/html",
        "/page/": "text/html",
        "/page/parts/one.js": "text/javascript",
        "/page/app.webmanifest": "application/manifest+json",
        "/page/web/base.css": "text/css",
        "/page/web/icon.svg": "image/svg+xml",
    }.items():
        answer = await http.get(path)
        assert answer.status_code == 200
        assert answer.headers["content-type"].partition(";")[0] == media_type
    async with http.stream("GET", "/page/parts/one.js", headers={"accept-encoding": "gzip"}) as answer:
        sent = b"".join([chunk async for chunk in answer.aiter_raw()])
    assert len(sent) < 200
    assert gzip.decompress(sent).startswith(b"export const one")


async def test_what_is_unchanged_is_not_sent_again(http: httpx.AsyncClient) -> None:
    """But asked for each time, so that nobody runs an old page."""
    first = await http.get("/page/parts/one.js")
    assert first.headers["cache-control"] == "no-cache"
    again = await http.get("/page/parts/one.js", headers={"if-none-match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


async def test_a_page_may_run_nothing_but_what_is_served(http: httpx.AsyncClient) -> None:
    """The policy names no other host, and nothing that stands within a page."""
    policy = (await http.get("/page")).headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "require-trusted-types-for 'script'" in policy
    assert not re.search(r"unsafe|http|\*", policy)


@pytest.mark.parametrize(
    "path",
    ["/page/missing.js", "/page/parts", "/page/index.html", "/page/../conftest.py", "/page/%2e%2e/conftest.py"],
)
async def test_nothing_else_is_there(http: httpx.AsyncClient, path: str) -> None:
    """No folder, nothing beside the page's own, and the page at its one address only."""
    assert (await http.get(path)).status_code == 404


async def test_a_page_takes_nothing(http: httpx.AsyncClient) -> None:
    """It can only be looked at."""
    assert (await http.post("/page")).status_code == 405


def test_every_library_is_named_with_its_licence() -> None:
    """The table has each folder, whose licence lies beside it; versions that the files tell are those of the table."""
    table = (VENDOR / "README.md").read_text()
    rows = dict(re.findall(r"^\| \[([\w.-]+)\]\(\S+\) \| ([\d.]+) \| [\w.-]+ \|", table, re.MULTILINE))
    folders = {folder.name.lower() for folder in VENDOR.iterdir() if folder.is_dir()}
    assert {name.lower() for name in rows} == folders
    assert all((VENDOR / name.lower() / "LICENSE").read_text().strip() for name in rows)
    assert f'"{rows["lit-html"]}"' in (VENDOR / "lit-html" / "lit-html.js").read_text()
