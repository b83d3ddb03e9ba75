"""Looking at sync runs, at once or as they go on, and cancelling them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, Final
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.sse import EventSourceResponse, ServerSentEvent

from services.registry.api.paging import After, link_to, page_after
from services.registry.clients import possible
from services.registry.domain import Run, RunClient, RunProgress
from services.registry.errors import TooManyStreamsError
from services.registry.routes.clients import PAGE, Limit
from services.registry.routes.sync import FAILURES_SHOWN
from services.registry.runs import RunOutcome, Runs
from shared.serving.head import refuse_head

PREFIX: Final = "/api/v1/pull-sync/runs"
_EVENT_EVERY_S: Final = 0.5
MOST_STREAMS: Final = 100
"""Event streams at once, each of which asks the database twice a second for as long as its run goes on."""

RunsLimit = Annotated[int, Query(ge=1, le=1_000, description="Most runs in one answer.")]
Before = Annotated[UUID | None, Query(description="Only runs that started before this one.")]


class RunReport(RunProgress):
    """A run, how far it is, and the first clients that failed."""

    failures: list[str]
    """A line each; all of them are under `/runs/{run_id}/clients?outcome=failed`."""


class RunRoutes:
    """`/api/v1/pull-sync/runs`."""

    def __init__(self, *, runs: Runs) -> None:
        self._runs = runs
        self._streams = 0

    def router(self) -> APIRouter:
        """To be included by the app."""
        router = APIRouter(prefix=PREFIX, tags=["runs"])
        router.get("")(self.runs)
        router.get("/{run_id}")(self.run)
        router.get("/{run_id}/clients")(self.clients)
        router.get(
            "/{run_id}/events",
            response_class=EventSourceResponse,
            dependencies=[Depends(refuse_head), Depends(self.place)],
        )(self.events)
        router.post("/{run_id}/cancel")(self.cancel)
        return router

    async def runs(
        self, request: Request, response: Response, limit: RunsLimit = 50, before: Before = None
    ) -> list[Run]:
        """Sync runs, the latest first, a page at a time. Finished ones are kept for seven days."""
        page = await self._runs.page(before=before, limit=limit + 1)
        if len(page) > limit:
            following = page_after(request, PREFIX, limit=limit, before=page[limit - 1].run_id)
            response.headers["link"] = link_to(following)
        return page[:limit]

    async def run(self, run_id: UUID) -> RunReport:
        """How far a run is: clients requested and settled, what they stored, who failed and why, the time left."""
        progress = await self._runs.progress(run_id)
        failures = await self._runs.clients(run_id, after="", limit=FAILURES_SHOWN, outcome="failed")
        return RunReport(**dict(progress), failures=[str(failure) for failure in failures])

    async def clients(
        self,
        request: Request,
        response: Response,
        run_id: UUID,
        limit: Limit = PAGE,
        after: After = "",
        outcome: Annotated[RunOutcome | None, Query(description="Only clients of this outcome.")] = None,
    ) -> list[RunClient]:
        """What became of each client of a run, by user id, a page at a time."""
        await self._runs.get(run_id)
        page = await self._runs.clients(run_id, after=possible(after), limit=limit + 1, outcome=outcome)
        if len(page) > limit:
            path = f"{PREFIX}/{run_id}/clients"
            following = page_after(request, path, limit=limit, after=page[limit - 1].user_id, outcome=outcome)
            response.headers["link"] = link_to(following)
        return page[:limit]

    async def place(self, run_id: UUID) -> AsyncIterator[None]:
        """Taken from before the stream begins, so that those who come together are counted, until it has ended.

        Raises:
            TooManyStreamsError: there are as many as there may be.
            UnknownRunError: there is no such run.
        """
        if self._streams >= MOST_STREAMS:
            raise TooManyStreamsError
        self._streams += 1
        try:
            await self._runs.get(run_id)
            yield
        finally:
            self._streams -= 1

    async def events(self, run_id: UUID) -> AsyncIterator[ServerSentEvent]:
        """A run as it goes on, as server-sent events: `progress` at each change, at last `finished`; then the end.

        Each event carries the whole progress, so whoever connects again has missed nothing.
        """
        told: tuple[int, ...] | None = None
        while True:
            progress = await self._runs.progress(run_id)
            if progress.finished_at is not None:
                yield ServerSentEvent(data=progress, event="finished")
                return
            now = (progress.settled, progress.stored, progress.missing, progress.unknown, progress.deleted)
            if told != now:
                told = now
                yield ServerSentEvent(data=progress, event="progress")
            await asyncio.sleep(_EVENT_EVERY_S)

    async def cancel(self, run_id: UUID) -> RunProgress:
        """End a run: the clients that it waits for are not pulled for it. What is stored stays stored."""
        await self._runs.cancel(run_id)
        return await self._runs.progress(run_id)
