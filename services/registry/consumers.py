"""What the registry consumes: settled pulls."""

from __future__ import annotations

from collections.abc import Sequence
from logging import DEBUG
from typing import Final

import structlog
from faststream.rabbit import Channel, RabbitBroker

from services.registry.dispatcher import Dispatcher
from services.registry.leases import Leases
from services.registry.pulls import Pulls
from shared.contracts.messages import Outcome, PullOutcome, PullSettled
from shared.contracts.topology import EXCHANGE, PULL_SETTLED
from shared.observing import tracing
from shared.rabbitmq.broker import decoder

_MESSAGES_AT_ONCE: Final = 8

log = structlog.get_logger()


class SettlementObserver:
    """Is told of settled pulls, and does nothing by itself: metrics do. It must not raise."""

    def settled(self, outcomes: Sequence[PullOutcome]) -> None:
        """These ended; a message that comes again is told again."""


class SettledPulls:
    """Ends the leases, and has the next page of a client asked for at once."""

    def __init__(
        self, *, leases: Leases, pulls: Pulls, dispatcher: Dispatcher, observer: SettlementObserver | None = None
    ) -> None:
        self._leases = leases
        self._pulls = pulls
        self._dispatcher = dispatcher
        self._observer = observer or SettlementObserver()

    def subscribe(self, broker: RabbitBroker) -> None:
        """Consume from the registry's queue."""
        subscriber = broker.subscriber(
            PULL_SETTLED,
            EXCHANGE,
            channel=Channel(prefetch_count=_MESSAGES_AT_ONCE),
            decoder=decoder(PullSettled),
        )
        subscriber(self.handle)

    async def handle(self, message: PullSettled) -> None:
        """Settle every outcome; repeating it changes nothing."""
        with tracing.of_pulls("settle", message.outcomes):
            demanded = await self._leases.settle(message.outcomes)
        if demanded:
            self._dispatcher.wake()
        await self._pulls.acknowledged(message.acknowledged)
        self._observer.settled(message.outcomes)
        _log_settled(message.outcomes)


def _log_settled(outcomes: Sequence[PullOutcome]) -> None:
    failed = sum(outcome.outcome is Outcome.FAILED for outcome in outcomes)
    log.info("pulls_settled", pulls=len(outcomes), failed=failed, stored=sum(outcome.stored for outcome in outcomes))
    if log.is_enabled_for(DEBUG):
        for outcome in outcomes:
            ended = {"outcome": outcome.outcome, "reason": outcome.reason}
            log.debug("pull_settled", user_id=outcome.user_id, pull_id=outcome.pull_id, **ended)
