"""URLs that are text. Servers read bytes that are no UTF-8 as U+FFFD, so that one name would be taken for another."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final
from urllib.parse import unquote_to_bytes

from starlette.types import ASGIApp, Receive, Scope, Send

SENTENCE: Final = "The path or the query of this URL is not UTF-8: encode each name as UTF-8, then by percent signs."


class Utf8Urls:
    """ASGI middleware: refuses a request whose path or query, decoded, is no UTF-8."""

    def __init__(self, app: ASGIApp, *, refuse: Callable[[], ASGIApp]) -> None:
        """`refuse` makes the answer."""
        self._app = app
        self._refuse = refuse

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve the request, or refuse it."""
        is_text = scope["type"] != "http" or all(
            _is_utf8(scope.get(part) or b"") for part in ("raw_path", "query_string")
        )
        await (self._app if is_text else self._refuse())(scope, receive, send)


def _is_utf8(raw: bytes) -> bool:
    try:
        unquote_to_bytes(raw).decode()
    except UnicodeDecodeError:
        return False
    return True
