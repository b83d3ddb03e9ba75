"""Serves web pages that are files of ours: each by its own route, with headers that let a page run nothing else.

What can be asked for is fixed when the service starts, so no path of a request is ever looked up on the disk.
"""

from __future__ import annotations

import mimetypes
from pathlib import Path
from typing import Final

from fastapi import FastAPI
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.staticfiles import StaticFiles

COMMON: Final = Path(__file__).with_name("web")
"""What our pages share; each has it below its own `web/`."""
INDEX: Final = "index.html"
HEADERS: Final = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "manifest-src 'self'; worker-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
        "require-trusted-types-for 'script'; trusted-types lit-html service-worker"
    ),
    "cache-control": "no-cache",  # a browser asks each time, and is mostly told that it has the latest
    "cross-origin-opener-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}

_COMPRESSED: Final = (Middleware(GZipMiddleware, minimum_size=500),)
_TYPES: Final = {".js": "text/javascript", ".webmanifest": "application/manifest+json", ".csv": "text/csv"}


def serve_page(app: FastAPI, folder: Path, *, at: str) -> None:
    """Add the files of `folder` below the path `at`, its `index.html` at `at` itself, and the common ones in `web/`."""
    root = at.rstrip("/")
    for path in dict.fromkeys((root or "/", f"{root}/")):
        serve_file(app, folder / INDEX, at=path)
    for name in _names(folder):
        if name != INDEX:  # the page has one address
            serve_file(app, folder / name, at=f"{root}/{name}")
    for name in _names(COMMON):
        serve_file(app, COMMON / name, at=f"{root}/web/{name}")


def serve_file(app: FastAPI, file: Path, *, at: str) -> None:
    """Add one file at one path, for GET and HEAD."""
    for suffix, media_type in _TYPES.items():
        mimetypes.add_type(media_type, suffix)  # some systems know others, or none
    files = StaticFiles(directory=file.parent)

    async def answer(request: Request) -> Response:
        response = await files.get_response(file.name, request.scope)
        response.headers.update(HEADERS)
        return response

    app.router.routes.append(Route(at, answer, include_in_schema=False, middleware=_COMPRESSED))


def serve_text(app: FastAPI, text: str, *, at: str, media_type: str) -> None:
    """Add a file that is made when the service starts, as `serve_file` does those on the disk."""

    async def answer(_request: Request) -> Response:
        return Response(text, headers=HEADERS, media_type=media_type)

    app.router.routes.append(Route(at, answer, include_in_schema=False, middleware=_COMPRESSED))


def _names(folder: Path) -> list[str]:
    return sorted(file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file())
