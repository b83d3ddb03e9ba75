"""Tells the registry how pulls ended, many in one message."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from shared.contracts.messages import PullAcknowledged, PullOutcome, PullSettled
from shared.contracts.topology import PULL_SETTLED
from shared.rabbitmq.broker import Publisher
from shared.rabbitmq.coalescer import Coalescer, Limits

_LIMITS: Final = Limits(weight=500, linger_s=0.02, crowd=10, crowd_linger_s=0.06)


class Settlements:
    """`add` returns when RabbitMQ keeps it."""

    def __init__(self, *, publisher: Publisher) -> None:
        self._publisher = publisher
        self._told = Coalescer[PullOutcome | PullAcknowledged](publish=self._publish, limits=_LIMITS)

    async def add(self, told: PullOutcome | PullAcknowledged) -> None:
        """Tell one outcome, or that the client of a pull was told after its outcome.

        Raises:
            PublishError: it is not known to be told.
        """
        await self._told.add(told)

    async def _publish(self, told: Sequence[PullOutcome | PullAcknowledged]) -> None:
        message = PullSettled(
            outcomes=tuple(one for one in told if isinstance(one, PullOutcome)),
            acknowledged=tuple(one for one in told if isinstance(one, PullAcknowledged)),
        )
        await self._publisher.publish(message, routing_key=PULL_SETTLED.routing())
