"""What must be in the tables in the end, computed from what clients have accepted, and from nothing that we run."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from tests.chaos.journal import Entry, read_entries
from tests.chaos.making import CAPTURE, NAMELESS, Made

Key = tuple[str, str]
"""A user and the id of one of his captures."""
Holding = tuple[str, int]
"""A user and a Pokémon."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """A capture that must be stored, as it must be stored."""

    entry: Entry
    pokemon_id: int
    action: str
    removed: bool
    captured_at: datetime

    @classmethod
    def of(cls, entry: Entry) -> Expected:
        """From an entry of kind `capture`."""
        document: dict[str, Any] = json.loads(entry.made.document)
        return cls(
            entry=entry,
            pokemon_id=document["pokemon_id"],
            action=document["action"],
            removed=document["metadata"].get("removed", False),
            captured_at=datetime.fromisoformat(document["timestamp"]),
        )


class Model:
    """The end that every order of crashes, repeats and delays must lead to."""

    def __init__(self, entries: Iterable[Entry]) -> None:
        """Of all that all clients have accepted."""
        self.entries = list(entries)
        self.captures: dict[Key, Expected] = {
            (entry.made.user_id, str(entry.made.capture_id)): Expected.of(entry)
            for entry in self.entries
            if entry.made.kind == CAPTURE
        }
        self.garbage = [entry for entry in self.entries if entry.made.kind != CAPTURE]

    def untold(self) -> list[Entry]:
        """What was never acknowledged, though it has an id."""
        return [entry for entry in self.entries if entry.acknowledged_at is None and entry.made.kind not in NAMELESS]

    def holdings(self, received_at: Mapping[Key, datetime]) -> dict[Holding, bool]:
        """Whether each user holds each Pokémon that he ever had to do with.

        The last capture decides: by its time, where one in the future counts as that of its receipt; then by the time
        that it claims, and then by its id.
        """
        latest: dict[Holding, tuple[tuple[datetime, datetime, bytes], bool]] = {}
        for (user_id, capture_id), capture in self.captures.items():
            effective = min(capture.captured_at, received_at.get((user_id, capture_id), capture.captured_at))
            order = (effective, capture.captured_at, capture_id.encode())
            place = (user_id, capture.pokemon_id)
            if place not in latest or order > latest[place][0]:
                latest[place] = (order, not capture.removed)
        return {place: held for place, (_, held) in latest.items()}


def ranking(holdings: Mapping[Holding, bool]) -> dict[int, int]:
    """How many users hold each Pokémon that somebody holds."""
    return dict(Counter(pokemon_id for (_, pokemon_id), held in holdings.items() if held))


def read_model(journals: Iterable[Path], references: Iterable[Path]) -> Model:
    """From the storage of simulated and of reference clients."""
    entries = [entry for path in journals for entry in read_entries(path)]
    entries += [entry for path in references for entry in _read_reference(path)]
    return Model(entries)


def _read_reference(path: Path) -> list[Entry]:
    """The reference client's own database, of which an acknowledged capture stays in it for weeks."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=10)) as connection:
        rows = connection.execute("SELECT user_id, seq, capture_id, timestamp, document, acknowledged_at FROM wire")
        return [_reference_entry(*row) for row in rows]


def _reference_entry(
    user_id: str, seq: int, capture_id: str, timestamp: str, document: str, acknowledged_at: str | None
) -> Entry:
    made = Made(
        user_id=user_id,
        number=seq,
        capture_id=capture_id,
        kind=CAPTURE,
        document=document,
        twice=False,
        made_at=datetime.fromisoformat(timestamp).timestamp(),
    )
    return Entry(
        made=made,
        acknowledged_at=None if acknowledged_at is None else datetime.fromisoformat(acknowledged_at).timestamp(),
    )
