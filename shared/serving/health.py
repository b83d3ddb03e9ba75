"""Liveness and readiness as two HTTP answers, for services that have no other HTTP interface.

Live: the process answers. Ready: it has started, and every named check holds; the answer names those that don't.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from shared.observing.metrics import Metrics
from shared.serving.starting import Start, WhileStarting

Checks = Mapping[str, Callable[[], Awaitable[bool]]]
"""By name."""


class Health:
    """`GET /health/live` and `GET /health/ready`."""

    def __init__(self, *, checks: Checks, start: Start | None = None) -> None:
        self._checks = checks
        self._start = start or Start()

    def routes(self) -> list[Route]:
        """To be mounted by the service's app."""
        return [Route("/health/live", self.live), Route("/health/ready", self.ready)]

    async def live(self, _request: Request) -> JSONResponse:
        """200 as long as the process can answer."""
        return JSONResponse({"status": "alive"})

    async def ready(self, _request: Request) -> JSONResponse:
        """200 when it has started and every check holds, else 503; the body tells each check's result."""
        results = {name: await check() for name, check in self._checks.items()}
        ready = all(results.values()) and not self._start.goes_on
        return JSONResponse(
            {"status": "ready" if ready else "not ready", "checks": results}, status_code=200 if ready else 503
        )


def watched_app(
    lifespan: Callable[[Starlette], AbstractAsyncContextManager[None]], *, checks: Checks, metrics: Metrics
) -> Starlette:
    """An app that answers how its service is, and nothing else; from the begin of its lifespan on."""
    start = Start()
    return Starlette(
        routes=[*Health(checks=checks, start=start).routes(), metrics.route()],
        middleware=[Middleware(WhileStarting, start=start)],
        lifespan=start.watched(lifespan),
    )
