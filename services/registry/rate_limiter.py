"""How often a caller may ask for what is dear: counted by the library `limits`, in the memory of this process.

So each registry counts for itself, and a restart forgets. Windows begin with a caller's first request.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from limits import RateLimitItem, parse_many
from limits.aio.storage import MemoryStorage
from limits.aio.strategies import FixedWindowRateLimiter

from services.registry.errors import Quota, TooManyRequestsError


def rates_of(text: str) -> tuple[RateLimitItem, ...]:
    """`10000/minute; 30000/hour` as two rates; none for `0`, or for nothing.

    Raises:
        ValueError: it is no such text; the error says how it should look.
    """
    if text.strip() in {"", "0"}:
        return ()
    try:
        rates = tuple(parse_many(text))
    except ValueError as error:
        message = "must look like 60/minute, or like 60/minute;1000/hour for both, or be 0 for no limit"
        raise ValueError(message) from error
    if any(rate.amount < 1 for rate in rates):
        message = "must allow at least one in each window; 0 alone is no limit"
        raise ValueError(message)
    return rates


class RateLimiter:
    """Counts what each caller does of one kind, named `name`; without rates everything is allowed."""

    def __init__(self, *, name: str, rates: Sequence[RateLimitItem]) -> None:
        self._name = name
        self._rates = sorted(rates, key=RateLimitItem.get_expiry)
        self._storage = MemoryStorage()
        self._windows = FixedWindowRateLimiter(self._storage)

    async def take(self, caller: str) -> tuple[Quota, ...]:
        """Count one more, and tell what is left in each window.

        Callers must be few: each has a counter for as long as its window, and all of them are looked through.

        Raises:
            TooManyRequestsError: a window is full.
        """
        full = await self._first_full(caller)
        quotas = {rate: await self._quota(rate, caller) for rate in self._rates}
        if full is not None:
            raise TooManyRequestsError(tuple(quotas.values()), again_in_s=quotas[full].reset_s)
        return tuple(quotas.values())

    async def require_room(self, caller: str) -> None:
        """Return when one more would be allowed; nothing is counted.

        Raises:
            TooManyRequestsError: a window is full.
        """
        for rate in self._rates:
            if not await self._windows.test(rate, self._name, caller):
                quotas = {each: await self._quota(each, caller) for each in self._rates}
                raise TooManyRequestsError(tuple(quotas.values()), again_in_s=quotas[rate].reset_s)

    async def _first_full(self, caller: str) -> RateLimitItem | None:
        """What is refused in a short window does not count in the longer ones."""
        for rate in self._rates:
            if not await self._windows.hit(rate, self._name, caller):
                return rate
        return None

    async def _quota(self, rate: RateLimitItem, caller: str) -> Quota:
        window = await self._windows.get_window_stats(rate, self._name, caller)
        window_s = rate.get_expiry()
        return Quota(
            name=f"{self._name}-{window_s}s",
            limit=rate.amount,
            window_s=window_s,
            remaining=window.remaining,
            reset_s=max(0.0, window.reset_time - time.time()),
        )
