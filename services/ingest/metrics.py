"""Ingest's metrics."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from prometheus_client import Counter, Gauge, Histogram

from services.ingest.incoming import ReceivedPull
from services.ingest.observer import IngestObserver, Told
from services.ingest.writer import Writer
from shared.observing.metrics import ManyHistogram, Metrics

_COMMIT_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
"""From a few rows to the time after which a statement is given up."""
_COMMIT_ROWS: Final = (1, 10, 30, 100, 300, 1_000, 3_000, 10_000, 30_000)
"""A group is full with 10,000; the pull that fills it may bring as many."""
_AGE_SECONDS: Final = (1, 2, 5, 10, 15, 30, 45, 60, 120, 300, 900, 3_600, 21_600, 86_400, 604_800)
"""From a nudge, over the interval of the schedule (30 s unless set otherwise), to a device that was off for days."""
_DELAY_SECONDS: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1_800)
"""From a commit at once to an outage of Postgres, in which the captures wait in the queue."""


class IngestMetrics(IngestObserver):
    """Counts what it is told; for each capture it costs less than half a microsecond (docs/metrics.md)."""

    def __init__(self, metrics: Metrics) -> None:
        registry = metrics.registry
        self._registry = registry
        captures = Counter(
            "pullsync_captures_total", "Items of pulls, by what became of them.", ["outcome"], registry=registry
        )
        self._stored, self._duplicate, self._quarantined = map(captures.labels, ("stored", "duplicate", "quarantined"))
        commits = Counter("pullsync_commits_total", "Transactions that store pulls.", ["result"], registry=registry)
        self._committed, self._failed = map(commits.labels, ("committed", "failed"))
        self._seconds = Histogram(
            "pullsync_commit_seconds", "Time of a commit.", registry=registry, buckets=_COMMIT_SECONDS
        )
        self._rows = Histogram("pullsync_commit_rows", "Items in each commit.", registry=registry, buckets=_COMMIT_ROWS)
        tries = Counter(
            "pullsync_acknowledgements_total",
            "Tries to tell a client that its captures are stored.",
            ["outcome"],
            registry=registry,
        )
        self._told = {outcome: tries.labels(outcome) for outcome in Told}
        self._ages = ManyHistogram(
            "pullsync_capture_age_seconds",
            "Time from each new capture, by its own clock, to its commit.",
            registry=registry,
            buckets=_AGE_SECONDS,
        )
        self._delays = ManyHistogram(
            "pullsync_store_delay_seconds",
            "Time from each pull to its commit.",
            registry=registry,
            buckets=_DELAY_SECONDS,
        )

    def watch(self, writer: Writer) -> None:
        """Also tell at each scrape how much waits for the writer."""
        Gauge(
            "pullsync_writer_waiting_rows", "Items that wait for the next commit.", registry=self._registry
        ).set_function(lambda: writer.waiting_rows)

    def committed(self, pulls: Sequence[ReceivedPull], counts: Sequence[int], *, seconds: float) -> None:
        """As the observer has it."""
        captures, unreadable = sum(len(pull.captures) for pull in pulls), sum(len(pull.unreadable) for pull in pulls)
        stored = sum(counts)
        self._committed.inc()
        self._seconds.observe(seconds)
        self._rows.observe(captures + unreadable)
        self._stored.inc(stored)
        self._duplicate.inc(captures - stored)
        self._quarantined.inc(unreadable)
        now = datetime.now(UTC)
        self._ages.observe_many([(now - made_at).total_seconds() for made_at in times_of_new(pulls, counts)])
        self._delays.observe_many([(now - pull.received_at).total_seconds() for pull in pulls])

    def not_committed(self) -> None:
        """As the observer has it."""
        self._failed.inc()

    def told(self, outcome: Told) -> None:
        """As the observer has it."""
        self._told[outcome].inc()


def times_of_new(pulls: Sequence[ReceivedPull], counts: Sequence[int]) -> list[datetime]:
    """When the new captures were made.

    Of a pull that brought some again it is only known how many were new: its latest are taken for them, since a client
    sends the oldest first.
    """
    times: list[datetime] = []
    for pull, count in zip(pulls, counts, strict=True):
        made = [capture.timestamp for capture in pull.captures]
        times += made if count == len(made) else sorted(made)[len(made) - count :]
    return times
