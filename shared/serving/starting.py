"""What a service answers while it starts: that it lives, that it is not ready, and to all else that it starts.

A start takes as long as PostgreSQL is away. Whoever looks after the service must not take that for a dead process.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Final, TypeVar

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

AGAIN_IN_S: Final = 5
"""Seconds after which a caller should try again, for `Retry-After`."""
SENTENCE: Final = "The service is starting and waits for what /health/ready names; try again soon."

AppT = TypeVar("AppT")


class Start:
    """From the begin of an app's lifespan until all that it needs is there; without a lifespan there is none."""

    def __init__(self) -> None:
        self.goes_on = False

    def watched(
        self, lifespan: Callable[[AppT], AbstractAsyncContextManager[None]]
    ) -> Callable[[AppT], AbstractAsyncContextManager[None]]:
        """The same lifespan."""

        @asynccontextmanager
        async def entered(app: AppT) -> AsyncIterator[None]:
            self.goes_on = True
            async with lifespan(app):
                self.goes_on = False
                yield

        return entered


class WhileStarting:
    """ASGI middleware: refuses requests as long as the start goes on, but for those that ask how the service is."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        start: Start,
        answered: Collection[str] = ("/health/live", "/health/ready", "/metrics"),
        refuse: Callable[[], ASGIApp] | None = None,
    ) -> None:
        """`answered` are the paths that need no server; `refuse` makes the answer to all others."""
        self._app = app
        self._start = start
        self._answered = frozenset(answered)
        self._refuse = refuse or _refusal

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve the request, or refuse it."""
        if self._start.goes_on and scope["type"] == "http" and scope["path"] not in self._answered:
            await self._refuse()(scope, receive, send)
        else:
            await self._app(scope, receive, send)


def _refusal() -> ASGIApp:
    return JSONResponse({"error": SENTENCE}, status_code=503, headers={"retry-after": str(AGAIN_IN_S)})
