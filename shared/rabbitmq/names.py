"""Names by which RabbitMQ's management UI shows connections and consumers, so that an operator knows whose they are."""

from __future__ import annotations

import os
import socket
from typing import Any

from aio_pika import RobustQueue
from aio_pika.abc import AbstractChannel, ConsumerTag


def process_name(service: str) -> str:
    """This process as `puller@host/pid`; in a container the host is the container's id."""
    return f"{service}@{socket.gethostname()}/{os.getpid()}"


def name_consumers(channel: AbstractChannel, service: str) -> None:
    """Have the consumers of queues that are declared on `channel` from now on shown as `puller@host/pid queue`.

    FastStream has no setting for it. aio-pika keeps the name when it restores a consumer.
    """

    class NamedQueue(RobustQueue):
        """Whose consumers have that name, unless another is asked for."""

        async def consume(self, *args: Any, consumer_tag: ConsumerTag | None = None, **options: Any) -> ConsumerTag:
            """Called by FastStream without a tag, and with the former one when a consumer is restored."""
            options["consumer_tag"] = consumer_tag or self._free_tag()
            return await super().consume(*args, **options)

        def _free_tag(self) -> ConsumerTag:
            """One that no consumer of this queue has here, since a channel takes each only once."""
            tag = f"{process_name(service)} {self.name.removeprefix(f'{service}.')}"
            return f"{tag} {len(self._consumers) + 1}" if self._consumers else tag

    channel.QUEUE_CLASS = NamedQueue
