"""Keeps a service connected to RabbitMQ and consuming, whatever happens to connection, channels and queues."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

import structlog
from aio_pika.abc import AbstractChannel, AbstractRobustConnection
from aio_pika.exceptions import AMQPError
from faststream.rabbit import RabbitQueue

from shared.contracts.topology import declare_topology, looked_up
from shared.rabbitmq.broker import CONNECT_TIMEOUT_S, STOP_DEADLINE_S, ServiceBroker
from shared.rabbitmq.names import name_consumers
from shared.tasks import is_cancelled, running

_CONNECT_PAUSES_S: Final = (0.2, 0.5, 1.0, 2.0, 5.0)
_ATTEMPT_S: Final = CONNECT_TIMEOUT_S + 1.0
_CLOSE_S: Final = 1.0
_FORCE_S: Final = 3.0
"""aiormq waits 2 s for the answer to its farewell."""
_ANSWER_S: Final = 1.0
_WATCH_S: Final = 1.0
_RENEW_S: Final = 5.0
"""How long a channel on which RabbitMQ refused a message is kept, at least."""
_DEAF_S: Final = 5.0
"""How long aio-pika may take to restore channels and consumers on a connection that is up."""

log = structlog.get_logger()


class BrokerConnection:
    """Keeps the broker connected and its consumers running while the service lives.

    aio-pika restores most of what RabbitMQ takes away (connection, channel, consumer, queue). What it does not restore
    in time is made anew here, from the connection on.
    """

    def __init__(self, broker: ServiceBroker, *, consumed: tuple[RabbitQueue, ...], declares: bool = True) -> None:
        """With the queues that are subscribed to; a user who may not declare expects RabbitMQ to have everything."""
        self._broker = broker
        self._consumed = consumed
        self._declares = declares
        self._started = asyncio.Event()
        self._attempt = asyncio.Lock()
        """Held while a connection is made; kept by whoever stops, so that no other attempt begins."""
        self._connection: AbstractRobustConnection | None = None
        self._publishing: AbstractChannel | None = None

    async def ready(self) -> bool:
        """Whether every subscriber consumes, and RabbitMQ takes messages (it takes none in an alarm)."""
        return self._started.is_set() and await self._takes_messages() and await self._consumes()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Connect in the background, however long the broker is away; on leaving, finish what is in hand and close.

        Messages that are not done in `STOP_DEADLINE_S` go back, and those that are held go back at once.
        """
        async with running("broker", self._keep):
            try:
                yield
            finally:
                # To cancel aio-pika in the middle of a handshake leaves a task that connects again for ever.
                with suppress(TimeoutError):
                    async with asyncio.timeout(_ATTEMPT_S):
                        await self._attempt.acquire()
                self._started.clear()
        await self._close()

    async def _keep(self) -> None:
        while True:
            await self._start()
            await self._deaf()
            log.warning("consumers_lost", retrying=True)
            self._started.clear()
            await self._close()

    async def _start(self) -> None:
        for attempt in range(2**63):
            self._broker.holding.begin()
            try:
                async with self._attempt:
                    await self._connect()
            except (Exception, asyncio.CancelledError) as error:  # the libraries raise RuntimeError and others, too
                if is_cancelled():
                    raise
                self._broker.outages.lost(None, RuntimeError("cut off") if _is_stray(error) else error)
                await self._close()
                await asyncio.sleep(_CONNECT_PAUSES_S[min(attempt, len(_CONNECT_PAUSES_S) - 1)])
            else:
                log.info("broker_connected", attempts=attempt + 1)
                self._broker.outages.over()
                self._started.set()
                return

    async def _connect(self) -> None:
        self._connection = await self._broker.connect()
        self._publishing = await self._broker.config.channel_manager.get_channel()
        if self._declares:
            await declare_topology(self._broker, consumed=self._consumed)
        else:
            for subscriber in self._broker.subscribers:
                _expect(subscriber)
        for subscriber in self._broker.subscribers:
            await self._name_consumer(subscriber)
        await self._broker.start()

    async def _name_consumer(self, subscriber: Any) -> None:
        config = self._broker.config
        name_consumers(await config.channel_manager.get_channel(subscriber.channel), str(config.app_id))

    async def _deaf(self) -> None:
        """Return when consumers are missing for `_DEAF_S`, although the connection is up."""
        deaf_s, renew_at = 0.0, 0.0
        while deaf_s < _DEAF_S:
            await asyncio.sleep(_WATCH_S)
            now = time.monotonic()
            if now >= renew_at and self._broker.refused.is_set():
                await self._renew_channel()
                renew_at = now + _RENEW_S
            if await self._consumes():
                deaf_s = 0.0
                self._broker.outages.over()
            elif self._is_connected():
                deaf_s += _WATCH_S
            else:
                deaf_s = 0.0

    async def _renew_channel(self) -> None:
        """Publish on a fresh channel from now on.

        RabbitMQ 3.10 refuses all that comes on a channel whose first message met a queue with a dead leader, also when
        the queue has another one. What is on its way on the channel counts as not confirmed, and is published again.
        """
        self._broker.refused.clear()
        if self._publishing is not None and self._is_connected():
            underlay = await self._publishing.get_underlay_channel()
            await _ends(underlay.close(), within_s=_ANSWER_S)  # aio-pika opens another one by itself

    async def _close(self) -> None:
        """Give back what is held, wait for what is in hand, and close; by force when RabbitMQ does not answer."""
        self._broker.holding.stop()
        connection, self._connection = self._connection, None
        if await _ends(self._broker.stop(), within_s=STOP_DEADLINE_S + _CLOSE_S) or connection is None:
            return
        log.info("broker_closed_by_force")
        await _ends(connection.close(), within_s=_FORCE_S)
        await _ends(self._broker.stop(), within_s=_CLOSE_S)

    def _is_connected(self) -> bool:
        return self._connection is not None and self._connection.connected.is_set()

    async def _takes_messages(self) -> bool:
        """A connection of aiormq is not `ready` while RabbitMQ blocks those who publish."""
        transport = self._connection.transport if self._connection else None
        if transport is None:
            return False
        try:
            async with asyncio.timeout(_ANSWER_S):
                await transport.ready()
        except TimeoutError:
            return False
        return True

    async def _consumes(self) -> bool:
        """Whether every channel is open, and every subscriber's consumer known on its own."""
        if not self._is_connected() or self._publishing is None or self._publishing.is_closed:
            return False
        return all([await _is_consuming(subscriber) for subscriber in self._broker.subscribers])


def _is_stray(error: BaseException) -> bool:
    """Whether it is the end of a task of the libraries, and nobody cancelled ours."""
    return isinstance(error, asyncio.CancelledError)


async def _ends(closing: Awaitable[None], *, within_s: float) -> bool:
    """Whether it did, well or not: what is closed is of no use any more, whatever is wrong with it."""
    try:
        async with asyncio.timeout(within_s):
            await closing
    except TimeoutError:
        return False
    except (Exception, asyncio.CancelledError) as error:
        if is_cancelled():
            raise
        log.info("broker_closed_badly", problem=str(error) or type(error).__name__)
    return True


def _expect(subscriber: Any) -> None:
    """Have a subscriber look its queue up, instead of declaring it."""
    subscriber.queue = looked_up(subscriber.queue)


async def _is_consuming(subscriber: Any) -> bool:
    # FastStream and aio-pika tell nobody else than by these attributes.
    queue, tag = subscriber._queue_obj, subscriber._consumer_tag  # noqa: SLF001
    if queue is None or queue.channel.is_closed:
        return False
    try:
        async with asyncio.timeout(_ANSWER_S):
            channel = await queue.channel.get_underlay_channel()
    except (AMQPError, TimeoutError):
        return False
    return tag in channel.consumers
