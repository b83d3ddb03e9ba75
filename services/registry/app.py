"""The registry's composition root: the only place that knows which classes work together."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path

import asyncpg
from fastapi import APIRouter, Depends, FastAPI

from services.registry.access import Access, require_guard
from services.registry.api.answers import NoMarkup
from services.registry.api.docs_page import serve_docs
from services.registry.api.openapi import describe
from services.registry.api.permissions import Guard, operation_id
from services.registry.api.problems import answer, install_error_handlers
from services.registry.api.rate_limits import REGISTRATION_PATH, SYNC_PATHS, Limits, RateLimits
from services.registry.api.request_ids import HEADER as REQUEST_ID
from services.registry.api.request_ids import RequestIds
from services.registry.captures import Captures
from services.registry.cleanup import Cleanup, SilenceLimits
from services.registry.clients import Clients
from services.registry.consumers import SettledPulls
from services.registry.dead_letters.letters import DeadLetters
from services.registry.diagnosis.broker import BrokerDiagnosis
from services.registry.diagnosis.database import DatabaseDiagnosis
from services.registry.diagnosis.diagnosis import Diagnosis
from services.registry.diagnosis.report import SettingsReport
from services.registry.dispatcher import Dispatcher
from services.registry.errors import ForeignHostError, ForeignPageError
from services.registry.leases import Leases, LeaseTimes
from services.registry.metrics import RegistryGauges, SettlementMetrics
from services.registry.nudges import Nudges
from services.registry.probe import ClientProbe
from services.registry.pulls import Pulls
from services.registry.quarantine import Quarantine
from services.registry.rate_limits import RateLimiter, rates_of
from services.registry.routes.captures import CaptureRoutes
from services.registry.routes.claims import ClaimRoutes
from services.registry.routes.clients import ClientRoutes
from services.registry.routes.dead_letters import DeadLetterRoutes
from services.registry.routes.diagnosis import DiagnosisRoutes
from services.registry.routes.pulls import PullRoutes
from services.registry.routes.quarantine import QuarantineRoutes
from services.registry.routes.ranking import RankingRoutes
from services.registry.routes.runs import RunRoutes
from services.registry.routes.scheduler import SchedulerRoutes
from services.registry.routes.status import StatusRoutes
from services.registry.routes.sync import SyncRoutes
from services.registry.routes.system import SystemRoutes
from services.registry.runs import Runs
from services.registry.schedule import Schedule
from services.registry.settings import RegistrySettings
from services.registry.statistics import Statistics
from services.registry.whereabouts.gathering import CaptureFacts
from shared import tracing
from shared.broker import Publisher, ServiceBroker, make_broker
from shared.consuming import BrokerConnection
from shared.database import answers, make_pool
from shared.database_metrics import watch_database
from shared.health import Health
from shared.http_metrics import Cors, CountRequests, RequestMetrics
from shared.message_metrics import MessageMetrics
from shared.messages import PullRequested, ReplayQuarantined
from shared.metrics import Metrics
from shared.migrations import migrate
from shared.outbound import ClientHttp, OutboundPolicy
from shared.patience import patiently
from shared.same_origin import SameOrigin
from shared.sql import load_queries
from shared.tasks import running
from shared.topology import PULL_SETTLED, WORK_QUEUES
from shared.version import VERSION

MIGRATIONS = Path(__file__).with_name("migrations")
SCHEMA = "registry"

_PROBE_TIMEOUT_S = 10.0
_HEALTH_BYTES = 64 * 1024
_POOL_SIZE = 10
_CAPTURES_POOL_SIZE = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class _Servers:
    """What the registry talks to; not yet connected."""

    pool: asyncpg.Pool
    captures_pool: asyncpg.Pool
    """For what ingest publishes, by a role that may do nothing else."""
    queries: Mapping[str, str]
    broker: ServiceBroker
    connection: BrokerConnection
    http: ClientHttp
    metrics: Metrics


@dataclass(frozen=True, slots=True, kw_only=True)
class _Work:
    """What goes on beside the requests."""

    schedule: Schedule
    leases: Leases
    dispatcher: Dispatcher
    cleanup: Cleanup


def build_app(settings: RegistrySettings) -> FastAPI:
    """The registry, not yet connected to anything. Its lifespan migrates the schema, then connects.

    The lifespan raises StartupError when others could reach it, and nobody needs a token.
    """
    servers = _servers(settings)
    work = _work(settings, servers)
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
            await stack.enter_async_context(running("dispatcher", work.dispatcher.run))
            await stack.enter_async_context(running("cleanup", work.cleanup.run))
            yield

    app = FastAPI(
        title="PullSync registry",
        version=VERSION,
        lifespan=lifespan,
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
    for router in _routers(settings, servers, work, access=access, clients=clients, pulls=pulls, limits=limits):
        app.include_router(router, dependencies=[Depends(guard.check), Depends(limits.count_guarded)])
    serve_docs(app)
    _stand_before(app, settings, limits)
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


def _stand_before(app: FastAPI, settings: RegistrySettings, limits: Limits) -> None:
    """What stands before the routes; the last that is added meets a request first."""
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


def _servers(settings: RegistrySettings) -> _Servers:
    ca_file, metrics = settings.tls_ca_file, Metrics(service="registry")
    messages = MessageMetrics(metrics, published=(PullRequested, ReplayQuarantined), consumed=(PULL_SETTLED,))
    broker = make_broker(settings.rabbitmq_url, service="registry", ca_file=ca_file, observer=messages)
    connection = BrokerConnection(broker, consumed=(PULL_SETTLED,), declares=settings.rabbitmq_declare)
    messages.watch(metrics, holding=broker.holding, ready=connection.ready)
    return _Servers(
        pool=make_pool(settings.database_url, service="registry", max_size=_POOL_SIZE, ca_file=ca_file),
        captures_pool=make_pool(
            settings.reading_captures, service="registry", max_size=_CAPTURES_POOL_SIZE, ca_file=ca_file
        ),
        queries=load_queries("services.registry"),
        broker=broker,
        connection=connection,
        http=ClientHttp(
            policy=OutboundPolicy(networks=settings.pull_sync_networks, ports=settings.pull_sync_ports),
            timeout_s=min(_PROBE_TIMEOUT_S, settings.pull_sync_timeout),
            body_limit_bytes=_HEALTH_BYTES,
            ca_file=settings.pull_sync_ca_file,
        ),
        metrics=metrics,
    )


def _work(settings: RegistrySettings, servers: _Servers) -> _Work:
    pool, queries = servers.pool, servers.queries
    leases = Leases(pool=pool, queries=queries, in_flight=settings.pull_sync_in_flight, times=_lease_times(settings))
    return _Work(
        schedule=Schedule(pool=pool, queries=queries),
        leases=leases,
        dispatcher=Dispatcher(leases=leases, publisher=Publisher(servers.broker)),
        cleanup=Cleanup(
            pool=pool,
            queries=queries,
            interval=timedelta(seconds=settings.pull_sync_cleanup_interval),
            silence=_silence_limits(settings),
            history=timedelta(days=settings.pull_sync_history_days),
        ),
    )


def _routers(
    settings: RegistrySettings,
    servers: _Servers,
    work: _Work,
    *,
    access: Access,
    clients: Clients,
    pulls: Pulls,
    limits: Limits,
) -> Iterator[APIRouter]:
    pool, queries, dispatcher, schedule = servers.pool, servers.queries, work.dispatcher, work.schedule
    captures = Captures(pool=servers.captures_pool, queries=queries, is_registered=clients.is_registered)
    statistics = Statistics(pool=pool, queries=queries)
    runs = Runs(pool=pool, queries=queries)
    nudges = Nudges(
        pool=pool,
        queries=queries,
        spacing=timedelta(seconds=settings.pull_sync_nudge_spacing),
        burst=settings.pull_sync_nudge_burst,
    )
    quarantine = Quarantine(pool=servers.captures_pool, queries=queries, publisher=Publisher(servers.broker))
    dead_letters = DeadLetters(url=settings.rabbitmq_url, work_queues=WORK_QUEUES, ca_file=settings.tls_ca_file)
    health = Health(checks={"database": partial(answers, pool), "broker": servers.connection.ready})
    yield PullRoutes(pulls=pulls, clients=clients).router()
    yield ClientRoutes(
        clients=clients,
        nudges=nudges,
        dispatcher=dispatcher,
        probe=ClientProbe(http=servers.http),
        access=access,
        limits=limits,
    ).router()
    yield StatusRoutes(clients=clients, schedule=schedule, statistics=statistics).router()
    yield SyncRoutes(runs=runs, dispatcher=dispatcher, access=access).router()
    yield RunRoutes(runs=runs).router()
    yield SchedulerRoutes(
        schedule=schedule,
        statistics=statistics,
        cleanup=work.cleanup,
        cleanup_interval_s=settings.pull_sync_cleanup_interval,
    ).router()
    yield ClaimRoutes(leases=work.leases, key_fingerprint=access.key_fingerprint).router()
    yield RankingRoutes(captures=captures).router()
    facts = CaptureFacts(pool=pool, captures_pool=servers.captures_pool, queries=queries, dead_letters=dead_letters)
    yield CaptureRoutes(facts=facts, access=access).router()
    yield QuarantineRoutes(quarantine=quarantine).router()
    yield DeadLetterRoutes(dead_letters=dead_letters).router()
    gauges = RegistryGauges(statistics=statistics, schedule=schedule, runs=runs, captures=captures)
    watch_database(servers.metrics, pool, servers.captures_pool, read=gauges.read)
    yield DiagnosisRoutes(diagnosis=_diagnosis(settings, servers)).router()
    yield SystemRoutes(
        statistics=statistics, captures=captures, health=health, metrics=servers.metrics, access=access
    ).router()


def _diagnosis(settings: RegistrySettings, servers: _Servers) -> Diagnosis:
    return Diagnosis(
        version=VERSION,
        settings=SettingsReport(
            is_anonymous=not settings.operator_tokens,
            timeout_s=settings.pull_sync_timeout,
            lease_s=settings.pull_sync_lease,
        ),
        database=DatabaseDiagnosis(
            pool=servers.pool, captures_pool=servers.captures_pool, queries=servers.queries, migrations=MIGRATIONS
        ),
        broker=BrokerDiagnosis(url=settings.rabbitmq_url, ca_file=settings.tls_ca_file),
    )


def _lease_times(settings: RegistrySettings) -> LeaseTimes:
    return LeaseTimes(
        lease=timedelta(seconds=settings.pull_sync_lease),
        backoff_cap_s=settings.pull_sync_backoff_cap,
        probe_interval_s=settings.pull_sync_probe_interval,
    )


def _silence_limits(settings: RegistrySettings) -> SilenceLimits:
    return SilenceLimits(
        inactive_after=timedelta(seconds=settings.pull_sync_inactive_after),
        probe_interval_s=settings.pull_sync_probe_interval,
        retention=timedelta(days=settings.pull_sync_retention_days),
    )
