"""A part of the diagnosis that is given up after a time, whatever it does with that."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import structlog

ResultT = TypeVar("ResultT")

log = structlog.get_logger()


async def within(seconds: float, part: Coroutine[Any, Any, ResultT], *, otherwise: ResultT, name: str) -> ResultT:
    """What the part returns; `otherwise` when it did not in that time, or failed, which is logged.

    It is cancelled then, and not waited for: a library that swallows a cancellation would keep us for ever.
    """
    task = asyncio.create_task(part)
    done, _ = await asyncio.wait({task}, timeout=seconds)
    if not done:
        task.cancel()
        task.add_done_callback(_seen)
        log.warning("diagnosis_gave_up", part=name, after_s=seconds)
        return otherwise
    if error := task.exception():
        log.error("diagnosis_failed", part=name, problem=f"{type(error).__name__}: {error}")
        return otherwise
    return task.result()


def _seen(task: asyncio.Task[Any]) -> None:
    """Nobody waits for it any more, and asyncio need not say so."""
    if not task.cancelled():
        task.exception()
