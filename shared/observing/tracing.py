"""Traces of pulls, from the claim to the acknowledgement: the few calls by which the services tell of their steps.

Off unless an endpoint is set. Then each call returns at once, and OpenTelemetry's SDK is not even imported. What they
do when traces are on stands in `shared.observing.spans`; ADR 0017 says why a pull carries its own place in its trace.

As logging, tracing is one for the process: instrumentation of libraries can't be otherwise.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar
from uuid import UUID

from shared.contracts.messages import AcknowledgeCaptures, CaptureBatch, Message, PullRequested, PullSettled, PullTarget

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import SpanProcessor
    from starlette.applications import Starlette

    from shared.observing.spans import Spans

ENDPOINT: Final = "OTEL_EXPORTER_OTLP_ENDPOINT"
STOP_S: Final = 2.0
"""How long a service that stops waits for the collector to take the last spans."""


class Traced(Protocol):
    """What is about one pull."""

    @property
    def user_id(self) -> str:
        """Whose client is pulled."""

    @property
    def pull_id(self) -> UUID | None:
        """Which pull; unknown where an older sender did not tell."""

    @property
    def traceparent(self) -> str | None:
        """Its place in its trace, as W3C's Trace Context writes it; None when it is in none."""


TracedT = TypeVar("TracedT", bound=Traced)


class _State:
    spans: Spans | None = None
    """None while traces are off."""


def configure_tracing(service: str, variables: Mapping[str, str]) -> None:
    """Send spans to the collector of OTEL_EXPORTER_OTLP_ENDPOINT from now on; without one, do nothing.

    To be called once, before the app is built. `variables` are OpenTelemetry's that are settings of ours; its SDK reads
    them from the environment, and there its others, such as OTEL_SERVICE_NAME and OTEL_BSP_MAX_QUEUE_SIZE, too.
    """
    if ENDPOINT not in variables:
        return
    from shared.observing.span_export import to_collector  # noqa: PLC0415 - it takes some MB, which who traces not shall not pay

    os.environ.update(variables)
    start_tracing(service, to_collector(variables[ENDPOINT]))


def start_tracing(service: str, processor: SpanProcessor) -> None:
    """Give spans to `processor` from now on."""
    from shared.observing.spans import Spans  # noqa: PLC0415 - as above

    stop_tracing()
    _State.spans = Spans(service, processor)


def stop_tracing() -> None:
    """End it, and wait for `STOP_S` at most until the last spans are sent. May be repeated, and without a start."""
    spans, _State.spans = _State.spans, None
    if spans is not None:
        spans.stop(within_s=STOP_S)


def instrument(app: Starlette, *, continues: bool) -> None:
    """Have each request to `app` be a span; `continues` says whether callers decide what trace it belongs to."""
    if _State.spans is not None:
        _State.spans.instrument(app, continues=continues)


def trace_id() -> str | None:
    """Of the trace that the current task is in."""
    return None if _State.spans is None else _State.spans.trace_id()


def claimed(targets: list[PullTarget], *, began_ns: int) -> list[PullTarget]:
    """The same targets, each with a trace that began with its claim at `began_ns`."""
    return targets if _State.spans is None else _State.spans.claimed(targets, began_ns)


def of_pull(name: str, part: TracedT) -> AbstractContextManager[TracedT]:
    """A step of one pull. Gives `part` with the step's place in the trace, for what comes of it."""
    return nullcontext(part) if _State.spans is None else _State.spans.of_pull(name, part)


def of_pulls(name: str, parts: Sequence[Traced]) -> AbstractContextManager[Any]:
    """A step that several pulls share, such as a commit: it is seen from the trace of each."""
    return nullcontext() if _State.spans is None else _State.spans.of_pulls(name, parts)


def sending(message: Message, destination: str) -> AbstractContextManager[dict[str, Any]]:
    """The publishing of a message. Gives headers for it."""
    return nullcontext({}) if _State.spans is None else _State.spans.sending(message, pulls_of(message), destination)


def failed(reason: str, problem: str) -> None:
    """The current step of a pull failed, without an exception that would tell so."""
    if _State.spans is not None:
        _State.spans.failed(reason, problem)


def current() -> Spans | None:
    """None while traces are off."""
    return _State.spans


def pulls_of(message: Message | None) -> Sequence[Traced]:
    """What in a message is about one pull each."""
    match message:
        case PullRequested():
            return message.targets
        case CaptureBatch():
            return message.pulls
        case AcknowledgeCaptures():
            return message.acknowledgements
        case PullSettled():
            return message.outcomes
    return ()
