"""A capture's way as one trace: through HTTP, messages and SQL, with real RabbitMQ and PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import asyncpg
import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from dev.broker import Broker
from dev.database import Database
from shared.observing.tracing import start_tracing, stop_tracing
from tests.pipeline import pipeline
from tests.waiting import eventually

Tree = dict[str, Any]

STATEMENTS = ("BEGIN;", "make_incoming", "store_incoming", "move_holdings", "count", "COMMIT;")
OF_ASYNCPG = {"SELECT", "WITH"}
"""What it asks for itself on a new connection; our own queries are called by their names."""
ONE_PULL: Tree = {
    "claim": {
        "pull": {
            "GET": {"GET /api/client/sync-data": {}},
            "send pullsync:captures.pulled": {
                "process ingest.capture-batches": {
                    "send pullsync:captures.acknowledge": {
                        "process ingest.acknowledgements": {
                            "acknowledge": {"POST": {"POST /api/client/acknowledge": {}}},
                        },
                    },
                },
            },
            "commit": {name: {} for name in STATEMENTS},
            "send pullsync:pull.settled": {"process registry.pull-settled": {"settle": {"settle": {}}}},
        },
    },
}


class Seen:
    """The spans that have ended."""

    def __init__(self, exporter: InMemorySpanExporter) -> None:
        self._exporter = exporter

    @property
    def spans(self) -> tuple[ReadableSpan, ...]:
        """All of them."""
        return self._exporter.get_finished_spans()

    def of_trace(self, trace_id: int) -> list[ReadableSpan]:
        """Those of one trace."""
        return [span for span in self.spans if context_of(span).trace_id == trace_id]

    def named(self, name: str) -> list[ReadableSpan]:
        """Those of this name."""
        return [span for span in self.spans if span.name == name]

    def complete(self) -> list[int]:
        """The traces of pulls that stored something, and were settled."""
        acknowledged = {context_of(span).trace_id for span in self.named("acknowledge")}
        return [trace_id for trace_id in acknowledged if self.settled(trace_id)]

    def settled(self, trace_id: int) -> bool:
        """Whether the registry heard of that pull."""
        return any(span.name == "settle" and span.kind is SpanKind.INTERNAL for span in self.of_trace(trace_id))


@pytest.fixture
def seen() -> Iterator[Seen]:
    """Spans, from now on."""
    exporter = InMemorySpanExporter()
    start_tracing("test", SimpleSpanProcessor(exporter))
    yield Seen(exporter)
    stop_tracing()


def context_of(span: ReadableSpan) -> Any:
    """Which is there."""
    assert span.context is not None
    return span.context


def tree(spans: list[ReadableSpan], parent: int | None = None) -> Tree:
    """The names of the spans below that one, each with those below it."""
    children = [
        span
        for span in spans
        if (span.parent.span_id if span.parent else None) == parent and span.name not in OF_ASYNCPG
    ]
    return {span.name: tree(spans, context_of(span).span_id) for span in children}


def attributes(span: ReadableSpan) -> dict[str, Any]:
    """Which are there."""
    return dict(span.attributes or {})


async def test_one_pull_is_one_trace(seen: Seen, database: Database, broker: Broker, tmp_path: Path) -> None:
    """From the claim by way of client, commit and acknowledgement until it is settled, each below its cause."""
    async with pipeline(database, broker, tmp_path, "ash") as running:
        await running.capture("ash")

        async def is_complete() -> bool:
            return len(seen.complete()) == 1

        await eventually(is_complete)
        (trace_id,) = seen.complete()
    spans = seen.of_trace(trace_id)
    assert tree(spans) == ONE_PULL
    by_name = {span.name: attributes(span) for span in spans}
    for name in ("claim", "pull", "acknowledge"):
        assert by_name[name]["user.id"] == "ash"
    assert len({by_name[name]["pullsync.pull_id"] for name in ("claim", "pull", "acknowledge")}) == 1
    assert by_name["GET"]["url.full"] == f"{running.clients['ash']}/api/client/sync-data"
    assert by_name["store_incoming"]["db.system.name"] == "postgresql"
    assert by_name["GET /api/client/sync-data"]["http.route"] == "/api/client/sync-data"
    assert {span.kind for span in spans if span.name.startswith("send")} == {SpanKind.PRODUCER}
    assert {span.kind for span in spans if span.name.startswith("process")} == {SpanKind.CONSUMER}


async def test_what_pulls_share_is_linked_with_each(
    seen: Seen, database: Database, broker: Broker, tmp_path: Path
) -> None:
    """Two pulls in one commit: it has a trace of its own with links to both, and both see it from theirs."""

    def shared(name: str) -> list[ReadableSpan]:
        return [span for span in seen.named(name) if len(span.links) > 1 and span.kind is SpanKind.INTERNAL]

    async with pipeline(database, broker, tmp_path, "ash", "misty") as running:

        async def both_at_once() -> bool:
            for user in ("ash", "misty"):
                await running.capture(user)
            await running.sync_all()
            return bool(shared("commit") and shared("settle"))

        await eventually(both_at_once, deadline_s=60)
    for name in ("commit", "settle"):
        together = shared(name)[0]
        pulls = {link.context.trace_id for link in together.links}
        assert len(pulls) == 2
        assert context_of(together).trace_id not in pulls
        for trace_id in pulls:
            own = [span for span in seen.of_trace(trace_id) if span.name == name and span.kind is SpanKind.INTERNAL]
            assert [link.context.span_id for span in own for link in span.links] == [context_of(together).span_id]
            assert len({attributes(span)["user.id"] for span in own}) == 1
    commit = tree(seen.of_trace(context_of(shared("commit")[0]).trace_id))["commit"]
    assert "store_incoming" in commit


async def test_background_work_makes_no_traces(seen: Seen, database: Database, broker: Broker, tmp_path: Path) -> None:
    """Claims that give nothing, ticks and health checks are not recorded: a trace begins with a pull or a request."""
    async with pipeline(database, broker, tmp_path, "ash") as running:
        await running.sync_all()
        await running.http.get(f"{running.registry}/health/ready")
        await running.http.get(f"{running.registry}/api/v1/pull-sync/clients/ash")
    roots = {span.name for span in seen.spans if span.parent is None}
    allowed = {
        "claim",
        "GET /api/v1/pull-sync/registered-clients",
        "GET /api/v1/pull-sync/clients/{user_id}",
        "POST /api/v1/pull-sync/register-client",
        "POST /api/v1/pull-sync/sync-all",
    }
    assert {"claim", "POST /api/v1/pull-sync/sync-all"} <= roots
    assert not roots - allowed


async def test_a_pull_that_failed_says_why(seen: Seen, database: Database, broker: Broker, tmp_path: Path) -> None:
    """In its own trace, up to the registry, and by the reason that stands on the client's record, too."""
    async with pipeline(database, broker, tmp_path, "ash") as running:
        connection = await asyncpg.connect(database.registry_url)
        await connection.execute("UPDATE registry.clients SET client_url = 'http://127.0.0.1:1'")
        await connection.close()
        await running.sync_all()

        async def failed() -> bool:
            return bool(refused())

        def refused() -> list[ReadableSpan]:
            return [span for span in seen.named("pull") if span.status.status_code is StatusCode.ERROR]

        await eventually(failed)
        pull = refused()[0]
        assert attributes(pull)["error.type"] == "forbidden_address"

        async def settled() -> bool:
            return seen.settled(context_of(pull).trace_id)

        await eventually(settled)


FOREIGN: Final = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


async def call(url: str) -> None:
    """GET with a foreign place in a trace; not by a library, whose calls would be a part of ours."""
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    head = (f"GET {parts.path} HTTP/1.1", f"host: {parts.netloc}", "connection: close", f"traceparent: {FOREIGN}")
    writer.write("\r\n".join([*head, "", ""]).encode())
    assert (await reader.readline()).startswith(b"HTTP/1.1 200")
    await reader.read()
    writer.close()


async def test_callers_of_the_registry_do_not_decide_what_is_traced(
    seen: Seen, database: Database, broker: Broker, tmp_path: Path
) -> None:
    """A request begins a trace of its own; a client, whom we call, goes on with its caller's."""
    async with pipeline(database, broker, tmp_path, "ash") as running:
        await call(f"{running.registry}/api/v1/pull-sync/status")
        await call(f"{running.clients['ash']}/api/client/stats")
    (status,), (stats,) = seen.named("GET /api/v1/pull-sync/status"), seen.named("GET /api/client/stats")
    assert status.parent is None
    assert stats.parent is not None
    assert f"{stats.parent.trace_id:032x}" == FOREIGN.split("-")[1]
