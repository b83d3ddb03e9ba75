"""Group commit: handlers hand over what they have and wait; a writer commits all that has gathered at once."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Final

import asyncpg
import stamina
import structlog

from services.ingest.errors import StoreUnavailableError
from services.ingest.incoming import ReceivedPull
from services.ingest.observer import IngestObserver
from services.ingest.store import CaptureStore, is_stored_already
from shared.contracts.encoding import encoded
from shared.contracts.messages import PulledCapture, UnreadableItem
from shared.observing import tracing
from shared.postgres.database import TRANSIENT
from shared.postgres.illness import is_of_a_part

GROUP_ROWS: Final = 10_000
"""Rows after which a group is full; a larger pull makes a group of its own."""
GROUPS_AT_ONCE: Final = 3
"""While some are with Postgres, the next one is made and sent."""
WORTH_ROWS: Final = 4_000
"""Rows for which a group is worth a commit beside another."""
RETRY_S: Final = 10.0
"""How long a transaction is tried again here; then its messages are held (`shared.rabbitmq.holding`)."""

UNSTORABLE: Final = (
    ValueError,  # asyncpg can't encode it
    OverflowError,
    asyncpg.DataError,
    asyncpg.ProgramLimitExceededError,
)
"""Errors that a capture has for its own sake, on any server, at any time. No constraint of ours is broken by a capture:
one that is speaks of the tables, and then nothing may go into quarantine."""

REFUSED: Final = "the database refused it: "
"""How the problem of a capture begins that could be read and not stored. Its raw text is our own form of a capture."""

log = structlog.get_logger()


class Waiting:
    """What somebody wants to have written, and waits for."""

    def __init__(self, pulls: Sequence[ReceivedPull]) -> None:
        self.pulls = pulls
        self.rows = sum(pull.rows for pull in pulls)
        self.done: asyncio.Future[list[int]] = asyncio.get_running_loop().create_future()

    def succeed(self, counts: list[int]) -> None:
        """It is committed."""
        if not self.done.done():
            self.done.set_result(counts)

    def fail(self, error: Exception) -> None:
        """Nothing of it is known to be stored."""
        if not self.done.done():
            self.done.set_exception(error)


class Writer:
    """`write` returns after the commit; a transaction is tried again while Postgres is away, for a bounded time."""

    def __init__(self, *, store: CaptureStore, observer: IngestObserver | None = None) -> None:
        self._store = store
        self._observer = observer or IngestObserver()
        self._waiting: deque[Waiting] = deque()
        self._waiting_rows = 0
        self._committing = 0
        """Groups that are with Postgres."""
        self._changed = asyncio.Event()
        """Set when there is more to write, or a commit has ended."""
        self._unwritten = 0
        self._calm = asyncio.Event()
        self._calm.set()

    @property
    def waiting_rows(self) -> int:
        """What has gathered for the next commit."""
        return self._waiting_rows

    async def write(self, pulls: Sequence[ReceivedPull]) -> list[int]:
        """Store these pulls, with those of others; how many captures of each were new.

        Raises:
            StoreUnavailableError: Postgres did not take them in time; nothing of them is known to be stored.
        """
        waiting = Waiting(pulls)
        self._waiting.append(waiting)
        self._waiting_rows += waiting.rows
        self._changed.set()
        self._unwritten += 1
        self._calm.clear()
        try:
            return await waiting.done
        finally:
            self._unwritten -= 1
            if not self._unwritten:
                self._calm.set()

    async def calm(self, *, within_s: float) -> None:
        """Return when nothing waits to be written, or after so long."""
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await self._calm.wait()

    async def run(self) -> None:
        """Commit group after group, until cancelled."""
        async with asyncio.TaskGroup() as commits:
            while True:
                while not self._worth_a_commit():
                    self._changed.clear()
                    await self._changed.wait()
                self._committing += 1
                commits.create_task(self._write(self._take()))

    def _worth_a_commit(self) -> bool:
        """Beside a commit that is under way only much is: a little is cheaper together with what comes meanwhile."""
        if not self._committing:
            return bool(self._waiting)
        return self._waiting_rows >= WORTH_ROWS and self._committing < GROUPS_AT_ONCE

    def _take(self) -> list[Waiting]:
        group, rows = [], 0
        while self._waiting and rows < GROUP_ROWS:
            group.append(self._waiting.popleft())
            rows += group[-1].rows
        self._waiting_rows -= rows
        return group

    async def _write(self, group: Sequence[Waiting]) -> None:
        try:
            await self._write_group(group)
        finally:
            self._committing -= 1
            self._changed.set()

    async def _write_group(self, group: Sequence[Waiting]) -> None:
        """Together; each alone when Postgres is ill in a part of its tables, so that the others are stored."""
        pulls = [pull for waiting in group for pull in waiting.pulls]
        try:
            with tracing.of_pulls("commit", pulls):
                counts = await self._commit(pulls)
        except Exception as error:  # noqa: BLE001 - whoever waits must be told, whatever it was
            is_shared = len(group) > 1 and is_of_a_part(error)
            for waiting in group:
                if is_shared:
                    await self._write_group([waiting])
                else:
                    waiting.fail(error)
        else:
            for waiting in group:
                mine, counts = counts[: len(waiting.pulls)], counts[len(waiting.pulls) :]
                waiting.succeed(mine)

    async def _commit(self, pulls: Sequence[ReceivedPull]) -> list[int]:
        try:
            async for attempt in stamina.retry_context(
                on=_may_soon_pass, attempts=None, timeout=RETRY_S, wait_initial=0.1, wait_max=5.0
            ):
                with attempt:
                    return await self._commit_once(pulls)
        except Exception as error:
            if is_unstorable(error):
                return await self._commit_apart(pulls, error)
            if not may_pass(error):
                raise
            message = f"the database did not take {sum(pull.rows for pull in pulls)} rows: {error}"
            raise StoreUnavailableError(message) from error
        raise AssertionError

    async def _commit_once(self, pulls: Sequence[ReceivedPull]) -> list[int]:
        began = time.monotonic()
        try:
            counts = await self._store.store(pulls)
        except Exception:
            self._observer.not_committed()
            raise
        self._observer.committed(pulls, counts, seconds=time.monotonic() - began)
        return counts

    async def _commit_apart(self, pulls: Sequence[ReceivedPull], error: Exception) -> list[int]:
        """Halve until the guilty capture is alone, and put that into quarantine."""
        if len(pulls) > 1:
            middle = len(pulls) // 2
            return await self._commit(pulls[:middle]) + await self._commit(pulls[middle:])
        (pull,) = pulls
        if len(pull.captures) > 1:
            middle = len(pull.captures) // 2
            first = replace(pull, captures=pull.captures[:middle], unreadable=())
            second = replace(pull, captures=pull.captures[middle:])
            (a,), (b,) = await self._commit([first]), await self._commit([second])
            return [a + b]
        if not pull.captures:
            raise error
        log.error("capture_unstorable", user_id=pull.user_id, pull_id=pull.pull_id, problem=str(error))
        guilty = _quarantined(pull.captures[0], error)
        return await self._commit([replace(pull, captures=(), unreadable=(*pull.unreadable, guilty))])


def may_pass(error: Exception) -> bool:
    """Whether the same transaction may do better a little later."""
    return (isinstance(error, TRANSIENT) or is_stored_already(error)) and not is_unstorable(error)


def _may_soon_pass(error: Exception) -> bool:
    """Where an operator has to mend something, the messages are held at once, and others go on."""
    return may_pass(error) and not is_of_a_part(error)


def is_unstorable(error: Exception) -> bool:
    """Whether a capture is at fault."""
    # asyncpg's errors of encoding are both an InterfaceError and a ValueError, and so are those of its settings.
    return isinstance(error, UNSTORABLE) and not isinstance(error, asyncpg.ClientConfigurationError)


def _quarantined(capture: PulledCapture, error: Exception) -> UnreadableItem:
    return UnreadableItem(
        capture_id=capture.capture_id,
        problem=f"{REFUSED}{error}"[:500],
        raw=encoded(capture).decode(),
    )
