"""Waits until something is so, with a deadline: a benchmark that is stuck says what it waited for."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final

_DEADLINE_S: Final = 600.0


async def until(what: str, holds: Callable[[], Awaitable[bool]], *, every_s: float = 0.05) -> None:
    """Return when it holds.

    Raises:
        TimeoutError: it did not within ten minutes; the text says what.
    """
    end = time.monotonic() + _DEADLINE_S
    while not await holds():
        if time.monotonic() > end:
            message = f"it is still not so: {what}"
            raise TimeoutError(message)
        await asyncio.sleep(every_s)
