"""Holders of leases: the processes that claim clients. The leases of one that died end soon, and no clock is asked.

A holder numbers its claims, and says which of them were answered. So a claim whose answer got lost is taken back at the
next one, and a claim that comes late hands nothing out. A holder is alive while its beat grows. Each registry looks at
that by its own monotonic clock, and a registry that could not look for a while begins to count anew.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final
from uuid import UUID

import asyncpg
import structlog

from shared.contracts.claims import DEAD_AFTER_S
from shared.postgres.database import TRANSIENT

_LOOK_EVERY_S: Final = 2.0
_BLIND_AFTER_S: Final = 3 * _LOOK_EVERY_S
"""After a gap this long, beats may have been missed."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimant:
    """A holder, as it claims."""

    holder_id: UUID
    number: int
    """Of this claim; it grows with each."""
    answered: int
    """The holder has the answers of all its claims up to this one, or they were taken back."""


class Holders:
    """What Postgres knows of them; each method may be repeated."""

    def __init__(self, *, pool: asyncpg.Pool, queries: Mapping[str, str], lease: timedelta) -> None:
        self._pool = pool
        self._queries = queries
        self._lease = lease

    async def take_back(self, claimant: Claimant) -> None:
        """End the leases of claims before this one whose answers never came; nothing when all came."""
        if claimant.number == claimant.answered + 1:
            return
        holder_id, number, answered = claimant.holder_id, claimant.number, claimant.answered
        await self._pool.execute(self._queries["fence"], holder_id, number - 1, answered)
        taken = await self._pool.fetch(self._queries["take_back"], holder_id, answered, number)
        if taken:
            log.info("claims_taken_back", holder_id=str(claimant.holder_id), pulls=len(taken))

    async def beat(self, holder_id: UUID, *, answered: int, in_hand: Sequence[UUID]) -> None:
        """Note that the holder is alive, which claims it has the answers of, and which of their pulls in hand."""
        await self._pool.execute(self._queries["beat"], holder_id, answered, list(in_hand))

    async def end(self, holder_id: UUID, *, beat: int | None = None) -> int:
        """End a holder, if its beat is still this one, and the leases that were lost with it; how many."""
        lost = await self._pool.fetch(self._queries["end_holder"], holder_id, beat, self._lease)
        return len(lost)

    async def beats(self) -> dict[UUID, int]:
        """Each holder's beat."""
        return {row["holder_id"]: row["beat"] for row in await self._pool.fetch(self._queries["holders"])}


class DeathWatch:
    """Ends holders whose beat stands still. Several registries may watch; each death is seen to once."""

    def __init__(
        self,
        *,
        holders: Holders,
        beat: Callable[[], Awaitable[None]],
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """`beat` shows that this registry, itself a holder, is alive."""
        self._holders = holders
        self._beat = beat
        self._monotonic_s = monotonic_s
        self._seen: dict[UUID, tuple[int, float]] = {}
        """Each holder's beat, and when it was first seen."""
        self._looked_at_s = -_BLIND_AFTER_S

    async def run(self) -> None:
        """Until cancelled. A database that is away is asked again."""
        while True:
            try:
                await self._beat()
                await self.look()
            except TRANSIENT as error:
                log.debug("holders_not_seen", problem=str(error) or type(error).__name__)
            await asyncio.sleep(_LOOK_EVERY_S)

    async def look(self) -> None:
        """End those whose beat was the same for `DEAD_AFTER_S` seconds of watching without a gap."""
        beats = await self._holders.beats()
        now = self._monotonic_s()
        known = self._seen if now - self._looked_at_s < _BLIND_AFTER_S else {}
        self._looked_at_s = now
        self._seen = {
            holder_id: known[holder_id] if holder_id in known and known[holder_id][0] == beat else (beat, now)
            for holder_id, beat in beats.items()
        }
        for holder_id, (beat, since_s) in list(self._seen.items()):
            if now - since_s >= DEAD_AFTER_S:
                lost = await self._holders.end(holder_id, beat=beat)
                log.warning("holder_dead", holder_id=str(holder_id), pulls_lost=lost, silent_s=round(now - since_s, 1))
