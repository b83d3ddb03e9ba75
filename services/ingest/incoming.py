"""What a transaction is about to store: each capture once, in the order in which all transactions take their keys.

No I/O. What the tables hold already is told by the caller (`services.ingest.store`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import msgspec

from shared.contracts.messages import PulledCapture, UnreadableItem
from shared.contracts.times import FIRST_YEAR, LAST_YEAR, in_utc

COLUMNS: Final = (
    *("user_id", "capture_id", "pokemon_id", "pokemon_name", "action", "removed", "captured_at", "metadata"),
    *("pull", "place", "moves"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceivedPull:
    """The captures of one pull, as a row of work for the store."""

    pull_id: UUID
    user_id: str
    received_at: datetime
    captures: Sequence[PulledCapture]
    unreadable: Sequence[UnreadableItem]
    traceparent: str | None = None

    @property
    def rows(self) -> int:
        """How much work it is."""
        return len(self.captures) + len(self.unreadable)


@dataclass(frozen=True, slots=True, kw_only=True)
class Incoming:
    """Captures to be stored, as rows of `COLUMNS`."""

    rows: Sequence[tuple[Any, ...]]
    """By user and id: their `place`, counted from 0. `pull` counts from 1. Of what a user has of a Pokémon the latest
    `moves` the holding: a number that ascends by user and Pokémon, and None for the others."""
    counts: Sequence[int]
    """How many of each pull."""


_Candidate = tuple[PulledCapture, int, datetime]
"""A capture, the number of its pull, and when that was received."""


def incoming(pulls: Sequence[ReceivedPull], known: Mapping[str, Collection[str]]) -> Incoming:
    """What of these pulls is to be stored; `known` has by user the ids of captures that are stored already.

    Of those with the same id the first by its receipt is taken.
    """
    by_user: dict[str, list[tuple[int, ReceivedPull]]] = {}
    for number, pull in enumerate(pulls, 1):
        by_user.setdefault(pull.user_id, []).append((number, pull))
    rows: list[tuple[Any, ...]] = []
    counts = [0] * len(pulls)
    moves = 0
    for user_id in sorted(by_user):
        candidates = _candidates(by_user[user_id], known.get(user_id, ()))
        order = _order_of_moves(candidates, moves)
        moves += len(order)
        for capture_id in sorted(candidates):
            capture, number, _ = candidates[capture_id]
            rows.append(
                (
                    user_id,
                    capture_id,
                    capture.pokemon_id,
                    capture.pokemon_name,
                    capture.action,
                    capture.removed,
                    capture.timestamp,
                    capture.metadata,
                    number,
                    len(rows),
                    order.get(capture_id),
                )
            )
            counts[number - 1] += 1
    return Incoming(rows=rows, counts=counts)


def _candidates(received: Iterable[tuple[int, ReceivedPull]], known: Iterable[str]) -> dict[str, _Candidate]:
    """One user's, by id."""
    by_id: dict[str, _Candidate] = {}
    for number, pull in sorted(received, key=_receipt):
        received_at = pull.received_at
        for capture in map(_bounded, pull.captures):
            by_id.setdefault(capture.capture_id, (capture, number, received_at))
    for capture_id in known:
        by_id.pop(capture_id, None)
    return by_id


def _bounded(capture: PulledCapture) -> PulledCapture:
    """With a finite time, also when a puller of before, or the quarantine, has another one."""
    if FIRST_YEAR < capture.timestamp.year < LAST_YEAR:
        return capture
    return msgspec.structs.replace(capture, timestamp=in_utc(capture.timestamp))


def _order_of_moves(candidates: Mapping[str, _Candidate], before: int) -> dict[str, int]:
    """By id, for the captures that say last of a Pokémon whether it is held, a number beyond `before`."""
    latest: dict[int, _Candidate] = {}
    for candidate in candidates.values():
        pokemon_id = candidate[0].pokemon_id
        best = latest.get(pokemon_id)
        if best is None or _precedence(candidate) > _precedence(best):
            latest[pokemon_id] = candidate
    return {latest[pokemon_id][0].capture_id: number for number, pokemon_id in enumerate(sorted(latest), before + 1)}


def _precedence(candidate: _Candidate) -> tuple[datetime, datetime, str]:
    """As in `move_holdings`: a time in the future counts as the time of receipt."""
    capture, _, received_at = candidate
    return min(capture.timestamp, received_at), capture.timestamp, capture.capture_id


def _receipt(numbered: tuple[int, ReceivedPull]) -> datetime:
    return numbered[1].received_at
