"""Gathers what is known of a capture: out of Postgres in one moment, and out of the dead letters if need be."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

import asyncpg
from asyncpg.pool import PoolConnectionProxy

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
from shared.database import fetch_one

_SEARCH_S: Final = 5.0
"""For a search of dead letters, altogether."""


class CaptureFacts:
    """Reads, and changes nothing; what it costs depends neither on how many users there are nor on their histories."""

    def __init__(self, *, pool: asyncpg.Pool, queries: Mapping[str, str], dead_letters: DeadLetters) -> None:
        self._pool = pool
        self._queries = queries
        self._dead_letters = dead_letters

    async def gather(self, user_id: str, capture_id: str) -> Facts:
        """All that is known; the ids must be ones that PostgreSQL can look for."""
        async with (
            self._pool.acquire() as connection,
            connection.transaction(isolation="repeatable_read", readonly=True),
        ):
            facts = await self._of_capture(connection, user_id, capture_id)
            facts = await self._of_client(connection, facts)
        queue = queue_to_search(facts)
        return facts if queue is None else replace(facts, searched=await self._search(queue, facts))

    async def _of_capture(self, connection: PoolConnectionProxy, user_id: str, capture_id: str) -> Facts:
        stored = quarantined = None
        pull_id = None
        if row := await connection.fetchrow(self._queries["stored_capture"], user_id, capture_id):
            name = shown_name(row["pokemon_id"], row["pokemon_name"])
            stored = StoredCapture(**{**dict(row), "pokemon_name": name})
            pull_id = stored.pull_id
        if row := await connection.fetchrow(self._queries["quarantined_capture"], user_id, capture_id):
            quarantined = QuarantinedCapture(**dict(row))
            pull_id = pull_id or quarantined.pull_id
        pull = await connection.fetchrow(self._queries["pull"], user_id, pull_id) if pull_id else None
        return Facts(
            user_id=user_id,
            capture_id=capture_id,
            stored=stored,
            quarantined=quarantined,
            pull=PullRecord.model_validate(dict(pull)) if pull and pull["outcome"] else None,
            told_at=pull["acknowledged_at"] if pull else None,
        )

    async def _of_client(self, connection: PoolConnectionProxy, facts: Facts) -> Facts:
        scheduler = await fetch_one(connection, self._queries["scheduler"])
        row = await connection.fetchrow(self._queries["client"], facts.user_id)
        if row is None:
            is_known = facts.stored or facts.quarantined or await self._is_known(connection, facts.user_id)
            return replace(facts, is_known_user=bool(is_known), is_timer_running=scheduler["running"])
        client = ClientFacts(
            record=ClientRecord.of(row),
            pull_id=row["pull_id"],
            claimed_at=row["claimed_at"],
            emptied_at=row["emptied_at"],
        )
        return replace(facts, client=client, is_known_user=True, is_timer_running=scheduler["running"])

    async def _is_known(self, connection: PoolConnectionProxy, user_id: str) -> bool:
        return bool(
            await connection.fetchval(self._queries["is_known_user"], user_id)
            or await connection.fetchval(self._queries["has_pulls"], user_id)
        )

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


def _gap(queue: str, seen: int, present: int) -> str | None:
    if seen >= present:
        return None
    return f"{queue} has {present}, of which the oldest {seen} were; replay those, or remove them."
