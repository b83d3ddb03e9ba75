"""RabbitMQ for a service: connecting in the background, publishing with confirms, the fate of a failed message."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, Final, TypeVar

import structlog
from aio_pika.exceptions import AMQPError
from faststream import BaseMiddleware
from faststream.exceptions import RejectMessage
from faststream.rabbit import Channel, RabbitBroker, RabbitMessage, RabbitQueue
from pydantic import ValidationError
from pydantic_core import to_json

from shared.messages import Message
from shared.topology import EXCHANGE, declare_topology

PUBLISH_TIMEOUT_S: Final = 10.0
STOP_DEADLINE_S: Final = 10.0
"""How long a stopping service waits for the messages in its hands."""
_CONNECT_PAUSES_S: Final = (0.2, 0.5, 1.0, 2.0, 5.0)
_REQUEUE_PAUSE_S: Final = 1.0
_HANDSHAKE_S: Final = 1.0

log = structlog.get_logger()

MessageT = TypeVar("MessageT", bound=Message)


class PublishError(Exception):
    """The broker did not confirm a message: it is away, refuses it (a queue is full), or has no queue for it."""


def make_broker(url: str, *, service: str) -> RabbitBroker:
    """A broker that is not connected yet. Handlers get the decoded message, and their failures are given back."""
    outages = _Outages()
    return RabbitBroker(
        url,
        app_id=service,
        default_channel=Channel(publisher_confirms=True, on_return_raises=True),
        middlewares=(GiveBack,),
        graceful_timeout=STOP_DEADLINE_S,
        reconnect_interval=1.0,
        on_close=(outages.lost,),
        on_reconnected=(outages.back,),
        logger=None,
        apply_types=False,
    )


class _Outages:
    """Logs the begin and the end of an outage; in between aio-pika tries each second, without a word."""

    def __init__(self) -> None:
        self._away = False

    def lost(self, _connection: object, error: BaseException | None) -> None:
        """Called at each failed attempt, and when we close the connection ourselves, then without an error."""
        if error is None or isinstance(error, asyncio.CancelledError) or self._away:
            return
        self._away = True
        log.warning("broker_lost", problem=str(error) or type(error).__name__, retrying=True)

    def back(self, _connection: object) -> None:
        """Called when the connection is there again."""
        self._away = False
        log.info("broker_back")


def decoder(model: type[MessageT]) -> Callable[[RabbitMessage], MessageT]:
    """How a subscriber reads its messages: in one pass from the bytes."""

    def decode(message: RabbitMessage) -> MessageT:
        return model.model_validate_json(message.body)

    return decode


class GiveBack(BaseMiddleware[Any, Any]):
    """Decides what becomes of a message whose handler failed.

    Unreadable: to the dead-letter queue at once. Anything else: back to its queue, after a pause so that it does not
    spin, until the delivery limit. It is rejected, not nacked: since RabbitMQ 4.3 a nack does not count to that limit.
    """

    async def consume_scope(self, call_next: Callable[[Any], Any], msg: Any) -> Any:
        """Called by FastStream around each handler."""
        try:
            return await call_next(msg)
        except ValidationError as error:
            log.error("message_unreadable", message_type=msg.raw_message.type, problem=str(error)[:500])
            raise RejectMessage(requeue=False) from error
        except Exception as error:
            # The last line of defence: whatever it was, the message must not be lost.
            log.exception("message_failed", message_type=msg.raw_message.type, redelivered=msg.raw_message.redelivered)
            await asyncio.sleep(_REQUEUE_PAUSE_S)
            raise RejectMessage(requeue=True) from error


class Publisher:
    """Publishes messages persistently; when `publish` returns, RabbitMQ has confirmed that it keeps the message."""

    def __init__(self, broker: RabbitBroker) -> None:
        self._broker = broker

    async def publish(self, message: Message, *, routing_key: str) -> None:
        """Publish on the one exchange.

        Raises:
            PublishError: it is not known to be kept; publishing it again may double it, which handlers bear.
        """
        try:
            await self._broker.publish(
                to_json(message),
                exchange=EXCHANGE,
                routing_key=routing_key,
                persist=True,
                mandatory=True,
                timeout=PUBLISH_TIMEOUT_S,
                content_type="application/json",
                message_type=type(message).__name__,
            )
        except Exception as error:
            # aio-pika raises RuntimeError, AttributeError and others beside its own while a connection is coming back.
            text = f"{type(message).__name__} was not confirmed: {type(error).__name__}: {error}"
            raise PublishError(text) from error


class BrokerConnection:
    """Keeps the broker connected and its consumers running while the service lives."""

    def __init__(self, broker: RabbitBroker, *, consumed: tuple[RabbitQueue, ...]) -> None:
        self._broker = broker
        self._consumed = consumed
        self._started = asyncio.Event()

    async def ready(self) -> bool:
        """Whether the consumers were started and the connection is up."""
        return self._started.is_set() and await self._broker.ping(timeout=1.0)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Connect in the background, however long the broker is away; on leaving, finish what is in hand and close."""
        connecting = asyncio.create_task(self._start())
        try:
            yield
        finally:
            # To cancel aiormq in the middle of a handshake leaves tasks behind, so it may finish that.
            await asyncio.wait({connecting}, timeout=_HANDSHAKE_S)
            connecting.cancel()
            with suppress(asyncio.CancelledError):
                await connecting
            await self._broker.stop()

    async def _start(self) -> None:
        for attempt in range(2**63):
            try:
                await self._broker.connect()
                await declare_topology(self._broker, consumed=self._consumed)
                await self._broker.start()
            except (AMQPError, OSError, RuntimeError) as error:
                if attempt == 0:
                    log.warning("broker_away", problem=str(error) or type(error).__name__, retrying=True)
                await asyncio.sleep(_CONNECT_PAUSES_S[min(attempt, len(_CONNECT_PAUSES_S) - 1)])
            else:
                log.info("broker_connected", attempts=attempt + 1)
                self._started.set()
                return
