"""Gathers what is known of a capture: out of Postgres, and out of the dead letters if need be."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final
from uuid import UUID

import asyncpg

from services.registry.captures import shown_name
from services.registry.dead_letters.letters import DeadLetters
from services.registry.domain import ClientRecord
from services.registry.errors import UnavailableError
from services.registry.pulls import PullRecord
from services.registry.whereabouts.facts import (
    ClientFacts,
    Facts,
    FoundLetter,
    QuarantinedCapture,
    Searched,
    StoredCapture,
)
from services.registry.whereabouts.letters import names_capture
from services.registry.whereabouts.verdict import queue_to_search
from shared.postgres.database import fetch_one

_SEARCH_S: Final = 5.0
"""For a search of dead letters, altogether."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kept:
    """What ingest has of the capture."""

    stored: StoredCapture | None
    quarantined: QuarantinedCapture | None

    @property
    def pull_id(self) -> UUID | None:
        found = self.stored or self.quarantined
        return found.pull_id if found else None


class CaptureFacts:
    """Reads, and changes nothing; what it costs depends neither on how many users there are nor on their histories."""

    def __init__(
        self, *, pool: asyncpg.Pool, captures_pool: asyncpg.Pool, queries: Mapping[str, str], dead_letters: DeadLetters
    ) -> None:
        """`captures_pool` is for what ingest publishes."""
        self._pool = pool
        self._captures_pool = captures_pool
        self._queries = queries
        self._dead_letters = dead_letters

    async def gather(self, user_id: str, capture_id: str, *, searches: bool) -> Facts:
        """All that is known, dead letters included if it `searches`; the ids must be ones that PostgreSQL can look for.

        The client is looked at before the captures: so what is stored in between is found, and not taken for something
        that its client never brought. Of what is found the pull is told by what is known after that.
        """
        facts = await self._of_registry(user_id, capture_id, None)
        kept = await self._kept(user_id, capture_id)
        if kept.pull_id is not None:
            facts = await self._of_registry(user_id, capture_id, kept.pull_id)
        facts = replace(facts, stored=kept.stored, quarantined=kept.quarantined)
        if not facts.is_known_user:
            facts = replace(facts, is_known_user=await self._has_stored(user_id))
        queue = queue_to_search(facts) if searches else None
        return facts if queue is None else replace(facts, searched=await self._search(queue, facts))

    async def _of_registry(self, user_id: str, capture_id: str, pull_id: UUID | None) -> Facts:
        """The client, the timer and that pull, in one moment."""
        async with (
            self._pool.acquire() as connection,
            connection.transaction(isolation="repeatable_read", readonly=True),
        ):
            scheduler = await fetch_one(connection, self._queries["scheduler"])
            client = await connection.fetchrow(self._queries["client"], user_id)
            pull = await connection.fetchrow(self._queries["pull"], user_id, pull_id) if pull_id else None
            is_known = client is not None or await connection.fetchval(self._queries["has_pulls"], user_id)
        return Facts(
            user_id=user_id,
            capture_id=capture_id,
            pull=PullRecord.model_validate(dict(pull)) if pull and pull["outcome"] else None,
            told_at=pull["acknowledged_at"] if pull else None,
            client=_client(client) if client else None,
            is_known_user=is_known,
            is_timer_running=scheduler["running"],
        )

    async def _kept(self, user_id: str, capture_id: str) -> _Kept:
        stored = await self._captures_pool.fetchrow(self._queries["stored_capture"], user_id, capture_id)
        item = await self._captures_pool.fetchrow(self._queries["quarantined_capture"], user_id, capture_id)
        return _Kept(
            stored=_stored(stored) if stored else None, quarantined=QuarantinedCapture(**dict(item)) if item else None
        )

    async def _has_stored(self, user_id: str) -> bool:
        return bool(await self._captures_pool.fetchval(self._queries["has_stored"], user_id))

    async def _search(self, queue: str, facts: Facts) -> Searched:
        """Among the oldest dead letters of the queue; when it can't be done in time, the answer says so."""
        try:
            async with asyncio.timeout(_SEARCH_S):
                found = await self._dead_letters.search(queue, names_capture(queue, facts.user_id, facts.capture_id))
        except UnavailableError as error:
            return Searched(gap=f"those of {queue}: {error}")
        except TimeoutError:
            return Searched(gap=f"those of {queue} take too long; try again soon.")
        letter = FoundLetter(queue=queue, letter=found.letter) if found.letter else None
        return Searched(found=letter, gap=_gap(queue, found.seen, found.present) if letter is None else None)


def _client(row: asyncpg.Record) -> ClientFacts:
    return ClientFacts(
        record=ClientRecord.of(row),
        pull_id=row["pull_id"],
        claimed_at=row["claimed_at"],
        emptied_at=row["emptied_at"],
    )


def _stored(row: asyncpg.Record) -> StoredCapture:
    return StoredCapture(**{**dict(row), "pokemon_name": shown_name(row["pokemon_id"], row["pokemon_name"])})


def _gap(queue: str, seen: int, present: int) -> str | None:
    if seen >= present:
        return None
    return f"{queue} has {present}, of which the oldest {seen} were; replay those, or remove them."
