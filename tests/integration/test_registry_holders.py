"""Leases of holders on real SQL: what a lost claim or a dead holder took is due again, and nothing else is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from uuid import UUID, uuid4

import pytest

from dev.database import Database
from services.registry.holders import Claimant, DeathWatch
from shared.contracts.claims import DEAD_AFTER_S
from shared.contracts.messages import PullTarget
from tests.registry_parts import Registry, failed, outcome, registry_over

HOLDER = uuid4()
OTHER = uuid4()


@pytest.fixture
async def registry(database: Database) -> AsyncIterator[Registry]:
    """Its timer runs; it has no clients."""
    async with registry_over(database, running=True) as registry:
        yield registry


def claimant(number: int, *, answered: int | None = None, holder_id: UUID = HOLDER) -> Claimant:
    """All claims before it were answered, unless something else is said."""
    return Claimant(holder_id=holder_id, number=number, answered=number - 1 if answered is None else answered)


async def claim(registry: Registry, by: Claimant, limit: int = 10) -> list[PullTarget]:
    """As the route does it."""
    await registry.holders.take_back(by)
    return await registry.leases.claim_due(limit, claimant=by)


class Watched:
    """A watch whose clock stands still until it is told to go on."""

    def __init__(self, registry: Registry) -> None:
        self.now_s = 1_000.0
        self._watch = DeathWatch(holders=registry.holders, beat=self._no_beat, monotonic_s=lambda: self.now_s)

    async def _no_beat(self) -> None:
        """This registry holds nothing."""

    async def watch(self, seconds: float, every: Callable[[], Awaitable[object]] | None = None) -> None:
        """Look each two seconds, for so long; something may happen before each look."""
        end = self.now_s + seconds
        while self.now_s < end:
            self.now_s += 2
            if every is not None:
                await every()
            await self._watch.look()

    async def freeze(self, seconds: float) -> None:
        """Look at nothing for so long, and then again."""
        self.now_s += seconds
        await self._watch.look()


async def test_a_claim_whose_answer_got_lost_is_taken_back_at_the_next(registry: Registry) -> None:
    """At once, not at the end of the lease."""
    await registry.register("ash", "misty")
    [first] = await claim(registry, claimant(1), limit=1)
    [lost] = await claim(registry, claimant(2), limit=1)
    [again] = await claim(registry, claimant(3, answered=1))
    assert again.user_id == lost.user_id != first.user_id
    assert again.pull_id != lost.pull_id
    assert await claim(registry, claimant(4)) == []


async def test_a_claim_that_comes_late_hands_nothing_out(registry: Registry) -> None:
    """A registry that was paused runs the claims that waited in its socket, after their puller had given them up."""
    await registry.register("ash", "misty")
    [newer] = await claim(registry, claimant(3, answered=0), limit=1)
    assert await claim(registry, claimant(2, answered=0)) == []
    assert await claim(registry, claimant(3, answered=0)) == []
    assert (await registry.record(newer.user_id))["pull_id"] == newer.pull_id
    assert len(await claim(registry, claimant(4))) == 1


async def test_a_beat_that_comes_late_changes_nothing_else(registry: Registry) -> None:
    """Or what was handed over since would be pulled again when the puller dies."""
    await registry.register("ash", "misty")
    first, handed_over = await claim(registry, claimant(1))
    await registry.holders.beat(HOLDER, answered=1, in_hand=[first.pull_id])
    await registry.holders.beat(HOLDER, answered=0, in_hand=[])
    assert await registry.holders.end(HOLDER) == 1
    assert (await registry.record(handed_over.user_id))["pull_id"] == handed_over.pull_id


async def test_a_demand_waits_when_two_pullers_died_with_it(registry: Registry) -> None:
    """As the timer does: its client may be what kills them."""
    await registry.register("ash")
    for number in (1, 2):
        await registry.runs.start("sync-all", since=None)
        by = claimant(1, holder_id=UUID(int=number))
        assert len(await registry.leases.claim_demanded(by)) == 1
        await registry.holders.end(by.holder_id)
    assert await registry.demanded() == []
    await registry.make_due()
    assert len(await registry.demanded()) == 1


async def test_claims_at_once_by_one_number_hand_out_once(registry: Registry) -> None:
    """The same request may reach two registries."""
    await registry.register(*(f"user_{n}" for n in range(10)))
    claims = [registry.leases.claim_due(3, claimant=claimant(1)) for _ in range(5)]
    assert sum(map(len, await asyncio.gather(*claims))) == 3


async def test_taking_back_leaves_the_leases_of_others(registry: Registry) -> None:
    """Those of other holders, and those without one."""
    await registry.register("ash", "misty", "brock")
    await registry.leases.claim_due(1)
    await claim(registry, claimant(1, holder_id=OTHER), limit=1)
    [lost] = await claim(registry, claimant(1), limit=1)
    assert [target.user_id for target in await claim(registry, claimant(2, answered=0))] == [lost.user_id]


async def test_a_settlement_of_what_was_taken_back_changes_nothing(registry: Registry) -> None:
    """The puller that is cut off may still end its pull."""
    await registry.register("ash")
    [lost] = await claim(registry, claimant(1))
    [again] = await claim(registry, claimant(2, answered=0))
    await registry.leases.settle([failed(lost)])
    assert (await registry.record())["pull_id"] == again.pull_id


async def test_the_pulls_of_a_dead_holder_are_due_again(registry: Registry) -> None:
    """Those it had in hand, and those of claims that it did not speak of any more; the rest is with RabbitMQ."""
    await registry.register("ash", "misty", "brock")
    in_hand, handed_over = await claim(registry, claimant(1), limit=2)
    await registry.holders.beat(HOLDER, answered=1, in_hand=[in_hand.pull_id])
    [later] = await claim(registry, claimant(2))
    await Watched(registry).watch(DEAD_AFTER_S + 4)
    again = {target.user_id for target in await registry.leases.claim_due(10)}
    assert again == {in_hand.user_id, later.user_id}
    assert (await registry.record(handed_over.user_id))["pull_id"] == handed_over.pull_id
    assert await registry.holders.beats() == {}


async def test_a_holder_that_beats_keeps_its_leases(registry: Registry) -> None:
    """However long a pull takes, and by whichever sign of life."""
    await registry.register("ash")
    [target] = await claim(registry, claimant(1))
    watched, number = Watched(registry), 1

    async def beat() -> None:
        await registry.holders.beat(HOLDER, answered=1, in_hand=[target.pull_id])

    async def claims() -> None:
        nonlocal number
        number += 1
        await claim(registry, claimant(number))

    await watched.watch(3 * DEAD_AFTER_S, beat)
    await watched.watch(3 * DEAD_AFTER_S, claims)
    assert (await registry.record())["pull_id"] == target.pull_id


async def test_a_registry_that_could_not_look_counts_anew(registry: Registry) -> None:
    """It was paused itself, or the database was: nobody could beat."""
    await registry.register("ash")
    [target] = await claim(registry, claimant(1))
    watched = Watched(registry)
    await watched.watch(4)
    await watched.freeze(60)
    await watched.watch(DEAD_AFTER_S - 4)
    assert (await registry.record())["pull_id"] == target.pull_id
    await watched.watch(6)
    assert (await registry.record())["pull_id"] is None


async def test_a_holder_that_beats_in_the_last_moment_is_not_ended(registry: Registry) -> None:
    """What is seen is compared again where it is changed."""
    await registry.register("ash")
    [target] = await claim(registry, claimant(1))
    [beat] = (await registry.holders.beats()).values()
    await registry.holders.beat(HOLDER, answered=0, in_hand=[])
    assert await registry.holders.end(HOLDER, beat=beat) == 0
    assert (await registry.record())["pull_id"] == target.pull_id


async def test_a_client_that_kills_its_pullers_waits_longer_each_time(registry: Registry) -> None:
    """The first death costs it nothing; then it is as with leases that end."""
    await registry.register("ash")
    waits = []
    for number in range(1, 5):
        [_] = await registry.leases.claim_due(1, claimant=claimant(1, holder_id=UUID(int=number)))
        await registry.holders.end(UUID(int=number))
        record = await registry.record()
        waits.append(record["next_pull_at"] - record["read_at"])
        await registry.make_due()
    lease = timedelta(seconds=120)
    assert [round(wait / lease) for wait in waits] == [0, 1, 2, 4]
    [target] = await registry.leases.claim_due(1)
    await registry.leases.settle([outcome(target)])
    assert (await registry.record())["leases_lost"] == 0


async def test_two_watches_end_a_holder_once(registry: Registry) -> None:
    """The second finds nothing; a settlement in between is not undone."""
    await registry.register("ash")
    await claim(registry, claimant(1))
    lost = await asyncio.gather(*(registry.holders.end(HOLDER) for _ in range(4)))
    assert sorted(lost) == [0, 0, 0, 1]
