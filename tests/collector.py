"""A collector of traces: OTLP by HTTP, as the real ones speak it, which keeps what it gets."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """What came of a span."""

    service: str
    name: str
    trace_id: str


class Collector:
    """What it got."""

    def __init__(self) -> None:
        self.url = ""
        self.spans: list[Span] = []
        self.bodies = b""
        self.authorization: set[str] = set()

    async def take(self, request: web.Request) -> web.Response:
        """Called by exporters."""
        body = await request.read()
        self.bodies += body
        self.authorization.add(request.headers.get("authorization", ""))
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            names = {pair.key: pair.value.string_value for pair in resource.resource.attributes}
            self.spans += [
                Span(service=names["service.name"], name=span.name, trace_id=span.trace_id.hex())
                for scope in resource.scope_spans
                for span in scope.spans
            ]
        return web.Response(content_type="application/x-protobuf")

    def services_of(self, trace_id: str) -> set[str]:
        """Who had a part in the trace."""
        return {span.service for span in self.spans if span.trace_id == trace_id}


@asynccontextmanager
async def collecting() -> AsyncIterator[Collector]:
    """A collector on a free port."""
    collector, app = Collector(), web.Application()
    app.router.add_post("/v1/traces", collector.take)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    collector.url = f"http://{host}:{port}"
    yield collector
    await runner.cleanup()
