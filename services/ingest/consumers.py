"""What ingest consumes: batches of captures, and acknowledgements that are tried again."""

from __future__ import annotations

import asyncio
from typing import Final

from faststream.rabbit import Channel, RabbitBroker

from services.ingest.acknowledge import Acknowledger
from services.ingest.compare import Comparison, page_ids
from services.ingest.store import ReceivedPull
from services.ingest.writer import Writer
from shared.broker import decoder
from shared.messages import AcknowledgeCaptures, CaptureBatch, Difference, Outcome, Pull, PullOutcome, Reason
from shared.outbound import ClientCallError
from shared.settlements import Settlements
from shared.topology import ACKNOWLEDGEMENTS, CAPTURE_BATCHES, EXCHANGE

_BATCHES_AT_ONCE: Final = 64
"""Batches in hand: those in the group that is being committed, and those whose clients are being told."""
_ACKNOWLEDGEMENTS_AT_ONCE: Final = 64


class CaptureBatches:
    """A batch's message is acknowledged when it is committed, its clients were told or not, and the pulls settled."""

    def __init__(
        self,
        *,
        writer: Writer,
        comparison: Comparison,
        acknowledger: Acknowledger,
        settlements: Settlements,
    ) -> None:
        self._writer = writer
        self._comparison = comparison
        self._acknowledger = acknowledger
        self._settlements = settlements

    def subscribe(self, broker: RabbitBroker) -> None:
        """Consume from the queue of batches."""
        subscriber = broker.subscriber(
            CAPTURE_BATCHES, EXCHANGE, channel=Channel(prefetch_count=_BATCHES_AT_ONCE), decoder=decoder(CaptureBatch)
        )
        subscriber(self.handle)

    async def handle(self, batch: CaptureBatch) -> None:
        """Store, then tell. A crash anywhere brings the batch again: then all is a duplicate, and told again.

        Raises:
            StoreUnavailableError: nothing was stored, or a page of everything not compared, and its client not told.
            PublishError: a settlement was not taken.
        """
        counts = await self._writer.write([_received(pull) for pull in batch.pulls])
        await asyncio.gather(*map(self._finish, batch.pulls, counts))

    async def _finish(self, pull: Pull, stored: int) -> None:
        difference = await self._comparison.compare(pull, pull.complete) if pull.complete else None
        error = await self._acknowledger.tell(
            AcknowledgeCaptures(
                pull_id=pull.pull_id,
                user_id=pull.user_id,
                client_url=pull.client_url,
                capture_ids=_to_tell(pull),
                attempts=0,
            )
        )
        await self._settlements.add(_outcome(pull, stored, difference, error))


class Acknowledgements:
    """Acknowledgements that come back after their delay."""

    def __init__(self, *, acknowledger: Acknowledger) -> None:
        self._acknowledger = acknowledger

    def subscribe(self, broker: RabbitBroker) -> None:
        """Consume from the queue of acknowledgements."""
        subscriber = broker.subscriber(
            ACKNOWLEDGEMENTS,
            EXCHANGE,
            channel=Channel(prefetch_count=_ACKNOWLEDGEMENTS_AT_ONCE),
            decoder=decoder(AcknowledgeCaptures),
        )
        subscriber(self.handle)

    async def handle(self, message: AcknowledgeCaptures) -> None:
        """Try once more; the pull is settled already."""
        await self._acknowledger.tell(message)


def _received(pull: Pull) -> ReceivedPull:
    return ReceivedPull(
        pull_id=pull.pull_id,
        user_id=pull.user_id,
        received_at=pull.pulled_at,
        captures=pull.captures,
        unreadable=pull.unreadable,
    )


def _to_tell(pull: Pull) -> tuple[str, ...]:
    """Of everything that a client has it knows most to be stored; of what was pending nothing."""
    return page_ids(pull) if pull.complete is None else pull.complete.unacknowledged


def _outcome(pull: Pull, stored: int, difference: Difference | None, error: ClientCallError | None) -> PullOutcome:
    """More is asked for at once only when this pull made progress: a client that ignores us can't keep us busy."""
    told = 0 if error else len(_to_tell(pull))
    return PullOutcome(
        pull_id=pull.pull_id,
        user_id=pull.user_id,
        outcome=Outcome.STORED,
        stored=stored,
        duplicates=len(pull.captures) - stored,
        quarantined=len(pull.unreadable),
        pending=max(0, pull.pending - told),
        more_pending=pull.more_pending and stored > 0,
        reason=Reason.UNACKNOWLEDGED if error else None,
        error=f"stored, but the client could not be told: {error.reason}: {error}" if error else None,
        duration_s=pull.duration_s,
        difference=difference,
    )
