"""The spans, by OpenTelemetry. Imported only while traces are on; the services call `shared.observing.tracing`.

A pull is a trace. It begins with the claim, and its place in it travels with the pull (`traceparent`), since messages
carry many. A step of one pull is a span in its trace. A step that many share (a message, a commit) is a span in a
trace of its own, with links to the pulls; where it shall be seen from the pulls, each gets a span of the same name with
a link back. When only one of those pulls is traced, the step is simply a part of its trace.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from threading import Thread
from typing import Any, Final, TypeVar, cast

from msgspec.structs import replace
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace import SpanProcessor
from opentelemetry.trace import INVALID_SPAN, Link, NonRecordingSpan, Span, SpanContext, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation import set_span_in_context
from starlette.applications import Starlette

from shared.contracts.messages import Message, PullTarget
from shared.contracts.topology import EXCHANGE
from shared.observing.instruments import instrument_app, instrument_libraries, uninstrument_libraries
from shared.observing.span_export import make_provider
from shared.observing.tracing import Traced

HEADER: Final = "traceparent"
_TRACEPARENT: Final = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})", re.ASCII)
_MOST_LINKS: Final = 128
"""What OpenTelemetry keeps of a span's links."""
_PROBLEM_CHARS: Final = 500

TracedT = TypeVar("TracedT", bound=Traced)


class Spans:
    """What `shared.observing.tracing` promises."""

    def __init__(self, service: str, processor: SpanProcessor) -> None:
        # The libraries still write the names of years ago unless told otherwise.
        os.environ.setdefault("OTEL_SEMCONV_STABILITY_OPT_IN", "http,database")
        self._provider = make_provider(service, processor)
        self._tracer = self._provider.get_tracer("pullsync")
        instrument_libraries(self._provider)

    def stop(self, *, within_s: float) -> None:
        """Send what is left, for so long at most; the thread ends with the process."""
        uninstrument_libraries()
        sending = Thread(target=self._provider.shutdown, daemon=True)
        sending.start()
        sending.join(within_s)

    def instrument(self, app: Starlette, *, continues: bool) -> None:
        """Have each request be a span."""
        instrument_app(app, self._provider, continues=continues)

    def trace_id(self) -> str | None:
        """Of the current span, if it is recorded."""
        context = _current()
        return None if context is None else f"{context.trace_id:032x}"

    def claimed(self, targets: Sequence[PullTarget], began_ns: int) -> list[PullTarget]:
        """The roots. The claim is one statement for all of them, and is over."""
        return [replace(target, traceparent=self._claimed(target, began_ns)) for target in targets]

    def _claimed(self, target: PullTarget, began_ns: int) -> str | None:
        span = self._tracer.start_span("claim", Context(), attributes=_about(target), start_time=began_ns)
        span.end()
        return _text_of(span)

    @contextmanager
    def of_pull(self, name: str, part: TracedT) -> Iterator[TracedT]:
        """A span in the pull's trace; below the current one, if that is in the same."""
        parent, current = _context_of(part.traceparent), _current()
        if parent is None:
            with trace.use_span(INVALID_SPAN):  # what this pull does is no part of what it does it with others
                yield part
            return
        links = [Link(current)] if current and current.trace_id != parent.trace_id else []
        below = _below(current if current and not links else parent)
        with self._tracer.start_as_current_span(name, below, attributes=_about(part), links=links) as span:
            yield cast("TracedT", replace(cast("Any", part), traceparent=_text_of(span)))

    @contextmanager
    def of_pulls(self, name: str, parts: Sequence[Traced]) -> Iterator[None]:
        """One span for all, and one in the trace of each."""
        began_ns = time.time_ns()
        with self._shared(name, parts) as span:
            try:
                yield
            finally:
                traced = _traced(parts)
                if span is not None and len(traced) > 1:
                    for part, context in traced:
                        self._tracer.start_span(
                            name, _below(context), attributes=_about(part), links=_links(span), start_time=began_ns
                        ).end()

    @contextmanager
    def sending(self, message: Message, parts: Sequence[Traced], destination: str) -> Iterator[dict[str, Any]]:
        """Gives the header by which the consumer's span comes below this one."""
        where = f"{EXCHANGE.name}:{destination}"
        attributes = _about_message(where, "send") | {"pullsync.message": type(message).__name__}
        with self._shared(f"send {where}", parts, kind=SpanKind.PRODUCER, attributes=attributes) as span:
            header = None if span is None else _text_of(span)
            yield {} if header is None else {HEADER: header}

    @contextmanager
    def processing(self, raw: Any, parts: Sequence[Traced], queue: str) -> Iterator[None]:
        """The handling of a message."""
        where = f"{EXCHANGE.name}:{raw.routing_key}:{queue}"
        attributes = _about_message(where, "process") | {"messaging.message.body.size": len(raw.body)}
        sent = _context_of(raw.headers.get(HEADER))
        with self._shared(f"process {queue}", parts, kind=SpanKind.CONSUMER, attributes=attributes, below=sent):
            yield

    def failed(self, reason: str, problem: str) -> None:
        """Mark the current span."""
        span = trace.get_current_span()
        span.set_attribute("error.type", reason)
        span.set_status(Status(StatusCode.ERROR, problem[:_PROBLEM_CHARS]))

    @contextmanager
    def _shared(
        self,
        name: str,
        parts: Sequence[Traced],
        *,
        kind: SpanKind = SpanKind.INTERNAL,
        attributes: dict[str, str | int] | None = None,
        below: SpanContext | None = None,
    ) -> Iterator[Span | None]:
        """A span for what concerns all of these pulls; None when none of them is traced, and nothing else is."""
        traced, parent = [context for _, context in _traced(parts)], below or _current()
        if len(traced) == 1 and (parent is None or parent.trace_id != traced[0].trace_id):
            parent = traced[0]
        if parent is None and not traced:
            yield None
            return
        links = [Link(context) for context in traced[:_MOST_LINKS]] if len(traced) > 1 else []
        with self._tracer.start_as_current_span(
            name, _below(parent), kind, {**(attributes or {}), "pullsync.pulls": len(parts)}, links
        ) as span:
            yield span


def _current() -> SpanContext | None:
    context = trace.get_current_span().get_span_context()
    return context if context.is_valid and context.trace_flags.sampled else None


def _below(parent: SpanContext | None) -> Context:
    return Context() if parent is None else set_span_in_context(NonRecordingSpan(parent), Context())


def _links(span: Span) -> list[Link]:
    return [Link(span.get_span_context())]


def _traced(parts: Sequence[Traced]) -> list[tuple[Traced, SpanContext]]:
    return [(part, context) for part in parts if (context := _context_of(part.traceparent)) is not None]


def _about(part: Traced) -> dict[str, str]:
    return {"user.id": part.user_id, "pullsync.pull_id": str(part.pull_id)}


def _about_message(where: str, operation: str) -> dict[str, str | int]:
    return {
        "messaging.system": "rabbitmq",
        "messaging.destination.name": where,
        "messaging.operation.type": operation,
        "messaging.operation.name": operation,
    }


def _text_of(span: Span) -> str | None:
    """None for a span that is not recorded: nothing of the pull is, then."""
    context = span.get_span_context()
    if not context.trace_flags.sampled:
        return None
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"


def _context_of(traceparent: object) -> SpanContext | None:
    """What is foreign may be anything; None also for a pull that is not recorded."""
    match = _TRACEPARENT.fullmatch(traceparent) if isinstance(traceparent, str) else None
    if match is None:
        return None
    trace_id, span_id, flags = (int(part, 16) for part in match.groups())
    context = SpanContext(trace_id, span_id, is_remote=True, trace_flags=trace.TraceFlags(flags))
    return context if context.is_valid and context.trace_flags.sampled else None
