"""Answers hold what clients said: there is no markup in the bytes of any, and some have a validator for caches."""

from __future__ import annotations

import re
from hashlib import sha256
from typing import Final, TypeVar

from fastapi import Request, Response
from pydantic import TypeAdapter
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.registry.api.paging import link_to

T = TypeVar("T")

_MARKUP: Final = ((b"<", rb"\u003c"), (b">", rb"\u003e"), (b"&", rb"\u0026"))
_TAG: Final = re.compile(r'(?:W/)?("[^"]*")')


def json_answer(request: Request, value: T, shape: TypeAdapter[T], *, following: str | None = None) -> Response:
    """`value` as JSON with a strong `ETag`; 304 without a body when `If-None-Match` names that.

    `following` is where the next page is, for the header `Link`.
    """
    body = shape.dump_json(value)
    etag = f'"{sha256(body).hexdigest()[:32]}"'
    headers = {"etag": etag, "cache-control": "no-cache"}
    if following is not None:
        headers["link"] = link_to(following)
    if _names(request.headers.getlist("if-none-match"), etag):
        return Response(status_code=304, headers=headers)
    return Response(body, media_type="application/json", headers=headers)


class NoMarkup:
    """ASGI middleware: in every JSON answer, problems included, `<`, `>` and `&` are written as escapes.

    The value stays the same, and no reader can take the bytes for markup, whatever a client called itself.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve the request."""
        await self._app(scope, receive, _Escaping(send) if scope["type"] == "http" else send)


class _Escaping:
    """One answer. Of JSON the head waits for the first part of the body, whose length may change."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._is_json = False
        self._head: Message | None = None

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start" and _is_json(message):
            self._is_json, self._head = True, message
        elif message["type"] == "http.response.body" and self._is_json:
            body = without_markup(message.get("body", b""))
            await self._send_head(None if message.get("more_body") else len(body))
            await self._send({**message, "body": body})
        else:
            await self._send(message)

    async def _send_head(self, length: int | None) -> None:
        if self._head is None:
            return
        head, self._head = self._head, None
        headers = MutableHeaders(raw=list(head["headers"]))
        if length is None:
            del headers["content-length"]
        else:
            headers["content-length"] = str(length)
        await self._send({**head, "headers": headers.raw})


def _is_json(start: Message) -> bool:
    media_type = Headers(raw=start["headers"]).get("content-type", "").partition(";")[0].strip().lower()
    return media_type == "application/json" or media_type.endswith("+json")


def without_markup(body: bytes) -> bytes:
    """The same JSON, in whose bytes there is no markup."""
    # In JSON these stand in strings only, and never behind a backslash.
    for character, escape in _MARKUP:
        body = body.replace(character, escape)
    return body


def _names(conditions: list[str], etag: str) -> bool:
    """Whether one of the header's values is `*` or lists the tag; by the weak comparison of RFC 9110, 8.8.3.2."""
    return any(condition.strip() == "*" or etag in _TAG.findall(condition) for condition in conditions)
