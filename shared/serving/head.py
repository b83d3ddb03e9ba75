"""HEAD for apps whose routes know GET only, as FastAPI's do: the same answer, without its body."""

from __future__ import annotations

from functools import partial
from typing import Any, Final

from fastapi import HTTPException, Request
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_ASKED: Final = "pullsync.head"
_NOT_ALLOWED: Final = 405


def asks_for_head_only(request: Request) -> bool:
    """Whether nobody gets the body of the answer."""
    return _ASKED in request.scope


def refuse_head(request: Request) -> None:
    """A dependency for a GET that ends never.

    Raises:
        HTTPException: 405, the request is HEAD.
    """
    if asks_for_head_only(request):
        raise HTTPException(_NOT_ALLOWED, headers={"allow": "GET"})


class HeadAsGet:
    """ASGI middleware, to stand directly before the routes: they meet HEAD as GET, and `Allow` names it beside that."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve the request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        is_head = scope["method"] == "HEAD"
        served: Scope = {**scope, "method": "GET", _ASKED: True} if is_head else scope
        try:
            await self._app(served, receive, partial(_send, served, send))
        finally:
            if "route" in served:
                scope["route"] = served["route"]  # for metrics


async def _send(scope: Scope, send: Send, message: Message) -> None:
    if message["type"] == "http.response.start" and message["status"] == _NOT_ALLOWED:
        headers = MutableHeaders(scope=message)
        allowed = {method.strip() for method in headers.get("allow", "").split(",")}
        takes_head = "GET" in allowed and not _refuses(scope.get("route"))
        headers["allow"] = ", ".join(sorted((allowed - {"HEAD"}) | ({"HEAD"} if takes_head else set())))
    elif message["type"] == "http.response.body" and _ASKED in scope:
        message = {**message, "body": b""}
    await send(message)


def _refuses(route: Any) -> bool:
    return any(each.dependency is refuse_head for each in getattr(route, "dependencies", ()))
