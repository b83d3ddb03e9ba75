"""What RabbitMQ says of itself and of the queues, to a user who may neither declare nor read them.

A passive declaration tells a queue's messages and consumers, and takes no right. Whether RabbitMQ takes messages is
asked by publishing two with a routing key that leads to no queue: on an alarm the second is not confirmed.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Final

import aio_pika
import structlog
from aio_pika.abc import AbstractConnection
from aio_pika.exceptions import ChannelNotFoundEntity
from aiormq.exceptions import (
    AuthenticationError,
    ChannelAccessRefused,
    ConnectionNotAllowed,
    ProbableAuthenticationError,
)
from faststream.rabbit import RabbitQueue

from services.registry.amqp import AWAY, connected
from services.registry.diagnosis.report import BrokerReport, Problem, QueueReport, kind_of
from shared import tls
from shared.contracts.topology import BINDINGS, DIAGNOSIS, EXCHANGE

_ANSWER_S: Final = 3.0
"""For all queues together, and again for the confirmation of a message."""
_CLOSE_S: Final = 1.0
"""RabbitMQ does not answer to that while it blocks us."""
_REFUSED: Final = (AuthenticationError, ProbableAuthenticationError, ConnectionNotAllowed)

log = structlog.get_logger()


class BrokerDiagnosis:
    """Looks over a connection of its own, within about ten seconds. It never raises."""

    def __init__(self, *, url: str, ca_file: Path | None = None) -> None:
        """Raises OSError when `ca_file` can't be read."""
        self._url = url
        self._tls = tls.for_rabbitmq(url, ca_file)

    async def report(self) -> BrokerReport:
        """What was found, or why nothing."""
        try:
            async with connected(self._url, self._tls, close_s=_CLOSE_S) as connection:
                async with asyncio.timeout(_ANSWER_S):
                    queues = [await _queue(connection, queue) for _, queue in BINDINGS]
                product, version = _server(connection)
                takes = await _takes_messages(connection)
                return BrokerReport(
                    problem=None, product=product, version=version, takes_messages=takes, queues=tuple(queues)
                )
        except AWAY as error:
            log.warning("diagnosis_without_broker", problem=str(error) or type(error).__name__)
            return BrokerReport(problem=_problem(error))


async def _queue(connection: AbstractConnection, queue: RabbitQueue) -> QueueReport:
    """On a channel of its own, which RabbitMQ closes when there is no such queue."""
    channel = await connection.channel(publisher_confirms=False)
    try:
        declared = await channel.declare_queue(queue.name, passive=True)
    except ChannelNotFoundEntity:
        return QueueReport(queue=queue.name, kind=kind_of(queue), exists=False)
    result = declared.declaration_result
    await channel.close()
    return QueueReport(
        queue=queue.name,
        kind=kind_of(queue),
        exists=True,
        messages=result.message_count,
        consumers=result.consumer_count,
    )


def _server(connection: AbstractConnection) -> tuple[str | None, str | None]:
    """Product and version, as they were told at the handshake."""
    underlay = connection.transport.connection if connection.transport is not None else None
    told = underlay.server_properties if underlay is not None else {}
    return _text(told.get("product")), _text(told.get("version"))


def _text(value: object) -> str | None:
    return value.decode(errors="replace") if isinstance(value, bytes) else None if value is None else str(value)


async def _takes_messages(connection: AbstractConnection) -> bool | None:
    try:
        async with asyncio.timeout(_ANSWER_S):
            channel = await connection.channel()
            exchange = await channel.get_exchange(EXCHANGE.name, ensure=False)
            for _ in range(2):  # the first is still confirmed, and makes RabbitMQ block the connection
                await exchange.publish(aio_pika.Message(b""), DIAGNOSIS, mandatory=False)
    except TimeoutError:
        return False
    except (ChannelAccessRefused, ChannelNotFoundEntity):
        return None  # definitions that are older than this, or no exchange
    return True


def _problem(error: Exception) -> Problem:
    if isinstance(error, TimeoutError):
        return "slow"
    return "refused" if isinstance(error, _REFUSED) or tls.remedy(error) else "away"
