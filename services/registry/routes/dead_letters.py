"""Dead letters: what could not be handled, to be looked at and replayed."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter, Path, Query

from services.registry.api.models import ApiModel
from services.registry.api.paging import LONGEST_ID
from services.registry.dead_letters.letters import DeadLetters
from services.registry.dead_letters.queue import OLDEST
from services.registry.dead_letters.reading import DeadLetter, DeadLetterCount, WholeDeadLetter

PAGE: Final = 20
LARGEST_NUMBER: Final = 2**31 - 1

Limit = Annotated[int, Query(ge=1, le=OLDEST, description="Most messages in one answer.")]
ReplayLimit = Annotated[
    int | None, Query(ge=1, le=LARGEST_NUMBER, description="Most messages to replay; all unless told.")
]
Queue = Annotated[str, Path(max_length=LONGEST_ID)]
MessageId = Annotated[str, Path(max_length=LONGEST_ID)]


class Replayed(ApiModel):
    """What a replay did."""

    message: str
    queue: str
    replayed: int


class DeadLetterRoutes:
    """`/api/v1/admin/dead-letters`; `{queue}` is the work queue's name."""

    def __init__(self, *, dead_letters: DeadLetters) -> None:
        self._dead_letters = dead_letters

    def router(self) -> APIRouter:
        """To be included by the app."""
        router = APIRouter(prefix="/api/v1/admin/dead-letters", tags=["dead letters"])
        router.get("")(self.list_queues)
        router.get("/{queue}")(self.list_oldest)
        router.get("/{queue}/{message_id}")(self.get)
        router.post("/{queue}/replay")(self.replay_all)
        router.post("/{queue}/{message_id}/replay")(self.replay_one)
        return router

    async def list_queues(self) -> list[DeadLetterCount]:
        """Every work queue, and how many of its messages died."""
        return await self._dead_letters.counts()

    async def list_oldest(self, queue: Queue, limit: Limit = PAGE) -> list[DeadLetter]:
        """The messages that lie there longest. Looking changes nothing, however often."""
        return await self._dead_letters.oldest(queue, limit)

    async def get(self, queue: Queue, message_id: MessageId) -> WholeDeadLetter:
        """One message with its body (of which at most one MiB), by the `id` of the list."""
        return await self._dead_letters.get(queue, message_id)

    async def replay_one(self, queue: Queue, message_id: MessageId) -> Replayed:
        """Give one message to its work queue again. If that fails again, it comes back."""
        await self._dead_letters.replay_one(queue, message_id)
        return Replayed(message="The message was replayed.", queue=queue, replayed=1)

    async def replay_all(self, queue: Queue, limit: ReplayLimit = None) -> Replayed:
        """Give all messages that are there now to their work queue again. Those that fail again come back, once."""
        replayed = await self._dead_letters.replay_all(queue, limit)
        return Replayed(message=f"Replayed {replayed} messages.", queue=queue, replayed=replayed)
