"""The timer takes no client that it could do nothing for."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import httpx
import pytest

from services.puller import loop
from services.puller.loop import Timer
from services.puller.registry_api import RegistryApi
from shared.messages import PullTarget
from tests.waiting import eventually


class Registry(RegistryApi):
    """Counts the claims; nobody is due."""

    def __init__(self) -> None:
        super().__init__(http=httpx.AsyncClient(), backend_url="http://registry")
        self.claims = 0

    async def claim(self, limit: int) -> tuple[PullTarget, ...]:
        """Count."""
        assert limit > 0
        self.claims += 1
        return ()


class Idle(loop.Pulls):
    """Has room, and nothing to do."""

    def __init__(self) -> None:
        self._concurrency = 10
        self._under_way = set()


async def test_nothing_is_claimed_while_nothing_can_be_handed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """A lease that is lost costs its client the whole lease, and the next one twice that."""
    monkeypatch.setattr(loop, "CLAIM_EVERY_S", 0.001)
    registry, asked, there = Registry(), 0, False

    async def can_hand_over() -> bool:
        nonlocal asked
        asked += 1
        return there

    async def asked_often() -> bool:
        return asked > 10

    async def claimed() -> bool:
        return registry.claims > 0

    running = asyncio.create_task(Timer(registry=registry, pulls=Idle(), can_hand_over=can_hand_over).run())
    try:
        await eventually(asked_often)
        assert registry.claims == 0
        there = True
        await eventually(claimed)
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
