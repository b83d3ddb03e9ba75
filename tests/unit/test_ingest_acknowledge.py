"""When a client that could not be told is told again."""

from __future__ import annotations

from typing import Any, cast
from uuid import UUID

import pytest

from services.ingest.acknowledge import Acknowledger
from services.ingest.client_api import ClientApi
from shared.contracts.messages import AcknowledgeCaptures, Acknowledgement, Reason
from shared.contracts.topology import ACKNOWLEDGE_DELAYS_S, delay_routing_key
from shared.outbound.client_http import ClientCallError
from shared.rabbitmq.broker import Publisher

TOLD = Acknowledgement(
    user_id="ash", client_url="http://localhost:3001", capture_ids=("a",), outcome=None, pull_id=UUID(int=1)
)


class BusyClient:
    """Refuses, and asks for some time."""

    def __init__(self, retry_after_s: float) -> None:
        self._retry_after_s = retry_after_s

    async def acknowledge(self, _told: Acknowledgement) -> None:
        """Refuse."""
        raise ClientCallError(Reason.HTTP_STATUS, "answered 429", retry_after_s=self._retry_after_s)


class Published:
    """Keeps what is published."""

    def __init__(self) -> None:
        self.messages: list[tuple[Any, str]] = []

    async def publish(self, message: Any, *, routing_key: str) -> None:
        """Keep it."""
        self.messages.append((message, routing_key))


FIRST, SECOND, LAST = ACKNOWLEDGE_DELAYS_S


@pytest.mark.parametrize(
    ("attempts", "retry_after_s", "delay_s"),
    [
        *((0, 0.0, FIRST), (0, FIRST, FIRST), (0, FIRST + 0.5, SECOND), (0, 120.0, LAST), (0, 3_600.0, LAST)),
        *((1, 0.0, SECOND), (1, 1.0, SECOND), (1, 31.0, LAST), (2, 0.0, LAST), (2, 3_600.0, LAST)),
    ],
)
async def test_a_busy_client_is_told_again_when_it_asks_for_it(
    attempts: int, retry_after_s: float, delay_s: int
) -> None:
    """Not before, where one of the delays is that long, nor earlier than any other; and as often as any other."""
    published = Published()
    acknowledger = Acknowledger(
        client_api=cast("ClientApi", BusyClient(retry_after_s)), publisher=cast("Publisher", published)
    )
    assert await acknowledger.tell(TOLD, attempts=attempts) is not None
    [(message, routing_key)] = published.messages
    assert isinstance(message, AcknowledgeCaptures)
    assert message.attempts == attempts + 1
    assert routing_key == delay_routing_key(delay_s)


async def test_a_busy_client_is_given_up_like_any_other() -> None:
    """After the last try; the next pull brings the captures again."""
    published = Published()
    acknowledger = Acknowledger(client_api=cast("ClientApi", BusyClient(5.0)), publisher=cast("Publisher", published))
    assert await acknowledger.tell(TOLD, attempts=len(ACKNOWLEDGE_DELAYS_S)) is not None
    assert published.messages == []
