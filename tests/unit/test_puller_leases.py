"""What a puller tells the registry of its leases: which claims were answered, and which pulls it has in hand."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from services.puller.heartbeat import Heartbeat
from services.puller.leases import HeldLeases
from services.puller.loop import Pulls, Timer
from services.puller.pull import PENDING, Asked, Puller
from services.puller.registry_api import RegistryApi, RegistryAwayError
from shared.contracts.claims import MOST_IN_HAND
from shared.contracts.encoding import encoded
from shared.contracts.messages import PullTarget
from shared.rabbitmq.broker import PublishError
from tests.waiting import eventually


def target(user: str = "ash") -> PullTarget:
    """A client that is due."""
    at = datetime(2026, 1, 31, tzinfo=UTC)
    return PullTarget(pull_id=uuid4(), user_id=user, client_url="http://ash:3001", lease_expires_at=at)


def test_a_claim_that_was_not_answered_is_told_with_the_next() -> None:
    """All up to the last that was answered; one that was is never taken back."""
    leases = HeldLeases()
    first = leases.next_claim()
    leases.took(first, [])
    lost, next_one = leases.next_claim(), leases.next_claim()
    assert (first.number, first.answered) == (1, 0)
    assert (lost.number, lost.answered) == (2, 1)
    assert (next_one.number, next_one.answered) == (3, 1)
    leases.took(next_one, [])
    assert leases.next_claim().answered == 3
    assert HeldLeases().next_claim().holder_id != first.holder_id


def test_a_pull_is_in_hand_until_it_ended_or_is_given_back() -> None:
    """What is given back is told until the registry knows it."""
    leases, ended, untold, going_on = HeldLeases(), target(), target(), target()
    leases.took(leases.next_claim(), [ended, untold, going_on])
    leases.ended(ended.pull_id)
    leases.give_back(untold.pull_id)
    held = leases.held()
    assert (held.in_hand, held.given_back) == ((going_on.pull_id,), (untold.pull_id,))
    later = target()
    leases.took(leases.next_claim(), [later])
    leases.give_back(later.pull_id)
    leases.acknowledged(held)
    assert leases.held().given_back == (later.pull_id,)


def test_a_heartbeat_fits_into_a_request() -> None:
    """However many pulls there are."""
    leases = HeldLeases()
    leases.took(leases.next_claim(), [target() for _ in range(MOST_IN_HAND + 10)])
    assert len(leases.held().in_hand) == MOST_IN_HAND
    both = {"in_hand": leases.held().in_hand, "given_back": leases.held().in_hand}
    assert len(json.dumps(both, default=str)) < 256 * 1024


class Untold(Puller):
    """Pulls clients, and can't tell of some of them."""

    def __init__(self) -> None:
        self.fails = {"misty": PublishError("RabbitMQ is away"), "brock": ValueError("a fault of ours")}

    async def pull(self, target: PullTarget, asked: Asked = PENDING) -> None:
        """Raise for these."""
        del asked
        if target.user_id in self.fails:
            raise self.fails[target.user_id]


class Registry:
    """One that has clients due, and remembers what it was told."""

    def __init__(self, *due: PullTarget) -> None:
        self.due = list(due)
        self.beats: list[dict[str, Any]] = []
        self.is_away = False

    def answer(self, request: httpx.Request) -> httpx.Response:
        """To claims and heartbeats."""
        if self.is_away:
            return httpx.Response(503)
        if request.url.path.endswith("/heartbeat"):
            self.beats.append(json.loads(request.content))
            return httpx.Response(200, json={"message": "The leases stay."})
        targets, self.due = self.due, []
        return httpx.Response(200, content=b'{"targets":' + encoded_all(targets) + b"}")

    def api(self) -> RegistryApi:
        """HTTP to it."""
        http = httpx.AsyncClient(transport=httpx.MockTransport(self.answer))
        return RegistryApi(http=http, backend_url="http://registry", key_fingerprint=None)


def encoded_all(targets: list[PullTarget]) -> bytes:
    """As a JSON list."""
    return b"[" + b",".join(map(encoded, targets)) + b"]"


async def ready() -> bool:
    """Whether pulls can be handed over."""
    return True


async def test_what_could_not_be_told_is_given_back_with_the_next_heartbeat() -> None:
    """Once, and only when the registry took it. What died by a fault of ours is not repeated each few seconds."""
    told, untold, failed = target("ash"), target("misty"), target("brock")
    registry, leases = Registry(told, untold, failed), HeldLeases()
    api = registry.api()
    heartbeat = Heartbeat(registry=api, leases=leases)
    pulls = Pulls(puller=Untold(), concurrency=100)
    await Timer(registry=api, pulls=pulls, can_hand_over=ready, leases=leases).claim()
    await pulls.drain()

    async def nothing_in_hand() -> bool:
        return not leases.held().in_hand

    await eventually(nothing_in_hand)
    registry.is_away = True
    with pytest.raises(RegistryAwayError):
        await heartbeat.beat()
    registry.is_away = False
    await heartbeat.beat()
    await heartbeat.beat()
    assert [list(map(UUID, beat["given_back"])) for beat in registry.beats] == [[untold.pull_id], []]
    assert [beat["answered"] for beat in registry.beats] == [1, 1]


async def test_who_leaves_gives_back_what_is_in_hand() -> None:
    """And ends all the same when the registry is away."""
    registry, leases, under_way = Registry(), HeldLeases(), target()
    leases.took(leases.next_claim(), [under_way])
    heartbeat = Heartbeat(registry=registry.api(), leases=leases)
    registry.is_away = True
    await heartbeat.leave()
    registry.is_away = False
    await heartbeat.leave()
    assert [(beat["leaves"], beat["in_hand"]) for beat in registry.beats] == [(True, [str(under_way.pull_id)])]
