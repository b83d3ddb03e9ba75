"""What the operators' dashboard shows as it goes on: queues, and everything as one stream of events."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Query
from fastapi.sse import EventSourceResponse, ServerSentEvent

from services.registry.api.paging import LONGEST_ID, After
from services.registry.clients import possible
from services.registry.errors import DatabaseIllError, RefusedError, TooManyStreamsError
from services.registry.live.changes import Changes, Source
from services.registry.live.once import ReadOnce
from services.registry.live.topics import Topic, Topics, View
from services.registry.queues import QueuesReport
from services.registry.routes.clients import Search, State
from shared.postgres.illness import Condition
from shared.serving.head import refuse_head

MOST_STREAMS: Final = 100
"""Event streams at once. Those that show clients ask the database once a second for each page that is looked at."""

Wanted = Annotated[
    list[Topic],
    Query(min_length=1, max_length=7, description="What to tell of; to be repeated for several. Events are so named."),
]
Limit = Annotated[int, Query(ge=1, le=200, description="Most clients in the topic `clients`.")]
UserId = Annotated[str, Query(max_length=LONGEST_ID, description="Whom the topic `client` is about.")]


def _view(limit: Limit = 50, after: After = "", state: State = None, search: Search = "", user_id: UserId = "") -> View:
    return View(limit=limit, after=possible(after), state=state, search=possible(search), user_id=possible(user_id))


class EventRoutes:
    """`/api/v1/admin/events` and `/api/v1/admin/queues`."""

    def __init__(self, *, topics: Topics, queues: ReadOnce[QueuesReport], database: Condition) -> None:
        self._topics = topics
        self._database = database
        self._queues = queues
        self._streams = 0

    def router(self) -> APIRouter:
        """To be included by the app."""
        router = APIRouter(prefix="/api/v1/admin", tags=["live"])
        router.get("/queues")(self.queues)
        router.get(
            "/events", response_class=EventSourceResponse, dependencies=[Depends(refuse_head), Depends(self.place)]
        )(self.events)
        return router

    async def queues(self) -> QueuesReport:
        """How full each queue of PullSync is and who reads it, by RabbitMQ's management API; at most 2 s old.

        When that can't be asked, `problem` says what to do about it, and there are no queues.
        """
        return await self._queues.get()

    async def place(self, topics: Wanted, view: Annotated[View, Depends(_view)]) -> AsyncIterator[None]:
        """Taken from before the stream begins, so that those who come together are counted, until it has ended.

        Raises:
            TooManyStreamsError: there are as many as there may be.
            RefusedError: it is not said which client to tell of.
        """
        if "client" in topics and not view.user_id:
            message = "The topic `client` needs to know whom it is about: add user_id=<user id>."
            raise RefusedError(message)
        if self._streams >= MOST_STREAMS:
            raise TooManyStreamsError
        self._streams += 1
        try:
            yield
        finally:
            self._streams -= 1

    async def events(self, topics: Wanted, view: Annotated[View, Depends(_view)]) -> AsyncIterator[ServerSentEvent]:
        """What goes on, as server-sent events named by their topics; for ever.

        Each carries the whole of its topic, and is sent at once and then whenever that has changed, so whoever connects
        again has missed nothing. `status` is the scheduler's status, `runs` the latest 10 with their progress, `queues`
        and `minutes` are as their own endpoints have them, `ranking` has the first 10, `clients` is
        `{"clients": [...], "next": "<after of the next page>" or null}` and `client` is
        `{"client": {...} or null, "pulls": [the latest 20]}`, with clients as elsewhere but for `next_slot_at`, which
        is left out. What can't be read at the time is told as `problem` with a `detail`, and sent as soon as it can;
        when all can, the `detail` is null. A database that can be read and is ill is such a problem, too.
        """
        sources: dict[str, Source] = {topic: self._topics.source(topic, view) for topic in topics}
        async for event in Changes({**sources, "": self._well}).events():
            yield event

    async def _well(self) -> None:
        """Nothing to tell.

        Raises:
            DatabaseIllError: the database's tables can be read, and the registry can't work with them.
        """
        if self._database.illness is not None:
            raise DatabaseIllError(self._database.illness)
