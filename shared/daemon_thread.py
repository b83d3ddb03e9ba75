"""Work in a thread that nobody waits for at the end: neither the loop's nor the process'.

The threads of a pool are joined at exit, so that one look-up of a name, or one hostile answer, would hold up a stop.
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from threading import Thread
from typing import TypeVar

ResultT = TypeVar("ResultT")


async def in_daemon_thread(work: Callable[[], ResultT], *, room: asyncio.Semaphore) -> ResultT:
    """The result of `work`, once there is room; the room is kept until it ends, even if nobody waits for it any more.

    Raises:
        OSError: no thread could be started.
        Exception: what `work` raised.
    """
    await room.acquire()
    done: asyncio.Future[ResultT] = asyncio.get_running_loop().create_future()
    try:
        Thread(target=_run, args=(work, done, room), name="daemon-work", daemon=True).start()
    except RuntimeError as error:
        room.release()
        raise OSError(errno.ENOMEM, "no thread could be started") from error
    return await done


def _run(work: Callable[[], ResultT], done: asyncio.Future[ResultT], room: asyncio.Semaphore) -> None:
    tell: Callable[[], None]
    try:
        tell = partial(done.set_result, work())
    except Exception as error:  # noqa: BLE001 - raised where it is waited for
        tell = partial(done.set_exception, error)
    with suppress(RuntimeError):  # the loop was closed meanwhile
        done.get_loop().call_soon_threadsafe(_end, done, room, tell)


def _end(done: asyncio.Future[ResultT], room: asyncio.Semaphore, tell: Callable[[], None]) -> None:
    room.release()
    if not done.done():  # nobody gave up
        tell()
