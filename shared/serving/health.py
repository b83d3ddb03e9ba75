"""Liveness and readiness as two HTTP answers, for services that have no other HTTP interface.

Live: the process answers. Ready: every named check holds; the answer names those that don't.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

Check = Callable[[], Awaitable[bool]]


class Health:
    """`GET /health/live` and `GET /health/ready`."""

    def __init__(self, *, checks: Mapping[str, Check]) -> None:
        self._checks = checks

    def routes(self) -> list[Route]:
        """To be mounted by the service's app."""
        return [Route("/health/live", self.live), Route("/health/ready", self.ready)]

    async def live(self, _request: Request) -> JSONResponse:
        """200 as long as the process can answer."""
        return JSONResponse({"status": "alive"})

    async def ready(self, _request: Request) -> JSONResponse:
        """200 when every check holds, else 503; the body tells each check's result."""
        results = {name: await check() for name, check in self._checks.items()}
        ready = all(results.values())
        return JSONResponse(
            {"status": "ready" if ready else "not ready", "checks": results}, status_code=200 if ready else 503
        )
