"""What the registry consumes: settled pulls."""

from __future__ import annotations

from typing import Final

from faststream.rabbit import Channel, RabbitBroker

from services.registry.dispatcher import Dispatcher
from services.registry.leases import Leases
from services.registry.pulls import Pulls
from shared.broker import decoder
from shared.messages import PullSettled
from shared.topology import EXCHANGE, PULL_SETTLED

_MESSAGES_AT_ONCE: Final = 8


class SettledPulls:
    """Ends the leases, and has the next page of a client asked for at once."""

    def __init__(self, *, leases: Leases, pulls: Pulls, dispatcher: Dispatcher) -> None:
        self._leases = leases
        self._pulls = pulls
        self._dispatcher = dispatcher

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
        if await self._leases.settle(message.outcomes):
            self._dispatcher.wake()
        await self._pulls.acknowledged(message.acknowledged)
