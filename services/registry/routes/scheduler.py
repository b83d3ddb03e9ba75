"""The timer: looking at it, stopping and starting it, its interval, and the cleanup."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from services.registry.cleanup import Cleanup
from services.registry.errors import RefusedError
from services.registry.routes.clients import Said
from services.registry.schedule import Schedule
from shared.client_protocol import UtcDatetime

SHORTEST_INTERVAL_S: Final = 5
LONGEST_INTERVAL_S: Final = 86_400


class SchedulerStatus(BaseModel):
    """The timer, the same for all pullers. Intervals in seconds."""

    running: bool
    sync_interval: int
    cleanup_interval: int
    last_cleanup: UtcDatetime | None


class IntervalRequest(BaseModel):
    """The interval in seconds; it may as well stand in the query."""

    interval: Annotated[int, Field(strict=True)] | None = None


class CleanedUp(BaseModel):
    """What a cleanup did."""

    message: str
    removed_clients: int


class SchedulerRoutes:
    """`/api/v1/pull-sync/scheduler` and `/cleanup-inactive`."""

    def __init__(self, *, schedule: Schedule, cleanup: Cleanup, cleanup_interval_s: int) -> None:
        self._schedule = schedule
        self._cleanup = cleanup
        self._cleanup_interval_s = cleanup_interval_s

    def router(self) -> APIRouter:
        """To be included by the app."""
        router = APIRouter(prefix="/api/v1/pull-sync", tags=["scheduler"])
        router.get("/scheduler/status")(self.status)
        router.post("/scheduler/start")(self.start)
        router.post("/scheduler/stop")(self.stop)
        router.post("/scheduler/set-interval")(self.set_interval)
        router.post("/cleanup-inactive")(self.cleanup_inactive)
        return router

    async def status(self) -> SchedulerStatus:
        """Whether the timer runs, and how often."""
        scheduler = await self._schedule.get()
        return SchedulerStatus(
            running=scheduler.running,
            sync_interval=scheduler.sync_interval_s,
            cleanup_interval=self._cleanup_interval_s,
            last_cleanup=scheduler.last_cleanup,
        )

    async def start(self) -> Said:
        """Let the timer pull. It holds for every puller, and after a restart."""
        await self._schedule.set_running(running=True)
        return Said(message="The scheduler is running.")

    async def stop(self) -> Said:
        """Stop the timer; pulls under way end, and sync on demand still works."""
        await self._schedule.set_running(running=False)
        return Said(message="The scheduler is stopped.")

    async def set_interval(
        self, body: IntervalRequest | None = None, interval: Annotated[int | None, Query()] = None
    ) -> Said:
        """Pull each client every `interval` seconds, given in the query or in the body."""
        wanted = body.interval if body is not None and body.interval is not None else interval
        if wanted is None:
            message = 'The interval is missing: send ?interval=30 or {"interval": 30}.'
            raise RefusedError(message)
        if not SHORTEST_INTERVAL_S <= wanted <= LONGEST_INTERVAL_S:
            message = f"The interval must be from {SHORTEST_INTERVAL_S} to {LONGEST_INTERVAL_S} seconds, not {wanted}."
            raise RefusedError(message)
        await self._schedule.set_interval(wanted)
        return Said(message=f"Each client is pulled every {wanted} seconds.")

    async def cleanup_inactive(self) -> CleanedUp:
        """Remove the clients that had no success for the whole retention."""
        removed = await self._cleanup.now()
        return CleanedUp(message=f"Removed {removed} clients.", removed_clients=removed)
