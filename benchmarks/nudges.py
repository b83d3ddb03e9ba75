"""Nudge to stored: from a capture on its client to its row, under a steady load of single captures."""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import Sequence
from typing import Final

from benchmarks.checking import check_tables
from benchmarks.figures import Figure, at_most, late_99
from benchmarks.place import Servers
from benchmarks.plan import Plan, progress
from benchmarks.waiting import until

CLIENTS: Final = 1_000
RATE: Final = 200.0
_SERVICES: Final = ("registry", "puller-1", "ingest-1")
_WARM_UP_S: Final = 3.0
_SETTLE_S: Final = 2.0


async def measure(servers: Servers, plan: Plan) -> Sequence[Figure]:
    """Until the client was told, which is after the row was committed: so this is more than what is asked for."""
    tail, middle = [], []
    seconds = plan.size(full=60, quick=10)
    for run in range(plan.runs):
        async with servers.place(clients=CLIENTS) as place:
            place.stack.start_together(*_SERVICES)
            await place.register_all()
            url = place.stack.url("registry")
            made = await place.simulator.capture(rate=RATE, seconds=_WARM_UP_S, registry_url=url)
            await asyncio.sleep(_SETTLE_S)
            await place.simulator.take()
            measured = await place.simulator.capture(rate=RATE, seconds=seconds, registry_url=url)
            told_after_s: list[float] = []

            async def told(told_after_s: list[float] = told_after_s) -> bool:
                seen = await place.simulator.take()
                told_after_s.extend(seen.told_after_s)
                return seen.pending == 0

            await until("every capture is told", told)
            assert len(told_after_s) == measured, "a capture was told twice, or was none of these"
            await check_tables(place.pool, captures=made + measured)
        tail.append(1000 * late_99(told_after_s))
        middle.append(1000 * statistics.median(told_after_s))
        progress(f"nudge to stored, run {run + 1}: {middle[-1]:.0f} ms in the middle, 99 % within {tail[-1]:.0f} ms")
    return [
        Figure(what="from the capture until its client is told, 99 % (ms)", runs=tail, goal=at_most(250)),
        Figure(what="the same in the middle (ms)", runs=middle),
    ]
