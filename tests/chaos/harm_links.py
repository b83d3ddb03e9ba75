"""Harm to the connections between the parts."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from random import Random
from typing import Final

from tests.chaos.plan import Fault, Kind
from tests.chaos.proxy import Link
from tests.chaos.world import Work, World

_LINKS: Final = {
    "broker": ("broker",),
    "postgres": ("registry_db", "ingest_db"),
    "registry": ("registry",),
}
"""By what they lead to; to clients leads a link for each of their processes, of which one is hit."""
_SHARES: Final = (0.3, 1.0)


class LinkHarm:
    """Cuts, stalls and closes links."""

    def __init__(self, world: World) -> None:
        self._world = world

    def works(self) -> Mapping[Kind, Work]:
        """By the kind of fault."""
        return {
            Kind.CUT_BROKER: self._cut("broker"),
            Kind.CUT_POSTGRES: self._cut("postgres"),
            Kind.CUT_REGISTRY: self._cut("registry"),
            Kind.CUT_CLIENTS: self._cut("clients"),
            Kind.STALL_BROKER: self._stall("broker"),
            Kind.STALL_POSTGRES: self._stall("postgres"),
            Kind.STALL_REGISTRY: self._stall("registry"),
            Kind.STALL_CLIENTS: self._stall("clients"),
            Kind.REFUSE_BROKER: self._refuse("broker"),
            Kind.REFUSE_POSTGRES: self._refuse("postgres"),
            Kind.REFUSE_REGISTRY: self._refuse("registry"),
        }

    async def heal(self) -> None:
        """Open all links."""
        for link in self._world.links.values():
            link.resume()
            await link.open()

    def _cut(self, where: str) -> Work:
        async def cut(_fault: Fault, random: Random) -> str | None:
            links = self._links(where, random)
            share = random.choice(_SHARES)
            hit = [link.cut(random, share) for link in links]
            return links[0].name if sum(hit) else None

        return cut

    def _stall(self, where: str) -> Work:
        async def stall(fault: Fault, random: Random) -> str:
            links = self._links(where, random)
            for link in links:
                link.stall()
            await asyncio.sleep(fault.duration_s)
            for link in links:
                link.resume()
            return links[0].name

        return stall

    def _refuse(self, where: str) -> Work:
        async def refuse(fault: Fault, random: Random) -> str:
            links = self._links(where, random)
            for link in links:
                await link.refuse()
                link.cut(random)
            await asyncio.sleep(fault.duration_s)
            for link in links:
                await link.open()
            return links[0].name

        return refuse

    def _links(self, where: str, random: Random) -> list[Link]:
        names = _LINKS[where] if where in _LINKS else (random.choice(sorted(self._world.settings)),)
        return [self._world.links[name] for name in names]
