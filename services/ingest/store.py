"""Captures in Postgres. One call is one transaction: events, holdings, what is counted of them, and quarantine."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import asyncpg
from asyncpg.pool import PoolConnectionProxy

from services.ingest.doubts import Doubts
from services.ingest.incoming import COLUMNS, ReceivedPull, incoming
from shared.contracts.messages import PulledCapture, UnreadableItem
from shared.postgres.database import condition_of

_TRIES: Final = 3
"""Without looking, after looking, and once more for what was still under way elsewhere when it was looked for."""
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
    came_again: Collection[str]
    """Users of whom something was stored already."""


class CaptureStore:
    """Exactly once: a capture that is stored already changes nothing.

    Most captures are new, and Postgres refuses those that are not; only then, and for users of whom it was so lately,
    they are looked for before.
    """

    def __init__(self, *, pool: asyncpg.Pool, queries: Mapping[str, str]) -> None:
        self._pool = pool
        self._queries = queries
        self._doubts = Doubts()

    async def store(self, pulls: Sequence[ReceivedPull]) -> list[int]:
        """Store them together, all or nothing; how many captures of each were new.

        Raises:
            asyncpg.PostgresError, OSError: nothing was stored. If `is_stored_already` says so of it, somebody else
                stores the same at the same time, and it may be tried again.
        """
        users = {pull.user_id for pull in pulls}
        look_for = {user_id for user_id in users if user_id in self._doubts}
        for _ in range(_TRIES - 1):
            try:
                return await self._store(pulls, look_for)
            except asyncpg.UniqueViolationError as error:
                if not is_stored_already(error):
                    raise
                look_for = users
        return await self._store(pulls, look_for)

    async def _store(self, pulls: Sequence[ReceivedPull], look_for: Collection[str]) -> list[int]:
        async with self._pool.acquire() as connection, connection.transaction():
            stored = await self.store_within(connection, pulls, look_for)
            unreadable = [(pull, item) for pull in pulls for item in pull.unreadable]
            kept = (
                await connection.fetch(self._queries["quarantine"], *_quarantine_columns(unreadable))
                if unreadable
                else []
            )
            await self._count(connection, stored, quarantined=len(kept))
        if any(stored.counts):
            condition_of(self._pool).wrote()
        self._doubts.add(stored.came_again)
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
        users = {pull.user_id for pull in pulls}
        async with self._pool.acquire() as connection, connection.transaction():
            stored = await self.store_within(connection, pulls, users)
            gone: int = await connection.fetchval(self._queries["settle_replayed"], ids, problems)
            await self._count(connection, stored, quarantined=-gone)
        return gone

    async def store_within(
        self, connection: PoolConnectionProxy, pulls: Sequence[ReceivedPull], look_for: Collection[str]
    ) -> Stored:
        """Store captures in a transaction of the caller's, who counts them at its end.

        Raises:
            asyncpg.UniqueViolationError: something is stored already of users that are not in `look_for`, or was just
                being stored.
        """
        known = await self._find_known(connection, [pull for pull in pulls if pull.user_id in look_for])
        taken = incoming(pulls, known)
        if not taken.rows:
            return Stored(counts=taken.counts, holdings=0, came_again=known.keys())
        received_at = [pull.received_at for pull in pulls]
        await connection.execute(self._queries["make_incoming"])
        await connection.copy_records_to_table("incoming", records=taken.rows, columns=COLUMNS)
        await connection.execute(self._queries["store_incoming"], [pull.pull_id for pull in pulls], received_at)
        grown: int = await connection.fetchval(self._queries["move_holdings"], received_at)
        return Stored(counts=taken.counts, holdings=grown, came_again=known.keys())

    async def _find_known(
        self, connection: PoolConnectionProxy, pulls: Sequence[ReceivedPull]
    ) -> Mapping[str, Sequence[str]]:
        """By user the ids of those captures that are stored already."""
        asked = sorted({(pull.user_id, capture.capture_id) for pull in pulls for capture in pull.captures})
        if not asked:
            return {}
        known: dict[str, list[str]] = {}
        for row in await connection.fetch(self._queries["find_known"], *map(list, zip(*asked, strict=True))):
            known.setdefault(row["user_id"], []).append(row["capture_id"])
        return known

    async def _count(self, connection: PoolConnectionProxy, stored: Stored, *, quarantined: int) -> None:
        """Add what a transaction changed to the totals, at its end."""
        events = sum(stored.counts)
        if events or quarantined:
            await connection.execute(self._queries["count"], events, stored.holdings, quarantined)


def is_stored_already(error: BaseException) -> bool:
    """Whether Postgres refused a capture because it is there, and not something else that a constraint speaks of."""
    if not isinstance(error, asyncpg.UniqueViolationError):
        return False
    return error.schema_name == "captures" and str(error.table_name).startswith("events")


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
