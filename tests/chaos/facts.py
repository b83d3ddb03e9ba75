"""What is in the tables and queues in the end, read past the services, and what the registry says of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import asyncpg
import httpx

from tests.chaos.model import Holding, Key
from tests.chaos.world import World

_TIMEOUT_S: Final = 10.0
_EVENTS: Final = """
SELECT user_id, capture_id, pokemon_id, action, removed, captured_at, received_at, stored_at, pull_id
FROM captures.events
"""
_COUNTED: Final = """
SELECT count(*) AS registered, count(*) FILTER (WHERE paused) AS paused, coalesce(sum(stored), 0)::bigint AS stored,
       count(*) FILTER (WHERE pull_id IS NOT NULL) AS in_flight, coalesce(sum(pending), 0)::bigint AS pending
FROM registry.clients
"""
_TOTALS: Final = """
SELECT coalesce(sum(registered), 0)::bigint AS registered, coalesce(sum(paused), 0)::bigint AS paused,
       coalesce(sum(stored), 0)::bigint AS stored, coalesce(sum(in_flight), 0)::bigint AS in_flight,
       coalesce(sum(pending), 0)::bigint AS pending
FROM registry.client_counts
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """A stored capture."""

    user_id: str
    capture_id: str
    pokemon_id: int
    action: str
    removed: bool
    captured_at: datetime
    received_at: datetime
    stored_at: datetime
    pull_id: UUID

    @property
    def key(self) -> Key:
        """Whose, and which."""
        return self.user_id, self.capture_id


@dataclass(frozen=True, slots=True, kw_only=True)
class QuarantineRow:
    """Something in quarantine."""

    user_id: str
    capture_id: str | None
    problem: str
    raw: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """Everything that is checked."""

    events: Sequence[Event]
    holdings: Mapping[Holding, bool]
    holders: Mapping[str, int]
    ranking: Mapping[int, int]
    shown_ranking: Mapping[int, int]
    """As the registry's API answers it."""
    quarantine: Sequence[QuarantineRow]
    capture_totals: Mapping[str, int]
    """As ingest counted them when they happened."""
    clients_counted: Mapping[str, int]
    """By the registry's table of clients."""
    client_totals: Mapping[str, int]
    """As the registry counted them when they happened."""


async def read_facts(world: World) -> Facts:
    """Read all of it; nothing may be under way."""
    connection = await asyncpg.connect(world.database.admin_url, timeout=_TIMEOUT_S)
    try:
        events = [Event(**dict(row)) for row in await connection.fetch(_EVENTS)]
        quarantine = await connection.fetch("SELECT user_id, capture_id, problem, raw FROM captures.quarantine")
        return Facts(
            events=events,
            holdings=await _mapping(connection, "SELECT (user_id, pokemon_id), held FROM captures.holdings"),
            holders=await _mapping(connection, "SELECT user_id, holdings FROM captures.holders WHERE holdings <> 0"),
            ranking=await _mapping(connection, "SELECT pokemon_id, holders FROM captures.ranking WHERE holders <> 0"),
            shown_ranking=await _shown_ranking(world),
            quarantine=[QuarantineRow(**dict(row)) for row in quarantine],
            capture_totals=await _row(connection, "SELECT events, holdings, quarantined FROM captures.totals"),
            clients_counted=await _row(connection, _COUNTED),
            client_totals=await _row(connection, _TOTALS),
        )
    finally:
        await connection.close()


async def stored_count(world: World) -> int:
    """How many captures are stored now; -1 while Postgres is away."""
    try:
        connection = await asyncpg.connect(world.database.admin_url, timeout=2)
        try:
            return int(await connection.fetchval("SELECT count(*) FROM captures.events"))
        finally:
            await connection.close(timeout=2)
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
        return -1


async def _mapping(connection: asyncpg.Connection, query: str) -> dict[Any, Any]:
    rows = await connection.fetch(query)
    return {tuple(row[0]) if isinstance(row[0], asyncpg.Record) else row[0]: row[1] for row in rows}


async def _row(connection: asyncpg.Connection, query: str) -> dict[str, int]:
    row = await connection.fetchrow(query)
    assert row is not None
    return dict(row)


async def _shown_ranking(world: World) -> dict[int, int]:
    async with httpx.AsyncClient(timeout=_TIMEOUT_S, trust_env=False) as http:
        answer = await http.get(f"{world.registry_url}/api/v1/ranking?limit=1500")
        answer.raise_for_status()
    return {entry["pokemon_id"]: entry["favorite_count"] for entry in answer.json()}
