"""Work that goes on beside the requests: named tasks which repeat a step, and outlive a step that failed."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Final

import structlog

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    Step = Callable[[], Awaitable[float]]
    """Does something once, and tells the seconds until the next time."""

_PAUSE_AFTER_FAILURE_S: Final = 30.0

log = structlog.get_logger()


@asynccontextmanager
async def repeating(
    name: str,
    step: Step,
    *,
    woken: asyncio.Event | None = None,
    pause_after_failure_s: float = _PAUSE_AFTER_FAILURE_S,
) -> AsyncIterator[None]:
    """Repeat the step for as long as the block lasts; when it ends, the step under way is cancelled and awaited.

    Setting `woken` ends the pause between two steps, once; set while a step runs, it skips the pause after that.
    """
    task = asyncio.create_task(_repeat(name, step, woken or asyncio.Event(), pause_after_failure_s), name=name)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait({task})


async def _repeat(name: str, step: Step, woken: asyncio.Event, pause_after_failure_s: float) -> None:
    while True:
        try:
            pause_s = await step()
        except Exception:  # a fault in here must not end the collecting of captures; it is told with its trace
            log.exception("background_step_failed", task=name)
            pause_s = pause_after_failure_s
        with suppress(TimeoutError):
            async with asyncio.timeout(pause_s):
                await woken.wait()
        woken.clear()
