"""Tells the registry how pulls ended, many in one message."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from shared.broker import Publisher
from shared.coalescer import Coalescer, Limits
from shared.messages import PullOutcome, PullSettled
from shared.topology import PULL_SETTLED

_LIMITS: Final = Limits(weight=500, linger_s=0.02, crowd=10, crowd_linger_s=0.06)


class Settlements:
    """`add` returns when RabbitMQ keeps the outcome."""

    def __init__(self, *, publisher: Publisher) -> None:
        self._publisher = publisher
        self._outcomes = Coalescer(publish=self._publish, limits=_LIMITS)

    async def add(self, outcome: PullOutcome) -> None:
        """Tell one outcome.

        Raises:
            PublishError: it is not known to be told.
        """
        await self._outcomes.add(outcome)

    async def _publish(self, outcomes: Sequence[PullOutcome]) -> None:
        await self._publisher.publish(PullSettled(outcomes=tuple(outcomes)), routing_key=PULL_SETTLED.routing())
