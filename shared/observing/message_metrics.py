"""Metrics of the messages that a service publishes and consumes, and of its connection to RabbitMQ."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import partial
from typing import Final

from faststream.rabbit import RabbitQueue
from prometheus_client import Counter, Gauge, Histogram

from shared.contracts.messages import (
    AcknowledgeCaptures,
    CaptureBatch,
    Message,
    PullRequested,
    PullSettled,
    ReplayQuarantined,
)
from shared.contracts.topology import ACKNOWLEDGEMENTS, CAPTURE_BATCHES, PULL_REQUESTED, PULL_SETTLED, REPLAYS
from shared.observing.message_observer import Fate, MessageObserver
from shared.observing.metrics import Check, Metrics
from shared.rabbitmq.holding import Holding

MESSAGE_OF: Final = {
    queue.name: message.__name__
    for queue, message in (
        (PULL_REQUESTED, PullRequested),
        (CAPTURE_BATCHES, CaptureBatch),
        (ACKNOWLEDGEMENTS, AcknowledgeCaptures),
        (REPLAYS, ReplayQuarantined),
        (PULL_SETTLED, PullSettled),
    )
}
"""The one message of each work queue. What a delivery says of itself is somebody's word, and no label."""

_PUBLISH_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
"""A quorum queue confirms after one write to the disk, so milliseconds; after 10 s it is given up."""
_CONSUME_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 1200)
"""From a commit of milliseconds to a request whose clients take their whole timeout; what is held goes after 120 s, and
after 20 minutes at the latest."""


class MessageMetrics(MessageObserver):
    """Counts each message once, at the two places that all of them pass."""

    def __init__(
        self, metrics: Metrics, *, published: Collection[type[Message]], consumed: Sequence[RabbitQueue]
    ) -> None:
        """For what the service publishes and consumes; every series is there from the start."""
        registry = metrics.registry
        self._queues = [queue.name for queue in consumed]
        self._registry = registry
        by_result = Counter(
            "pullsync_messages_published_total",
            "Messages that RabbitMQ confirmed, and those that are not known to be kept.",
            ["message", "result"],
            registry=registry,
        )
        publish_seconds = Histogram(
            "pullsync_message_publish_seconds",
            "Time until a message was confirmed, or failed.",
            ["message"],
            registry=registry,
            buckets=_PUBLISH_SECONDS,
        )
        by_fate = Counter(
            "pullsync_messages_consumed_total",
            "Deliveries, by what became of them.",
            ["message", "result"],
            registry=registry,
        )
        consume_seconds = Histogram(
            "pullsync_message_consume_seconds",
            "Time from a delivery to what became of it, with the time in which it was held.",
            ["message"],
            registry=registry,
            buckets=_CONSUME_SECONDS,
        )
        names = [message.__name__ for message in published]
        self._confirmed = {name: by_result.labels(name, "confirmed") for name in names}
        self._failed = {name: by_result.labels(name, "failed") for name in names}
        self._publish_seconds = {name: publish_seconds.labels(name) for name in names}
        self._fates = {
            (queue, fate): by_fate.labels(MESSAGE_OF[queue], fate) for queue in self._queues for fate in Fate
        }
        self._consume_seconds = {queue: consume_seconds.labels(MESSAGE_OF[queue]) for queue in self._queues}

    def published(self, message: str, *, confirmed: bool, seconds: float) -> None:
        """As the observer has it."""
        (self._confirmed if confirmed else self._failed)[message].inc()
        self._publish_seconds[message].observe(seconds)

    def consumed(self, queue: str, fate: Fate, *, seconds: float) -> None:
        """As the observer has it."""
        self._fates[queue, fate].inc()
        self._consume_seconds[queue].observe(seconds)

    def watch(self, metrics: Metrics, *, holding: Holding, ready: Check) -> None:
        """Also tell at each scrape what is held, and whether the connection is as it should be."""
        held = Gauge(
            "pullsync_messages_held",
            "Deliveries that wait for something that is away.",
            ["message"],
            registry=metrics.registry,
        )
        for queue in self._queues:
            held.labels(MESSAGE_OF[queue]).set_function(partial(holding.held, queue))
        metrics.add_check(
            "pullsync_broker_ready", "Whether every consumer consumes, and RabbitMQ takes messages.", ready
        )
