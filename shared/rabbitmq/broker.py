"""RabbitMQ for a service: its broker, and publishing with confirms. `shared.rabbitmq.consuming` keeps it connected."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

import structlog
from aio_pika.exceptions import ChannelNotFoundEntity, ChannelPreconditionFailed, DeliveryError
from aiormq.exceptions import ChannelAccessRefused
from faststream.rabbit import Channel, RabbitBroker, RabbitMessage
from faststream.security import BaseSecurity
from yarl import URL

from shared import tls
from shared.contracts.encoding import decoded, encoded
from shared.contracts.messages import Message
from shared.contracts.topology import EXCHANGE
from shared.errors import TransientError
from shared.observing import tracing
from shared.observing.log_context import Follow, carried, cause, id_for
from shared.observing.message_observer import MessageObserver
from shared.rabbitmq.holding import GiveBack, Holding
from shared.rabbitmq.names import process_name
from shared.tasks import is_cancelled

PUBLISH_TIMEOUT_S: Final = 10.0
CONNECT_TIMEOUT_S: Final = 4.0
"""For a whole handshake: a server that takes connections and says nothing is away."""
STOP_DEADLINE_S: Final = 5.0
"""How long a stopping service waits for the messages in its hands."""
_HEARTBEAT_S: Final = 10
"""A connection on which nothing was heard for about half a minute is given up, by RabbitMQ sooner."""

log = structlog.get_logger()

MessageT = TypeVar("MessageT", bound=Message)


class PublishError(TransientError):
    """The broker did not confirm a message: it is away, refuses it (a queue is full), or has no queue for it."""


class ServiceBroker(RabbitBroker):
    """A broker with what a service's connection needs to know of it."""

    holding: Holding
    outages: Outages
    observer: MessageObserver
    refused: asyncio.Event
    """Set when RabbitMQ refuses a message; cleared by whoever does something about it."""


class Outages:
    """Logs the begin and the end of an outage; in between it is tried again, without a word."""

    def __init__(self) -> None:
        self._told: str | None = None

    def lost(self, _connection: object, error: BaseException | None) -> None:
        """Called at each failed attempt, and when we close the connection ourselves, then without an error."""
        if error is None or isinstance(error, asyncio.CancelledError):
            return
        of_topology = _REMEDIES.get(type(error))
        remedy = of_topology or tls.remedy(error)
        if self._told is not None and remedy in (None, self._told):
            return
        self._told = remedy or "broker_lost"
        problem = str(error) or type(error).__name__
        if remedy is not None:
            event = "topology_refused" if of_topology else "broker_refused"
            log.error(event, problem=problem, remedy=remedy, retrying=True)
        else:
            log.warning("broker_lost", problem=problem, retrying=True)

    def over(self) -> None:
        """All is as it should be again."""
        if self._told is not None:
            log.info("broker_back")
        self._told = None


_REMEDIES: Final[Mapping[type[BaseException], str]] = {
    ChannelPreconditionFailed: (
        "RabbitMQ has that queue with other arguments, which can't be changed: let it run empty, then delete it "
        "(rabbitmqctl delete_queue); the services declare it anew by themselves"
    ),
    ChannelNotFoundEntity: (
        "RabbitMQ lacks it, and this service does not declare it: import the definitions "
        "(deploy/rabbitmq/definitions.sh; the container of docker-compose does so at each start), or set "
        "RABBITMQ_DECLARE=true and a user who may declare"
    ),
    ChannelAccessRefused: (
        "RabbitMQ does not allow it to this user: set RABBITMQ_DECLARE=false for the users of "
        "deploy/rabbitmq/definitions.json, or give this one the rights (rabbitmqctl set_permissions)"
    ),
}


def make_broker(
    url: str, *, service: str, ca_file: Path | None = None, observer: MessageObserver | None = None
) -> ServiceBroker:
    """A broker that is not connected yet. Handlers get the decoded message, `shared.rabbitmq.holding` their failures.

    `observer` is told of each message.
    By `amqps://` the server's certificate and name are verified, as `shared.tls` tells.

    Raises:
        OSError: `ca_file` can't be read, or has no certificate.
    """
    holding, outages, observer = Holding(), Outages(), observer or MessageObserver()
    context = tls.for_rabbitmq(url, ca_file)
    broker = ServiceBroker(
        str(URL(url).update_query({"heartbeat": _HEARTBEAT_S, "name": process_name(service), **URL(url).query})),
        app_id=service,
        security=BaseSecurity(ssl_context=context) if context else None,
        default_channel=Channel(publisher_confirms=True, on_return_raises=True),
        middlewares=(Follow, partial(GiveBack, holding, observer)),
        timeout=CONNECT_TIMEOUT_S,
        graceful_timeout=STOP_DEADLINE_S,
        reconnect_interval=1.0,
        on_close=(outages.lost,),
        logger=None,
        apply_types=False,
    )
    broker.holding, broker.outages, broker.refused, broker.observer = holding, outages, asyncio.Event(), observer
    return broker


def decoder(model: type[MessageT]) -> Callable[[RabbitMessage], Awaitable[MessageT]]:
    """How a subscriber reads its messages: in one pass from the bytes."""

    async def decode(message: RabbitMessage) -> MessageT:  # else FastStream would use a thread for each
        return decoded(model, message.body)

    return decode


class Publisher:
    """Publishes messages persistently; when `publish` returns, RabbitMQ has confirmed that it keeps the message."""

    def __init__(self, broker: ServiceBroker) -> None:
        self._broker = broker

    async def publish(self, message: Message, *, routing_key: str) -> None:
        """Publish on the one exchange, with the ids of what it comes of (`shared.observing.log_context`).

        Raises:
            PublishError: it is not known to be kept; publishing it again may double it, which handlers bear.
        """
        message_id, began = id_for(message), time.monotonic()
        try:
            with tracing.sending(message, routing_key) as place:
                async with asyncio.timeout(PUBLISH_TIMEOUT_S):
                    await self._broker.publish(
                        encoded(message),
                        exchange=EXCHANGE,
                        routing_key=routing_key,
                        persist=True,
                        mandatory=True,
                        content_type="application/json",
                        message_type=type(message).__name__,
                        message_id=message_id,
                        correlation_id=cause() or message_id,
                        headers=carried() | place,
                    )
        except (Exception, asyncio.CancelledError) as error:
            if is_cancelled():
                raise
            self._tell(message, began, confirmed=False)
            if isinstance(error, DeliveryError):
                self._broker.refused.set()
            # aio-pika raises RuntimeError, AttributeError and others beside its own while a connection is coming back.
            text = f"{type(message).__name__} was not confirmed: {type(error).__name__}: {error}"
            raise PublishError(text) from error
        log.debug("message_published", message_id=message_id, message_type=type(message).__name__)
        self._tell(message, began, confirmed=True)

    def _tell(self, message: Message, began: float, *, confirmed: bool) -> None:
        seconds = time.monotonic() - began
        self._broker.observer.published(type(message).__name__, confirmed=confirmed, seconds=seconds)
