"""Turns demands into `PullRequested`. What is lost on the way is found at the next claim, or when the lease ends."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Final
from uuid import uuid4

import structlog

from services.registry.holders import Claimant, Holders
from services.registry.leases import Asked, Leases
from shared.contracts.messages import PULLS_PER_REQUEST, PullRequested, PullTarget
from shared.contracts.topology import PULL_REQUESTED
from shared.observing.log_context import bind
from shared.postgres.database import TRANSIENT
from shared.rabbitmq.broker import Publisher, PublishError

_TICK_S: Final = 1.0
_AWAY_PAUSES_S: Final = (1.0, 2.0, 5.0)

log = structlog.get_logger()


class Dispatcher:
    """Claims demanded clients and asks the pullers for them: when woken, and each second."""

    def __init__(self, *, leases: Leases, holders: Holders, publisher: Publisher) -> None:
        self._leases = leases
        self._holders = holders
        self._holder_id = uuid4()
        self._claims = 0
        self._answered = 0
        """Every lease of the claims up to this one was passed on to a puller, or given back."""
        self._publisher = publisher
        self._woken = asyncio.Event()

    def wake(self, *, in_s: float = 0.0) -> None:
        """There may be a new demand, now or in so many seconds."""
        if in_s > 0:
            asyncio.get_running_loop().call_later(in_s, self._woken.set)
        else:
            self._woken.set()

    async def run(self) -> None:
        """Until cancelled. A broker or database that is away is tried again, after growing pauses."""
        failures = 0
        while True:
            try:
                await self.dispatch()
            except (PublishError, *TRANSIENT) as error:
                if failures == 0:
                    log.warning("dispatch_failed", problem=str(error) or type(error).__name__, retrying=True)
                await asyncio.sleep(_AWAY_PAUSES_S[min(failures, len(_AWAY_PAUSES_S) - 1)])
                failures += 1
                continue
            if failures:
                log.info("dispatch_works_again", failures=failures)
            failures = 0
            await self._demand()

    async def _demand(self) -> None:
        """Wait until woken, a second at most."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_TICK_S):
                await self._woken.wait()
        self._woken.clear()

    async def dispatch(self) -> int:
        """Ask for all that may be asked for now; how many clients.

        Raises:
            PublishError: the broker is away; leases that were not passed on are given back.
            asyncpg.PostgresError, OSError: the database is away; they are taken back at the next claim.
        """
        claimed = await self._claim()
        requests = [
            self._ask(asked, tuple(targets[start : start + PULLS_PER_REQUEST]))
            for asked, targets in claimed.items()
            for start in range(0, len(targets), PULLS_PER_REQUEST)
        ]
        results = await asyncio.gather(*requests, return_exceptions=True)
        errors = [result for result in results if isinstance(result, BaseException)]
        if all(isinstance(error, PublishError) for error in errors):
            self._answered = self._claims
        if errors:
            raise errors[0]
        return sum(map(len, claimed.values()))

    async def beat(self) -> None:
        """Tell that this registry is alive. May be repeated."""
        await self._holders.beat(self._holder_id, answered=self._answered, in_hand=())

    async def _claim(self) -> dict[Asked, list[PullTarget]]:
        """What is demanded; what earlier claims took and nobody was asked for is demanded again."""
        await self.beat()
        claimant = Claimant(holder_id=self._holder_id, number=self._claims + 1, answered=self._answered)
        await self._holders.take_back(claimant)
        self._claims += 2
        return await self._leases.claim_demanded(claimant)

    async def _ask(self, asked: Asked, targets: tuple[PullTarget, ...]) -> None:
        if asked.run_id:
            bind(run_id=asked.run_id)
        request = PullRequested(since=asked.since, complete=asked.complete, targets=targets)
        try:
            await self._publisher.publish(request, routing_key=PULL_REQUESTED.routing())
        except PublishError:
            await self._leases.release([target.pull_id for target in targets])
            raise
        log.info("pulls_requested", pulls=len(targets))
        for target in targets:
            log.debug("pull_requested", user_id=target.user_id, pull_id=target.pull_id)
