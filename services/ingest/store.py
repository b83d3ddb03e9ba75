"""Captures in Postgres. One call is one transaction: events, holdings, what is counted of them, and quarantine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import asyncpg
from asyncpg.pool import PoolConnectionProxy

from shared.messages import PulledCapture, UnreadableItem

_REPLACEMENT: Final = "\N{REPLACEMENT CHARACTER}"
_COLUMNS: Final = (
    *("user_id", "capture_id", "pokemon_id", "pokemon_name", "action", "removed"),
    *("captured_at", "received_at", "pull_id", "metadata"),
)


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Quarantined:
    """An item in quarantine."""

    quarantine_id: int
    user_id: str
    problem: str
    """Why it came there."""
    raw: str
    pull_id: UUID
    quarantined_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    """An item of the quarantine after another try: the capture that it is, or what still is wrong with it."""

    item: Quarantined
    capture: PulledCapture | None
    problem: str | None
    """None when it can be read."""

    @property
    def pulls(self) -> list[ReceivedPull]:
        """The capture as it would have come, received when it went into quarantine; nothing when there is none."""
        if self.capture is None:
            return []
        return [
            ReceivedPull(
                pull_id=self.item.pull_id,
                user_id=self.item.user_id,
                received_at=self.item.quarantined_at,
                captures=(self.capture,),
                unreadable=(),
            )
        ]


class CaptureStore:
    """Exactly once: a capture that is stored already changes nothing."""

    def __init__(self, *, pool: asyncpg.Pool, queries: Mapping[str, str]) -> None:
        self._pool = pool
        self._queries = queries

    async def store(self, pulls: Sequence[ReceivedPull]) -> list[int]:
        """Store them together, all or nothing; how many captures of each were new.

        Raises:
            asyncpg.PostgresError, OSError: nothing was stored.
        """
        async with self._pool.acquire() as connection, connection.transaction():
            rows = await self.store_within(connection, pulls)
            unreadable = [(pull, item) for pull in pulls for item in pull.unreadable]
            kept = (
                await connection.fetch(self._queries["quarantine"], *_quarantine_columns(unreadable))
                if unreadable
                else []
            )
            await self._count(connection, rows, quarantined=len(kept))
        stored = {row["pull_id"]: row["stored"] for row in rows}
        return [stored.pop(pull.pull_id, 0) for pull in pulls]  # a pull that is there twice was stored by the first

    async def quarantined(self, quarantine_ids: Sequence[int]) -> list[Quarantined]:
        """Those of these items that are still in quarantine."""
        rows = await self._pool.fetch(self._queries["quarantined"], quarantine_ids)
        return [Quarantined(**dict(row)) for row in rows]

    async def store_replayed(self, replayed: Sequence[Replayed]) -> int:
        """Store what can be read now and take it out of the quarantine, and note what is wrong with the rest.

        All or nothing. It may be repeated, and by several at once: an item that is gone, or whose capture is stored
        already, is counted once. Answers how many items left the quarantine.

        Raises:
            asyncpg.PostgresError, OSError: nothing was changed.
        """
        pulls = [pull for one in replayed for pull in one.pulls]
        ids, problems = [one.item.quarantine_id for one in replayed], [_printable(one.problem) for one in replayed]
        async with self._pool.acquire() as connection, connection.transaction():
            rows = await self.store_within(connection, pulls)
            gone: int = await connection.fetchval(self._queries["settle_replayed"], ids, problems)
            await self._count(connection, rows, quarantined=-gone)
        return gone

    async def store_within(
        self, connection: PoolConnectionProxy, pulls: Sequence[ReceivedPull]
    ) -> list[asyncpg.Record]:
        """Store captures in a transaction of the caller's, who counts them at its end; how many of a pull were new."""
        records = _records(pulls)
        if not records:
            return []
        await connection.execute(self._queries["make_incoming"])
        await connection.copy_records_to_table("incoming", records=records, columns=_COLUMNS)
        return await connection.fetch(self._queries["store_captures"])

    async def _count(
        self, connection: PoolConnectionProxy, rows: Sequence[asyncpg.Record], *, quarantined: int
    ) -> None:
        """Add what a transaction changed to the totals, at its end."""
        if rows or quarantined:
            grown = rows[0]["holdings"] if rows else 0
            await connection.execute(self._queries["count"], sum(row["stored"] for row in rows), grown, quarantined)


def _records(pulls: Sequence[ReceivedPull]) -> list[tuple[Any, ...]]:
    """The captures as rows of `_COLUMNS`."""
    return [
        (
            pull.user_id,
            capture.capture_id,
            capture.pokemon_id,
            capture.pokemon_name,
            capture.action,
            capture.removed,
            capture.timestamp,
            pull.received_at,
            pull.pull_id,
            capture.metadata,
        )
        for pull in pulls
        for capture in pull.captures
    ]


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
