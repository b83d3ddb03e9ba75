"""What the puller consumes: pulls on demand."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Final

import structlog
from faststream.rabbit import Channel, RabbitBroker

from services.puller.loop import Pulls
from services.puller.pull import Asked
from shared.broker import decoder
from shared.messages import PullRequested
from shared.topology import EXCHANGE, PULL_REQUESTED

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
        """Pull each client whose lease still holds.

        Raises:
            PublishError: what became of a pull could not be told.
        """
        now = datetime.now(UTC)
        targets = [target for target in message.targets if target.lease_expires_at > now]
        if len(targets) < len(message.targets):
            log.info("requests_expired", clients=len(message.targets) - len(targets))
        await asyncio.gather(*self._pulls.begin(targets, Asked(since=message.since, complete=message.complete)))
