"""What simulated users do: captures, removals, duplicates and garbage. No I/O.

The n-th thing that a user makes is the same for the same seed, but for the time at which it is made.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any, Final

from shared.contracts.times import iso_millis
from tests.chaos.seeds import seeded

CAPTURE: Final = "capture"
"""The kind of everything that is no garbage."""

_SPECIES: Final = 40
"""Few, so that users come back to the same Pokémon, and share them."""
_FORMS: Final = (10_001, 10_034)
_GARBAGE_SHARE: Final = 0.03
_TWICE_SHARE: Final = 0.1
_REMOVED_SHARE: Final = 0.3
_METADATA_BYTES: Final = 9_000
_FUTURE: Final = timedelta(days=400)
_AT_MOST_OFFLINE_S: Final = 3 * 86_400.0

GARBAGE: Final = {
    "no_pokemon": "pokemon_id: Field required",
    "pokemon_text": "pokemon_id: Input should be a valid integer",
    "pokemon_zero": "pokemon_id: Input should be greater than or equal to 1",
    "action": "action: Input should be 'capture' or 'favorite'",
    "no_time": "timestamp: ",
    "long_name": "pokemon_name: String should have at most 255 characters",
    "other_user": "it belongs to another user",
    "metadata_size": "metadata: larger than",
    "metadata_nul": "metadata: contains a NUL character",
    "text": "the item: ",
    "no_id": "capture_id: Field required",
}
"""Each kind of garbage, and how the problem begins under which it must be found in quarantine."""
NAMELESS: Final = frozenset({"text", "no_id"})
"""Garbage that has no id, so that nobody can ever tell the client about it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """One item, as its client sends it."""

    user_id: str
    number: int
    capture_id: str | None
    kind: str
    """`capture`, or a kind of garbage."""
    document: str
    """JSON."""
    twice: bool
    """Whether the client sends it twice in each answer."""
    made_at: float
    """Seconds since 1970."""


def make(seed: int, user_id: str, number: int, made_at: float) -> Made:
    """The user's n-th item, made now. A kind of garbage without an id comes at most once from each user."""
    random = seeded(seed, "make", user_id, number)
    kind = _kind(random, number)
    item = _capture(random, user_id, number, made_at)
    document: Any = item
    if kind != CAPTURE:
        document = _spoiled(kind, item)
    return Made(
        user_id=user_id,
        number=number,
        capture_id=None if kind in NAMELESS else item["capture_id"],
        kind=kind,
        document=json.dumps(document),
        twice=random.random() < _TWICE_SHARE,
        made_at=made_at,
    )


def _kind(random: Random, number: int) -> str:
    if random.random() >= _GARBAGE_SHARE:
        return CAPTURE
    kind = random.choice(sorted(GARBAGE))
    return kind if kind not in NAMELESS or number == 0 else "action"


def _capture(random: Random, user_id: str, number: int, made_at: float) -> dict[str, Any]:
    pokemon_id = random.choice(_FORMS) if random.random() < 0.02 else random.randint(1, _SPECIES)
    action = random.choice(("capture", "favorite"))
    return {
        "capture_id": f"{pokemon_id}_{number:06d}_{action}",
        "pokemon_id": pokemon_id,
        "pokemon_name": f"pokemon-{pokemon_id}",
        "action": action,
        "timestamp": iso_millis(_claimed_time(random, datetime.fromtimestamp(made_at, UTC))),
        "user_id": user_id,
        "synced": False,
        "metadata": {"removed": random.random() < _REMOVED_SHARE, "client_version": "chaos", "made_at": made_at},
    }


def _claimed_time(random: Random, made_at: datetime) -> datetime:
    """Mostly now; days ago, offline; the same hour for many, so that ids decide; or by a clock that is far off."""
    draw = random.random()
    if draw < 0.8:
        return made_at
    if draw < 0.93:
        return made_at - timedelta(seconds=random.uniform(0, _AT_MOST_OFFLINE_S))
    if draw < 0.98:
        return made_at.replace(minute=0, second=0, microsecond=0)
    return made_at + _FUTURE


def _spoiled(kind: str, item: dict[str, Any]) -> Any:
    if kind == "text":
        return f"no capture at all, {item['user_id']}"
    changes: dict[str, dict[str, Any]] = {
        "pokemon_text": {"pokemon_id": "pikachu"},
        "pokemon_zero": {"pokemon_id": 0},
        "action": {"action": "release"},
        "no_time": {"timestamp": "yesterday"},
        "long_name": {"pokemon_name": "a" * 300},
        "other_user": {"user_id": "somebody_else"},
        "metadata_size": {"metadata": {**item["metadata"], "note": "x" * _METADATA_BYTES}},
        "metadata_nul": {"metadata": {**item["metadata"], "note": "\0"}},
    }
    missing = {"no_pokemon": "pokemon_id", "no_id": "capture_id"}.get(kind)
    return {name: value for name, value in (item | changes.get(kind, {})).items() if name != missing}
