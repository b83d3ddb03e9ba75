"""Dead letters: list them, look at one, replay them. They stay in RabbitMQ until they are replayed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog
from aio_pika.abc import AbstractIncomingMessage
from aio_pika.exceptions import DeliveryError
from faststream.rabbit import RabbitQueue

from services.registry.dead_letters.queue import OLDEST, DeadLetterQueue, DeadLettersBusyError, OpenQueue
from services.registry.dead_letters.reading import (
    DeadLetter,
    DeadLetterCount,
    WholeDeadLetter,
    described,
    described_whole,
    identity,
)
from services.registry.errors import RefusedError, UnavailableError

_REPLAYED_AT_ONCE_BYTES: Final = 64 * 1024 * 1024
"""Bodies held in memory, each of which may have some MiB."""
_OVERVIEW_PATIENCE_S: Final = 1.0

log = structlog.get_logger()


class UnknownDeadLetterQueueError(RefusedError):
    """No work queue has that name."""

    status = 404


class UnknownDeadLetterError(RefusedError):
    """No such message is in the dead-letter queue, or too many older ones are."""

    status = 404


class ReplayRefusedError(UnavailableError):
    """RabbitMQ did not take a message back: its work queue is full, or missing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What a search found."""

    letter: DeadLetter | None
    seen: int
    """Messages that were looked at."""
    present: int
    """Messages that were there."""


class DeadLetters:
    """The dead letters of all work queues.

    Whoever looks or replays has the queue for himself, over all registries; others wait for their turn, and are refused
    with `DeadLettersBusyError` (503) after some seconds, rather than shown a part. Only RabbitMQ's management UI does
    not wait. Every method raises `BrokerAwayError` (503) when the broker is away, and then everything is still in its
    queue.
    """

    def __init__(self, *, url: str, work_queues: Sequence[RabbitQueue], ca_file: Path | None = None) -> None:
        self._queues = {
            queue.name: DeadLetterQueue(url=url, work_queue=queue, ca_file=ca_file) for queue in work_queues
        }

    async def counts(self) -> list[DeadLetterCount]:
        """Each queue and how much lies there; a queue that is busy for more than a second without a number."""
        return [
            DeadLetterCount(queue=queue.work_queue, dead_letter_queue=queue.name, messages=await _count(queue))
            for queue in self._queues.values()
        ]

    async def oldest(self, queue: str, limit: int) -> list[DeadLetter]:
        """The oldest messages, the oldest first. It changes nothing, however often it is repeated.

        Raises:
            UnknownDeadLetterQueueError: no work queue has that name.
            DeadLettersBusyError: somebody else looks or replays.
        """
        async with self._queue(queue).opened() as opened, opened.held(_First(limit)) as letters:
            return letters

    async def get(self, queue: str, letter_id: str) -> WholeDeadLetter:
        """One message with its body; the oldest, where several are equal. It changes nothing.

        Raises:
            UnknownDeadLetterQueueError: no work queue has that name.
            UnknownDeadLetterError: the message is not there, or behind 100 others.
            DeadLettersBusyError: somebody else looks or replays.
        """
        async with self._queue(queue).opened() as opened, opened.held(_Search(letter_id)) as found:
            return described_whole(_only(found, queue, letter_id))

    async def search(self, queue: str, names: Callable[[bytes], bool]) -> Found:
        """The oldest message with a body that is asked for, among the oldest. It changes nothing, however often.

        Raises:
            UnknownDeadLetterQueueError: no work queue has that name.
            DeadLettersBusyError: somebody else looks or replays; it is not waited for as long as elsewhere.
        """
        async with self._queue(queue).opened(patience_s=_OVERVIEW_PATIENCE_S) as opened:
            present = await opened.count()
            looking = _Looking(names)
            async with opened.held(looking) as found:
                return Found(letter=next(iter(found), None), seen=looking.seen, present=present)

    async def replay_one(self, queue: str, letter_id: str) -> None:
        """Publish one message for its work queue again, and take it out here; the oldest, where several are equal.

        RabbitMQ has confirmed the one before it does the other: a crash in between doubles the message, which handlers
        bear, and never loses it. Repeating the call is refused, unless the message has died again.

        Raises:
            UnknownDeadLetterQueueError: no work queue has that name.
            UnknownDeadLetterError: the message is not there, or behind 100 others.
            ReplayRefusedError: its work queue is full, or missing; it stays here.
            DeadLettersBusyError: somebody else looks or replays.
        """
        async with self._queue(queue).opened() as opened, opened.held(_Search(letter_id)) as found:
            await _replay(opened, _only(found, queue, letter_id), queue, before=0)

    async def replay_all(self, queue: str, limit: int | None) -> int:
        """Replay what is there now, the oldest first, at most `limit`; how many that were.

        Those that die again meanwhile come behind the others and are not replayed once more, nor are new ones.

        Raises:
            UnknownDeadLetterQueueError: no work queue has that name.
            ReplayRefusedError: the work queue is full, or missing; the text says how many were replayed before.
            DeadLettersBusyError: somebody else looks or replays.
        """
        replayed = 0
        async with self._queue(queue).opened() as opened:
            present = await opened.count()
            wanted = present if limit is None else min(limit, present)
            while replayed < wanted:
                async with opened.held(_Batch(wanted - replayed)) as messages:
                    for message in messages:
                        await _replay(opened, message, queue, before=replayed)
                        replayed += 1
                if not messages:
                    break  # somebody has emptied the queue by hand
        log.info("dead_letters_replayed", queue=queue, replayed=replayed)
        return replayed

    def _queue(self, name: str) -> DeadLetterQueue:
        if name not in self._queues:
            message = f"No queue is called {name!r}; there are {', '.join(self._queues)}."
            raise UnknownDeadLetterQueueError(message)
        return self._queues[name]


class _First:
    """Describes the first `limit` messages, and keeps no body."""

    def __init__(self, limit: int) -> None:
        self._left = limit

    def __call__(self, message: AbstractIncomingMessage) -> DeadLetter | None:
        """To be asked with each message, the oldest first."""
        self._left -= 1
        return described(message) if self._left >= 0 else None


class _Looking:
    """Describes the first message with a body that is asked for, and counts what it was asked with."""

    def __init__(self, names: Callable[[bytes], bool]) -> None:
        self.seen = 0
        self._names = names
        self._found = False

    def __call__(self, message: AbstractIncomingMessage) -> DeadLetter | None:
        """To be asked with each message, the oldest first."""
        self.seen += 1
        if self._found or not self._names(message.body):
            return None
        self._found = True
        return described(message)


class _Search:
    """Keeps the first message with an id, and no other, so that no other body stays in memory."""

    def __init__(self, letter_id: str) -> None:
        self._letter_id = letter_id
        self._found = False

    def __call__(self, message: AbstractIncomingMessage) -> AbstractIncomingMessage | None:
        """To be asked with each message, the oldest first."""
        if self._found or identity(message) != self._letter_id:
            return None
        self._found = True
        return message


class _Batch:
    """Keeps the first `limit` messages, fewer when they are large, but one at least."""

    def __init__(self, limit: int) -> None:
        self._left = limit
        self._bytes_left = _REPLAYED_AT_ONCE_BYTES

    def __call__(self, message: AbstractIncomingMessage) -> AbstractIncomingMessage | None:
        """To be asked with each message, the oldest first."""
        if self._left <= 0 or self._bytes_left <= 0:
            return None
        self._left -= 1
        self._bytes_left -= len(message.body)
        return message


async def _count(queue: DeadLetterQueue) -> int | None:
    try:
        async with queue.opened(patience_s=_OVERVIEW_PATIENCE_S) as opened:
            return await opened.count()
    except DeadLettersBusyError:
        return None


async def _replay(opened: OpenQueue, message: AbstractIncomingMessage, queue: str, *, before: int) -> None:
    try:
        await opened.replay(message)
    except DeliveryError as error:
        text = f"{queue} does not take a message back: is it full? {before} were replayed, the others are still dead."
        raise ReplayRefusedError(text) from error
    log.info("dead_letter_replayed", queue=queue, message_type=message.type, correlation_id=message.correlation_id)


def _only(found: Sequence[AbstractIncomingMessage], queue: str, letter_id: str) -> AbstractIncomingMessage:
    if not found:
        text = f"No dead letter {letter_id[:64]!r} is among the oldest {OLDEST} of {queue}."
        raise UnknownDeadLetterError(text)
    return found[0]
