"""Metrics of the way to clients."""

from __future__ import annotations

from prometheus_client import Counter

from shared.observing.metrics import Metrics
from shared.outbound.own_sockets import OwnSockets


def count_lacks(metrics: Metrics, sockets: OwnSockets) -> None:
    """Count the calls for which the service itself lacked something."""
    lacks = Counter(
        "pullsync_own_lacks_total",
        "Calls of clients that the service had no descriptor, port, memory or thread for.",
        registry=metrics.registry,
    )
    sockets.on_lack = lacks.inc
