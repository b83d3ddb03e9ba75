"""One reading for all who ask at about the same time, so that the work does not grow with those who look."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

from shared.observing.log_context import new_context

ValueT = TypeVar("ValueT")


class ReadOnce(Generic[ValueT]):
    """What `read` returns. One reading is under way at a time, and they begin at least `every_s` seconds apart."""

    def __init__(self, read: Callable[[], Coroutine[Any, Any, ValueT]], *, every_s: float) -> None:
        self._read = read
        self._every_s = every_s
        self._reading: asyncio.Task[ValueT] | None = None
        self._again_at = 0.0
        """By the loop's clock."""

    async def get(self) -> ValueT:
        """The latest value, whose reading began at most `every_s` seconds ago, or is under way.

        Raises what reading raised, and for as long. Who is cancelled leaves the reading to the others.
        """
        now = asyncio.get_running_loop().time()
        if self._reading is None or (self._reading.done() and now >= self._again_at):
            self._again_at = now + self._every_s
            self._reading = asyncio.create_task(self._read(), context=new_context())
            self._reading.add_done_callback(_seen)
        return await asyncio.shield(self._reading)


def _seen(reading: asyncio.Task[Any]) -> None:
    """All who waited may have gone, and asyncio need not say so."""
    if not reading.cancelled():
        reading.exception()
