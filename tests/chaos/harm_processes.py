"""Harm to the services' processes."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress
from random import Random
from typing import Final

import httpx

from shared.contracts.topology import CAPTURE_BATCHES, PULL_REQUESTED, PULL_SETTLED
from tests.chaos.insisting import insist
from tests.chaos.plan import Fault, Kind
from tests.chaos.world import INGESTS, PULLERS, REGISTRIES, SERVICES, Work, World

_POLICY: Final = "chaos"
_HTTP_TIMEOUT_S: Final = 5.0
_CONSUMERS: Final = {
    CAPTURE_BATCHES.name: INGESTS,
    PULL_REQUESTED.name: PULLERS,
    PULL_SETTLED.name: REGISTRIES,
}


class ProcessHarm:
    """Kills, restarts and freezes services; what it stopped it starts again."""

    def __init__(self, world: World) -> None:
        self._world = world

    def works(self) -> Mapping[Kind, Work]:
        """By the kind of fault."""
        return {
            Kind.KILL_REGISTRY: self._kill(REGISTRIES),
            Kind.KILL_PULLER: self._kill(PULLERS),
            Kind.KILL_INGEST: self._kill(INGESTS),
            Kind.RESTART_SERVICE: self._restart,
            Kind.FREEZE_SERVICE: self._freeze,
            Kind.FULL_QUEUE: self._fill_queue,
        }

    async def heal(self) -> None:
        """Take the limit off the queues."""
        await insist(lambda: self._limit_queue(None))

    def _kill(self, names: Sequence[str]) -> Work:
        async def kill(fault: Fault, random: Random) -> str:
            name = random.choice(names)
            await self._world.kill_service(name)
            await asyncio.sleep(fault.duration_s)
            await self._world.start_service(name)
            return name

        return kill

    async def _restart(self, fault: Fault, random: Random) -> str:
        name = random.choice(SERVICES)
        await self._world.stop_service(name)
        await asyncio.sleep(fault.duration_s)
        await self._world.start_service(name)
        return name

    async def _freeze(self, fault: Fault, random: Random) -> str:
        name = random.choice(SERVICES)
        pid = self._world.stack.pid(name)
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)
            try:
                await asyncio.sleep(fault.duration_s)
            finally:
                os.kill(pid, signal.SIGCONT)
        return name

    async def _fill_queue(self, fault: Fault, random: Random) -> str:
        """A queue that takes one message, and nobody who takes that away."""
        queue = random.choice(sorted(_CONSUMERS))
        await self._limit_queue(queue)
        for name in _CONSUMERS[queue]:
            await self._world.kill_service(name)
        await asyncio.sleep(fault.duration_s)
        for name in _CONSUMERS[queue]:
            await self._world.start_service(name)
        await insist(lambda: self._limit_queue(None))
        return queue

    async def _limit_queue(self, queue: str | None) -> None:
        """To one message; with None no queue is limited.

        Raises:
            httpx.HTTPError: the broker is away.
        """
        node = self._world.rabbitmq
        async with httpx.AsyncClient(timeout=_HTTP_TIMEOUT_S, trust_env=False, auth=(node.user, node.password)) as http:
            url = f"{node.management_url}/api/policies/%2F/{_POLICY}"
            if queue is None:
                response = await http.delete(url)
            else:
                pattern = f"^{queue.replace('.', '[.]')}$"
                policy = {"pattern": pattern, "definition": {"max-length": 1}, "apply-to": "queues"}
                response = await http.put(url, json=policy)
        if response.status_code != httpx.codes.NOT_FOUND:
            response.raise_for_status()
