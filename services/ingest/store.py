"""Captures in Postgres. One call is one transaction: events, holdings, what is counted of them, and quarantine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import asyncpg
from asyncpg.pool import PoolConnectionProxy

from services.ingest.incoming import COLUMNS, ReceivedPull, incoming
from shared.messages import PulledCapture, UnreadableItem

_TRIES: Final = 3
"""Without looking, after looking, and once more for what was still under way elsewhere when it was looked for."""
_MOST_DOUBTED: Final = 100_000
_REPLACEMENT: Final = "\N{REPLACEMENT CHARACTER}"


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """What a transaction changes by captures."""

    counts: Sequence[int]
    """How many of each pull were new."""
    holdings: int
    """By how much the holdings grew in all."""


class CaptureStore:
    """Exactly once: a capture that is stored already changes nothing.

    Most captures are new, and Postgres refuses those that are not; only then, and for users of whom it was so the last
    time, they are looked for before.
    """

    def __init__(self, *, pool: asyncpg.Pool, queries: Mapping[str, str]) -> None:
        self._pool = pool
        self._queries = queries
        self._doubted: set[str] = set()
        """Users whose captures may be stored already: a client that could not be told brings them again and again."""

    async def store(self, pulls: Sequence[ReceivedPull]) -> list[int]:
        """Store them together, all or nothing; how many captures of each were new.

        Raises:
            asyncpg.PostgresError, OSError: nothing was stored. A UniqueViolationError says that somebody else stored
                the same at the same time, and that it may be tried again.
        """
        for _ in range(_TRIES - 1):
            with suppress(asyncpg.UniqueViolationError):
                return await self._store(pulls)
            self._doubt(pulls)
        return await self._store(pulls)

    async def _store(self, pulls: Sequence[ReceivedPull]) -> list[int]:
        async with self._pool.acquire() as connection, connection.transaction():
            stored = await self.store_within(connection, pulls)
            unreadable = [(pull, item) for pull in pulls for item in pull.unreadable]
            kept = (
                await connection.fetch(self._queries["quarantine"], *_quarantine_columns(unreadable))
                if unreadable
                else []
            )
            await self._count(connection, stored, quarantined=len(kept))
        return list(stored.counts)

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
        self._doubt(pulls)
        async with self._pool.acquire() as connection, connection.transaction():
            stored = await self.store_within(connection, pulls)
            gone: int = await connection.fetchval(self._queries["settle_replayed"], ids, problems)
            await self._count(connection, stored, quarantined=-gone)
        return gone

    async def store_within(self, connection: PoolConnectionProxy, pulls: Sequence[ReceivedPull]) -> Stored:
        """Store captures in a transaction of the caller's, who counts them at its end.

        Raises:
            asyncpg.UniqueViolationError: something is stored already that was not looked for.
        """
        taken = incoming(pulls, await self._find_known(connection, pulls))
        if not taken.rows:
            return Stored(counts=taken.counts, holdings=0)
        received_at = [pull.received_at for pull in pulls]
        await connection.execute(self._queries["make_incoming"])
        await connection.copy_records_to_table("incoming", records=taken.rows, columns=COLUMNS)
        await connection.execute(self._queries["store_incoming"], [pull.pull_id for pull in pulls], received_at)
        grown: int = await connection.fetchval(self._queries["move_holdings"], received_at)
        return Stored(counts=taken.counts, holdings=grown)

    def _doubt(self, pulls: Sequence[ReceivedPull]) -> None:
        if len(self._doubted) > _MOST_DOUBTED:
            self._doubted.clear()  # costs each of them one more try
        self._doubted.update(pull.user_id for pull in pulls)

    async def _find_known(
        self, connection: PoolConnectionProxy, pulls: Sequence[ReceivedPull]
    ) -> Mapping[str, Sequence[str]]:
        """By user the ids of captures that are stored already, of users who are doubted; the others no longer are."""
        doubted = [pull for pull in pulls if pull.user_id in self._doubted]
        if not doubted:
            return {}
        asked = sorted({(pull.user_id, capture.capture_id) for pull in doubted for capture in pull.captures})
        users, ids = [user_id for user_id, _ in asked], [capture_id for _, capture_id in asked]
        known: dict[str, list[str]] = {}
        for row in await connection.fetch(self._queries["find_known"], users, ids):
            known.setdefault(row["user_id"], []).append(row["capture_id"])
        self._doubted.difference_update({pull.user_id for pull in doubted} - known.keys())
        return known

    async def _count(self, connection: PoolConnectionProxy, stored: Stored, *, quarantined: int) -> None:
        """Add what a transaction changed to the totals, at its end."""
        events = sum(stored.counts)
        if events or quarantined:
            await connection.execute(self._queries["count"], events, stored.holdings, quarantined)


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
