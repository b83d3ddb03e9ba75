"""Injects faults and undoes them, and notes from when to when each was there."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime

from dev.servers.errors import DevError
from tests.chaos.harm_clients import ClientHarm
from tests.chaos.harm_links import LinkHarm
from tests.chaos.harm_processes import ProcessHarm
from tests.chaos.harm_servers import ServerHarm
from tests.chaos.insisting import AWAY
from tests.chaos.plan import Fault, Kind
from tests.chaos.seeds import seeded
from tests.chaos.world import SERVICES, World


@dataclass(frozen=True, slots=True, kw_only=True)
class Injected:
    """A fault that was there; times in seconds since 1970."""

    kind: Kind
    what: str
    began: float
    ended: float
    users: frozenset[str] | None = None
    """Whom it concerned; None for everybody."""

    def __str__(self) -> str:
        """One line, with the times that the services' logs have."""
        return f"{clock(self.began)} to {clock(self.ended)}: {self.kind} ({self.what})"


class Faults:
    """Injects faults into a world. Several may be injected at once, as long as they are of different lanes."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.injected: list[Injected] = []
        self._links = LinkHarm(world)
        self._servers = ServerHarm(world)
        self._processes = ProcessHarm(world)
        parts = (self._links, self._servers, self._processes, ClientHarm(world))
        self._works = {kind: work for part in parts for kind, work in part.works().items()}

    async def inject(self, fault: Fault) -> None:
        """Do it, undo it, and note it; what can't be done now, since something else is away, is not noted.

        Raises:
            DevError: a server did not come up again.
        """
        began = time.time()
        try:
            what = await self._works[fault.kind](fault, seeded(fault.seed))
        except DevError:
            raise  # a server that does not come up again is no fault of ours to pass over
        except AWAY:
            return
        if what is not None:
            users = self._world.settings[what].users if what in self._world.settings else None
            concerned = None if users is None else frozenset(users)
            self._note(Injected(kind=fault.kind, what=what, began=began, ended=time.time(), users=concerned))

    async def heal(self) -> None:
        """Undo whatever may be left: links open, servers up, no limits, every process started.

        Raises:
            DevError: a server does not start.
        """
        await self._links.heal()
        await self._servers.heal()
        await self._processes.heal()
        for name in (*SERVICES, *self._world.references):
            await self._world.start_service(name)
        for name in self._world.settings:
            await self._world.start_clients(name)

    def _note(self, injected: Injected) -> None:
        self.injected.append(injected)
        with (self._world.folder / "logs" / "faults.log").open("a", encoding="utf-8") as log:
            log.write(f"{injected}\n")


def clock(at: float) -> str:
    """The time of the day."""
    return datetime.fromtimestamp(at, UTC).strftime("%H:%M:%S.%f")[:-3]
