"""Which spans there are, and whose: of pulls that are traced and pulls that are not, and of what others write."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from shared.contracts.encoding import decoded, encoded
from shared.contracts.messages import Part, PullOutcome, PullRequested, PullTarget
from shared.observing import tracing

ROOT = Path(__file__).parents[2]


def target(traceparent: str | None = None, user_id: str = "ash") -> PullTarget:
    """One to be pulled."""
    return PullTarget(
        pull_id=uuid4(),
        user_id=user_id,
        client_url="http://ash:3001",
        lease_expires_at=datetime.now(UTC),
        traceparent=traceparent,
    )


@pytest.fixture
def exporter() -> Iterator[InMemorySpanExporter]:
    """Where spans go, from now on."""
    kept = InMemorySpanExporter()
    tracing.start_tracing("test", SimpleSpanProcessor(kept))
    yield kept
    tracing.stop_tracing()


def ended(exporter: InMemorySpanExporter) -> dict[str, ReadableSpan]:
    """Spans by name."""
    return {span.name: span for span in exporter.get_finished_spans()}


def ids(context: trace.SpanContext | None) -> tuple[int, int]:
    """Trace and span."""
    assert context is not None
    return context.trace_id, context.span_id


def claimed(count: int = 1) -> list[PullTarget]:
    """Targets with a trace each."""
    return tracing.claimed([target(user_id=f"user_{number}") for number in range(count)], began_ns=0)


def test_off_is_nothing() -> None:
    """Whoever does not ask for traces gets his own objects back, and no header."""
    one = target()
    many = [one]
    assert tracing.claimed(many, began_ns=0) is many
    with tracing.of_pull("pull", one) as same:
        assert same is one
    with tracing.of_pulls("commit", many):
        assert tracing.trace_id() is None
    with tracing.sending(PullRequested(targets=(one,)), "pull.requested") as headers:
        assert headers == {}
    assert b"traceparent" not in encoded(one)


@pytest.mark.parametrize("service", ["registry", "puller", "ingest", "client"])
def test_off_does_not_even_import(service: str) -> None:
    """A service without a collector has no SDK to load; of the API FastAPI has its own use."""
    program = (
        "import sys\n"
        f"from services.{service}.app import build_app\n"
        f"from services.{service}.settings import {service.title()}Settings\n"
        "from shared.observing.tracing import configure_tracing\n"
        f"configure_tracing({service!r}, {service.title()}Settings().opentelemetry)\n"
        "print({name for name in sys.modules if name.startswith('opentelemetry.')} & {\n"
        "    'opentelemetry.sdk.trace', 'opentelemetry.instrumentation', 'opentelemetry.exporter',\n"
        "    'shared.observing.spans'\n"
        "} or 'nothing')"
    )
    done = subprocess.run(  # noqa: S603 - ours
        [sys.executable, "-c", program], cwd=ROOT, env={"PYTHONPATH": str(ROOT)}, capture_output=True, check=True
    )
    assert done.stdout.decode().strip() == "nothing"


def test_a_pull_goes_on_where_its_claim_began(exporter: InMemorySpanExporter) -> None:
    """By what the target carries, from one service to the next."""
    (one,) = claimed()
    received = decoded(PullTarget, encoded(one))
    with tracing.of_pull("pull", received) as traced:
        assert traced.traceparent != one.traceparent
        tracing.failed("timeout", "no answer")
    claim, pull = ended(exporter)["claim"], ended(exporter)["pull"]
    assert ids(pull.parent) == ids(claim.context)
    assert claim.parent is None
    assert (pull.status.status_code.name, (pull.attributes or {})["error.type"]) == ("ERROR", "timeout")


FOREIGN: list[Any] = [
    None,
    "",
    "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
    "00-00000000000000000000000000000000-b7ad6b7169203331-01",
    "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
    "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00",
    "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    "00-0AF7651916CD43DD8448EB211C80319C-B7AD6B7169203331-01",
    "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\n",
    "\x1b[2J" * 1_000,
]


@pytest.mark.parametrize("traceparent", FOREIGN)
def test_what_is_no_place_in_a_trace_makes_no_span(exporter: InMemorySpanExporter, traceparent: str | None) -> None:
    """Nor does a pull that is not recorded; and what it calls is no part of somebody else's trace."""
    tracer = trace.get_tracer("a library", tracer_provider=None)
    part = target(traceparent)
    with tracing.of_pull("another", claimed()[0]), tracing.of_pull("pull", part) as same:
        assert same is part
        assert tracing.trace_id() is None
        assert not tracer.start_span("GET").is_recording()
    with tracing.of_pulls("commit", [part]):
        pass
    with tracing.sending(PullRequested(targets=(part,)), "pull.requested") as headers:
        assert headers == {}
    assert set(ended(exporter)) == {"claim", "another"}


def test_what_one_traced_pull_shares_with_others_is_a_part_of_its_trace(exporter: InMemorySpanExporter) -> None:
    """As with most messages, when few pulls are sampled."""
    (one,) = claimed()
    with tracing.of_pulls("commit", [target(), one, target()]):
        pass
    commit, claim = ended(exporter)["commit"], ended(exporter)["claim"]
    assert ids(commit.parent) == ids(claim.context)
    assert not commit.links


def test_a_message_of_many_has_a_trace_of_its_own_with_links(exporter: InMemorySpanExporter) -> None:
    """And tells its reader where to go on."""
    targets = claimed(3)
    with tracing.sending(PullRequested(targets=tuple(targets)), "pull.requested") as headers:
        pass
    (send,) = [span for span in exporter.get_finished_spans() if span.name == "send pullsync:pull.requested"]
    claims = {ids(span.context) for span in exporter.get_finished_spans() if span.name == "claim"}
    assert send.parent is None
    assert {ids(link.context) for link in send.links} == claims
    assert headers["traceparent"].split("-")[1] == f"{ids(send.context)[0]:032x}"


def test_what_is_not_sampled_costs_the_pull_nothing_further(
    exporter: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It carries no place, so that nobody makes a span for it."""
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "parentbased_traceidratio")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", "0")
    tracing.start_tracing("test", SimpleSpanProcessor(exporter))
    assert {one.traceparent for one in claimed(3)} == {None}
    assert exporter.get_finished_spans() == ()


class OlderOutcome(Part, frozen=True, kw_only=True):
    """As the previous version reads an outcome."""

    pull_id: UUID
    user_id: str
    outcome: str
    stored: int = 0
    more_pending: bool = False
    reason: str | None = None
    duration_s: float = 0.0


def test_an_older_reader_passes_it_over(exporter: InMemorySpanExporter) -> None:
    """And what is left out because it is as usual, it reads as usual."""
    _ = exporter
    (one,) = claimed()
    told = PullOutcome(pull_id=one.pull_id, user_id="ash", outcome="nothing", traceparent=one.traceparent)  # type: ignore[arg-type] # text is what is sent
    read = decoded(OlderOutcome, encoded(told))
    assert read == OlderOutcome(pull_id=one.pull_id, user_id="ash", outcome="nothing")
