"""Nudges: a client asks to be pulled now, without a word about why."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

import asyncpg

from services.registry.errors import Quota, RefusedError, UnknownClientError


class NotPulledError(RefusedError):
    """The client is not pulled now, whoever asks: it is paused, or the timer is stopped."""

    status = 409


class NudgedTooOftenError(RefusedError):
    """A pull that begins later than this nudge is booked already."""

    status = 429

    def __init__(self, user_id: str, *, due_in_s: float, quota: Quota) -> None:
        """For the client of `user_id`, whose booked pull begins in `due_in_s` seconds."""
        super().__init__(f"The client of {user_id!r} is due in {due_in_s:.1f} s already; there is nothing to repeat.")
        self.retry_after_s = due_in_s
        self.quotas = (quota,)


@dataclass(frozen=True, slots=True, kw_only=True)
class Nudged:
    """A nudge that was taken."""

    due_at: datetime
    due_in_s: float
    """0 for at once."""
    quota: Quota
    """What is left of the burst."""


class Nudges:
    """However often a client nudges, it is pulled once in a `spacing` for that in the long run, a `burst` at once."""

    def __init__(self, *, pool: asyncpg.Pool, queries: Mapping[str, str], spacing: timedelta, burst: int) -> None:
        self._pool = pool
        self._queries = queries
        self._spacing = spacing
        self._burst = burst

    async def nudge(self, user_id: str) -> Nudged:
        """Make the client due: now, or, when it nudged more than a burst lately, at the end of the spacing.

        Raises:
            UnknownClientError: there is no such client.
            NotPulledError: it is paused, or the timer is stopped.
            NudgedTooOftenError: the pull at the end of the spacing is booked already.
        """
        row = await self._pool.fetchrow(self._queries["nudge"], user_id, self._spacing, self._burst)
        if row is None:
            raise UnknownClientError(user_id)
        if row["accepted"]:
            return Nudged(due_at=row["due_at"], due_in_s=max(0.0, row["due_in_s"]), quota=self._left(row["spaced_s"]))
        if row["paused"]:
            message = f"The client of {user_id!r} is paused; it is pulled when an operator resumes it."
            raise NotPulledError(message)
        if not row["running"]:
            message = "The scheduler is stopped; clients are pulled when an operator starts it."
            raise NotPulledError(message)
        due_in_s = max(0.0, row["due_in_s"])
        raise NudgedTooOftenError(user_id, due_in_s=due_in_s, quota=self._quota(remaining=0, reset_s=due_in_s))

    def _left(self, spaced_s: float) -> Quota:
        """Of the burst, when what was taken of it is given back over the next `spaced_s` seconds."""
        spacing_s = self._spacing.total_seconds()
        taken = math.ceil(round(spaced_s / spacing_s, 6))
        remaining, next_s = max(0, self._burst - taken), spaced_s - (taken - 1) * spacing_s
        return self._quota(remaining=remaining, reset_s=next_s)

    def _quota(self, *, remaining: int, reset_s: float) -> Quota:
        """A burst is what the spacing gives in so many seconds."""
        window_s = math.ceil(self._burst * self._spacing.total_seconds())
        return Quota(name="nudges", limit=self._burst, window_s=window_s, remaining=remaining, reset_s=reset_s)
