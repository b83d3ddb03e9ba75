"""Deletes captures that were acknowledged long ago. A pending capture is never deleted.

Time is how long the client has run, by the monotonic clock, over all its starts: a clock that is set deletes nothing.
What it ran since the last step is not counted when it ends, so a capture may stay for somewhat longer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import structlog

from services.client.errors import StoreUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import timedelta

    from services.client.store import CaptureStore

_INTERVAL_S: Final = 600.0

log = structlog.get_logger()


class Retention:
    """Keeps acknowledged captures for a while, for `all-captures` and for whoever looks for one."""

    def __init__(self, *, store: CaptureStore, keep: timedelta, monotonic: Callable[[], float]) -> None:
        self._store = store
        self._keep_s = int(keep.total_seconds())
        self._monotonic = monotonic
        self._counted_to = monotonic()

    async def step(self) -> float:
        """Delete what is too old now; gives the seconds until the next time."""
        ran_s = int(self._monotonic() - self._counted_to)
        try:
            purged = await self._store.purge(ran_s=ran_s, keep_s=self._keep_s)
        except StoreUnavailableError as error:
            log.debug("retention_postponed", reason=str(error))  # the database has told it
        else:
            self._counted_to += ran_s
            log.debug("retention_done", purged=purged)
        return _INTERVAL_S
