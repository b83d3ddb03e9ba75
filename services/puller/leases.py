"""What this puller holds, as the registry has to know it: a claim that got lost, or a dead puller, costs seconds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from uuid import UUID, uuid4

from shared.contracts.claims import MOST_IN_HAND
from shared.contracts.messages import PullTarget


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimNumber:
    """Which claim of which puller it is."""

    holder_id: UUID
    number: int
    answered: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What a heartbeat tells."""

    holder_id: UUID
    answered: int
    in_hand: Sequence[UUID]
    given_back: Sequence[UUID]


class HeldLeases:
    """The leases of claims, of which each pull is in hand until it is handed over, settled or given back."""

    def __init__(self) -> None:
        self._holder_id = uuid4()
        self._number = 0
        self._answered = 0
        self._in_hand: set[UUID] = set()
        self._given_back: set[UUID] = set()

    def next_claim(self) -> ClaimNumber:
        """The next claim; those that were not answered before it are taken back with it."""
        self._number += 1
        return ClaimNumber(holder_id=self._holder_id, number=self._number, answered=self._answered)

    def took(self, claim: ClaimNumber, targets: Iterable[PullTarget]) -> None:
        """The claim was answered with these."""
        self._answered = claim.number
        self._in_hand.update(target.pull_id for target in targets)

    def ended(self, pull_id: UUID) -> None:
        """The pull was handed over, or settled."""
        self._in_hand.discard(pull_id)

    def give_back(self, pull_id: UUID) -> None:
        """The pull came to nothing, and nobody could be told: its client shall be pulled again soon."""
        self._in_hand.discard(pull_id)
        self._given_back.add(pull_id)

    def held(self) -> Held:
        """As it is now."""
        return Held(
            holder_id=self._holder_id,
            answered=self._answered,
            in_hand=tuple(islice(self._in_hand, MOST_IN_HAND)),
            given_back=tuple(islice(self._given_back, MOST_IN_HAND)),
        )

    def acknowledged(self, held: Held) -> None:
        """The registry knows this."""
        self._given_back.difference_update(held.given_back)
