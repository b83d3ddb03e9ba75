"""A message once more, as if it were published for the first time."""

from __future__ import annotations

import re
from typing import Final

import aio_pika
from aio_pika.abc import AbstractIncomingMessage
from pamqp.common import FieldValue

# CC and BCC were served when it was published first.
_OF_ITS_PAST: Final = re.compile(r"x-death|x-(first|last)-death-.*|x-(delivery|acquired)-count|CC|BCC")


def reborn(message: AbstractIncomingMessage) -> aio_pika.Message:
    """A copy that RabbitMQ takes for new: without its deaths, deliveries, expiry, and its user."""
    return aio_pika.Message(
        message.body,
        headers={name: _sendable(value) for name, value in message.headers.items() if not _OF_ITS_PAST.fullmatch(name)},
        content_type=message.content_type,
        content_encoding=message.content_encoding,
        delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
        priority=message.priority,
        correlation_id=message.correlation_id,
        reply_to=message.reply_to,
        message_id=message.message_id,
        timestamp=message.timestamp,
        type=message.type,
        app_id=message.app_id,
    )


def _sendable(value: FieldValue) -> FieldValue:
    """Text that is no UTF-8 is read as bytes, which can only be sent as a byte array."""
    return bytearray(value) if isinstance(value, bytes) else value
