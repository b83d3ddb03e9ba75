"""Metrics of the requests that a service answers, by the template of their route; and CORS for all but the metrics."""

from __future__ import annotations

import time
from collections.abc import Collection
from typing import Final

from prometheus_client import Counter, Histogram
from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shared.observing.metrics import METRICS_PATH, Metrics

UNKNOWN: Final = "unknown"
"""Of all requests that no operation takes, or that are refused before: a path is whatever its caller likes."""
OTHER: Final = "other"
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

_SECONDS: Final = (0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
"""From an answer out of one index to a sync that its caller waits for, a minute at most by default."""


class RequestMetrics:
    """Counts requests; a series is there from the first of its kind."""

    def __init__(self, metrics: Metrics) -> None:
        self._requests = Counter(
            "pullsync_http_requests_total",
            "Requests that were answered.",
            ["method", "route", "status"],
            registry=metrics.registry,
        )
        self._seconds = Histogram(
            "pullsync_http_request_seconds",
            "Time from a request's head to the end of its answer; of an event stream to its begin.",
            ["method", "route"],
            registry=metrics.registry,
            buckets=_SECONDS,
        )

    def answered(self, method: str, route: str, *, status: int, seconds: float) -> None:
        """One request was; `route` is a template, or `UNKNOWN`."""
        known = method if method in _METHODS else OTHER
        self._requests.labels(known, route, str(status)).inc()
        self._seconds.labels(known, route).observe(seconds)


class CountRequests:
    """ASGI middleware, to be around all others: has each request counted that was answered.

    What the HTTP reader refuses (`shared.serving.bounded_http`) is no request yet, and is not counted.
    """

    def __init__(self, app: ASGIApp, *, requests: RequestMetrics, literal_paths: Collection[str] = ()) -> None:
        """`literal_paths` are those of routes that may be refused before they are found."""
        self._app = app
        self._counted = requests
        self._literal_paths = frozenset(literal_paths)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve the request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        answer = _Answer(send)
        try:
            await self._app(scope, receive, answer.send)
        except Exception:
            answer.failed()
            raise
        finally:
            if answer.status is not None:
                route = self._route(scope)
                self._counted.answered(scope["method"], route, status=answer.status, seconds=answer.seconds)

    def _route(self, scope: Scope) -> str:
        """The template of the route that took it."""
        route = scope.get("route")
        if route is not None:
            method = "GET" if scope["method"] == "HEAD" else scope["method"]
            return str(route.path_format) if method in (route.methods or ()) else UNKNOWN
        return scope["path"] if scope["path"] in self._literal_paths else UNKNOWN


class _Answer:
    """One answer, as it is sent."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._began = time.monotonic()
        self._is_stream = False
        self.status: int | None = None
        """None as long as nothing was answered."""
        self.seconds = 0.0

    async def send(self, message: Message) -> None:
        """A part of it."""
        await self._send(message)
        if message["type"] == "http.response.start":
            content_type = Headers(raw=message["headers"]).get("content-type", "")
            self._is_stream = content_type.startswith("text/event-stream")
            self.status = message["status"]
        elif self._is_stream:
            return
        self.seconds = time.monotonic() - self._began

    def failed(self) -> None:
        """Whoever is around this answers for it, unless it has begun."""
        if self.status is None:
            self.status, self.seconds = 500, time.monotonic() - self._began


class Cors(CORSMiddleware):
    """For all but the metrics, which no web page has to read, wherever it comes from."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve the request."""
        if scope["type"] == "http" and scope["path"] == METRICS_PATH:
            await self.app(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)
