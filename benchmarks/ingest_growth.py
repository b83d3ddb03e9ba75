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
"""Captures of each user that are there already; the simulated clients' users are among them."""
_HISTORY: Final = """
INSERT INTO captures.events (
    user_id, capture_id, pokemon_id, pokemon_name, action, removed, captured_at, received_at, stored_at, pull_id
)
SELECT 'user_' || lpad((u - 1)::text, 7, '0'),
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
    """The same queue, drained into empty tables and into full ones."""
    clients, stored = plan.size(full=2_000, quick=1_000), plan.size(full=10_000_000, quick=500_000)
    ratios, rates = [], []
    for run in range(plan.runs):
        async with servers.place(clients=clients) as place:
            empty = await _rate(place, clients)
        async with servers.place(clients=clients) as place:
            place.stack.start("ingest-1")
            place.stack.stop("ingest-1")
            await _fill(place, stored)
            full = await _rate(place, clients, stored=stored)
        ratios.append(full / empty)
        rates.append(full)
        progress(f"ingest growth, run {run + 1}: {empty:,.0f}/s into empty tables, {full:,.0f}/s into full ones")
    return [
        Figure(what=f"captures/s with {stored:,} events stored / with none", runs=ratios, goal=at_least(0.7)),
        Figure(what=f"captures/s with {stored:,} events stored", runs=rates),
    ]


async def _rate(place: Place, clients: int, *, stored: int = 0) -> float:
    await fill_queue(place, CAPTURES)
    rate, _ = await drain(place, clients * CAPTURES, stored=stored)
    await check_tables(place.pool, captures=stored + clients * CAPTURES)
    return rate


async def _fill(place: Place, events: int) -> None:
    """What a system has stored after a long time."""
    progress(f"ingest growth: storing {events:,} events")
    async with place.pool.acquire() as connection:
        await connection.execute(_HISTORY, events // _EACH, _EACH, timeout=_TIMEOUT_S)
        for statement in (_HOLDINGS, _HOLDERS, _RANKING, _TOTALS, "VACUUM ANALYZE", "CHECKPOINT"):
            await connection.execute(statement, timeout=_TIMEOUT_S)
