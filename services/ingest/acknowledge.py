"""Tells clients what is stored; and again, later and later, those that could not be told."""

from __future__ import annotations

import structlog
from msgspec.structs import replace

from services.ingest.client_api import ClientApi
from shared.broker import Publisher, PublishError
from shared.messages import AcknowledgeCaptures
from shared.outbound import ClientCallError
from shared.topology import ACKNOWLEDGE_DELAYS_S, delay_routing_key

log = structlog.get_logger()


class Acknowledger:
    """An acknowledgement that is lost in the end does no harm: the next pull brings the same captures again."""

    def __init__(self, *, client_api: ClientApi, publisher: Publisher) -> None:
        self._client_api = client_api
        self._publisher = publisher

    async def tell(self, message: AcknowledgeCaptures) -> ClientCallError | None:
        """Try once. When the client can't be told, have it tried later, and answer why."""
        try:
            await self._client_api.acknowledge(message.client_url, message.capture_ids)
        except ClientCallError as error:
            await self._later(message, error)
            return error
        return None

    async def _later(self, message: AcknowledgeCaptures, error: ClientCallError) -> None:
        if message.attempts >= len(ACKNOWLEDGE_DELAYS_S):
            log.info("acknowledgement_given_up", user_id=message.user_id, reason=error.reason, error=str(error))
            return
        routing_key = delay_routing_key(ACKNOWLEDGE_DELAYS_S[message.attempts])
        try:
            again = replace(message, attempts=message.attempts + 1)
            await self._publisher.publish(again, routing_key=routing_key)
        except PublishError as publish_error:
            log.warning("acknowledgement_dropped", user_id=message.user_id, problem=str(publish_error))
