"""Freshness: how late polls come against their slots, with and without clients that hang."""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import Sequence
from typing import Final

from benchmarks.figures import Figure, at_most
from benchmarks.place import Place, Servers
from benchmarks.plan import Plan, progress

_HUNG_EACH: Final = 20
"""Each twentieth client: 5 %."""
_SLOTS: Final = """
SELECT (hashtextextended(user_id, 0) & 9223372036854775807) % ($1 * 1000) AS slot_ms FROM registry.clients
ORDER BY user_id
"""
_SPREAD: Final = "UPDATE registry.clients SET next_pull_at = registry.next_slot(user_id, $1, now())"


async def measure(servers: Servers, plan: Plan) -> Sequence[Figure]:
    """The timer alone, one puller; what is late is a poll's arrival at its client."""
    clients, interval_s = plan.size(full=10_000, quick=3_000), plan.size(full=30, quick=10)
    env = {"PULL_SYNC_INTERVAL": str(interval_s)}
    healthy, hung, change = [], [], []
    for run in range(plan.runs):
        async with servers.place(clients=clients, env=env) as place:
            place.stack.start_together("registry", "puller-1", "ingest-1")
            await place.register_all()
            slots = await spread_slots(place, interval_s)
            healthy.append(await _late(place, slots, interval_s))
            await place.simulator.hang(every=_HUNG_EACH)
            hung.append(await _late(place, slots, interval_s))
        change.append(abs(hung[-1] / healthy[-1] - 1))
        progress(f"freshness, run {run + 1}: {1000 * healthy[-1]:.0f} ms, with hung clients {1000 * hung[-1]:.0f} ms")
    return [
        Figure(what=f"99 % of {clients:,} clients' polls are late by less than (s)", runs=healthy, goal=at_most(1)),
        Figure(what="the same with 5 % of the clients hung (s)", runs=hung, goal=at_most(1)),
        Figure(what="change by the hung clients, as a share", runs=change, goal=at_most(0.1)),
    ]


async def spread_slots(place: Place, interval_s: int) -> list[int]:
    """Make every client due at its next slot; by number where each client's are, in ms of an interval."""
    await place.pool.execute(_SPREAD, interval_s)
    return [row["slot_ms"] for row in await place.pool.fetch(_SLOTS, interval_s)]


async def _late(place: Place, slots: Sequence[int], interval_s: int) -> float:
    """The 99th percentile, in seconds, over two intervals, after one to settle; of clients that answer."""
    await asyncio.sleep(interval_s)
    await place.simulator.take()
    await asyncio.sleep(2 * interval_s)
    seen = await place.simulator.take()
    interval_ms = interval_s * 1000
    late = []
    for number, moment in seen.polls:
        if number % _HUNG_EACH:
            since_ms = (moment * 1000 - slots[number]) % interval_ms
            late.append((since_ms if since_ms < interval_ms / 2 else since_ms - interval_ms) / 1000)
    answering = len(slots) - len(slots) // _HUNG_EACH
    assert len(late) >= 1.9 * answering, f"only {len(late)} polls of {answering} clients in two intervals"
    return statistics.quantiles(late, n=100)[-1]
