"""Pulling on demand: one mechanism, a run over all clients, under the names of the original API."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final
from uuid import UUID

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse
from pydantic import ConfigDict, Field

from services.registry.access import Access, Scope
from services.registry.api.models import ApiModel
from services.registry.dispatcher import Dispatcher
from services.registry.domain import Run
from services.registry.runs import Runs
from shared.contracts.times import UtcDatetimeOrDay
from shared.tokens import bearer

RECENT: Final = timedelta(minutes=15)
FAILURES_SHOWN: Final = 1_000
"""Most failed clients that one answer lists; the run's own address leads to all of them."""

WaitS = Annotated[float, Query(ge=0, le=300, description="Seconds to wait for the run's end.")]
DeleteUnknown = Annotated[
    bool, Query(description="Delete here what is stored and a client no longer has. Clients forget what is old!")
]


class SyncRequest(ApiModel):
    """What to pull; nothing for all that is pending."""

    model_config = ConfigDict(json_schema_extra={"examples": [{}, {"since": "2026-01-31T12:00:00Z"}]})

    since: UtcDatetimeOrDay | None = None
    """Only captures newer than this, by the clients' clocks."""


class CompleteSyncRequest(ApiModel):
    """The parameter `delete_unknown`, for who sends it as JSON."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{}, {"delete_unknown": True}]})

    delete_unknown: Annotated[bool, Field(strict=True)] = False
    """Delete here what is stored and a client no longer has."""


class SyncResult(ApiModel):
    """How a run ended."""

    success: bool
    clients_processed: int
    total_captures: int
    """Captures that were stored for the first time."""
    failed_clients: list[str]
    """Their URLs."""
    errors: list[str]
    processing_time: float
    """Seconds."""
    run_id: UUID


class Started(ApiModel):
    """A run that goes on."""

    message: str
    run_id: UUID
    status_url: str


class SyncRoutes:
    """`/api/v1/pull-sync`: sync-all, sync-recent, sync-all-background, sync-complete-state."""

    def __init__(self, *, runs: Runs, dispatcher: Dispatcher, access: Access) -> None:
        self._runs = runs
        self._access = access
        self._dispatcher = dispatcher

    def router(self) -> APIRouter:
        """To be included by the app."""
        router = APIRouter(prefix="/api/v1/pull-sync", tags=["sync"])
        still_running: dict[int | str, dict[str, Any]] = {
            202: {"model": Started, "description": "Not finished yet; the run goes on."}
        }
        router.post("/sync-all", response_model=SyncResult, responses=still_running)(self.sync_all)
        router.post("/sync-recent", response_model=SyncResult, responses=still_running)(self.sync_recent)
        router.post("/sync-all-background")(self.sync_in_background)
        router.post("/sync-complete-state", status_code=202)(self.sync_complete_state)
        return router

    async def sync_all(
        self, request: Request, body: SyncRequest | None = None, wait_s: WaitS = 60
    ) -> SyncResult | JSONResponse:
        """Pull every client now, and wait until each has settled."""
        run_id = await self._runs.start("sync-all", since=body.since if body else None)
        return await self._wait(request, run_id, wait_s)

    async def sync_recent(self, request: Request, wait_s: WaitS = 60) -> SyncResult | JSONResponse:
        """Pull the captures of the last 15 minutes, by the clients' clocks."""
        run_id = await self._runs.start("sync-recent", since=datetime.now(UTC) - RECENT)
        return await self._wait(request, run_id, wait_s)

    async def sync_in_background(self, request: Request, body: SyncRequest | None = None) -> Started:
        """Begin to pull every client, and answer at once."""
        run_id = await self._runs.start("sync-all-background", since=body.since if body else None)
        self._dispatcher.wake()
        return _started(request, run_id, "The sync has started.")

    async def sync_complete_state(
        self, request: Request, body: CompleteSyncRequest | None = None, *, delete_unknown: DeleteUnknown = False
    ) -> Started:
        """Begin to compare everything that each client still has, acknowledged or not, with what is stored.

        What is missing here is stored. What is stored and the client does not have is only reported, unless
        `delete_unknown` asks for its deletion, as a parameter or in the body. The run's clients tell what differed:
        `/runs/{run_id}/clients?outcome=differing`. There is one such run at a time. To delete takes the scope `admin`.
        """
        delete_unknown = delete_unknown or (body is not None and body.delete_unknown)
        if delete_unknown:
            self._access.require_operator(bearer(request.headers.getlist("authorization")), Scope.ADMIN)
        run_id = await self._runs.start_complete(delete_unknown=delete_unknown)
        self._dispatcher.wake()
        return _started(request, run_id, "The comparison has started.")

    async def _wait(self, request: Request, run_id: UUID, wait_s: float) -> SyncResult | JSONResponse:
        self._dispatcher.wake()
        run = await self._runs.wait(run_id, at_most_s=wait_s)
        if run.finished_at is None:
            started = _started(request, run_id, f"The sync is not finished after {wait_s:g} s; it goes on.")
            return JSONResponse(started.model_dump(mode="json"), status_code=202)
        return await self._result(run)

    async def _result(self, run: Run) -> SyncResult:
        failures = await self._runs.clients(run.run_id, after="", limit=FAILURES_SHOWN, outcome="failed")
        return SyncResult(
            success=run.state == "finished" and run.failed == 0,
            clients_processed=run.settled - run.failed,
            total_captures=run.stored,
            failed_clients=[failure.client_url for failure in failures],
            errors=[str(failure) for failure in failures],
            processing_time=round(run.elapsed_s, 3),
            run_id=run.run_id,
        )


def _started(request: Request, run_id: UUID, message: str) -> Started:
    return Started(message=message, run_id=run_id, status_url=request.url_for("run", run_id=run_id).path)
