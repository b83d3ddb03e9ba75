"""The timer: claims clients shortly before they are due, and pulls each at its slot, many at once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from random import SystemRandom
from typing import Final

import structlog

from services.puller.leases import HeldLeases
from services.puller.observer import PullObserver
from services.puller.pull import PENDING, Asked, Puller
from services.puller.registry_api import RegistryApi, RegistryAwayError
from shared.contracts.claims import CLAIM_LIMIT
from shared.contracts.messages import PullTarget
from shared.errors import OwnLackError, TransientError
from shared.rabbitmq.broker import PublishError

CLAIM_EVERY_S: Final = 0.25
"""On the average: at random moments, so that several pullers get equal shares."""
CLAIM_AHEAD_S: Final = 0.5
"""Longer than from one claim to the next, so that a client is with a puller when its slot comes."""
_ROOM_EVERY_S: Final = 0.05
_AWAY_PAUSES_S: Final = (1.0, 2.0, 5.0)
_SMALLEST_CLAIM: Final = 10
_BEGIN_AT_ONCE: Final = 10
"""Pulls that begin in one turn of the event loop. With more the first answers wait until the last request is sent; with
one the turns cost a third of each pull."""

log = structlog.get_logger()


class Pulls:
    """The pulls under way, never more than `concurrency`, from the timer and on demand together."""

    def __init__(self, *, puller: Puller, concurrency: int, observer: PullObserver | None = None) -> None:
        self._puller = puller
        self._observer = observer or PullObserver()
        self._permits = asyncio.Semaphore(concurrency)
        self._beginning = asyncio.Semaphore(_BEGIN_AT_ONCE)
        self._under_way: set[asyncio.Task[None]] = set()
        self._concurrency = concurrency

    @property
    def room(self) -> int:
        """How many more could begin now."""
        return max(0, self._concurrency - len(self._under_way))

    @property
    def under_way(self) -> int:
        """How many there are, those included whose slot is still to come."""
        return len(self._under_way)

    def begin(self, targets: Sequence[PullTarget], asked: Asked = PENDING) -> list[asyncio.Task[None]]:
        """Pull these clients, each when it is due; each task raises what `Puller.pull` raises."""
        now = time.monotonic()
        tasks = [asyncio.create_task(self._pull(target, asked, now + target.due_in_s)) for target in targets]
        self._under_way.update(tasks)
        for task in tasks:
            task.add_done_callback(self._under_way.discard)
        return tasks

    async def drain(self) -> None:
        """Wait until no pull is under way."""
        while self._under_way:
            await asyncio.wait(self._under_way)

    async def _pull(self, target: PullTarget, asked: Asked, due: float) -> None:
        if target.due_in_s > 0:
            await asyncio.sleep(target.due_in_s)
        async with self._permits:
            async with self._beginning:
                await asyncio.sleep(0)
            self._observer.begins(time.monotonic() - due)
            await self._puller.pull(target, asked)


class Timer:
    """Asks for as many clients as there is room for; while claims come back full, it asks again at once.

    It asks for none while nothing can be handed over: what it took would be lost to the others until the leases end.
    """

    def __init__(
        self,
        *,
        registry: RegistryApi,
        pulls: Pulls,
        can_hand_over: Callable[[], Awaitable[bool]],
        leases: HeldLeases | None = None,
        observer: PullObserver | None = None,
    ) -> None:
        self._registry = registry
        self._leases = leases or HeldLeases()
        self._observer = observer or PullObserver()
        self._pulls = pulls
        self._can_hand_over = can_hand_over
        self._random = SystemRandom()

    async def run(self) -> None:
        """Until cancelled. A registry that is away is asked again, with pauses."""
        failures = 0
        while True:
            try:
                full = await self.claim()
            except RegistryAwayError as error:
                if failures == 0:
                    log.warning("registry_away", problem=str(error), retrying=True)
                await asyncio.sleep(_AWAY_PAUSES_S[min(failures, len(_AWAY_PAUSES_S) - 1)])
                failures += 1
                continue
            if failures:
                log.info("registry_back", failures=failures)
            failures = 0
            if not full:
                await asyncio.sleep(CLAIM_EVERY_S * self._random.uniform(0.5, 1.5))

    async def claim(self) -> bool:
        """Claim once and begin the pulls; whether there may be more.

        Raises:
            RegistryAwayError: nothing was claimed.
        """
        if not await self._can_hand_over():
            return False
        limit = min(self._pulls.room, CLAIM_LIMIT)
        if limit < _SMALLEST_CLAIM:
            await asyncio.sleep(_ROOM_EVERY_S)  # room comes as pulls end
            return True
        targets = await self._claimed(limit)
        if targets:
            log.info("claimed", pulls=len(targets))
        for target, task in zip(targets, self._pulls.begin(targets), strict=True):
            task.add_done_callback(partial(self._ended, target))
        return len(targets) == limit

    async def _claimed(self, limit: int) -> Sequence[PullTarget]:
        began, claim = time.monotonic(), self._leases.next_claim()
        try:
            targets = await self._registry.claim(limit, ahead_s=CLAIM_AHEAD_S, claim=claim)
        except RegistryAwayError:
            self._observer.claimed(None, time.monotonic() - began)
            raise
        self._leases.took(claim, targets)
        self._observer.claimed(len(targets), time.monotonic() - began)
        return targets

    def _ended(self, target: PullTarget, task: asyncio.Task[None]) -> None:
        """A timer's pull has nobody waiting for it. What may pass gives the lease back; a bug keeps it."""
        if task.cancelled():
            return  # it is still in hand: the puller ends, and gives all of these back
        error = task.exception()
        if isinstance(error, TransientError):
            self._leases.give_back(target.pull_id)
        else:
            self._leases.ended(target.pull_id)
        if error is not None:
            _log_untold(target, error)


def _log_untold(target: PullTarget, error: BaseException) -> None:
    if isinstance(error, OwnLackError):
        return  # of what we lack it is told once for all pulls
    if isinstance(error, PublishError):
        log.warning("outcome_untold", user_id=target.user_id, pull_id=target.pull_id, problem=str(error))
    else:
        log.error("pull_died", user_id=target.user_id, pull_id=target.pull_id, exc_info=error)
