"""What people do beside the simulated clients: apps on reference clients, and an operator."""

from __future__ import annotations

import asyncio
from typing import Final

import httpx

from shared.contracts.client_protocol import ADD_CAPTURE_PATH
from tests.chaos.registering import API
from tests.chaos.seeds import seeded
from tests.chaos.world import World

_CAPTURE_EVERY_S: Final = 1.0
_RUN_EVERY_S: Final = 6.0
_TIMEOUT_S: Final = 10.0
_RUNS: Final = ("sync-all-background", "sync-all", "sync-recent")


class Traffic:
    """Runs until it is cancelled."""

    def __init__(self, world: World, *, seed: int) -> None:
        self._world = world
        self._seed = seed
        self.accepted: dict[str, set[str]] = {}
        """Ids that reference clients said to have accepted, by user."""

    async def use(self, name: str) -> None:
        """Make captures on a reference client; what it does not confirm may be kept or not."""
        random = seeded(self._seed, "app", name)
        accepted = self.accepted.setdefault(user_of(name), set())
        async with httpx.AsyncClient(timeout=_TIMEOUT_S, trust_env=False) as http:
            while True:
                await asyncio.sleep(random.expovariate(1 / _CAPTURE_EVERY_S))
                body = {
                    "pokemon_id": random.randint(1, 40),
                    "pokemon_name": "from an app",
                    "action": random.choice(("capture", "favorite")),
                    "removed": random.random() < 0.3,
                }
                try:
                    answer = await http.post(f"{self._world.stack.url(name)}{ADD_CAPTURE_PATH}", json=body)
                    answer.raise_for_status()
                except httpx.HTTPError:
                    continue
                accepted.add(answer.json()["capture"]["capture_id"])

    async def operate(self) -> None:
        """Start runs over all clients, whatever their answers."""
        random = seeded(self._seed, "operator")
        async with httpx.AsyncClient(timeout=_TIMEOUT_S, trust_env=False) as http:
            while True:
                await asyncio.sleep(random.expovariate(1 / _RUN_EVERY_S))
                try:
                    await http.post(f"{self._world.registry_url}{API}/{random.choice(_RUNS)}")
                except httpx.HTTPError:
                    continue


def user_of(reference: str) -> str:
    """The user of a reference client, as the stack names him."""
    return f"user_{reference.removeprefix('client-')}"
