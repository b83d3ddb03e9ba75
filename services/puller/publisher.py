"""Publishes captures, many clients in one message."""

from __future__ import annotations

from collections.abc import Sequence
from logging import DEBUG
from typing import Final

import structlog

from services.puller.observer import PullObserver
from shared.contracts.messages import CaptureBatch, Pull
from shared.contracts.topology import CAPTURE_BATCHES
from shared.observing.log_context import bind, new_id
from shared.rabbitmq.broker import Publisher
from shared.rabbitmq.coalescer import Coalescer, Limits

_LIMITS: Final = Limits(weight=1_000, linger_s=0.02, crowd=40, crowd_linger_s=0.1)
"""Captures in one message, or 4 KiB pieces of them where they are large; a pull with more travels alone."""
_PIECE_BYTES: Final = 4 * 1024

log = structlog.get_logger()


class BatchPublisher:
    """`add` returns when RabbitMQ keeps the pull's captures."""

    def __init__(self, *, publisher: Publisher, observer: PullObserver | None = None) -> None:
        self._publisher = publisher
        self._observer = observer or PullObserver()
        self._pulls = Coalescer(publish=self._publish, limits=_LIMITS)

    async def add(self, pull: Pull) -> None:
        """Publish one pull with others.

        Raises:
            PublishError: it is not known to be kept.
        """
        await self._pulls.add(pull, weight=_weight(pull))

    async def _publish(self, pulls: Sequence[Pull]) -> None:
        bind(batch_id=new_id())
        await self._publisher.publish(CaptureBatch(pulls=tuple(pulls)), routing_key=CAPTURE_BATCHES.routing())
        self._observer.batched(len(pulls), sum(len(pull.captures) for pull in pulls))
        log.info("batch_published", pulls=len(pulls), captures=sum(len(pull.captures) for pull in pulls))
        if log.is_enabled_for(DEBUG):
            for pull in pulls:
                log.debug("pull_published", user_id=pull.user_id, pull_id=pull.pull_id, captures=len(pull.captures))


def _weight(pull: Pull) -> int:
    """What is foreign and may be large counts by its bytes, at most six for a character in JSON."""
    characters = sum(len(item.raw) + len(item.capture_id or "") for item in pull.unreadable)
    characters += sum(len(capture.metadata or "") for capture in pull.captures)
    if pull.complete:
        ids = (pull.complete.after or "", pull.complete.until or "", *pull.complete.unacknowledged)
        characters += sum(map(len, ids))
    return max(1, len(pull.captures) + len(pull.unreadable), 6 * characters // _PIECE_BYTES)
