"""Removes clients that were silent for the whole retention, and old runs; once, whatever the number of replicas."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Final

import structlog

from services.registry.clients import Clients
from services.registry.schedule import Schedule
from shared.database import TRANSIENT

_CHECK_S: Final = 60.0
_RUNS_KEPT: Final = timedelta(days=7)

log = structlog.get_logger()


class Cleanup:
    """Each interval, by whichever registry comes first; and on demand."""

    def __init__(self, *, clients: Clients, schedule: Schedule, interval: timedelta, retention: timedelta) -> None:
        self._clients = clients
        self._schedule = schedule
        self._interval = interval
        self._retention = retention

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            try:
                if await self._schedule.begin_cleanup(at_least_since=self._interval):
                    await self._clean()
            except TRANSIENT as error:
                log.warning("cleanup_failed", problem=str(error) or type(error).__name__, retrying=True)
            await asyncio.sleep(_CHECK_S)

    async def now(self) -> int:
        """Clean up at once; how many clients were removed."""
        await self._schedule.begin_cleanup(at_least_since=timedelta(0))
        return await self._clean()

    async def _clean(self) -> int:
        removed = await self._clients.remove_silent(self._retention)
        await self._schedule.remove_old_runs(_RUNS_KEPT)
        log.info("cleaned_up", removed_clients=removed)
        return removed
