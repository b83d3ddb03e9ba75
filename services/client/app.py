"""The client's composition root: the only place that knows which classes work together."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from random import SystemRandom
from secrets import token_urlsafe
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import httpx
from fastapi import FastAPI
from fastapi.responses import JSONResponse
from httpx import codes

from services.client.background import repeating
from services.client.database import Database
from services.client.errors import StoreUnavailableError, install_error_handlers, refusal
from services.client.health import HealthRoutes
from services.client.legacy_import import import_once
from services.client.metrics import ClientMetrics, MetricsAccess, MetricsRoutes
from services.client.nudge import Nudger, nudge_url
from services.client.ownership import Ownership, claim
from services.client.page import serve_capture_app
from services.client.pull_access import PullAccess
from services.client.ranking import RankingRoutes, RegistryRanking, ranking_url
from services.client.registration import Registrar
from services.client.retention import Retention
from services.client.routes import ClientRoutes
from services.client.states import States
from services.client.store import CLIENT_VERSION, CaptureStore
from shared import tls
from shared.contracts.client_protocol import Registration
from shared.errors import StartupError
from shared.observing import tracing
from shared.observing.http_metrics import Cors, CountRequests, RequestMetrics
from shared.observing.metrics import Metrics
from shared.postgres.sql import load_queries
from shared.serving.head import HeadAsGet
from shared.serving.same_origin import SameOrigin
from shared.serving.starting import AGAIN_IN_S, Start, WhileStarting
from shared.serving.utf8_urls import SENTENCE, Utf8Urls

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from services.client.settings import ClientSettings

_REGISTRY_TIMEOUT_S: Final = 30.0
"""The registry calls back before it answers a registration, and may wait for that."""
_KEEP_CONNECTION_S: Final = 4.0
"""Less than the 5 s after which the registry's server closes an idle connection: a nudge must not meet that moment."""

_FOREIGN_PAGE: Final = (
    "Web pages of other origins may not call this client: name the page's origin in CLIENT_CORS_ORIGINS, such as "
    "http://localhost:8100."
)
_FOREIGN_HOST: Final = (
    "This client answers to localhost, to IP addresses, and to the names in CLIENT_URL and CLIENT_HOSTS only: add the "
    "name that is called to CLIENT_HOSTS."
)


_STARTING: Final = "The client is starting and opens its database; try again in some seconds."


def build_app(settings: ClientSettings) -> FastAPI:
    """The client, not yet connected to anything. Its lifespan must begin after the port listens.

    The lifespan raises StartupError when the client can't start.
    """
    queries = load_queries("services.client")
    database = Database(path=settings.client_database, queries=queries)
    store = CaptureStore(database=database, queries=queries, user_id=settings.client_user_id, clock=_now)
    captured = asyncio.Event()
    pull_access = PullAccess(store=store)
    http = _registry_http(settings)
    metrics, client_metrics = Metrics(service="client"), ClientMetrics(store=store, database=database)
    metrics.add_source(client_metrics.read)
    registration_key, start = token_urlsafe(), Start()
    retention = Retention(store=store, keep=timedelta(days=settings.client_retention_days), monotonic=time.monotonic)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(database)
            await _take_stock(settings, store, pull_access)
            await stack.enter_async_context(repeating("database", database.check))
            await stack.enter_async_context(repeating("retention", retention.step))
            await stack.enter_async_context(
                _talking_to_registry(
                    settings, http, captured, pull_access, registration_key=registration_key, metrics=client_metrics
                )
            )
            yield

    app = FastAPI(
        title="PullSync client",
        version=CLIENT_VERSION,
        lifespan=start.watched(lifespan),
        redirect_slashes=False,  # it would send the caller wherever the Host header of his request says
        docs_url=None,  # FastAPI's own pages would run the scripts of others on the origin that may read all captures
        redoc_url=None,
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},  # ours is below
    )
    _stand_before(app, settings, start, metrics)
    install_error_handlers(app)
    routes = ClientRoutes(
        store=store,
        states=States(database=database, queries=queries),
        user_id=settings.client_user_id,
        client_url=settings.public_url,
        clock=_now,
        on_capture=captured.set,
        pull_access=pull_access,
    )
    health = HealthRoutes(
        database=database,
        user_id=settings.client_user_id,
        client_url=settings.public_url,
        clock=_now,
        registration_key=registration_key,
    )
    app.include_router(health.router())
    app.include_router(routes.router())
    app.include_router(_ranking_routes(settings, http, pull_access).router())
    app.include_router(_metrics_routes(settings, metrics, pull_access).router())
    serve_capture_app(app)
    tracing.instrument(app, continues=True)
    return app


async def _take_stock(settings: ClientSettings, store: CaptureStore, pull_access: PullAccess) -> None:
    """What is there from before.

    Raises:
        StartupError: it can't be used, or is another user's.
    """
    ownership = Ownership(user_id=settings.client_user_id, take_over_from=settings.client_take_over_from)
    await claim(store, ownership, path=settings.client_database)
    await import_once(store=store, path=settings.client_import_file, ownership=ownership)
    try:
        await pull_access.load()
    except StoreUnavailableError as error:
        raise StartupError(error.sentence) from error


def _ranking_routes(settings: ClientSettings, http: httpx.AsyncClient, pull_access: PullAccess) -> RankingRoutes:
    ranking = RegistryRanking(
        http=http,
        url=ranking_url(settings.backend_url, settings.client_user_id),
        token=lambda: pull_access.for_registry,
        clock=_now,
        monotonic=time.monotonic,
    )
    return RankingRoutes(ranking=ranking)


def _metrics_routes(settings: ClientSettings, metrics: Metrics, pull_access: PullAccess) -> MetricsRoutes:
    access = MetricsAccess(tokens=settings.client_metrics_tokens, pull_access=pull_access)
    return MetricsRoutes(metrics=metrics, access=access)


def _stand_before(app: FastAPI, settings: ClientSettings, start: Start, metrics: Metrics) -> None:
    """What stands before the routes; the last that is added meets a request first.

    Pages that may call are its own, and those that are named.
    """
    app.add_middleware(HeadAsGet)
    app.add_middleware(Utf8Urls, refuse=lambda: refusal(codes.BAD_REQUEST, SENTENCE))
    app.add_middleware(WhileStarting, start=start, answered=(), refuse=_starting)
    if settings.client_cors_origins:
        app.add_middleware(Cors, allow_origins=settings.client_cors_origins, allow_methods=["*"], allow_headers=["*"])
    own_host = urlsplit(settings.public_url).hostname or ""
    app.add_middleware(
        SameOrigin,
        origins=settings.client_cors_origins,
        hosts=(own_host, *settings.client_hosts),
        guarded="/api/",
        foreign_page=lambda: refusal(codes.FORBIDDEN, _FOREIGN_PAGE),
        foreign_host=lambda: refusal(codes.MISDIRECTED_REQUEST, _FOREIGN_HOST),
    )
    app.add_middleware(CountRequests, requests=RequestMetrics(metrics))


def _registry_http(settings: ClientSettings) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        timeout=_REGISTRY_TIMEOUT_S,
        limits=httpx.Limits(keepalive_expiry=_KEEP_CONNECTION_S),
        trust_env=False,
        verify=tls.trusting(settings.tls_ca_file),
    )


@asynccontextmanager
async def _talking_to_registry(
    settings: ClientSettings,
    http: httpx.AsyncClient,
    captured: asyncio.Event,
    pull_access: PullAccess,
    *,
    registration_key: str,
    metrics: ClientMetrics,
) -> AsyncIterator[None]:
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(http)
        registrar = _registrar(settings, http, pull_access, registration_key)
        pull_access.on_refused = registrar.doubt_token
        metrics.is_registered = registrar.registered.is_set
        await stack.enter_async_context(repeating("registration", registrar.step, woken=registrar.woken))
        if settings.client_nudge:
            nudger = Nudger(
                http=http,
                url=nudge_url(settings.backend_url, settings.client_user_id),
                wanted=captured,
                registered=registrar.registered,
                on_unknown=registrar.doubt,
                token=lambda: pull_access.for_registry,
                random=SystemRandom(),
            )
            await stack.enter_async_context(repeating("nudge", nudger.step))
        yield


def _registrar(
    settings: ClientSettings, http: httpx.AsyncClient, pull_access: PullAccess, registration_key: str
) -> Registrar:
    registration = Registration(
        client_url=settings.public_url,
        user_id=settings.client_user_id,
        client_type="web",
        capabilities=["capture", "favorite"],
        registration_key=registration_key,
    )
    return Registrar(
        http=http,
        backend_url=settings.backend_url,
        registration=registration,
        registration_token=settings.client_registration_token,
        pull_access=pull_access,
        check_s=settings.client_registration_check,
        random=SystemRandom(),
        monotonic=time.monotonic,
    )


def _starting() -> JSONResponse:
    """To every request, also for metrics: who may read these is in the database."""
    return refusal(codes.SERVICE_UNAVAILABLE, _STARTING, headers={"retry-after": str(AGAIN_IN_S)})


def _now() -> datetime:
    return datetime.now(UTC)
