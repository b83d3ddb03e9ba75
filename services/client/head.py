"""HEAD for all that answers GET: the same answer, without its body and without what a GET leaves behind."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from fastapi import Request
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

_IS_HEAD: Final = "pullsync.is_head"


class HeadAsGet:
    """ASGI middleware: the routes need not know of HEAD."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return

        async def without_body(message: Message) -> None:
            await send({**message, "body": b""} if message["type"] == "http.response.body" else message)

        inner = {**scope, "method": "GET", _IS_HEAD: True}
        try:
            await self._app(inner, receive, without_body)
        finally:
            scope.update({name: value for name, value in inner.items() if name not in {"method", _IS_HEAD}})


def asks_for_head_only(request: Request) -> bool:
    """Whether nobody gets the body of the answer."""
    return bool(request.scope.get(_IS_HEAD))
