"""The timer: looking at it, stopping and starting it, its interval, and the cleanup."""

from __future__ import annotations

from typing import Annotated, Final

import structlog
from fastapi import APIRouter, Query
from pydantic import Field

from services.registry.api.models import ApiModel
from services.registry.cleanup import Cleanup
from services.registry.domain import LONGEST_INTERVAL_S, SHORTEST_INTERVAL_S
from services.registry.errors import RefusedError
from services.registry.routes.clients import Said
from services.registry.routes.status import Metrics
from services.registry.schedule import Schedule
from services.registry.statistics import Statistics
from shared.contracts.times import UtcDatetime

_LARGEST: Final = 2**31 - 1
"""Numbers up to here are refused in the words that callers of the original know, others as no number of ours."""

log = structlog.get_logger()


class SchedulerStatus(Metrics):
    """The timer, the same for all pullers, and how it does. Intervals in seconds."""

    running: bool
    sync_interval: int
    cleanup_interval: int
    last_cleanup: UtcDatetime | None
    """When the last cleanup that was done began."""


class IntervalRequest(ApiModel):
    """The interval in seconds; it may as well stand in the query."""

    interval: Annotated[int, Field(strict=True, ge=-_LARGEST, le=_LARGEST)] | None = None


class CleanedUp(ApiModel):
    """What a cleanup did."""

    message: str
    removed_clients: int
    marked_inactive: int


class SchedulerRoutes:
    """`/api/v1/pull-sync/scheduler` and `/cleanup-inactive`."""

    def __init__(
        self, *, schedule: Schedule, statistics: Statistics, cleanup: Cleanup, cleanup_interval_s: int
    ) -> None:
        self._schedule = schedule
        self._statistics = statistics
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
        """Whether the timer runs, how often, and how late it is."""
        scheduler = await self._schedule.get()
        metrics = await Metrics.of(self._statistics)
        return SchedulerStatus(
            **metrics.model_dump(),
            running=scheduler.running,
            sync_interval=scheduler.sync_interval_s,
            cleanup_interval=self._cleanup_interval_s,
            last_cleanup=scheduler.last_cleanup,
        )

    async def start(self) -> Said:
        """Let the timer pull. It holds for every puller, and after a restart."""
        await self._schedule.set_running(running=True)
        log.info("scheduler_started")
        return Said(message="The scheduler is running.")

    async def stop(self) -> Said:
        """Stop the timer; pulls under way end, and sync on demand still works."""
        await self._schedule.set_running(running=False)
        log.info("scheduler_stopped")
        return Said(message="The scheduler is stopped.")

    async def set_interval(
        self,
        body: IntervalRequest | None = None,
        interval: Annotated[int | None, Query(ge=-_LARGEST, le=_LARGEST)] = None,
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
        log.info("interval_set", interval_s=wanted)
        return Said(message=f"Each client is pulled every {wanted} seconds.")

    async def cleanup_inactive(self) -> CleanedUp:
        """Mark the clients that are silent, and remove those that were for the whole retention."""
        cleaned = await self._cleanup.now()
        message = f"Removed {cleaned.removed} clients, and marked {cleaned.marked_inactive} as inactive."
        if cleaned.clock_jumped:
            message = (
                "Removed nothing: the database's clock jumped since the last cleanup, or nobody looked at it for ten "
                "minutes. If the clock is right now, ask again."
            )
        return CleanedUp(
            message=message,
            removed_clients=cleaned.removed,
            marked_inactive=cleaned.marked_inactive,
        )
