"""Scale-out: several pullers and ingests share the work, and none does another's. It says nothing of speed."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Final

from benchmarks.checking import check_tables
from benchmarks.figures import Figure, at_most
from benchmarks.freshness import spread_slots
from benchmarks.place import Place, Servers
from benchmarks.plan import Plan, progress

INTERVAL_S: Final = 5
CAPTURES: Final = 3
_REPLICAS: Final = (1, 2, 4)


async def measure(servers: Servers, plan: Plan) -> Sequence[Figure]:
    """Each client is polled once in each slot, whoever does it; the load of a service is its CPU time."""
    clients, slots = plan.size(full=2_000, quick=1_000), plan.size(full=8, quick=4)
    twice: dict[int, list[float]] = {replicas: [] for replicas in _REPLICAS}
    uneven: dict[tuple[str, int], list[float]] = {}
    for run in range(plan.runs):
        for replicas in _REPLICAS:
            async with servers.place(clients=clients, env={"PULL_SYNC_INTERVAL": str(INTERVAL_S)}) as place:
                names = _start(place, replicas)
                await place.register_all()
                slot_of = await spread_slots(place, INTERVAL_S)
                before = {name: place.cpu_s(name) for name in names}
                made, polls = await _use(place, slots)
                shares = {name: place.cpu_s(name) - before[name] for name in names}
                await check_tables(place.pool, captures=made)
            seen = Counter((n, round((moment - slot_of[n] / 1000) / INTERVAL_S)) for n, moment in polls)
            twice[replicas].append(sum(count - 1 for count in seen.values()))
            assert len(polls) >= 0.98 * clients * slots, f"only {len(polls)} polls"
            for service in ("puller", "ingest"):
                mine = [share for name, share in shares.items() if name.startswith(service)]
                uneven.setdefault((service, replicas), []).append(
                    max(abs(each * len(mine) / sum(mine) - 1) for each in mine)
                )
            progress(
                f"scale-out, run {run + 1}: {replicas} of each, {len(polls):,} polls, "
                f"{twice[replicas][-1]:.0f} of them twice"
            )
    figures = [
        Figure(
            what=f"{replicas} pullers: polls of a client that was polled in the same slot before",
            runs=runs,
            goal=at_most(0),
            in_each_run=True,
        )
        for replicas, runs in twice.items()
    ]
    for (service, replicas), runs in uneven.items():
        if replicas > 1:
            what = f"{replicas} {service}s: what any does more or less than its share, at most"
            figures.append(Figure(what=what, runs=runs, goal=at_most(0.2)))
    return figures


def _start(place: Place, replicas: int) -> list[str]:
    names = [f"{service}-{number}" for service in ("puller", "ingest") for number in range(1, replicas + 1)]
    place.stack.start_together("registry", *names)
    return names


async def _use(place: Place, slots: int) -> tuple[int, list[tuple[int, float]]]:
    """Let every client have some captures before each slot; how many were made, and all polls."""
    polls: list[tuple[int, float]] = []
    for _ in range(slots):
        await place.simulator.fill(CAPTURES)
        await asyncio.sleep(INTERVAL_S)
        polls += (await place.simulator.take()).polls
    polls += await place.all_told()
    return slots * CAPTURES * place.simulator.clients, polls
