"""The quarantine as ingest publishes it: what could not be read or stored. Replaying is asked of ingest by messages."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

import asyncpg
import structlog

from services.registry.errors import RegistryError, UnavailableError
from shared.contracts.messages import QUARANTINED_PER_REPLAY, ReplayQuarantined
from shared.contracts.topology import REPLAYS
from shared.rabbitmq.broker import Publisher, PublishError

RAW_SHOWN_CHARS: Final = 200
"""How much of an item a list shows."""
_NAMED: Final = 10

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class QuarantinedItem:
    """An item in a list."""

    quarantine_id: int
    user_id: str
    capture_id: str | None
    """As the client named it, where that could be read."""
    problem: str
    """Why it is here."""
    pull_id: UUID
    quarantined_at: datetime
    raw: str
    """As it came: in a list its beginning, else all that was kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InspectedItem(QuarantinedItem):
    """An item with all that is known of it."""

    replays: int
    """How often it was tried again, in vain."""
    last_replay_at: datetime | None
    last_problem: str | None
    """What was wrong with it then."""


class UnknownQuarantinedError(RegistryError):
    """Such an item is not in quarantine: it never was, or it is stored by now."""

    status = 404

    def __init__(self, quarantine_ids: Sequence[int]) -> None:
        """For these numbers, of which the first are named."""
        named = ", ".join(map(str, quarantine_ids[:_NAMED]))
        more = f" and {len(quarantine_ids) - _NAMED} more" if len(quarantine_ids) > _NAMED else ""
        super().__init__(f"Not in quarantine, or no longer: {named}{more}. Nothing was asked for.")


class ReplayNotTakenError(UnavailableError):
    """RabbitMQ did not confirm the demand."""

    def __init__(self, asked: int) -> None:
        """After so many items were asked for all the same."""
        super().__init__(
            f"RabbitMQ does not take the demand now; try again soon. Items asked for before that: {asked}. "
            "To ask for an item twice does no harm."
        )


class Quarantine:
    """Reads what ingest publishes, and writes nothing."""

    def __init__(self, *, pool: asyncpg.Pool, queries: Mapping[str, str], publisher: Publisher) -> None:
        self._pool = pool
        self._queries = queries
        self._publisher = publisher

    async def page(self, *, after: int, limit: int, user_id: str | None) -> list[QuarantinedItem]:
        """The items above number `after`, by number; of all users, or of one."""
        if user_id is None:
            rows = await self._pool.fetch(self._queries["quarantine_page"], after, limit, RAW_SHOWN_CHARS)
        else:
            query = self._queries["quarantine_page_of_user"]
            rows = await self._pool.fetch(query, after, limit, RAW_SHOWN_CHARS, user_id)
        return [QuarantinedItem(**dict(row)) for row in rows]

    async def get(self, quarantine_id: int) -> InspectedItem:
        """All that is known of one item.

        Raises:
            UnknownQuarantinedError: it is not in quarantine.
        """
        row = await self._pool.fetchrow(self._queries["quarantined_item"], quarantine_id)
        if row is None:
            raise UnknownQuarantinedError([quarantine_id])
        return InspectedItem(**dict(row))

    async def replay(self, quarantine_ids: Sequence[int]) -> int:
        """Ask ingest to try these items again, at most `QUARANTINED_PER_REPLAY`; how many. It may be repeated.

        Raises:
            UnknownQuarantinedError: one of them is not in quarantine; nothing was asked for.
            ReplayNotTakenError: RabbitMQ did not confirm it.
        """
        wanted = list(dict.fromkeys(quarantine_ids))
        rows = await self._pool.fetch(self._queries["known_quarantine_ids"], wanted)
        known = {row["quarantine_id"] for row in rows}
        if unknown := [quarantine_id for quarantine_id in wanted if quarantine_id not in known]:
            raise UnknownQuarantinedError(unknown)
        return await self._ask(wanted, asked_before=0)

    async def replay_all(self) -> int:
        """Ask ingest to try everything again that is in quarantine now; how many items. It may be repeated.

        Raises:
            ReplayNotTakenError: RabbitMQ did not confirm a part of it; the parts before it are asked for.
        """
        asked = 0
        async for quarantine_ids in self._all_ids():
            asked += await self._ask(quarantine_ids, asked_before=asked)
        return asked

    async def _all_ids(self) -> AsyncIterator[list[int]]:
        """In portions of a message, up to the last of now: what comes meanwhile could make it endless."""
        last: int = await self._pool.fetchval(self._queries["last_quarantine_id"])
        after = 0
        while rows := await self._pool.fetch(self._queries["quarantine_ids"], after, last, QUARANTINED_PER_REPLAY):
            yield [row["quarantine_id"] for row in rows]
            after = rows[-1]["quarantine_id"]

    async def _ask(self, quarantine_ids: Sequence[int], *, asked_before: int) -> int:
        message = ReplayQuarantined(quarantine_ids=tuple(quarantine_ids))
        try:
            await self._publisher.publish(message, routing_key=REPLAYS.routing())
        except PublishError as error:
            raise ReplayNotTakenError(asked_before) from error
        log.info("quarantine_replay_asked", items=len(quarantine_ids))
        return len(quarantine_ids)
