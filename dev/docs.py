"""`python -m dev.docs` (or `make docs`): writes the documents that are generated from the code, and checked in.

They need no server, no settings and no network, and come out the same on every machine.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from dev import asyncapi, definitions
from dev.dashboard import grafana
from services.registry.api import openapi
from services.registry.app import build_app
from services.registry.settings import RegistrySettings

ROOT: Final = Path(__file__).parents[1]
DOCS: Final = ROOT / "docs"


def registry_document() -> dict[str, Any]:
    """The registry's HTTP API; of its settings nothing shows there, so the environment is not read."""

    async def make() -> dict[str, Any]:
        return openapi.document(build_app(RegistrySettings.model_construct()))

    return asyncio.run(make())  # asyncpg makes a pool only within a loop


DOCUMENTS: Final[Mapping[str, Callable[[], dict[str, Any]]]] = {
    "docs/openapi.json": registry_document,
    "docs/asyncapi.json": asyncapi.document,
    "deploy/rabbitmq/definitions.json": definitions.document,
    "deploy/monitoring/grafana/dashboards/pullsync.json": grafana.document,
}
"""By their place in the checkout."""


def text_of(document: dict[str, Any]) -> str:
    """As it stands in the file."""
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def main() -> None:
    """Write each document, and tell which have changed."""
    for name, make in DOCUMENTS.items():
        path, text = ROOT / name, text_of(make())
        changed = not path.exists() or path.read_text(encoding="utf-8") != text
        path.write_text(text, encoding="utf-8")
        print(f"{name}: {'written' if changed else 'unchanged'}")


if __name__ == "__main__":
    main()
