"""Deletes captures that were acknowledged long ago. A pending capture is never deleted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import structlog

from services.client.errors import StoreUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime, timedelta

    from services.client.store import CaptureStore

_INTERVAL_S: Final = 3600.0

log = structlog.get_logger()


class Retention:
    """Keeps acknowledged captures for a while, for `all-captures` and for whoever looks for one."""

    def __init__(self, *, store: CaptureStore, keep: timedelta, clock: Callable[[], datetime]) -> None:
        self._store = store
        self._keep = keep
        self._clock = clock

    async def step(self) -> float:
        """Delete what is too old now; gives the seconds until the next time."""
        try:
            purged = await self._store.purge(acknowledged_before=self._clock() - self._keep)
        except StoreUnavailableError as error:
            log.warning("retention_postponed", reason=str(error))
        else:
            log.debug("retention_done", purged=purged)
        return _INTERVAL_S
