"""Which spans are kept, what they are called, and how they come to the collector. Imported only while traces are on."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Sequence
from typing import Final
from urllib.parse import urlsplit

import structlog
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, Sampler, SamplingResult
from opentelemetry.trace import Link, SpanKind, TraceState, get_current_span
from opentelemetry.util.types import Attributes

_TEXT: Final = "db.query.text"
_NAMED: Final = re.compile(r"/\* (\w+) \*/")
_TEXT_CHARS: Final = 300

log = structlog.get_logger()


def make_provider(service: str, processor: SpanProcessor) -> TracerProvider:
    """Of spans that tell which service and process they are of; what the environment says of that wins."""
    ours = Resource(
        {
            "service.namespace": "pullsync",
            "service.name": f"pullsync-{service}",
            "service.instance.id": f"{socket.gethostname()}/{os.getpid()}",
        }
    )
    provider = TracerProvider(resource=Resource.create({}).merge(ours).merge(OTELResourceDetector().detect()))
    provider.sampler = PullSampler(provider.sampler)  # around that of OTEL_TRACES_SAMPLER
    provider.add_span_processor(NamedQueries())
    provider.add_span_processor(processor)
    return provider


def to_collector(endpoint: str) -> SpanProcessor:
    """Sends spans in the background, some thousand at most waiting for it; those beyond are dropped."""
    return BatchSpanProcessor(ToldExporter(OTLPSpanExporter(), endpoint))


class PullSampler(Sampler):
    """No trace begins with a call to somebody else: the polls of all background work would be nothing but noise.

    What many pulls share is recorded when one of them is. All other begins are up to the configured sampler.
    """

    def __init__(self, configured: Sampler) -> None:
        self._configured = configured

    def should_sample(
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        trace_state: TraceState | None = None,
    ) -> SamplingResult:
        """Called at the begin of each span."""
        sampler = self._configured
        if not get_current_span(parent_context).get_span_context().is_valid:
            if any(link.context.trace_flags.sampled for link in links or ()):
                sampler = ALWAYS_ON
            elif kind is SpanKind.CLIENT:
                sampler = ALWAYS_OFF
        return sampler.should_sample(parent_context, trace_id, name, kind, attributes, links, trace_state)

    def get_description(self) -> str:
        """For who looks into the provider."""
        return f"PullSampler({self._configured.get_description()})"


class NamedQueries(SpanProcessor):
    """Calls a query's span as its `.sql` file calls the query, and keeps only the begin of the text."""

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Called at the begin of each span."""
        _ = parent_context
        text = (span.attributes or {}).get(_TEXT)
        if isinstance(text, str):
            if named := _NAMED.match(text):
                span.update_name(named[1])
                span.set_attribute("db.query.summary", named[1])
            span.set_attribute(_TEXT, text[:_TEXT_CHARS])


class ToldExporter(SpanExporter):
    """Tells once that the collector takes no spans, and once that it takes them again. The services do not notice."""

    def __init__(self, exporter: SpanExporter, endpoint: str) -> None:
        self._exporter = exporter
        self._collector = urlsplit(endpoint).netloc.rpartition("@")[2]
        self._away = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Called in a thread of its own; it tries for ten seconds, unless OTEL_EXPORTER_OTLP_TIMEOUT says otherwise."""
        result = self._exporter.export(spans)
        away = result is not SpanExportResult.SUCCESS
        if away and not self._away:
            remedy = "see that a collector takes OTLP by HTTP there, or set no OTEL_EXPORTER_OTLP_ENDPOINT"
            log.warning("spans_dropped", collector=self._collector, remedy=remedy)
        elif self._away and not away:
            log.info("spans_sent_again", collector=self._collector)
        self._away = away
        return result

    def shutdown(self) -> None:
        """Called at the end."""
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Nothing is kept here."""
        return self._exporter.force_flush(timeout_millis)
