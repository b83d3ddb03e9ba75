"""What becomes of a message whose handler failed. ADR 0010 says why.

- Unreadable: to the dead-letter queue at once.
- For its own sake (a bug): back to its queue after a pause, and to the dead letters beyond the delivery limit.
- Because something that we depend on is away or ill: it is held and handled again, after growing pauses, however long
  that takes; nothing of this counts towards the delivery limit. What is held fills the prefetch, so no more is taken.
- Because of either (`may_be_its_own`): it is held, and counts as its own when others were handled meanwhile.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from random import SystemRandom
from typing import Any, Final

import aio_pika
import structlog
from faststream import BaseMiddleware
from faststream.exceptions import AckMessage, RejectMessage
from faststream.rabbit import RabbitQueue

from shared.contracts.encoding import UnreadableMessageError
from shared.contracts.topology import EXCHANGE
from shared.errors import TransientError
from shared.observing.message_observer import Fate, MessageObserver
from shared.postgres.database import TRANSIENT, may_be_its_own
from shared.rabbitmq.copies import reborn
from shared.tasks import is_cancelled

REQUEUE_PAUSE_S: Final = 1.0
HELD_S: Final = 120.0
"""How long a message is held before a copy takes its place at the end of the queue, where other consumers find it.

RabbitMQ closes the channel of whoever keeps a message for 30 minutes.
"""
HELD_AT_MOST_S: Final = 1_200.0
"""When the queue refuses the copy because it is full: then the message goes back, and that counts once."""
_FIRST_PAUSE_S: Final = 1.0
_LONGEST_PAUSE_S: Final = 30.0
_COPY_TIMEOUT_S: Final = 10.0

log = structlog.get_logger()

Attempt = Callable[[], Awaitable[Any]]
Copy = Callable[[], Awaitable[None]]

_random: Final = SystemRandom()


class _Outage:
    """Of one queue: something that its handler needs is away, as its messages tell."""

    def __init__(self, queue: str) -> None:
        self._queue = queue
        self._since: float | None = None
        self.held = 0
        self.handled = 0
        """How many messages were, since the service started."""

    def goes_on(self, error: Exception) -> None:
        """A message met it. Only the first one is logged."""
        if self._since is None:
            self._since = asyncio.get_running_loop().time()
            problem = str(error)[:500] or type(error).__name__
            log.warning("messages_held", queue=self._queue, problem=problem, retrying=True)

    def may_be_over(self) -> None:
        """A message was handled. It is over when none is held any more."""
        self.handled += 1
        if self._since is not None and not self.held:
            lasted_s = round(asyncio.get_running_loop().time() - self._since, 1)
            log.info("messages_flow_again", queue=self._queue, outage_s=lasted_s)
            self._since = None


class Holding:
    """The messages of one service that wait for something to come back."""

    def __init__(self) -> None:
        self._outages: dict[str, _Outage] = {}
        self._stopping = asyncio.Event()

    def begin(self) -> None:
        """From now on messages may be held."""
        self._stopping.clear()

    @property
    def is_stopping(self) -> bool:
        """Whether nothing is held any more."""
        return self._stopping.is_set()

    def stop(self) -> None:
        """Give back what is held, and hold nothing from now on."""
        self._stopping.set()

    def held(self, queue: str) -> int:
        """How many messages of this queue are."""
        return self._outages[queue].held if queue in self._outages else 0

    async def handle(self, queue: str, attempt: Attempt, copy: Copy) -> Any:
        """`attempt` until it does not fail with something transient; its result.

        Raises:
            AckMessage: `copy` has put a copy of the message into its queue.
            RejectMessage: it goes back to its queue: the service stops, or the queue is full for too long.
            Exception: what `attempt` raised.
        """
        outage = self._outages.setdefault(queue, _Outage(queue))
        try:
            result = await attempt()
        except (TransientError, *TRANSIENT) as error:
            outage.goes_on(error)
            outage.held += 1
            try:
                result = await self._again(attempt, copy, outage)
            finally:
                outage.held -= 1
        outage.may_be_over()
        return result

    async def _again(self, attempt: Attempt, copy: Copy, outage: _Outage) -> Any:
        loop = asyncio.get_running_loop()
        began, handled = loop.time(), outage.handled
        while True:
            await self._pause(pause_s(loop.time() - began))
            try:
                return await attempt()
            except (TransientError, *TRANSIENT) as error:
                held_s = loop.time() - began
                if held_s <= HELD_S:
                    continue
                if outage.handled > handled and may_be_its_own(error):
                    raise
                await _replace(copy, held_s)

    async def _pause(self, pause: float) -> None:
        try:
            async with asyncio.timeout(pause):
                await self._stopping.wait()
        except TimeoutError:
            return
        raise RejectMessage(requeue=True)


async def _replace(copy: Copy, held_s: float) -> None:
    try:
        await copy()
    except Exception as error:
        if held_s > HELD_AT_MOST_S:
            raise RejectMessage(requeue=True) from error
    else:
        raise AckMessage


def pause_s(held_s: float) -> float:
    """How long to wait before the next try: half as long as the message was held, within limits, less by chance."""
    return min(max(held_s / 2, _FIRST_PAUSE_S), _LONGEST_PAUSE_S) * _random.uniform(0.5, 1.0)


class GiveBack(BaseMiddleware[Any, Any]):
    """Around each handler: decides by the error what becomes of the message.

    A message is rejected, not nacked: since RabbitMQ 4.3 a nack does not count towards the delivery limit.
    """

    def __init__(self, holding: Holding, observer: MessageObserver, msg: Any, /, *, context: Any) -> None:
        super().__init__(msg, context=context)
        self._holding = holding
        self._observer = observer
        self._fate = Fate.RETURNED

    async def consume_scope(self, call_next: Callable[[Any], Any], msg: Any) -> Any:
        """Called by FastStream with the decoded message; `call_next` handles it, and may be called again."""
        queue, began = self.context.get_local("handler_").queue, time.monotonic()
        try:
            return await self._decide(call_next, msg, queue)
        finally:
            self._observer.consumed(queue.name, self._fate, seconds=time.monotonic() - began)

    async def _decide(self, call_next: Callable[[Any], Any], msg: Any, queue: RabbitQueue) -> Any:
        raw = msg.raw_message
        try:
            result = await self._holding.handle(queue.name, lambda: call_next(msg), lambda: self._copy(raw, queue))
        except UnreadableMessageError as error:
            self._fate = Fate.UNREADABLE
            log.error("message_unreadable", message_type=raw.type, problem=str(error)[:500])
            raise RejectMessage(requeue=False) from error
        except (AckMessage, RejectMessage):
            raise
        except (Exception, asyncio.CancelledError) as error:
            if is_cancelled():
                raise
            # The last line of defence: whatever it was, the message must not be lost.
            if self._holding.is_stopping:  # what the handler uses is being closed
                raise RejectMessage(requeue=True) from error
            self._fate = Fate.FAILED
            log.exception("message_failed", message_type=raw.type, redelivered=raw.redelivered)
            await asyncio.sleep(REQUEUE_PAUSE_S)
            raise RejectMessage(requeue=True) from error
        self._fate = Fate.HANDLED
        return result

    async def _copy(self, raw: aio_pika.abc.AbstractIncomingMessage, queue: RabbitQueue) -> None:
        """Put a copy at the end of the queue, confirmed. A crash before the original is acked doubles it: harmless.

        By our own exchange: the default one leads to every queue, and no service may use it.
        """
        broker = self.context.get_local("broker")
        async with asyncio.timeout(_COPY_TIMEOUT_S):
            await broker.publish(
                reborn(raw), exchange=EXCHANGE, routing_key=queue.routing(), mandatory=True, persist=True
            )
