"""Captures in Postgres. One call is one transaction: events, holdings, ranking and quarantine, all or nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import asyncpg

from shared.messages import PulledCapture, UnreadableItem

_REPLACEMENT: Final = "\N{REPLACEMENT CHARACTER}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceivedPull:
    """The captures of one pull, as a row of work for the store."""

    pull_id: UUID
    user_id: str
    received_at: datetime
    captures: Sequence[PulledCapture]
    unreadable: Sequence[UnreadableItem]

    @property
    def rows(self) -> int:
        """How much work it is."""
        return len(self.captures) + len(self.unreadable)


class CaptureStore:
    """Exactly once: a capture that is stored already changes nothing."""

    def __init__(self, *, pool: asyncpg.Pool, queries: Mapping[str, str]) -> None:
        self._pool = pool
        self._queries = queries

    async def store(self, pulls: Sequence[ReceivedPull]) -> list[int]:
        """Store them together; how many captures of each were new.

        Raises:
            asyncpg.PostgresError, OSError: nothing was stored.
        """
        async with self._pool.acquire() as connection, connection.transaction():
            rows = await connection.fetch(self._queries["store_captures"], *_capture_columns(pulls))
            unreadable = [(pull, item) for pull in pulls for item in pull.unreadable]
            kept = (
                await connection.fetch(self._queries["quarantine"], *_quarantine_columns(unreadable))
                if unreadable
                else []
            )
            if rows or kept:
                grown = rows[0]["holdings"] if rows else 0
                await connection.execute(self._queries["count"], sum(row["stored"] for row in rows), grown, len(kept))
        stored = {row["pull_number"]: row["stored"] for row in rows}
        return [stored.get(number, 0) for number in range(len(pulls))]


def _capture_columns(pulls: Sequence[ReceivedPull]) -> list[list[Any]]:
    """The captures as one array for each column, which asyncpg sends much faster than rows."""
    columns: list[list[Any]] = [[] for _ in range(11)]
    for number, pull in enumerate(pulls):
        count = len(pull.captures)
        columns[0] += [number] * count
        columns[1] += [pull.user_id] * count
        columns[2] += [capture.capture_id for capture in pull.captures]
        columns[3] += [capture.pokemon_id for capture in pull.captures]
        columns[4] += [capture.pokemon_name for capture in pull.captures]
        columns[5] += [capture.action for capture in pull.captures]
        columns[6] += [capture.removed for capture in pull.captures]
        columns[7] += [capture.timestamp for capture in pull.captures]
        columns[8] += [pull.received_at] * count
        columns[9] += [pull.pull_id] * count
        columns[10] += [capture.metadata for capture in pull.captures]
    return columns


def _quarantine_columns(items: Sequence[tuple[ReceivedPull, UnreadableItem]]) -> list[list[Any]]:
    return [
        [pull.user_id for pull, _ in items],
        [_printable(item.capture_id) for _, item in items],
        [_printable(item.problem) for _, item in items],
        [item.raw.replace("\x00", _REPLACEMENT) for _, item in items],
        [pull.pull_id for pull, _ in items],
    ]


def _printable(text: str | None) -> str | None:
    """Postgres' text has no NUL."""
    return text[:1_000].replace("\x00", _REPLACEMENT) if text is not None else None
