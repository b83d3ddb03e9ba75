"""The registry's composition root: nobody else knows which classes work together.

Its parts are beside it: `servers` is what the registry talks to, `work` goes on beside requests, `routers` serve them.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path

from fastapi import Depends, FastAPI

from services.registry.access import Access, require_guard
from services.registry.api.answers import NoMarkup
from services.registry.api.docs_page import serve_docs
from services.registry.api.openapi import describe
from services.registry.api.permissions import Guard, operation_id
from services.registry.api.problems import answer, install_error_handlers
from services.registry.api.rate_limits import REGISTRATION_PATH, SYNC_PATHS, Limits, RateLimits
from services.registry.api.request_ids import HEADER as REQUEST_ID
from services.registry.api.request_ids import RequestIds
from services.registry.clients import Clients
from services.registry.consumers import SettledPulls
from services.registry.errors import ForeignHostError, ForeignPageError, StartingError, UndecodableUrlError
from services.registry.metrics import SettlementMetrics
from services.registry.pulls import Pulls
from services.registry.rate_limiter import RateLimiter, rates_of
from services.registry.routers import Shared, routers_of
from services.registry.routes.system import ANSWERED_AT_ONCE
from services.registry.servers import servers_of
from services.registry.settings import RegistrySettings
from services.registry.work import work_of
from shared.observing import tracing
from shared.observing.http_metrics import Cors, CountRequests, RequestMetrics
from shared.patience import patiently
from shared.postgres.migrations import migrate
from shared.serving.head import HeadAsGet
from shared.serving.same_origin import SameOrigin
from shared.serving.starting import Start, WhileStarting
from shared.serving.utf8_urls import Utf8Urls
from shared.serving.web_pages import serve_page
from shared.version import VERSION

MIGRATIONS = Path(__file__).with_name("migrations")
SCHEMA = "registry"
DASHBOARD = Path(__file__).with_name("dashboard")


def build_app(settings: RegistrySettings) -> FastAPI:
    """The registry, not yet connected to anything. Its lifespan migrates the schema, then connects.

    The lifespan raises StartupError when others could reach it, and nobody needs a token.
    """
    servers = servers_of(settings)
    work = work_of(settings, servers)
    pulls = Pulls(pool=servers.pool, queries=servers.queries)
    observer = SettlementMetrics(servers.metrics)
    SettledPulls(leases=work.leases, pulls=pulls, dispatcher=work.dispatcher, observer=observer).subscribe(
        servers.broker
    )

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        require_guard(settings)
        async with AsyncExitStack() as stack:
            await migrate(settings.database_url, schema=SCHEMA, history=MIGRATIONS, ca_file=settings.tls_ca_file)
            await stack.enter_async_context(servers.pool)
            await stack.enter_async_context(servers.captures_pool)
            await patiently(partial(work.schedule.ensure, settings.pull_sync_interval))
            await stack.enter_async_context(servers.http)
            await stack.enter_async_context(servers.connection.running())
            await stack.enter_async_context(work.running())
            yield

    start = Start()
    app = FastAPI(
        title="PullSync registry",
        version=VERSION,
        lifespan=start.watched(lifespan),
        docs_url=None,
        redoc_url=None,
        strict_content_type=False,
        redirect_slashes=False,  # it would send the caller wherever the Host header of his request says
        generate_unique_id_function=operation_id,
        # FastAPI's own would come on top of ours, wherever the environment asks for it.
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
    )
    install_error_handlers(app)
    access, clients = Access(settings), Clients(pool=servers.pool, queries=servers.queries)
    limits = _limits(settings)
    guard = Guard(access=access, clients=clients, limits=limits)
    shared = Shared(access=access, clients=clients, pulls=pulls, limits=limits, start=start, migrations=MIGRATIONS)
    for router in routers_of(settings, servers, work, shared):
        app.include_router(router, dependencies=[Depends(guard.check), Depends(limits.count_guarded)])
    serve_docs(app)
    serve_page(app, DASHBOARD, at="/dashboard")
    _stand_before(app, settings, limits, start)
    app.add_middleware(
        CountRequests, requests=RequestMetrics(servers.metrics), literal_paths=(REGISTRATION_PATH, *SYNC_PATHS)
    )
    return describe(app)


def _limits(settings: RegistrySettings) -> Limits:
    return Limits(
        registrations=RateLimiter(name="registrations", rates=rates_of(settings.registry_limit_registrations)),
        syncs=RateLimiter(name="syncs", rates=rates_of(settings.registry_limit_syncs)),
        nudges=RateLimiter(name="all-nudges", rates=rates_of(settings.registry_limit_nudges)),
        wrong_tokens=RateLimiter(name="wrong-tokens", rates=rates_of(settings.registry_limit_wrong_tokens)),
    )


def _stand_before(app: FastAPI, settings: RegistrySettings, limits: Limits, start: Start) -> None:
    """What stands before the routes; the last that is added meets a request first."""
    app.add_middleware(HeadAsGet)
    app.add_middleware(WhileStarting, start=start, answered=ANSWERED_AT_ONCE, refuse=lambda: answer(StartingError()))
    app.add_middleware(Utf8Urls, refuse=lambda: answer(UndecodableUrlError()))
    app.add_middleware(NoMarkup)
    app.add_middleware(RateLimits, limits=limits)
    app.add_middleware(
        SameOrigin,
        origins=settings.registry_cors_origins,
        hosts=None if settings.operator_tokens else settings.registry_hosts,
        foreign_page=lambda: answer(ForeignPageError()),
        foreign_host=lambda: answer(ForeignHostError()),
    )
    if settings.registry_cors_origins:
        app.add_middleware(
            Cors,
            allow_origins=settings.registry_cors_origins,
            allow_methods=("GET", "POST", "PATCH", "DELETE"),
            allow_headers=("authorization", "content-type", "if-none-match", "last-event-id", REQUEST_ID),
            expose_headers=("etag", "link", "ratelimit", "ratelimit-policy", "retry-after", REQUEST_ID),
        )
    app.add_middleware(RequestIds)
    tracing.instrument(app, continues=False)
