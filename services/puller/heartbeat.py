"""Shows the registry that this puller is alive, and what it holds."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import structlog

from services.puller.leases import HeldLeases
from services.puller.registry_api import RegistryApi, RegistryAwayError
from shared.contracts.claims import HEARTBEAT_EVERY_S
from shared.tasks import running

_AGAIN_S: Final = 1.0
_GOODBYE_S: Final = 1.0

log = structlog.get_logger()


class Heartbeat:
    """One each few seconds; a registry that is away gets the next one."""

    def __init__(self, *, registry: RegistryApi, leases: HeldLeases) -> None:
        self._registry = registry
        self._leases = leases

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Beat until leaving, and give back then what is in hand."""
        try:
            async with running("heartbeat", self.run):
                yield
        finally:
            await self.leave()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            pause_s = HEARTBEAT_EVERY_S
            try:
                await self.beat()
            except RegistryAwayError:  # the timer, which asks more often, logs it
                pause_s = _AGAIN_S
            await asyncio.sleep(pause_s)

    async def beat(self) -> None:
        """Tell what is held.

        Raises:
            RegistryAwayError: it was not told, or not in time; the next beat tells all of it.
        """
        held = self._leases.held()
        try:
            async with asyncio.timeout(HEARTBEAT_EVERY_S):  # one that hangs must not make us look dead
                await self._registry.heartbeat(held)
        except TimeoutError as error:
            message = f"no answer to a heartbeat within {HEARTBEAT_EVERY_S:g} s"
            raise RegistryAwayError(message) from error
        self._leases.acknowledged(held)

    async def leave(self) -> None:
        """Give back what is still in hand, at the end; without an answer the registry finds it out by the silence."""
        try:
            async with asyncio.timeout(_GOODBYE_S):
                await self._registry.heartbeat(self._leases.held(), leaves=True)
        except (RegistryAwayError, TimeoutError) as error:
            log.info("goodbye_untold", problem=str(error) or type(error).__name__)
