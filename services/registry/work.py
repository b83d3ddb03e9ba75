"""What goes on beside the requests: the part of the registry's composition that knows how the settings time it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta

from services.registry.cleanup import Cleanup, SilenceLimits
from services.registry.clock import Clock
from services.registry.dispatcher import Dispatcher
from services.registry.holders import DeathWatch, Holders
from services.registry.leases import Leases, LeaseTimes
from services.registry.schedule import Schedule
from services.registry.servers import Servers
from services.registry.settings import RegistrySettings
from shared.rabbitmq.broker import Publisher
from shared.tasks import running


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What goes on beside the requests."""

    schedule: Schedule
    leases: Leases
    holders: Holders
    death_watch: DeathWatch
    dispatcher: Dispatcher
    cleanup: Cleanup
    clock: Clock

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Let it go on until leaving."""
        parts = {
            "dispatcher": self.dispatcher.run,
            "cleanup": self.cleanup.run,
            "death_watch": self.death_watch.run,
            "clock": self.clock.run,
        }
        async with AsyncExitStack() as stack:
            for name, run in parts.items():
                await stack.enter_async_context(running(name, run))
            yield


def work_of(settings: RegistrySettings, servers: Servers) -> Work:
    """All of it, not yet running."""
    pool, queries, times = servers.pool, servers.queries, _lease_times(settings)
    leases = Leases(pool=pool, queries=queries, in_flight=settings.pull_sync_in_flight, times=times)
    holders = Holders(pool=pool, queries=queries, lease=times.lease)
    dispatcher = Dispatcher(leases=leases, holders=holders, publisher=Publisher(servers.broker))
    return Work(
        schedule=Schedule(pool=pool, queries=queries),
        leases=leases,
        holders=holders,
        death_watch=DeathWatch(holders=holders, beat=dispatcher.beat),
        dispatcher=dispatcher,
        cleanup=Cleanup(
            pool=pool,
            queries=queries,
            interval=timedelta(seconds=settings.pull_sync_cleanup_interval),
            silence=_silence_limits(settings),
            history=timedelta(days=settings.pull_sync_history_days),
        ),
        clock=Clock(
            pool=pool,
            queries=queries,
            times=times,
            nudge_spacing=timedelta(seconds=settings.pull_sync_nudge_spacing),
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
