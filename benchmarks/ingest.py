"""Ingest: from a full queue to committed tables, against a plain COPY of the same rows into the same table."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final

from benchmarks.checking import check_tables
from benchmarks.figures import Figure, at_least
from benchmarks.place import Place, Servers
from benchmarks.plan import Plan, progress
from benchmarks.waiting import until

_COLUMNS: Final = (
    *("user_id", "capture_id", "pokemon_id", "pokemon_name", "action", "removed"),
    *("captured_at", "received_at", "stored_at", "pull_id", "metadata"),
)
_ROWS: Final = f"""
SELECT {", ".join(_COLUMNS)} FROM captures.events ORDER BY received_at, pull_id, captured_at, capture_id
"""
_SAMPLE_S: Final = 0.005
_STORED: Final = "SELECT events FROM captures.totals"


async def measure(servers: Servers, plan: Plan) -> Sequence[Figure]:
    """Many captures of each client, and few as a puller batches them."""
    many = await _of_clients(servers, plan, clients=plan.size(full=8_000, quick=2_000), captures=100)
    few = await _of_clients(servers, plan, clients=plan.size(full=50_000, quick=10_000), captures=3)
    return [
        Figure(what="captures/s / COPY's, 100 of each client", runs=many[0], goal=at_least(0.3)),
        Figure(what="captures/s / COPY's, 3 of each client", runs=few[0], goal=at_least(0.2)),
        Figure(what="captures/s, 100 of each client", runs=many[1]),
        Figure(what="captures/s, 3 of each client", runs=few[1]),
        Figure(what="captures/s by COPY", runs=[*many[3], *few[3]]),
        Figure(what="captures/s until each client is told, 100 of each", runs=many[2]),
        Figure(what="captures/s until each client is told, 3 of each", runs=few[2]),
    ]


async def _of_clients(servers: Servers, plan: Plan, *, clients: int, captures: int) -> tuple[list[float], ...]:
    """Of each run the ratio; captures that were committed, told, and copied each second."""
    seen = []
    for run in range(plan.runs):
        async with servers.place(clients=clients) as place:
            await fill_queue(place, captures)
            stored, told = await drain(place, clients * captures)
            await check_tables(place.pool, captures=clients * captures)
            copied = await _copy(place)
        seen.append((stored / copied, stored, told, copied))
        progress(f"ingest, {captures} of each client, run {run + 1}: {stored:,.0f}/s, COPY {copied:,.0f}/s")
    return tuple(map(list, zip(*seen, strict=True)))


async def fill_queue(place: Place, captures: int) -> None:
    """Let the puller fetch so many captures of each client, while no ingest is there; all is in the queue then."""
    await place.simulator.fill(captures)
    place.stack.start_together("registry", "ingest-1")  # which make their tables
    place.stop("ingest-1")
    await place.register_all()
    place.stack.start("puller-1")
    await place.make_due()
    await place.all_polled()
    place.stop("puller-1")  # when all is published


async def drain(place: Place, captures: int, *, stored: int = 0) -> tuple[float, float]:
    """Captures each second that ingest commits, from the first message that it is sent; and until clients are told.

    `captures` are in the queue, and so many others `stored` before.
    """
    full = await place.waiting()

    async def begun() -> bool:
        return await place.waiting() < full

    async def committed() -> bool:
        return bool(await place.pool.fetchval(_STORED) - stored == captures)

    place.stack.start("ingest-1", wait=False)
    await until("ingest takes messages", begun, every_s=_SAMPLE_S)
    begun_s = time.perf_counter()
    await until(f"{captures:,} captures are stored", committed, every_s=_SAMPLE_S)
    committed_s = time.perf_counter() - begun_s
    await place.all_told()
    told_s = time.perf_counter() - begun_s
    place.stop("ingest-1")
    return captures / committed_s, captures / told_s


async def _copy(place: Place) -> float:
    """Captures each second of one COPY of all rows, as they came, into the table from which they were taken.

    The better of two: nothing of what was stored before shall disturb it.
    """
    rates = []
    async with place.pool.acquire() as connection:
        rows = [tuple(row) for row in await connection.fetch(_ROWS)]
        for _ in range(2):
            await connection.execute("TRUNCATE captures.events")
            await connection.execute("CHECKPOINT")
            begun_s = time.perf_counter()
            await connection.copy_records_to_table("events", schema_name="captures", records=rows, columns=_COLUMNS)
            rates.append(len(rows) / (time.perf_counter() - begun_s))
        assert await connection.fetchval("SELECT count(*) FROM captures.events") == len(rows)
    return max(rates)
