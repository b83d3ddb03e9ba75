"""How ingest's rate depends on what is stored already."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from benchmarks.checking import check_tables
from benchmarks.figures import Figure, at_least
from benchmarks.ingest import drain, fill_queue
from benchmarks.place import Place, Servers
from benchmarks.plan import Plan, progress

CAPTURES: Final = 100
_EACH: Final = 1_000
"""Captures of each user that are there already."""
_OTHERS_FROM: Final = 5_000_000
"""The first number of users who have no client here."""
_HISTORY: Final = """
INSERT INTO captures.events (
    user_id, capture_id, pokemon_id, pokemon_name, action, removed, captured_at, received_at, stored_at, pull_id
)
SELECT 'user_' || lpad((u - 1 + $3::integer)::text, 7, '0'),
       (n % 1025 + 1) || '_' || (1760000000000 + n * 60000) || '_capture',
       n % 1025 + 1, 'pokemon-' || (n % 1025 + 1), 'capture', false,
       to_timestamp(1760000000 + n * 60), to_timestamp(1760000000 + n * 60), now() - interval '1 day',
       '00000000-0000-4000-8000-000000000000'
FROM generate_series(1, $1::integer) AS u, generate_series(1, $2::integer) AS n
"""
_HOLDINGS: Final = """
INSERT INTO captures.holdings (user_id, pokemon_id, held, held_before, effective_at, captured_at, capture_id)
SELECT DISTINCT ON (user_id, pokemon_id) user_id, pokemon_id, true, false, captured_at, captured_at, capture_id
FROM captures.events ORDER BY user_id, pokemon_id, captured_at DESC
"""
_HOLDERS: Final = """
INSERT INTO captures.holders (user_id, holdings, updated_at)
SELECT user_id, count(*), now() FROM captures.holdings GROUP BY user_id
"""
_RANKING: Final = """
INSERT INTO captures.ranking (pokemon_id, pokemon_name, holders, updated_at)
SELECT pokemon_id, 'pokemon-' || pokemon_id, count(*), now() FROM captures.holdings GROUP BY pokemon_id
"""
_TOTALS: Final = """
UPDATE captures.totals SET events = (SELECT count(*) FROM captures.events),
                           holdings = (SELECT count(*) FROM captures.holdings)
"""
_TIMEOUT_S: Final = 3_600.0


async def measure(servers: Servers, plan: Plan) -> Sequence[Figure]:
    """The same queue, drained into empty tables and into full ones.

    Full of what others have, the work is the same. Full of what the same users have, holdings are changed where else
    they are added, and each page of theirs goes into Postgres' log as a whole once after a checkpoint.
    """
    clients, stored = plan.size(full=2_000, quick=1_000), plan.size(full=10_000_000, quick=500_000)
    ratios: dict[int, list[float]] = {_OTHERS_FROM: [], 0: []}
    rates: dict[int, list[float]] = {_OTHERS_FROM: [], 0: []}
    for run in range(plan.runs):
        async with servers.place(clients=clients) as place:
            empty = await _rate(place, clients)
        for first, mine in ratios.items():
            async with servers.place(clients=clients) as place:
                place.stack.start("ingest-1")
                place.stack.stop("ingest-1")
                await _fill(place, stored, first=first)
                full = await _rate(place, clients, stored=stored)
            mine.append(full / empty)
            rates[first].append(full)
        told = ", ".join(f"{rates[first][-1]:,.0f}/s with events of {_whose(first)}" for first in rates)
        progress(f"ingest growth, run {run + 1}: {empty:,.0f}/s into empty tables, {told}")
    what = f"captures/s with {stored:,} events stored"
    return [
        Figure(what=f"{what} / with none", runs=ratios[_OTHERS_FROM], goal=at_least(0.7)),
        Figure(what=f"{what} of the same users / with none", runs=ratios[0]),
        *(Figure(what=f"{what} of {_whose(first)}", runs=runs) for first, runs in rates.items()),
    ]


def _whose(first: int) -> str:
    return "other users" if first else "the same users"


async def _rate(place: Place, clients: int, *, stored: int = 0) -> float:
    await fill_queue(place, CAPTURES)
    rate, _ = await drain(place, clients * CAPTURES, stored=stored)
    await check_tables(place.pool, captures=stored + clients * CAPTURES)
    return rate


async def _fill(place: Place, events: int, *, first: int) -> None:
    """What a system has stored after a long time."""
    progress(f"ingest growth: storing {events:,} events of {_whose(first)}")
    async with place.pool.acquire() as connection:
        await connection.execute(_HISTORY, events // _EACH, _EACH, first, timeout=_TIMEOUT_S)
        for statement in (_HOLDINGS, _HOLDERS, _RANKING, _TOTALS, "VACUUM ANALYZE", "CHECKPOINT"):
            await connection.execute(statement, timeout=_TIMEOUT_S)
