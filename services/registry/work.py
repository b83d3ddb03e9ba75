"""What goes on beside the requests: the part of the registry's composition that knows how the settings time it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from services.registry.cleanup import Cleanup, SilenceLimits
from services.registry.dispatcher import Dispatcher
from services.registry.leases import Leases, LeaseTimes
from services.registry.schedule import Schedule
from services.registry.servers import Servers
from services.registry.settings import RegistrySettings
from shared.rabbitmq.broker import Publisher


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What goes on beside the requests."""

    schedule: Schedule
    leases: Leases
    dispatcher: Dispatcher
    cleanup: Cleanup


def work_of(settings: RegistrySettings, servers: Servers) -> Work:
    """All of it, not yet running."""
    pool, queries = servers.pool, servers.queries
    leases = Leases(pool=pool, queries=queries, in_flight=settings.pull_sync_in_flight, times=_lease_times(settings))
    return Work(
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
