"""Each request has an id, in its answer, in its log lines and in its messages: whoever reports a failure names it."""

from __future__ import annotations

from functools import partial
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shared.observing.log_context import bind, is_sane, new_id

HEADER: Final = "x-request-id"


class RequestIds:
    """ASGI middleware: the caller's `X-Request-ID` where that is a plain word of at most 64 characters, else a new one.

    It is a label and no more: callers may repeat one another's, and nothing is decided by it.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve the request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        asked = Headers(scope=scope).get(HEADER)
        request_id = asked if asked is not None and is_sane(asked) else new_id()
        bind(request_id=request_id)  # for the rest of the task, which is this request's: the server logs what it raises
        await self._app(scope, receive, partial(_send, request_id, send))


async def _send(request_id: str, send: Send, message: Message) -> None:
    if message["type"] == "http.response.start":
        MutableHeaders(scope=message)[HEADER] = request_id
    await send(message)
