"""Tells clients what is stored; and again, later and later, those that could not be told."""

from __future__ import annotations

import asyncio
from typing import Final

import msgspec
import structlog

from services.ingest.client_api import ClientApi
from services.ingest.observer import IngestObserver, Told
from shared.contracts.messages import AcknowledgeCaptures, Acknowledgement
from shared.contracts.topology import ACKNOWLEDGE_DELAYS_S, delay_routing_key
from shared.observing import tracing
from shared.outbound.client_http import ClientCallError
from shared.outbound.own_sockets import room_for
from shared.rabbitmq.broker import Publisher, PublishError

_AT_ONCE: Final = 500
"""Clients that are told at the same time."""

log = structlog.get_logger()


class Acknowledger:
    """An acknowledgement that is lost in the end does no harm: the next pull brings the same captures again."""

    def __init__(self, *, client_api: ClientApi, publisher: Publisher, observer: IngestObserver | None = None) -> None:
        self._client_api = client_api
        self._publisher = publisher
        self._observer = observer or IngestObserver()
        self._permits = asyncio.Semaphore(room_for(_AT_ONCE))

    async def tell(self, told: Acknowledgement, *, attempts: int) -> ClientCallError | None:
        """Try once, after so many others. When the client can't be told, have it tried later, and answer why.

        Raises:
            OwnLackError: it was not called, for want of something here; that is no try.
        """
        with tracing.of_pull("acknowledge", told):
            try:
                async with self._permits:
                    await self._client_api.acknowledge(told)
            except ClientCallError as error:
                tracing.failed(error.reason, str(error))
                self._observer.told(await self._later(told, attempts, error))
                return error
        self._observer.told(Told.ACKNOWLEDGED)
        log.debug("acknowledged", captures=len(told.capture_ids))
        return None

    async def _later(self, told: Acknowledgement, attempts: int, error: ClientCallError) -> Told:
        if attempts >= len(ACKNOWLEDGE_DELAYS_S):
            log.info("acknowledgement_given_up", reason=error.reason, error=str(error))
            return Told.GIVEN_UP
        log.debug("acknowledgement_put_off", attempts=attempts + 1, reason=error.reason, error=str(error))
        again = AcknowledgeCaptures(
            acknowledgements=(msgspec.structs.replace(told, outcome=None),), attempts=attempts + 1
        )
        try:
            await self._publisher.publish(again, routing_key=delay_routing_key(_delay_s(attempts, error.retry_after_s)))
        except PublishError as publish_error:
            log.warning("acknowledgement_dropped", problem=str(publish_error))
            return Told.GIVEN_UP
        return Told.RETRIED


def _delay_s(attempts: int, retry_after_s: float) -> int:
    """That of this attempt, or the first after it that is as long as the client asks for; at most the last."""
    delays_s = ACKNOWLEDGE_DELAYS_S[attempts:]
    return next((delay_s for delay_s in delays_s if delay_s >= retry_after_s), delays_s[-1])
