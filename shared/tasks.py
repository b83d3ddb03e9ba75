"""Tasks that run as long as their service."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeVar

import structlog

log = structlog.get_logger()

ResultT = TypeVar("ResultT")


@asynccontextmanager
async def running(name: str, work: Callable[[], Coroutine[Any, Any, None]]) -> AsyncIterator[None]:
    """Run `work` until leaving, then cancel it and wait for its end.

    It is meant to run for ever: should it end by itself, by an error that it does not handle, the service logs why
    and stops in order, to be started again by whoever watches it. A service that lacks a part must not look healthy.
    """
    task = asyncio.create_task(work(), name=name)
    task.add_done_callback(_stop_service)
    try:
        yield
    finally:
        task.remove_done_callback(_stop_service)
        task.cancel()
        with suppress(asyncio.CancelledError, Exception):  # an error was logged when it happened
            await task


async def all_ended(work: Iterable[Awaitable[ResultT]]) -> list[ResultT]:
    """The results of all; when none goes on any more, since whoever tries all of it again must not meet itself.

    Raises:
        BaseException: what the first of those raised that did.
    """
    ended = await asyncio.gather(*(_settled(each) for each in work))
    for _, error in ended:
        if error is not None:
            raise error
    return [result for results, _ in ended for result in results]


async def _settled(work: Awaitable[ResultT]) -> tuple[tuple[ResultT, ...], BaseException | None]:
    try:
        return (await work,), None
    except Exception as error:  # noqa: BLE001 - raised when all have ended
        return (), error


def is_cancelled() -> bool:
    """Whether somebody has cancelled the current task.

    A library whose own task or future was cancelled under us raises `CancelledError` too, and that is a failure like
    any other: aiormq does when a connection ends.
    """
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _stop_service(task: asyncio.Task[None]) -> None:
    error = asyncio.CancelledError() if task.cancelled() else task.exception()
    log.error("task_died", task=task.get_name(), exc_info=error)
    os.kill(os.getpid(), signal.SIGTERM)
