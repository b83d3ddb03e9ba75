"""Settings of what pages in browsers may call, and by which names: for `shared.serving.same_origin` and CORS."""

from __future__ import annotations

import re
from typing import Annotated, Final

from pydantic import AfterValidator
from pydantic_settings import NoDecode

from shared.settings import Listed

_WEB_ORIGIN: Final = re.compile(r"https?://[^\s/?#@*,]+", re.IGNORECASE)
_ANY_ORIGIN: Final = re.compile(r"\*|[a-z][a-z0-9+.-]*://[^\s/?#@*,]+", re.IGNORECASE)
_HOST: Final = re.compile(r"[a-z0-9]([a-z0-9._-]*[a-z0-9])?\.?", re.IGNORECASE)


def _origin(value: str) -> str:
    if not _WEB_ORIGIN.fullmatch(value):
        message = "must name origins such as https://dashboard.example, with commas between them; * is not taken"
        raise ValueError(message)
    return value.lower()


def _origin_or_all(value: str) -> str:
    if not _ANY_ORIGIN.fullmatch(value):
        message = "must name origins such as http://localhost:8100, with commas between them; or be none, or * for all"
        raise ValueError(message)
    return value.lower()


def _host(value: str) -> str:
    if not _HOST.fullmatch(value):
        message = "must be names such as registry.example, without scheme and port, with commas between them; or none"
        raise ValueError(message)
    return value.lower().rstrip(".")


Origins = Annotated[tuple[Annotated[str, AfterValidator(_origin)], ...], NoDecode, Listed]
"""Of web pages, each by name."""
OriginsOrAll = Annotated[tuple[Annotated[str, AfterValidator(_origin_or_all)], ...], NoDecode, Listed]
"""Those of apps, too, such as capacitor://localhost; `*` for all."""
Hosts = Annotated[tuple[Annotated[str, AfterValidator(_host)], ...], NoDecode, Listed]
"""Names of a service."""
