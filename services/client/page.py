"""The capture app, which the client serves at `/`: its files, the table of species, the worker that keeps them offline.

Nothing of what the user has captured is in them; for that the page asks the API, as any app does.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Final

from fastapi import FastAPI

from shared.contracts import species
from shared.serving.web_pages import COMMON, INDEX, serve_file, serve_text

WEB: Final = Path(__file__).with_name("web")
WORKER: Final = "service-worker.js"
_SPECIES: Final = "species.csv"
_KEPT_TYPES: Final = frozenset({".html", ".js", ".css", ".svg", ".png", ".webmanifest"})
_NOT_USED: Final = ("vendor/uplot/", "vendor/eventsource-parser/")
"""What only the dashboard needs."""
_WITHOUT_VERSION: Final = frozenset({"app.webmanifest", "icon-192.png", "icon-512.png", "web/icon.svg"})
"""What systems know an installed app by; any version of the page goes with any version of these."""
_VERSION: Final = "{version}"
"""What stands in the page for the version."""


@dataclass(frozen=True, slots=True)
class CaptureApp:
    """One version of the page. The version is in the paths of its files, so none of them can come from another one."""

    version: str
    files: dict[str, Path]
    """By path, all but the page itself and the worker."""

    @property
    def root(self) -> str:
        """Where this version of the page is, for its worker; for users it is at `/`."""
        return f"/{self.version}/"

    @property
    def page(self) -> str:
        """The HTML, which names files of this version."""
        return (WEB / INDEX).read_text(encoding="utf-8").replace(_VERSION, self.version)

    @property
    def worker(self) -> str:
        """Its file, with what it keeps before it: so browsers find another worker whenever a file is another one."""
        kept = json.dumps({"version": self.version, "page": self.root, "files": list(self.files)})
        return f"const KEPT = {kept};\n\n{(WEB / WORKER).read_text(encoding='utf-8')}"


def read_capture_app() -> CaptureApp:
    """The page as its files are now; its version is a digest of their names and bytes."""
    files = _files()
    digest = sha256()
    for name, file in {INDEX: WEB / INDEX, **files}.items():
        digest.update(name.encode() + b"\0" + sha256(file.read_bytes()).digest())
    version = digest.hexdigest()[:16]
    return CaptureApp(version, {_path(name, version): file for name, file in files.items()})


def serve_capture_app(app: FastAPI) -> None:
    """Add the page, its worker and all its files."""
    capture_app = read_capture_app()
    for path in ("/", capture_app.root):
        serve_text(app, capture_app.page, at=path, media_type="text/html")
    serve_text(app, capture_app.worker, at=f"/{WORKER}", media_type="text/javascript")
    for path, file in capture_app.files.items():
        serve_file(app, file, at=path)


def _files() -> dict[str, Path]:
    """All that the page needs to start without the client, but for itself, by name."""
    own = {name: file for name, file in _in(WEB) if name not in {INDEX, WORKER}}
    common = {f"web/{name}": file for name, file in _in(COMMON) if not name.startswith(_NOT_USED)}
    return {_SPECIES: species.FILE, **own, **common}


def _path(name: str, version: str) -> str:
    return f"/{name}" if name in _WITHOUT_VERSION else f"/{version}/{name}"


def _in(folder: Path) -> list[tuple[str, Path]]:
    files = sorted(file for file in folder.rglob("*") if file.suffix in _KEPT_TYPES)
    return [(file.relative_to(folder).as_posix(), file) for file in files]
