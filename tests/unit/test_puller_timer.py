"""The timer takes no client that it could do nothing for."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import UTC, datetime
from uuid import uuid4

import httpx
import pytest

from services.puller import loop
from services.puller.leases import ClaimNumber
from services.puller.loop import Pulls, Timer
from services.puller.pull import PENDING, Asked, Puller
from services.puller.registry_api import RegistryApi
from shared.contracts.messages import PullTarget
from tests.waiting import eventually


class Registry(RegistryApi):
    """Counts the claims; nobody is due."""

    def __init__(self) -> None:
        super().__init__(http=httpx.AsyncClient(), backend_url="http://registry", key_fingerprint=None)
        self.claims = 0

    async def claim(self, limit: int, *, ahead_s: float, claim: ClaimNumber) -> tuple[PullTarget, ...]:
        """Count."""
        assert limit > 0
        assert ahead_s > loop.CLAIM_EVERY_S
        assert claim.number == claim.answered + 1
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


class Noting(Puller):
    """Notes whom it pulls, in which order."""

    def __init__(self) -> None:
        self.pulled: list[str] = []

    async def pull(self, target: PullTarget, asked: Asked = PENDING) -> None:
        """Note it."""
        del asked
        self.pulled.append(target.user_id)


async def test_a_client_that_was_claimed_early_is_pulled_at_its_slot() -> None:
    """Not before, and it takes no place from those that are due."""
    puller = Noting()
    pulls = Pulls(puller=puller, concurrency=1)
    before = asyncio.get_running_loop().time()
    await asyncio.gather(*pulls.begin([target("later", due_in_s=0.2), target("soon", due_in_s=0.1), target("now")]))
    assert puller.pulled == ["now", "soon", "later"]
    assert asyncio.get_running_loop().time() - before >= 0.2


def target(user_id: str, *, due_in_s: float = 0.0) -> PullTarget:
    """A client under a lease."""
    return PullTarget(
        pull_id=uuid4(),
        user_id=user_id,
        client_url="http://nowhere",
        lease_expires_at=datetime(2026, 1, 31, 12, tzinfo=UTC),
        due_in_s=due_in_s,
    )
