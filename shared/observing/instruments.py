"""Spans of what libraries do: requests that come, requests that go, SQL. Imported only while traces are on."""

from __future__ import annotations

from typing import Any, Final

from opentelemetry import trace
from opentelemetry.instrumentation.aiohttp_client import AioHttpClientInstrumentor
from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware
from opentelemetry.instrumentation.asyncpg import AsyncPGInstrumentor
from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor
from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.propagate import set_global_textmap
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from starlette.applications import Starlette
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from yarl import URL

from shared.contracts.claims import CLAIMS_PATH, HEARTBEAT_PATH

_POLLED: Final = rf"^\w+://[^/]*(?:/health(?:/live|/ready)?|/metrics|{CLAIMS_PATH}|{HEARTBEAT_PATH})$"
"""What is asked all the time. A claim that gives something begins the traces of its pulls."""
_LIBRARIES: Final[tuple[Any, ...]] = (AioHttpClientInstrumentor, HTTPXClientInstrumentor, AsyncPGInstrumentor)
_OF_TRACES: Final = (b"traceparent", b"tracestate")


def instrument_libraries(provider: TracerProvider) -> None:
    """Have the calls of aiohttp, httpx and asyncpg be spans, and those by HTTP carry their place to whoever is called.

    Of a client's URL its login and its query stay here, and so do a query's parameters.
    """
    set_global_textmap(TraceContextTextMapPropagator())
    options: dict[str, Any] = {"tracer_provider": provider, "meter_provider": NoOpMeterProvider()}
    for library in _LIBRARIES:
        library().instrument(url_filter=_shown, **options)


def uninstrument_libraries() -> None:
    """As they were."""
    for library in _LIBRARIES:
        library().uninstrument()


def instrument_app(app: Starlette, provider: TracerProvider, *, continues: bool) -> None:
    """Have each request to `app` be a span, called by its route; with `continues`, in the trace of whoever calls."""
    app.add_middleware(_Route)
    app.add_middleware(
        OpenTelemetryMiddleware,
        excluded_urls=_POLLED,
        tracer_provider=provider,
        meter_provider=NoOpMeterProvider(),
        exclude_spans=["receive", "send"],
    )
    if not continues:
        app.add_middleware(_Begins)


def _shown(url: URL) -> str:
    return str(url.with_user(None).with_query(None).with_fragment(None))


class _Begins:
    """Takes from a request what its caller says of traces: who is not ours decides not what is recorded."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve the request."""
        if scope["type"] == "http":
            scope["headers"] = [header for header in scope["headers"] if header[0] not in _OF_TRACES]
        await self._app(scope, receive, send)


class _Route:
    """Calls the span of a request by its route: with ids in its name, each would be a kind of its own."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve the request."""
        span = trace.get_current_span()

        async def sent(message: Message) -> None:
            path = getattr(scope.get("route"), "path_format", None)
            if message["type"] == "http.response.start" and path is not None:
                span.update_name(f"{scope['method']} {path}")
                span.set_attribute("http.route", path)
            await send(message)

        await self._app(scope, receive, sent if span.is_recording() else send)
