"""Starts the process of simulated clients, and steers it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Final, Self

import httpx
from pydantic import BaseModel, ConfigDict

from benchmarks.plan import progress
from benchmarks.simulator.fleet import address, user_id
from dev.local_http import open_local
from dev.servers.ports import LOOPBACK, free_port
from dev.servers.process import ManagedProcess
from dev.stack import CHECKOUT, inherited_environment

_UP_WITHIN_S: Final = 30.0
_COMMAND_TIMEOUT_S: Final = 3_600.0
_TOO_BUSY: Final = 0.9


class Seen(BaseModel):
    """What the clients saw since they were last asked."""

    model_config = ConfigDict(frozen=True)

    polls: list[tuple[int, float]]
    """Number of the client, and the moment in seconds since 1970."""
    acknowledged: int
    """Captures."""
    told_after_s: list[float]
    """From each timed capture until its client was told that it is stored."""
    pending: int
    """Captures that no client was told to forget yet."""
    busiest: float
    """The most of a core that the process used in any quarter of a second; near 1 the clients are what is measured."""


class Simulator:
    """As many clients as wanted, in one process. As a context manager it ends the process."""

    def __init__(self, folder: Path, *, clients: int, seed: int = 1) -> None:
        self.clients = clients
        self.port = free_port()
        self._process = ManagedProcess(
            "simulator",
            [sys.executable, "-m", "benchmarks.simulator", str(self.port), str(clients), str(seed)],
            env=inherited_environment(),
            cwd=CHECKOUT,
            log_path=folder / "simulator.log",
        )
        self._http = httpx.AsyncClient(
            base_url=f"http://{LOOPBACK}:{self.port}/control", timeout=_COMMAND_TIMEOUT_S, trust_env=False
        )

    def rows(self) -> list[tuple[str, str]]:
        """User and URL of each client, as the registry has them."""
        return [(user_id(number), self.url(number)) for number in range(self.clients)]

    def url(self, number: int) -> str:
        """Where that client is."""
        return f"http://{address(number)}:{self.port}"

    async def fill(self, captures: int, *, first: int = 0, last: int | None = None) -> None:
        """Give each of these clients so many captures more; all clients unless told."""
        await self._tell("fill", first=first, last=self.clients if last is None else last, captures=captures)

    async def hang(self, *, every: int) -> None:
        """Let each n-th client take requests and answer none; 0 for no client."""
        await self._tell("hang", every=every)

    async def take(self) -> Seen:
        """What was seen since the last time. Says so when the simulator itself was the bottleneck."""
        seen = Seen.model_validate(await self._tell("take"))
        if seen.busiest > _TOO_BUSY:
            progress(
                f"the simulated clients were the bottleneck: their process used {seen.busiest:.0%} of a core for "
                "a quarter of a second, so what was measured is theirs"
            )
        return seen

    async def capture(self, *, rate: float, seconds: float, registry_url: str) -> int:
        """Make so many captures each second, each followed by a nudge; how many it were."""
        made: int = await self._tell("capture", rate=rate, seconds=seconds, registry_url=registry_url)
        return made

    async def _tell(self, command: str, **arguments: Any) -> Any:
        response = await self._http.post(f"/{command}", json=arguments)
        response.raise_for_status()
        return response.json()

    async def __aenter__(self) -> Self:
        self._process.start()
        self._process.wait_until(self._answers, _UP_WITHIN_S)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()
        self._process.kill()

    def _answers(self) -> bool:
        try:
            open_local(f"{self.url(0)}/api/client/health", timeout_s=2).close()
        except OSError:
            return False
        return True
