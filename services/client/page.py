"""The capture app, which the client serves at `/`: its files, the table of species, the worker that keeps them offline.

Nothing of what the user has captured is in them; for that the page asks the API, as any app does.
"""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path
from typing import Final

from fastapi import FastAPI
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from shared import species
from shared.web_pages import COMMON, HEADERS, INDEX, serve_file, serve_page

WEB: Final = Path(__file__).with_name("web")
WORKER: Final = "service-worker.js"
SPECIES_PATH: Final = "/species.csv"
_KEPT_TYPES: Final = frozenset({".html", ".js", ".css", ".svg", ".png", ".webmanifest"})
_NOT_USED: Final = ("vendor/uplot/", "vendor/eventsource-parser/")
"""What only the dashboard needs."""


def serve_capture_app(app: FastAPI) -> None:
    """Add the page and all its files."""
    worker = service_worker()

    async def answer(_request: Request) -> Response:
        return Response(worker, headers=HEADERS, media_type="text/javascript")

    compressed = (Middleware(GZipMiddleware),)
    app.router.routes.append(Route(f"/{WORKER}", answer, include_in_schema=False, middleware=compressed))
    serve_page(app, WEB, at="/")
    serve_file(app, species.FILE, at=SPECIES_PATH)


def service_worker() -> str:
    """The worker's file, with the paths of what it keeps and a digest of their bytes before it.

    So another worker is found by browsers whenever any of these files is another one.
    """
    files = kept_files()
    digest = sha256()
    for path, file in files.items():
        digest.update(path.encode() + b"\0" + sha256(file.read_bytes()).digest())
    precache = json.dumps({"digest": digest.hexdigest()[:16], "paths": list(files)})
    return f"const PRECACHE = {precache};\n\n{(WEB / WORKER).read_text(encoding='utf-8')}"


def kept_files() -> dict[str, Path]:
    """All that the page needs to start without the client, by path."""
    own = {f"/{name}": file for name, file in _files(WEB) if name not in {INDEX, WORKER}}
    common = {f"/web/{name}": file for name, file in _files(COMMON) if not name.startswith(_NOT_USED)}
    return {"/": WEB / INDEX, SPECIES_PATH: species.FILE, **own, **common}


def _files(folder: Path) -> list[tuple[str, Path]]:
    files = sorted(file for file in folder.rglob("*") if file.suffix in _KEPT_TYPES)
    return [(file.relative_to(folder).as_posix(), file) for file in files]
