"""Which requests of browsers are let through: those of pages of the service itself, and of pages that are named."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from shared.serving.same_origin import SameOrigin

HOST: Final = "localhost:3001"
UNSAFE: Final = ("POST", "PUT", "PATCH", "DELETE")


async def ask(
    method: str = "POST",
    path: str = "/api/data",
    *,
    origins: Collection[str] = (),
    hosts: Collection[str] | None = (),
    **headers: str,
) -> int:
    """The status for a request with these headers, `_` for `-`; 200 when it is served."""

    async def served(_request: Request) -> PlainTextResponse:
        return PlainTextResponse("served")

    app = Starlette(routes=[Route("/{path:path}", served, methods=["GET", *UNSAFE, "OPTIONS"])])
    app.add_middleware(
        SameOrigin,
        origins=origins,
        hosts=hosts,
        guarded="/api/",
        foreign_page=lambda: PlainTextResponse("", status_code=403),
        foreign_host=lambda: PlainTextResponse("", status_code=421),
    )
    sent = {
        name.replace("_", "-").encode(): value.encode("latin-1") for name, value in {"host": HOST, **headers}.items()
    }
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://ours") as http:
        return (await http.request(method, path, headers=sent)).status_code


@pytest.mark.parametrize("method", [*UNSAFE, "GET", "HEAD", "OPTIONS"])
async def test_who_is_no_page_is_served_as_ever(method: str) -> None:
    """curl, pullers, apps: they say nothing of a page."""
    assert await ask(method) == 200


@pytest.mark.parametrize("method", UNSAFE)
@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "http://localhost:8100",
        "http://localhost",
        "http://localhost:3001.evil.example",
        "http://evil.example/localhost:3001",
        "null",
        "",
        "localhost:3001",
        "http://127.0.0.1:3001",
    ],
)
async def test_a_foreign_page_changes_nothing(method: str, origin: str) -> None:
    """Neither one elsewhere nor one on another port of this machine, whatever else it says."""
    assert await ask(method, origin=origin) == 403
    for site in ("cross-site", "same-site", "nonsense"):
        assert await ask(method, origin=origin, sec_fetch_site=site) == 403
        assert await ask(method, sec_fetch_site=site) == 403


@pytest.mark.parametrize("headers", [{"origin": "https://evil.example"}, {"sec_fetch_site": "cross-site"}])
async def test_a_foreign_page_does_not_read_what_is_guarded(headers: dict[str, str]) -> None:
    """What it may do is what anybody may by a link: open the service's own pages; and ask whether it may."""
    assert await ask("GET", "/api/data", **headers) == 403
    assert await ask("HEAD", "/api/data", **headers) == 403
    assert await ask("GET", "/", **headers) == 200
    assert await ask("OPTIONS", "/api/data", **headers) == 200


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        (HOST, f"http://{HOST}"),
        ("127.0.0.1:3001", "http://127.0.0.1:3001"),
        ("[::1]:3001", "http://[::1]:3001"),
        ("LOCALHOST:3001", "http://localhost:3001"),
        ("pullsync.example", "https://pullsync.example"),
        ("pullsync.example:8443", "https://pullsync.example:8443"),
    ],
)
async def test_an_own_page_may_do_all(host: str, origin: str) -> None:
    """Behind a front that ends TLS, too, which passes the name on; a browser without `Sec-Fetch-Site` is understood."""
    for method in UNSAFE:
        assert await ask(method, host=host, hosts=None, origin=origin) == 200
        assert await ask(method, host="registry:8000", hosts=None, origin=origin, sec_fetch_site="same-origin") == 200
        assert await ask(method, host=host, hosts=None, sec_fetch_site="none") == 200


async def test_a_named_page_may_do_all() -> None:
    """That one, and no other; all of them only where all are named."""
    named = ["https://app.example", "capacitor://localhost"]
    for origin in ("https://app.example", "https://APP.example", "capacitor://localhost"):
        for method in ("POST", "GET"):
            assert await ask(method, origin=origin, sec_fetch_site="cross-site", origins=named) == 200
    for origin in ("http://app.example", "https://app.example:444", "https://an.app.example", "https://app.example."):
        assert await ask(origin=origin, sec_fetch_site="cross-site", origins=named) == 403
    assert await ask(origin="https://evil.example", sec_fetch_site="cross-site", origins=["*"]) == 200


async def test_what_a_proxy_says_of_a_host_is_believed_of_nobody() -> None:
    """Anybody could say so."""
    forwarded = {"x_forwarded_host": "evil.example", "forwarded": "host=evil.example"}
    assert await ask(origin="https://evil.example", **forwarded) == 403
    assert await ask(host="evil.example", x_forwarded_host="localhost") == 421


@pytest.mark.parametrize(
    "host",
    ["localhost", "localhost:3001", "LocalHost.", "app.localhost", "127.0.0.1:3001", "10.0.0.7", "[fd00::1]:80", ""],
)
async def test_loopback_and_addresses_are_ours(host: str) -> None:
    """No DNS of an attacker leads there under these names."""
    assert await ask("GET", "/", host=host) == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example:3001",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "evillocalhost",
        "registry.",
        "a b",
        "[::1",
        "\xff",
        "user@evil.example",
    ],
)
async def test_a_name_that_leads_here_is_refused(host: str) -> None:
    """Also for reading: it is DNS rebinding, by which a page becomes one of ours, and sends what an own page does."""
    own = {"origin": f"http://{host}", "sec_fetch_site": "same-origin"} if host.isascii() else {}
    for method in ("GET", "POST"):
        assert await ask(method, "/", host=host, **own) == 421


async def test_a_named_host_is_ours() -> None:
    """With any port, and a dot at its end; where names do not matter, each is."""
    for host in ("registry:8000", "REGISTRY", "registry.:8000"):
        assert await ask(host=host, hosts=["registry"]) == 200
    assert await ask(host="registry.evil.example", hosts=["registry"]) == 421
    assert await ask(host="evil.example", hosts=None) == 200
