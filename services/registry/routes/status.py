"""The whole system at a glance."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from services.registry.api.models import ApiModel
from services.registry.api.paging import link_to, page_after
from services.registry.clients import Clients
from services.registry.domain import ClientRecord
from services.registry.routes.clients import LIST_PATH, PAGE, PREFIX, Limit
from services.registry.schedule import Schedule
from services.registry.statistics import RECENT, PullMinute, Statistics


class RecentPulls(ApiModel):
    """Pulls that ended within the last minutes."""

    window_s: float
    pulls: int
    success_rate: float | None
    """From 0 to 1; null when there were none."""
    failed_by_reason: dict[str, int]
    stored_captures: int
    duration_median_s: float | None
    duration_p99_s: float | None
    """Each is at most 19 % too high; null when there were no pulls."""


class Metrics(ApiModel):
    """Numbers that one can act on. Each client is active, failing, inactive or paused."""

    registered_clients: int
    active_clients: int
    failing_clients: int
    """Failed at their last pull, and are tried again, later and later."""
    inactive_clients: int
    """Without success for long: only probed."""
    paused_clients: int
    in_flight: int
    """Pulls under way."""
    pending_captures: int
    """What clients still held after their last pulls."""
    stored_captures: int
    lag_s: float
    """How late the most overdue client is, in seconds."""
    recent: RecentPulls

    @classmethod
    async def of(cls, statistics: Statistics) -> Metrics:
        """As they are now."""
        clients, pulls = await statistics.clients(), await statistics.pulls()
        recent = RecentPulls(
            window_s=RECENT.total_seconds(),
            pulls=pulls.pulls,
            success_rate=round(pulls.succeeded / pulls.pulls, 4) if pulls.pulls else None,
            failed_by_reason=dict(pulls.failures),
            stored_captures=pulls.stored,
            duration_median_s=_rounded(pulls.median_s),
            duration_p99_s=_rounded(pulls.p99_s),
        )
        return cls(
            registered_clients=clients.registered,
            active_clients=clients.active,
            failing_clients=clients.failing,
            inactive_clients=clients.inactive,
            paused_clients=clients.paused,
            in_flight=clients.in_flight,
            pending_captures=clients.pending,
            stored_captures=clients.stored,
            lag_s=round(clients.lag_s, 3),
            recent=recent,
        )


class SchedulerState(ApiModel):
    """The timer in short."""

    running: bool
    sync_interval: int
    """Seconds."""


class Status(Metrics):
    """The numbers, and the first clients."""

    clients: list[ClientRecord]
    """The first of them; `Link` leads to the rest."""
    scheduler: SchedulerState


class StatusRoutes:
    """`/api/v1/pull-sync/status` and what is below it."""

    def __init__(self, *, clients: Clients, schedule: Schedule, statistics: Statistics) -> None:
        self._clients = clients
        self._schedule = schedule
        self._statistics = statistics

    def router(self) -> APIRouter:
        """To be included by the app."""
        router = APIRouter(prefix=PREFIX, tags=["status"])
        router.get("/status")(self.status)
        router.get("/status/minutes")(self.minutes)
        return router

    async def status(self, request: Request, response: Response, limit: Limit = PAGE) -> Status:
        """Clients by state, what they still hold, how the last pulls went, and how late the schedule is."""
        metrics = await Metrics.of(self._statistics)
        scheduler = await self._schedule.get()
        clients = await self._clients.page(after="", limit=limit + 1)
        if len(clients) > limit:
            following = page_after(request, LIST_PATH, limit=limit, after=clients[limit - 1].user_id)
            response.headers["link"] = link_to(following)
        return Status(
            **metrics.model_dump(),
            clients=clients[:limit],
            scheduler=SchedulerState(running=scheduler.running, sync_interval=scheduler.sync_interval_s),
        )

    async def minutes(self) -> list[PullMinute]:
        """The last 60 minutes, the oldest first: pulls, why some failed, what was stored, how long they took.

        Minutes without pulls are there, too; the last one goes on.
        """
        return await self._statistics.minutes()


def _rounded(duration_s: float | None) -> float | None:
    return None if duration_s is None else round(duration_s, 4)
