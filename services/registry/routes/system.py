"""Whether the service and what it needs are there."""

from __future__ import annotations

from typing import Any, Final, Literal

from fastapi import APIRouter, Request, Response
from fastapi.responses import PlainTextResponse
from pydantic import ConfigDict

from services.registry.access import Access, Scope
from services.registry.api.models import ApiModel
from services.registry.captures import Captures
from services.registry.statistics import Statistics
from shared.observing.metrics import DOCUMENTED, METRICS_PATH, Metrics
from shared.serving.health import Health
from shared.tokens import bearer
from shared.version import VERSION

ANSWERED_AT_ONCE: Final = ("/health", "/health/live", "/health/ready", METRICS_PATH)
"""Also while the registry starts."""

_DATABASE_EXAMPLE: Final[dict[str, Any]] = {
    "status": "healthy",
    "tables": {"clients": 1, "captures": 12, "holdings": 10, "ranking": 4, "quarantine": 3},
    "total_records": 30,
    "is_empty": False,
}


class ServiceHealth(ApiModel):
    """The process answers."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"status": "healthy", "version": VERSION}]})

    status: str = "healthy"
    version: str = VERSION


class Alive(ApiModel):
    """The process answers."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"status": "alive"}]})

    status: Literal["alive"]


class Readiness(ApiModel):
    """Whether all that the registry needs is there."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"status": "ready", "checks": {"database": True, "database_writes": True, "broker": True}}]
        },
    )

    status: Literal["ready", "not ready"]
    checks: dict[str, bool]
    """Each thing that it needs, by name."""


class Welcome(ApiModel):
    """Where to go from here."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"message": "PullSync registry", "version": VERSION, "docs": "/docs", "dashboard": "/dashboard"}
            ]
        }
    )

    message: str = "PullSync registry"
    version: str = VERSION
    docs: str = "/docs"
    dashboard: str = "/dashboard"


class CallerAccess(ApiModel):
    """What the caller may do."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"scope": "operate", "needs_token": True}]})

    scope: Literal["read", "operate", "admin"]
    """Of his token; `admin` where there are no tokens."""
    needs_token: bool
    """Whether operators have tokens here; without, everybody may do all."""


class DatabaseStatus(ApiModel):
    """Rows by table."""

    model_config = ConfigDict(json_schema_extra={"examples": [_DATABASE_EXAMPLE]})

    status: str
    tables: dict[str, int]
    """Those of the registry, and those that ingest lets it count."""
    total_records: int
    """The sum."""
    is_empty: bool


class SystemRoutes:
    """`/`, `/health`, `/metrics`, `/api/v1/admin/access`, `/api/v1/admin/database-status`."""

    def __init__(
        self, *, statistics: Statistics, captures: Captures, health: Health, metrics: Metrics, access: Access
    ) -> None:
        self._statistics = statistics
        self._captures = captures
        self._health = health
        self._metrics = metrics
        self._access = access

    def router(self) -> APIRouter:
        """To be included by the app."""
        router = APIRouter(tags=["system"])
        router.get("/")(self.welcome)
        router.get("/health")(self.live)
        router.get(METRICS_PATH, response_class=PlainTextResponse, responses=DOCUMENTED)(self.metrics)
        router.get("/api/v1/admin/access")(self.access)
        router.get("/api/v1/admin/database-status")(self.database_status)
        not_ready: dict[int | str, dict[str, Any]] = {
            503: {"model": Readiness, "description": "Something is missing: `checks` tells what."}
        }
        router.get("/health/live", response_model=Alive, name="alive")(self._health.live)
        router.get("/health/ready", response_model=Readiness, responses=not_ready)(self._health.ready)
        return router

    async def welcome(self) -> Welcome:
        """What this is, and where its documentation and the operators' dashboard are."""
        return Welcome()

    async def live(self) -> ServiceHealth:
        """Whether the process answers; `/health/ready` tells whether all that it needs does, too."""
        return ServiceHealth()

    async def metrics(self, request: Request) -> Response:
        """Metrics for Prometheus: in OpenMetrics where the caller takes that, else in the older text format.

        What is read out of the database is absent while that is away.
        """
        return await self._metrics.answer(request)

    async def access(self, request: Request) -> CallerAccess:
        """What the caller may do, by his token; for a page that shows him only what he may."""
        scope = self._access.scope_of(bearer(request.headers.getlist("authorization"))) or Scope.READ
        return CallerAccess.model_validate({"scope": scope.name.lower(), "needs_token": not self._access.is_anonymous})

    async def database_status(self) -> DatabaseStatus:
        """How much is stored: rows by table."""
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
