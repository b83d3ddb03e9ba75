"""Harm to clients, simulated and reference ones."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from random import Random
from typing import Final

import httpx

from dev.servers.ports import LOOPBACK
from tests.chaos.clients import SLOW_PATH
from tests.chaos.plan import Fault, Kind
from tests.chaos.registering import API
from tests.chaos.world import Work, World

_HTTP_TIMEOUT_S: Final = 5.0
_HUNG_SHARE: Final = 5
_FORGOTTEN_SHARE: Final = 20
"""One of so many users of a process."""


class ClientHarm:
    """Kills clients, lets them hang, and has the registry forget them."""

    def __init__(self, world: World) -> None:
        self._world = world

    def works(self) -> Mapping[Kind, Work]:
        """By the kind of fault."""
        return {
            Kind.KILL_CLIENTS: self._kill,
            Kind.KILL_REFERENCE: self._kill_reference,
            Kind.SLOW_CLIENTS: self._hang,
            Kind.FORGET_CLIENTS: self._forget,
        }

    async def _kill(self, fault: Fault, random: Random) -> str:
        name = random.choice(sorted(self._world.settings))
        await self._world.kill_clients(name)
        await asyncio.sleep(fault.duration_s)
        await self._world.start_clients(name)
        return name

    async def _kill_reference(self, fault: Fault, random: Random) -> str | None:
        if not self._world.references:
            return None
        name = random.choice(self._world.references)
        await self._world.kill_service(name)
        await asyncio.sleep(fault.duration_s)
        await self._world.start_service(name)
        return name

    async def _hang(self, fault: Fault, random: Random) -> str:
        settings = self._world.settings[random.choice(sorted(self._world.settings))]
        users = random.sample(settings.users, max(1, len(settings.users) // _HUNG_SHARE))
        async with httpx.AsyncClient(timeout=_HTTP_TIMEOUT_S, trust_env=False) as http:
            body = {"users": users, "seconds": fault.duration_s}
            await http.post(f"http://{LOOPBACK}:{settings.port}{SLOW_PATH}", json=body)
        await asyncio.sleep(fault.duration_s)
        return settings.name

    async def _forget(self, _fault: Fault, random: Random) -> str:
        settings = self._world.settings[random.choice(sorted(self._world.settings))]
        async with httpx.AsyncClient(timeout=_HTTP_TIMEOUT_S, trust_env=False) as http:
            for user_id in random.sample(settings.users, max(1, len(settings.users) // _FORGOTTEN_SHARE)):
                await http.delete(f"{self._world.registry_url}{API}/unregister-client/{user_id}")
        return settings.name
