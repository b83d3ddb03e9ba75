"""Answers that hold what clients said: no markup in their bytes, and a validator for caches."""

from __future__ import annotations

import re
from hashlib import sha256
from typing import Final, TypeVar

from fastapi import Request, Response
from pydantic import TypeAdapter

from services.registry.api.paging import link_to

T = TypeVar("T")

_MARKUP: Final = ((b"<", rb"\u003c"), (b">", rb"\u003e"), (b"&", rb"\u0026"))
_TAG: Final = re.compile(r'(?:W/)?("[^"]*")')


def json_answer(request: Request, value: T, shape: TypeAdapter[T], *, following: str | None = None) -> Response:
    """`value` as JSON with a strong `ETag`; 304 without a body when `If-None-Match` names that.

    `<`, `>` and `&` are written as escapes: the value stays the same, and no reader can take the bytes for markup.
    `following` is where the next page is, for the header `Link`.
    """
    body = _without_markup(shape.dump_json(value))
    etag = f'"{sha256(body).hexdigest()[:32]}"'
    headers = {"etag": etag, "cache-control": "no-cache"}
    if following is not None:
        headers["link"] = link_to(following)
    if _names(request.headers.getlist("if-none-match"), etag):
        return Response(status_code=304, headers=headers)
    return Response(body, media_type="application/json", headers=headers)


def _without_markup(body: bytes) -> bytes:
    # In JSON these stand in strings only, and never behind a backslash.
    for character, escape in _MARKUP:
        body = body.replace(character, escape)
    return body


def _names(conditions: list[str], etag: str) -> bool:
    """Whether one of the header's values is `*` or lists the tag; by the weak comparison of RFC 9110, 8.8.3.2."""
    return any(condition.strip() == "*" or etag in _TAG.findall(condition) for condition in conditions)
