"""Compares the end with the model. Each difference is a broken invariant. No I/O."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from tests.chaos.facts import Event, Facts, QuarantineRow
from tests.chaos.journal import Entry
from tests.chaos.making import GARBAGE
from tests.chaos.model import Key, Model, ranking

_CLOCK_S: Final = 0.005
"""Captures' times have milliseconds, and Postgres' have microseconds."""
_RAW_CHARS: Final = 16_000

KeyT = TypeVar("KeyT")


@dataclass(frozen=True, slots=True, kw_only=True)
class Broken:
    """A broken invariant."""

    invariant: str
    text: str
    key: Key | None = None
    """The capture whose story tells more."""


def check(model: Model, facts: Facts) -> list[Broken]:
    """All that is not as it must be."""
    stored = {event.key: event for event in facts.events}
    holdings = model.holdings({key: event.received_at for key, event in stored.items()})
    found = [
        *_events(model, facts.events, stored),
        *_told(model, stored),
        *_quarantine(model.garbage, facts.quarantine),
        *_differences("holdings are as the captures say", holdings, facts.holdings),
        *_differences("the ranking counts the holders", ranking(holdings), facts.ranking),
        *_differences("the registry shows the ranking", ranking(holdings), facts.shown_ranking),
        *_differences(
            "users' holdings are counted",
            dict(Counter(user_id for (user_id, _), held in holdings.items() if held)),
            facts.holders,
        ),
    ]
    return found + list(_totals(facts))


def lost(model: Model, facts: Facts) -> int:
    """Captures that were accepted and are not stored."""
    return len(model.captures.keys() - {event.key for event in facts.events})


def doubled(facts: Facts) -> int:
    """Captures that are stored, or were counted, more than once."""
    rows = len(facts.events) - len({event.key for event in facts.events})
    return max(rows, facts.capture_totals["events"] - len({event.key for event in facts.events}))


def kept(accepted: Mapping[str, set[str]], model: Model) -> Iterator[Broken]:
    """Whether reference clients kept what they said to have accepted."""
    for user_id, ids in accepted.items():
        for capture_id in sorted(ids):
            if (user_id, capture_id) not in model.captures:
                yield Broken(
                    invariant="a client keeps what it accepted",
                    text=f"{user_id} lost {capture_id}",
                    key=(user_id, capture_id),
                )


def _events(model: Model, events: Sequence[Event], stored: Mapping[Key, Event]) -> Iterator[Broken]:
    for key, expected in model.captures.items():
        event = stored.get(key)
        if event is None:
            yield Broken(invariant="every accepted capture is stored", text=f"{key} is lost", key=key)
        elif (event.pokemon_id, event.action, event.removed, event.captured_at) != (
            expected.pokemon_id,
            expected.action,
            expected.removed,
            expected.captured_at,
        ):
            yield Broken(invariant="a capture is stored as it was made", text=f"{event}", key=key)
    for key, count in Counter(event.key for event in events).items():
        if count > 1:
            yield Broken(invariant="a capture is stored once", text=f"{key} is stored {count} times", key=key)
        if key not in model.captures:
            yield Broken(invariant="nothing is invented", text=f"{key} is stored, and nobody made it", key=key)


def _told(model: Model, stored: Mapping[Key, Event]) -> Iterator[Broken]:
    for entry in model.untold():
        key = (entry.made.user_id, str(entry.made.capture_id))
        yield Broken(invariant="every client is told", text=f"{key} ({entry.made.kind}) is still pending", key=key)
    for key, expected in model.captures.items():
        told_at = expected.entry.acknowledged_at
        event = stored.get(key)
        if told_at is not None and event is not None and told_at < event.stored_at.timestamp() - _CLOCK_S:
            yield Broken(
                invariant="a client is told after the commit",
                text=f"{key} was acknowledged {event.stored_at.timestamp() - told_at:.3f} s before it was stored",
                key=key,
            )


def _quarantine(garbage: Iterable[Entry], rows: Sequence[QuarantineRow]) -> Iterator[Broken]:
    """Each piece of garbage once, for its reason, and nothing else."""
    left = Counter(_identity(row) for row in rows)
    problems = {_identity(row): row.problem for row in rows}
    for entry in garbage:
        made = entry.made
        identity = (made.user_id, made.capture_id or made.document[:_RAW_CHARS])
        key = (made.user_id, str(made.capture_id))
        if left[identity] != 1:
            text = f"{made.kind} {identity} is there {left[identity]} times"
            yield Broken(invariant="garbage is in quarantine, once", text=text, key=key)
        elif not problems[identity].startswith(GARBAGE[made.kind]):
            text = f"{made.kind} {identity}: {problems[identity]}"
            yield Broken(invariant="garbage is there for its reason", text=text, key=key)
        del left[identity]
    for identity in left:
        text = f"{identity}: {problems[identity]}"
        yield Broken(invariant="nothing unexplained is in quarantine", text=text, key=identity)


def _identity(row: QuarantineRow) -> tuple[str, str]:
    """By its id, or by what it is; parsed and written again, lest a blank make a difference."""
    return row.user_id, row.capture_id or json.dumps(json.loads(row.raw))[:_RAW_CHARS]


def _differences(invariant: str, expected: Mapping[KeyT, object], found: Mapping[KeyT, object]) -> Iterator[Broken]:
    for place in expected.keys() | found.keys():
        if expected.get(place) != found.get(place):
            text = f"{place}: {found.get(place)}, and must be {expected.get(place)}"
            yield Broken(invariant=invariant, text=text)


def _totals(facts: Facts) -> Iterator[Broken]:
    counted = {
        "events": len(facts.events),
        "holdings": sum(facts.holdings.values()),
        "quarantined": len(facts.quarantine),
    }
    yield from _differences("ingest's totals are counts of its tables", counted, facts.capture_totals)
    yield from _differences(
        "the registry's totals are counts of its tables", facts.clients_counted, facts.client_totals
    )
