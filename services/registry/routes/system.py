"""Whether the service and what it needs are there."""

from __future__ import annotations

from typing import Final

from fastapi import APIRouter
from pydantic import BaseModel

from services.registry.captures import Captures
from services.registry.statistics import Statistics
from shared.health import Health

VERSION: Final = "0.1.0"


class ServiceHealth(BaseModel):
    """The process answers."""

    status: str = "healthy"
    version: str = VERSION


class Welcome(BaseModel):
    """Where to go from here."""

    message: str = "PullSync registry"
    version: str = VERSION
    docs: str = "/docs"


class DatabaseStatus(BaseModel):
    """Rows by table."""

    status: str
    tables: dict[str, int]
    total_records: int
    is_empty: bool


class SystemRoutes:
    """`/`, `/health`, `/api/v1/admin/database-status`."""

    def __init__(self, *, statistics: Statistics, captures: Captures, health: Health) -> None:
        self._statistics = statistics
        self._captures = captures
        self._health = health

    def router(self) -> APIRouter:
        """To be included by the app."""
        router = APIRouter(tags=["system"])
        router.get("/")(self.welcome)
        router.get("/health")(self.live)
        router.get("/api/v1/admin/database-status")(self.database_status)
        router.routes.extend(self._health.routes())
        return router

    async def welcome(self) -> Welcome:
        """What this is."""
        return Welcome()

    async def live(self) -> ServiceHealth:
        """The process answers; `/health/ready` tells whether all that it needs does, too."""
        return ServiceHealth()

    async def database_status(self) -> DatabaseStatus:
        """How much is stored."""
        totals = await self._captures.totals()
        tables = {
            "clients": (await self._statistics.clients()).registered,
            "captures": totals.events,
            "holdings": totals.holdings,
            "ranking": totals.ranked,
            "quarantine": totals.quarantined,
        }
        records = sum(tables.values())
        return DatabaseStatus(status="healthy", tables=tables, total_records=records, is_empty=records == 0)
