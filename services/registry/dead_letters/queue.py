"""One dead-letter queue, looked into over AMQP so that nothing is lost, doubled or moved. No rule on its messages.

How that is done was measured on RabbitMQ 3.10 and 4.0; other ways fail on one of them, or on both.

- Messages are taken by one consumer and given back by closing its channel, which puts them back in their order, and is
  also what happens when this process dies. With `basic.get` each message has a consumer of its own: they return as 1,
  10, 11, 2. What is rejected one after another is mixed up from the 32nd on.
- Each look takes the same number, `OLDEST`, however few are asked for. What was given back waits in a line in front of
  the others, and is put at the end of that line when it is given back again: a look that took fewer than the one before
  would move them behind those that it did not take.
- The queue has a delivery limit out of reach, as `shared.contracts.topology` tells.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final, Generic, TypeVar

import structlog
from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractIncomingMessage
from aiormq.exceptions import ChannelLockedResource
from faststream.rabbit import RabbitQueue
from yarl import URL

from services.registry.amqp import AWAY, connected
from services.registry.errors import UnavailableError
from shared import tls
from shared.contracts.topology import EXCHANGE, dead_letter_queue
from shared.rabbitmq.copies import reborn
from shared.rabbitmq.names import process_name

OLDEST: Final = 100
"""How many of the oldest messages can be seen; those behind them, when these are gone."""
_ANSWER_S: Final = 10.0
"""How long the broker may take for one answer."""
_TURN_PAUSE_S: Final = 0.05
_IDLE_S: Final = 1.0
_GIVE_BACK_S: Final = 5.0
_GIVE_BACK_PAUSE_S: Final = 0.01

log = structlog.get_logger()

KeptT = TypeVar("KeptT")
Keep = Callable[[AbstractIncomingMessage], KeptT | None]
"""What to keep of a message; None for nothing, so that its body need not stay in memory."""


class BrokerAwayError(UnavailableError):
    """RabbitMQ can't be reached, or went away."""


class DeadLettersBusyError(UnavailableError):
    """Somebody else holds the messages of the queue, so that they can't all be seen."""


class DeadLetterQueue:
    """The dead-letter queue of one work queue. It is not connected: each opening makes a connection of its own."""

    def __init__(self, *, url: str, work_queue: RabbitQueue, ca_file: Path | None = None) -> None:
        self.name = dead_letter_queue(work_queue).name
        self.work_queue = work_queue.name
        self.routing_key = work_queue.routing()
        """The only one that leads to the work queue."""
        self.consumer = f"{process_name('registry')} {self.name}"
        """As RabbitMQ's management UI shows who looks."""
        self._url = str(URL(url).update_query({"name": self.consumer, **URL(url).query}))
        self._tls = tls.for_rabbitmq(url, ca_file)
        self._turn = asyncio.Lock()

    @asynccontextmanager
    async def opened(self, *, patience_s: float = 10.0) -> AsyncIterator[OpenQueue]:
        """The queue, for the caller alone: whoever else opens it, in this process or in another registry, waits.

        Across registries an exclusive queue of RabbitMQ is the lock, which ends with its connection, however that ends.
        Who looks in RabbitMQ's management UI at the same moment is not kept out, and misses what is held here.

        Raises:
            DeadLettersBusyError: it was not our turn within `patience_s` here, or as long again in other registries.
            BrokerAwayError: the broker is away, or the queue was not declared yet.
        """
        async with (
            _asked_of_the_broker(),
            self._own_turn(patience_s),
            connected(self._url, self._tls, close_s=_GIVE_BACK_S) as connection,
        ):
            yield OpenQueue(connection, await self._locked(connection, patience_s), self)

    @asynccontextmanager
    async def _own_turn(self, patience_s: float) -> AsyncIterator[None]:
        """First come, first served, within this process."""
        try:
            async with asyncio.timeout(patience_s):
                await self._turn.acquire()
        except TimeoutError as error:
            raise self._busy() from error
        try:
            yield
        finally:
            self._turn.release()

    async def _locked(self, connection: AbstractConnection, patience_s: float) -> AbstractChannel:
        """A channel of the connection, once that has the lock."""
        end = asyncio.get_running_loop().time() + patience_s
        while True:
            channel = await connection.channel(on_return_raises=True)
            try:
                await channel.declare_queue(f"{self.name}.looking", exclusive=True, timeout=_ANSWER_S)
            except ChannelLockedResource as error:
                if asyncio.get_running_loop().time() > end:
                    raise self._busy() from error
                await asyncio.sleep(_TURN_PAUSE_S)
            else:
                return channel

    def _busy(self) -> DeadLettersBusyError:
        return DeadLettersBusyError(f"Somebody else looks at {self.name} or replays it: try again soon.")


class OpenQueue:
    """A dead-letter queue that is ours for now."""

    def __init__(self, connection: AbstractConnection, channel: AbstractChannel, queue: DeadLetterQueue) -> None:
        self._connection = connection
        self._channel = channel
        self._queue = queue

    async def count(self) -> int:
        """Messages in the queue that nobody holds."""
        return await _ready(self._channel, self._queue.name)

    @asynccontextmanager
    async def held(self, keep: Keep[KeptT]) -> AsyncIterator[list[KeptT]]:
        """What to keep of the `OLDEST` messages, the oldest first.

        They are held until leaving; then those that were not acked are in front again, in their order. (Unless somebody
        gave back more than `OLDEST` in RabbitMQ's management UI: then the later ones of those come first.)

        Raises:
            DeadLettersBusyError: somebody who does not wait for his turn took some of them.
        """
        expected = min(OLDEST, await self.count())
        if not expected:
            yield []
            return
        channel = await self._connection.channel()
        queue = await channel.get_queue(self._queue.name, ensure=False)
        taking = _Taking(keep, expected)
        try:
            await channel.set_qos(prefetch_count=expected)
            await queue.consume(taking.take, consumer_tag=self._queue.consumer, timeout=_ANSWER_S)
            if not await taking.complete(channel, self._queue.name):
                message = f"Somebody else took messages from {self._queue.name} just now: try again soon."
                raise DeadLettersBusyError(message)
            # Now, while it can't be given more: for what is acked it would be, and might not keep that in its order.
            await queue.cancel(self._queue.consumer)
            yield taking.kept
        finally:
            await self._give_back(channel, taking)

    async def replay(self, message: AbstractIncomingMessage) -> None:
        """Publish it for its work queue, and ack it here when RabbitMQ has confirmed that.

        A crash in between doubles it. What it lived through is left behind (deaths, deliveries, expiry), and so is the
        user, as whom we can't publish; the rest is as it was.

        Raises:
            aio_pika.exceptions.DeliveryError: no queue takes it; it stays here.
        """
        # The channel of the lock publishes, so that closing the holding one disturbs nothing.
        exchange = await self._channel.get_exchange(EXCHANGE.name, ensure=False)
        await exchange.publish(reborn(message), self._queue.routing_key, mandatory=True, timeout=_ANSWER_S)
        await message.ack()

    async def _give_back(self, channel: AbstractChannel, taking: _Taking[KeptT]) -> None:
        """Close the channel, and wait until RabbitMQ has noticed: who comes next must see them all."""
        with suppress(*AWAY):  # then they come back without us
            async with asyncio.timeout(_GIVE_BACK_S):
                others = await self.count()
                await channel.close()
                while await self.count() < others + taking.unacked():  # noqa: ASYNC110 - RabbitMQ tells nobody
                    await asyncio.sleep(_GIVE_BACK_PAUSE_S)


class _Taking(Generic[KeptT]):
    """Counts what a consumer is given, and keeps what is wanted of it."""

    def __init__(self, keep: Keep[KeptT], expected: int) -> None:
        self.kept: list[KeptT] = []
        self._keep = keep
        self._expected = expected
        self._taken = 0
        self._all_there = asyncio.Event()

    async def take(self, message: AbstractIncomingMessage) -> None:
        """Called with each message."""
        self._taken += 1
        kept = self._keep(message)
        if kept is not None:
            self.kept.append(kept)
        if self._taken >= self._expected:
            self._all_there.set()

    def unacked(self) -> int:
        """Messages that are still held; only whole messages that were kept can have been acked."""
        acked = sum(isinstance(kept, AbstractIncomingMessage) and kept.processed for kept in self.kept)
        return self._taken - acked

    async def complete(self, channel: AbstractChannel, name: str) -> bool:
        """Whether all came; if not, then there was a time in which none did."""
        while self._taken < self._expected:
            before = self._taken
            with suppress(TimeoutError):
                async with asyncio.timeout(_IDLE_S):
                    await self._all_there.wait()
            await _ready(channel, name)  # its answer comes after what was under way, or tells that the line is dead
            if self._taken == before:
                return False
        return True


async def _ready(channel: AbstractChannel, name: str) -> int:
    queue = await channel.declare_queue(name, passive=True, timeout=_ANSWER_S)
    return queue.declaration_result.message_count or 0


@asynccontextmanager
async def _asked_of_the_broker() -> AsyncIterator[None]:
    try:
        yield
    except AWAY as error:
        log.warning("dead_letters_failed", problem=str(error) or type(error).__name__)
        message = "The message broker is not available; try again soon."
        raise BrokerAwayError(message) from error
