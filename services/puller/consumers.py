"""What the puller consumes: pulls on demand."""

from __future__ import annotations

from typing import Final

import structlog
from faststream.rabbit import Channel, RabbitBroker

from services.puller.loop import Pulls
from services.puller.pull import Asked
from shared.contracts.messages import PullRequested
from shared.contracts.topology import EXCHANGE, PULL_REQUESTED
from shared.rabbitmq.broker import decoder
from shared.tasks import all_ended

_MESSAGES_AT_ONCE: Final = 8

log = structlog.get_logger()


class RequestedPulls:
    """A request is done, and its message acknowledged, when each of its pulls is handed over or settled."""

    def __init__(self, *, pulls: Pulls) -> None:
        self._pulls = pulls

    def subscribe(self, broker: RabbitBroker) -> None:
        """Consume from the pullers' queue."""
        subscriber = broker.subscriber(
            PULL_REQUESTED,
            EXCHANGE,
            channel=Channel(prefetch_count=_MESSAGES_AT_ONCE),
            decoder=decoder(PullRequested),
        )
        subscriber(self.handle)

    async def handle(self, message: PullRequested) -> None:
        """Pull each client, also one whose lease seems to have ended.

        The lease's end is a moment of the database's clock: by that of this host, which may be hours off, every request
        could seem late, and runs would never end. A request that is late costs its client a call, and its outcome
        changes nothing at the registry; how many there can be is bounded by the leases, which grow.

        Raises:
            PublishError: what became of a pull could not be told.
            OwnLackError: there was nothing here to call a client with.
        """
        log.info("pulls_taken", pulls=len(message.targets))
        asked = Asked(since=message.since, complete=message.complete)
        await all_ended(self._pulls.begin(message.targets, asked))
