"""The client's metrics, and who may read them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import PlainTextResponse

from services.client.errors import RequestError, StoreUnavailableError
from shared.observing.metrics import DOCUMENTED, METRICS_PATH, READ_WITHIN_S, gauge, gauges
from shared.tokens import bearer, is_one_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from prometheus_client.core import Metric

    from services.client.database import Database
    from services.client.pull_access import PullAccess
    from services.client.store import CaptureStore
    from shared.observing.metrics import Metrics


class ClientMetrics:
    """How many captures there are, and whether database and registry are well."""

    def __init__(self, *, store: CaptureStore, database: Database) -> None:
        self._store = store
        self._database = database
        self.is_registered: Callable[[], bool] = lambda: False
        """Whether the registry knows the client, as far as that is known here."""

    async def read(self) -> list[Metric]:
        """As it is now; without numbers of captures while the database can't be used."""
        return [
            *await self._captures(),
            gauge(
                "pullsync_client_database_usable",
                "Whether the client's database can be used.",
                self._database.trouble is None,
            ),
            gauge("pullsync_client_registered", "Whether the registry knows this client.", self.is_registered()),
        ]

    async def _captures(self) -> list[Metric]:
        try:
            async with asyncio.timeout(READ_WITHIN_S):
                counts = await self._store.counts()
        except (StoreUnavailableError, TimeoutError):
            return []
        states = {"pending": counts.pending, "acknowledged": counts.total - counts.pending}
        return [gauges("pullsync_client_captures", "Captures that are kept here.", "state", states.items())]


class MetricsAccess:
    """Whoever may pull captures may read metrics, too; where tokens for metrics are set, whoever has one of those."""

    def __init__(self, *, tokens: Sequence[str], pull_access: PullAccess) -> None:
        self._tokens = tokens
        self._pull_access = pull_access

    async def check(self, request: Request) -> None:
        """Return when the request may be served.

        Raises:
            RequestError: it brings no token, or another one.
        """
        if not self._tokens:
            await self._pull_access.check(request)
        elif not is_one_of(bearer(request.headers.getlist("authorization")) or "", self._tokens):
            sentence = "This needs one of CLIENT_METRICS_TOKENS, in the header `Authorization: Bearer <token>`."
            raise RequestError(401, sentence)


class MetricsRoutes:
    """`/metrics`."""

    def __init__(self, *, metrics: Metrics, access: MetricsAccess) -> None:
        self._metrics = metrics
        self._access = access

    def router(self) -> APIRouter:
        """To be included by the app."""
        router = APIRouter()
        allowed = [Depends(self._access.check)]
        router.get(METRICS_PATH, response_class=PlainTextResponse, responses=DOCUMENTED, dependencies=allowed)(
            self.metrics
        )
        return router

    async def metrics(self, request: Request) -> Response:
        """Metrics for Prometheus: in OpenMetrics where the caller takes that, else in the older text format."""
        return await self._metrics.answer(request)
