"""A connection to RabbitMQ for one look, beside the one that the service keeps."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from ssl import SSLContext
from typing import Final

import aio_pika
from aio_pika.abc import AbstractConnection
from aio_pika.exceptions import AMQPError, ChannelInvalidStateError

AWAY: Final = (AMQPError, ChannelInvalidStateError, OSError, TimeoutError)
"""What a broker that is away, or goes away, looks like."""
_CONNECT_S: Final = 5.0


@asynccontextmanager
async def connected(url: str, context: SSLContext | None, *, close_s: float) -> AsyncIterator[AbstractConnection]:
    """A connection that does not come back by itself, since what was held is lost with it.

    Raises one of `AWAY` when there is none within some seconds. It is closed on leaving, within `close_s`.
    """
    connecting = asyncio.create_task(aio_pika.connect(url, ssl_context=context, timeout=_CONNECT_S))
    try:
        connection = await asyncio.shield(connecting)
    except asyncio.CancelledError:
        # To cancel aiormq in the middle of a handshake leaves tasks behind, so it may finish that.
        with suppress(*AWAY):
            await (await connecting).close()
        raise
    try:
        yield connection
    finally:
        with suppress(*AWAY):
            async with asyncio.timeout(close_s):
                await connection.close()
