"""The routes of the registry: the part of its composition that knows what each of them needs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path

from fastapi import APIRouter

from services.registry.access import Access
from services.registry.api.rate_limits import Limits
from services.registry.captures import Captures
from services.registry.clients import Clients
from services.registry.dead_letters.letters import DeadLetters
from services.registry.diagnosis.broker import BrokerDiagnosis
from services.registry.diagnosis.database import DatabaseDiagnosis
from services.registry.diagnosis.diagnosis import Diagnosis
from services.registry.diagnosis.report import SettingsReport
from services.registry.live.once import ReadOnce
from services.registry.live.topics import QUEUES_EVERY_S, Topics
from services.registry.metrics import RegistryGauges
from services.registry.nudges import Nudges
from services.registry.probe import ClientProbe
from services.registry.pulls import Pulls
from services.registry.quarantine import Quarantine
from services.registry.queues import Queues
from services.registry.routes.captures import CaptureRoutes
from services.registry.routes.claims import ClaimRoutes
from services.registry.routes.clients import ClientRoutes
from services.registry.routes.dead_letters import DeadLetterRoutes
from services.registry.routes.diagnosis import DiagnosisRoutes
from services.registry.routes.events import EventRoutes
from services.registry.routes.pulls import PullRoutes
from services.registry.routes.quarantine import QuarantineRoutes
from services.registry.routes.ranking import ClientRankingRoutes, RankingRoutes
from services.registry.routes.runs import RunRoutes
from services.registry.routes.scheduler import SchedulerRoutes
from services.registry.routes.status import StatusRoutes
from services.registry.routes.sync import SyncRoutes
from services.registry.routes.system import SystemRoutes
from services.registry.runs import Runs
from services.registry.servers import Servers
from services.registry.settings import RegistrySettings
from services.registry.statistics import Statistics
from services.registry.whereabouts.gathering import CaptureFacts
from services.registry.work import Work
from shared.contracts.topology import WORK_QUEUES
from shared.observing.database_metrics import watch_database
from shared.postgres.database import answers, condition_of, takes_writes
from shared.rabbitmq.broker import Publisher
from shared.serving.health import Health
from shared.serving.starting import Start
from shared.version import VERSION

_RUNS_SHOWN = 10
_RANKING_SHOWN = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    """What routes have in common with other parts of the app."""

    access: Access
    clients: Clients
    pulls: Pulls
    limits: Limits
    start: Start
    migrations: Path


def routers_of(settings: RegistrySettings, servers: Servers, work: Work, shared: Shared) -> Iterator[APIRouter]:
    """All of them, in the order in which they are asked whether a path is theirs."""
    pool, queries, dispatcher, schedule = servers.pool, servers.queries, work.dispatcher, work.schedule
    clients, pulls, access = shared.clients, shared.pulls, shared.access
    captures = Captures(pool=servers.captures_pool, queries=queries, is_registered=clients.is_registered)
    statistics = Statistics(pool=pool, queries=queries)
    runs = Runs(pool=pool, queries=queries)
    quarantine = Quarantine(pool=servers.captures_pool, queries=queries, publisher=Publisher(servers.broker))
    dead_letters = DeadLetters(url=settings.rabbitmq_url, work_queues=WORK_QUEUES, ca_file=settings.tls_ca_file)
    yield PullRoutes(pulls=pulls, clients=clients).router()
    yield ClientRankingRoutes(captures=captures, clients=clients).router()
    yield ClientRoutes(
        clients=clients,
        nudges=_nudges(settings, servers),
        dispatcher=dispatcher,
        probe=ClientProbe(http=servers.http),
        access=access,
        limits=shared.limits,
    ).router()
    yield StatusRoutes(clients=clients, schedule=schedule, statistics=statistics).router()
    yield SyncRoutes(runs=runs, dispatcher=dispatcher, access=access).router()
    yield RunRoutes(runs=runs).router()
    scheduler = SchedulerRoutes(
        schedule=schedule,
        statistics=statistics,
        cleanup=work.cleanup,
        cleanup_interval_s=settings.pull_sync_cleanup_interval,
    )
    yield scheduler.router()
    yield ClaimRoutes(leases=work.leases, holders=work.holders, key_fingerprint=access.key_fingerprint).router()
    ranking = RankingRoutes(captures=captures)
    yield ranking.router()
    facts = CaptureFacts(pool=pool, captures_pool=servers.captures_pool, queries=queries, dead_letters=dead_letters)
    yield CaptureRoutes(facts=facts, access=access).router()
    yield QuarantineRoutes(quarantine=quarantine).router()
    yield DeadLetterRoutes(dead_letters=dead_letters).router()
    gauges = RegistryGauges(statistics=statistics, schedule=schedule, runs=runs, captures=captures)
    watch_database(servers.metrics, pool, servers.captures_pool, read=gauges.read)
    yield DiagnosisRoutes(diagnosis=_diagnosis(settings, servers, shared.migrations)).router()
    queues = ReadOnce(_queues(settings).report, every_s=QUEUES_EVERY_S)
    topics = Topics(
        common={
            "status": scheduler.status,
            "runs": partial(runs.latest, _RUNS_SHOWN),
            "queues": queues.get,
            "minutes": statistics.minutes,
            "ranking": partial(ranking.entries, _RANKING_SHOWN),
        },
        clients=clients,
        pulls=pulls,
    )
    yield EventRoutes(topics=topics, queues=queues, database=condition_of(pool)).router()
    yield SystemRoutes(
        statistics=statistics,
        captures=captures,
        health=Health(
            checks={
                "database": partial(answers, pool),
                "database_writes": partial(takes_writes, pool),
                "broker": servers.connection.ready,
            },
            start=shared.start,
        ),
        metrics=servers.metrics,
        access=access,
    ).router()


def _nudges(settings: RegistrySettings, servers: Servers) -> Nudges:
    return Nudges(
        pool=servers.pool,
        queries=servers.queries,
        spacing=timedelta(seconds=settings.pull_sync_nudge_spacing),
        burst=settings.pull_sync_nudge_burst,
    )


def _diagnosis(settings: RegistrySettings, servers: Servers, migrations: Path) -> Diagnosis:
    return Diagnosis(
        version=VERSION,
        settings=SettingsReport(
            is_anonymous=not settings.operator_tokens,
            timeout_s=settings.pull_sync_timeout,
            lease_s=settings.pull_sync_lease,
        ),
        database=DatabaseDiagnosis(
            pool=servers.pool, captures_pool=servers.captures_pool, queries=servers.queries, migrations=migrations
        ),
        broker=BrokerDiagnosis(url=settings.rabbitmq_url, ca_file=settings.tls_ca_file),
    )


def _queues(settings: RegistrySettings) -> Queues:
    return Queues(
        url=settings.rabbitmq_management_url,
        link=settings.rabbitmq_management_link,
        rabbitmq_url=settings.rabbitmq_url,
        ca_file=settings.tls_ca_file,
    )
