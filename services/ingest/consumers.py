"""What ingest consumes: batches of captures, and acknowledgements that are tried again."""

from __future__ import annotations

from collections.abc import Sequence
from logging import DEBUG
from typing import Final

import structlog
from faststream.rabbit import Channel, RabbitBroker
from msgspec.structs import replace

from services.ingest.acknowledge import Acknowledger
from services.ingest.compare import Comparison, page_ids
from services.ingest.incoming import ReceivedPull
from services.ingest.writer import Writer
from shared.contracts.messages import (
    AcknowledgeCaptures,
    Acknowledgement,
    CaptureBatch,
    Difference,
    Outcome,
    Pull,
    PullAcknowledged,
    PullOutcome,
    Reason,
)
from shared.contracts.topology import ACKNOWLEDGEMENTS, CAPTURE_BATCHES, EXCHANGE
from shared.observing.log_context import bind
from shared.outbound.client_http import ClientCallError
from shared.rabbitmq.broker import Publisher, decoder
from shared.rabbitmq.settlements import Settlements
from shared.tasks import all_ended

_BATCHES_AT_ONCE: Final = 64
"""Batches in hand: those in the groups that are being committed, and those that wait for the next."""
_ACKNOWLEDGEMENTS_AT_ONCE: Final = 16
_GIVES_WAY_S: Final = 5.0
"""How long what is to be told waits while there is something to be stored, at most."""

log = structlog.get_logger()


class CaptureBatches:
    """A batch's message is acknowledged when it is committed, and RabbitMQ has what its clients are to be told."""

    def __init__(self, *, writer: Writer, comparison: Comparison, publisher: Publisher) -> None:
        self._writer = writer
        self._comparison = comparison
        self._publisher = publisher

    def subscribe(self, broker: RabbitBroker) -> None:
        """Consume from the queue of batches."""
        subscriber = broker.subscriber(
            CAPTURE_BATCHES, EXCHANGE, channel=Channel(prefetch_count=_BATCHES_AT_ONCE), decoder=decoder(CaptureBatch)
        )
        subscriber(self.handle)

    async def handle(self, batch: CaptureBatch) -> None:
        """Store, then have the clients told. A crash anywhere brings the batch again: then all is a duplicate.

        Raises:
            StoreUnavailableError: nothing was stored, or a page of everything not compared, and no client is told.
            PublishError: RabbitMQ did not take what is to be told.
        """
        counts = await self._writer.write([_received(pull) for pull in batch.pulls])
        told = [await self._told(pull, stored) for pull, stored in zip(batch.pulls, counts, strict=True)]
        message = AcknowledgeCaptures(acknowledgements=tuple(told))
        await self._publisher.publish(message, routing_key=ACKNOWLEDGEMENTS.routing())
        _log_stored(batch.pulls, counts)

    async def _told(self, pull: Pull, stored: int) -> Acknowledgement:
        difference = await self._comparison.compare(pull, pull.complete) if pull.complete else None
        return Acknowledgement(
            user_id=pull.user_id,
            client_url=pull.client_url,
            capture_ids=_to_tell(pull),
            outcome=_outcome(pull, stored, difference),
            token_generation=pull.token_generation,
            pull_id=pull.pull_id,
            traceparent=pull.traceparent,
        )


class Acknowledgements:
    """A message is acknowledged when its clients were told or not, and the registry will know. Storing goes first."""

    def __init__(self, *, acknowledger: Acknowledger, settlements: Settlements, writer: Writer) -> None:
        self._acknowledger = acknowledger
        self._settlements = settlements
        self._writer = writer

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
        """Tell each client once.

        Raises:
            PublishError: a settlement was not taken.
            OwnLackError: there was nothing here to call a client with.
        """
        await self._writer.calm(within_s=_GIVES_WAY_S)
        errors = await all_ended(self._tell(told, message.attempts) for told in message.acknowledgements)
        untold = sum(error is not None for error in errors)
        log.info("clients_told", clients=len(errors) - untold, untold=untold, attempts=message.attempts)

    async def _tell(self, told: Acknowledgement, attempts: int) -> ClientCallError | None:
        bind(user_id=told.user_id, pull_id=told.pull_id)
        error = await self._acknowledger.tell(told, attempts=attempts) if told.capture_ids else None
        if told.outcome is not None:
            await self._settlements.add(_settled(told.outcome, told, error))
        elif error is None and told.pull_id is not None:
            await self._settlements.add(PullAcknowledged(pull_id=told.pull_id, user_id=told.user_id))
        return error


def _log_stored(pulls: Sequence[Pull], counts: Sequence[int]) -> None:
    captures, stored = sum(len(pull.captures) for pull in pulls), sum(counts)
    log.info(
        "batch_stored",
        pulls=len(pulls),
        stored=stored,
        duplicates=captures - stored,
        quarantined=sum(len(pull.unreadable) for pull in pulls),
    )
    if log.is_enabled_for(DEBUG):
        for pull, new in zip(pulls, counts, strict=True):
            log.debug("pull_stored", user_id=pull.user_id, pull_id=pull.pull_id, stored=new)


def _received(pull: Pull) -> ReceivedPull:
    return ReceivedPull(
        pull_id=pull.pull_id,
        user_id=pull.user_id,
        received_at=pull.pulled_at,
        captures=pull.captures,
        unreadable=pull.unreadable,
        traceparent=pull.traceparent,
    )


def _to_tell(pull: Pull) -> tuple[str, ...]:
    """Of everything that a client has it knows most to be stored; of what was pending nothing."""
    return page_ids(pull) if pull.complete is None else pull.complete.unacknowledged


def _outcome(pull: Pull, stored: int, difference: Difference | None) -> PullOutcome:
    """More is asked for at once only when this pull made progress: a client that ignores us can't keep us busy."""
    return PullOutcome(
        pull_id=pull.pull_id,
        user_id=pull.user_id,
        outcome=Outcome.STORED,
        stored=stored,
        duplicates=len(pull.captures) - stored,
        quarantined=len(pull.unreadable),
        pending=pull.pending,
        more_pending=pull.more_pending and stored > 0,
        duration_s=pull.duration_s,
        difference=difference,
        traceparent=pull.traceparent,
    )


def _settled(outcome: PullOutcome, told: Acknowledgement, error: ClientCallError | None) -> PullOutcome:
    if error is None:
        return replace(outcome, pending=max(0, outcome.pending - len(told.capture_ids)))
    text = f"stored, but the client could not be told: {error.reason}: {error.sentence}"
    return replace(outcome, reason=Reason.UNACKNOWLEDGED, error=text, retry_after_s=error.retry_after_s)
