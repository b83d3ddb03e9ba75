"""Reads the quarantine again, when an operator asks for it: what can be stored now is stored, the rest stays.

The rules for what a capture is are those of the pulls (`shared.contracts.capture_reading`), and so are those of the
store.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Final

import stamina
import structlog
from faststream.rabbit import Channel, RabbitBroker

from services.ingest.errors import StoreUnavailableError
from services.ingest.store import CaptureStore, Quarantined, Replayed
from services.ingest.writer import REFUSED, RETRY_S, UNSTORABLE, is_unstorable, may_pass
from shared.contracts.capture_reading import RAW_CHARS, read_item
from shared.contracts.encoding import UnreadableMessageError, decoded
from shared.contracts.messages import PulledCapture, ReplayQuarantined, UnreadableItem
from shared.contracts.topology import EXCHANGE, REPLAYS
from shared.rabbitmq.broker import decoder

_MESSAGES_AT_ONCE: Final = 1
"""So that an operator's replay of everything takes one connection of the pool, and the pulls' own captures go on."""

log = structlog.get_logger()


class Replays:
    """A message is acknowledged when all of its items were tried. It may come again, and others beside it."""

    def __init__(self, *, store: CaptureStore) -> None:
        self._store = store

    def subscribe(self, broker: RabbitBroker) -> None:
        """Consume from the queue of replays."""
        subscriber = broker.subscriber(
            REPLAYS, EXCHANGE, channel=Channel(prefetch_count=_MESSAGES_AT_ONCE), decoder=decoder(ReplayQuarantined)
        )
        subscriber(self.handle)

    async def handle(self, message: ReplayQuarantined) -> None:
        """Try each item once more; those that are no longer in quarantine are done.

        Raises:
            StoreUnavailableError: Postgres did not take them in time; what was done until then stays done.
        """
        try:
            async for attempt in stamina.retry_context(
                on=may_pass, attempts=None, timeout=RETRY_S, wait_initial=0.1, wait_max=5.0
            ):
                with attempt:
                    replayed = [read_again(item) for item in await self._store.quarantined(message.quarantine_ids)]
                    gone = await self._settle(replayed)
        except Exception as error:
            if not may_pass(error):
                raise
            text = f"the database did not take {len(message.quarantine_ids)} replayed items: {error}"
            raise StoreUnavailableError(text) from error
        log.info("quarantine_replayed", asked=len(message.quarantine_ids), found=len(replayed), stored=gone)

    async def _settle(self, replayed: Sequence[Replayed]) -> int:
        """In one transaction; when Postgres refuses a capture, in halves, until it is alone and keeps its place."""
        if not replayed:
            return 0
        try:
            return await self._store.store_replayed(replayed)
        except UNSTORABLE as error:
            if not is_unstorable(error) or not any(one.capture for one in replayed):
                raise
            if len(replayed) == 1:
                refused = Replayed(item=replayed[0].item, capture=None, problem=f"{REFUSED}{error}"[:500])
                return await self._settle([refused])
            middle = len(replayed) // 2
            return await self._settle(replayed[:middle]) + await self._settle(replayed[middle:])


def read_again(item: Quarantined) -> Replayed:
    """The capture that the item is, or why it still can't be read. No I/O."""
    found = _of_our_own(item.raw) if item.problem.startswith(REFUSED) else _of_the_client(item)
    if isinstance(found, PulledCapture):
        return Replayed(item=item, capture=found, problem=None)
    return Replayed(item=item, capture=None, problem=found)


def _of_our_own(raw: str) -> PulledCapture | str:
    try:
        return decoded(PulledCapture, raw)
    except UnreadableMessageError as error:
        return f"it is no capture of ours: {error}"[:500]


def _of_the_client(item: Quarantined) -> PulledCapture | str:
    try:
        found = read_item(json.loads(item.raw), item.user_id)
    except RecursionError:
        return "it is nested too deeply"
    except ValueError:
        if len(item.raw) >= RAW_CHARS:
            return f"only its first {RAW_CHARS} characters were kept, so it can't be read again"
        return "it was not kept as JSON, so it can't be read again"
    return found.problem if isinstance(found, UnreadableItem) else found
