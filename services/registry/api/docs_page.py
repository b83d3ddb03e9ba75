"""`/docs`: the API's document to read and to try, with nothing in it that comes from elsewhere.

Operators type their tokens there. So the scripts are those of a package that is installed with a hash, and by the
policy that goes with the page a browser runs no others, and sends to nobody else.
"""

from __future__ import annotations

import re
from base64 import b64encode
from hashlib import sha256
from typing import Final

from fastapi import FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from starlette.requests import Request
from starlette.responses import HTMLResponse
from starlette.staticfiles import StaticFiles

PATH: Final = "/docs"
_ASSETS: Final = f"{PATH}/assets"
_INLINE: Final = re.compile(r"<script>(.*?)</script>", re.DOTALL)


def serve_docs(app: FastAPI) -> None:
    """Add the page, and its assets below it, to an app that was told `docs_url=None`."""
    page = get_swagger_ui_html(
        openapi_url=app.openapi_url or "",
        title=app.title,
        swagger_js_url=f"{_ASSETS}/swagger-ui-bundle.js",
        swagger_css_url=f"{_ASSETS}/swagger-ui.css",
        swagger_favicon_url=f"{_ASSETS}/favicon.png",
    )
    text = bytes(page.body).decode()
    headers = {"content-security-policy": _policy(text), "referrer-policy": "no-referrer"}

    async def docs(_request: Request) -> HTMLResponse:
        return HTMLResponse(text, headers=headers)

    app.add_route(PATH, docs, include_in_schema=False)
    app.mount(_ASSETS, StaticFiles(packages=[("fastapi_offline", "static")]))


def _policy(page: str) -> str:
    """Of the page's own script there is a hash, so that no other can be slipped in."""
    digests = (sha256(script.encode()).digest() for script in _INLINE.findall(page))
    hashes = " ".join(f"'sha256-{b64encode(digest).decode()}'" for digest in digests)
    return (
        f"default-src 'none'; script-src 'self' {hashes}; style-src 'self'; img-src 'self' data:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
