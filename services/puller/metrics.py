"""The puller's metrics."""

from __future__ import annotations

from typing import Final

from prometheus_client import Counter, Gauge, Histogram

from services.puller.loop import Pulls
from services.puller.observer import PullObserver
from shared.contracts.messages import Reason
from shared.observing.metrics import Metrics

_PULL_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 15, 30, 60)
"""From a client beside us to the timeout, 15 s unless set otherwise."""
_ANSWER_BYTES: Final = (256, 1_024, 4_096, 16_384, 65_536, 262_144, 1_048_576, 4_194_304, 16_777_216)
"""From an answer without captures to the largest that is read, 16 MiB unless set otherwise."""
_CAPTURES: Final = (1, 3, 10, 30, 100, 300, 1_000, 3_000, 10_000)
"""To the most that a pull carries."""
_LATENESS_SECONDS: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
"""From a turn of the event loop to many intervals of the schedule, which are 30 s unless set otherwise."""
_CLAIM_SECONDS: Final = (0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
"""To the timeout of a claim."""
_BATCH_PULLS: Final = (1, 3, 10, 30, 100, 300, 1_000)
"""To the pulls of a full batch of one capture each."""
_BATCH_CAPTURES: Final = (1, 10, 30, 100, 300, 1_000, 3_000, 10_000)
"""A batch is full with 1,000; a larger pull travels alone."""


class PullerMetrics(PullObserver):
    """Counts what it is told. What is told for each pull is a few additions to values that were looked up before."""

    def __init__(self, metrics: Metrics) -> None:
        registry = metrics.registry
        self._registry = registry
        pulls = Counter("pullsync_pulls_total", "Pulls that ended here.", ["outcome", "reason"], registry=registry)
        self._nothing = pulls.labels("nothing", "")
        self._handed_over = pulls.labels("handed_over", "")
        self._failed = {reason: pulls.labels("failed", reason) for reason in Reason}
        seconds = Histogram(
            "pullsync_pull_seconds",
            "Time from asking a client to its whole answer, or to the failure.",
            ["outcome"],
            registry=registry,
            buckets=_PULL_SECONDS,
        )
        self._nothing_seconds = seconds.labels("nothing")
        self._handed_over_seconds = seconds.labels("handed_over")
        self._failed_seconds = seconds.labels("failed")
        self._answer_bytes = Histogram(
            "pullsync_pull_answer_bytes", "Sizes of clients' answers.", registry=registry, buckets=_ANSWER_BYTES
        )
        self._captures = Histogram(
            "pullsync_pull_captures",
            "Captures of each pull that was handed over.",
            registry=registry,
            buckets=_CAPTURES,
        )
        self._lateness = Histogram(
            "pullsync_pull_lateness_seconds",
            "Time from a pull's slot (its claim or request, if later) to its begin.",
            registry=registry,
            buckets=_LATENESS_SECONDS,
        )
        claims = Counter("pullsync_claims_total", "Claims, by what the registry gave.", ["result"], registry=registry)
        self._claimed, self._empty, self._unclaimed = map(claims.labels, ("claimed", "empty", "failed"))
        self._claim_seconds = Histogram(
            "pullsync_claim_seconds", "Time of a claim, answered or not.", registry=registry, buckets=_CLAIM_SECONDS
        )
        self._batch_pulls = Histogram(
            "pullsync_batch_pulls", "Pulls in each batch.", registry=registry, buckets=_BATCH_PULLS
        )
        self._batch_captures = Histogram(
            "pullsync_batch_captures", "Captures in each batch.", registry=registry, buckets=_BATCH_CAPTURES
        )

    def watch(self, pulls: Pulls, *, limit: int) -> None:
        """Also tell at each scrape how many pulls there are, of so many at most."""
        Gauge(
            "pullsync_pulls_under_way",
            "Pulls that this puller has claimed or was asked for, and that have not ended.",
            registry=self._registry,
        ).set_function(lambda: pulls.under_way)
        Gauge("pullsync_pulls_limit", "Most pulls that it has at once.", registry=self._registry).set(limit)

    def claimed(self, clients: int | None, seconds: float) -> None:
        """As the observer has it."""
        (self._unclaimed if clients is None else self._claimed if clients else self._empty).inc()
        self._claim_seconds.observe(seconds)

    def begins(self, late_s: float) -> None:
        """As the observer has it."""
        self._lateness.observe(max(0.0, late_s))

    def answered(self, answer_bytes: int) -> None:
        """As the observer has it."""
        self._answer_bytes.observe(answer_bytes)

    def had_nothing(self, seconds: float) -> None:
        """As the observer has it."""
        self._nothing.inc()
        self._nothing_seconds.observe(seconds)

    def handed_over(self, captures: int, seconds: float) -> None:
        """As the observer has it."""
        self._handed_over.inc()
        self._handed_over_seconds.observe(seconds)
        self._captures.observe(captures)

    def failed(self, reason: Reason, seconds: float) -> None:
        """As the observer has it."""
        self._failed[reason].inc()
        self._failed_seconds.observe(seconds)

    def batched(self, pulls: int, captures: int) -> None:
        """As the observer has it."""
        self._batch_pulls.observe(pulls)
        self._batch_captures.observe(captures)
