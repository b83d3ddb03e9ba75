"""Freshness: how late polls come against their slots, with and without clients that hang."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Final

from benchmarks.figures import Figure, at_most, late_99
from benchmarks.place import Place, Servers
from benchmarks.plan import Plan, progress

_HUNG_EACH: Final = 20
"""Each twentieth client: 5 %."""
_EARLY_S: Final = 0.25
"""A poll that comes so much before a slot belongs to it, and no earlier one."""
_GRACE_S: Final = 2.0
"""A slot that is over since less is not looked at: its poll may be still to come."""
_SLOTS: Final = """
SELECT (hashtextextended(user_id, 0) & 9223372036854775807) % ($1 * 1000) AS slot_ms FROM registry.clients
ORDER BY user_id
"""
_SPREAD: Final = "UPDATE registry.clients SET next_pull_at = registry.next_slot(user_id, $1, now())"


async def measure(servers: Servers, plan: Plan) -> Sequence[Figure]:
    """The timer alone, one puller; what is late is a poll's arrival at its client, which has nothing pending."""
    clients, interval_s = plan.size(full=10_000, quick=2_000), plan.size(full=30, quick=6)
    env = {"PULL_SYNC_INTERVAL": str(interval_s), "PULL_SYNC_TIMEOUT": str(interval_s // 2)}
    healthy: list[list[float]] = []
    hung: list[list[float]] = []
    polls: list[float] = []
    for run in range(plan.runs):
        async with servers.place(clients=clients, env=env) as place:
            place.stack.start_together("registry", "puller-1", "ingest-1")
            await place.register_all()
            slots = await spread_slots(place, interval_s)
            healthy.append((await _late(place, slots, interval_s))[0])
            await place.simulator.hang(every=_HUNG_EACH)
            late, polled = await _late(place, slots, interval_s)
            assert polled, "no client that hangs was polled"
            hung.append(late)
            polls.append(polled)
        told = [f"{1000 * late_99(late[-1]):.0f} ms" for late in (healthy, hung)]
        progress(f"freshness, run {run + 1}: {told[0]}, with hung clients {told[1]}")
    # Of all runs together: by itself each run's percentile changes by more than a tenth from run to run.
    change = abs(late_99(list(chain(*hung))) / late_99(list(chain(*healthy))) - 1)
    what = f"99 % of {clients:,} clients' polls are late by less than (s)"
    return [
        Figure(what=what, runs=[*map(late_99, healthy)], goal=at_most(1)),
        Figure(what="the same with 5 % of the clients hung (s)", runs=[*map(late_99, hung)], goal=at_most(1)),
        Figure(what="change by the hung clients, all runs together, as a share", runs=[change], goal=at_most(0.1)),
        Figure(what="polls that hung meanwhile", runs=polls),
    ]


async def spread_slots(place: Place, interval_s: int) -> list[int]:
    """Make every client due at its next slot; by number where each client's are, in ms of an interval."""
    await place.pool.execute(_SPREAD, interval_s)
    return [row["slot_ms"] for row in await place.pool.fetch(_SLOTS, interval_s)]


async def _late(place: Place, slots: Sequence[int], interval_s: int) -> tuple[list[float], float]:
    """Seconds by which polls of clients that answer were late, over two intervals, after one to settle; hung polls."""
    await asyncio.sleep(interval_s)
    await place.simulator.take()
    begin_s = time.time()
    await asyncio.sleep(2 * interval_s)
    seen = await place.simulator.take()
    polled: dict[int, list[float]] = {}
    for number, moment in seen.polls:
        polled.setdefault(number, []).append(moment)
    late = [
        _lateness(polled.get(number, ()), slot_s, interval_s)
        for number, slot_ms in enumerate(slots)
        if number % _HUNG_EACH
        for slot_s in _between(slot_ms / 1000, begin_s + _EARLY_S, begin_s + 2 * interval_s - _GRACE_S, interval_s)
    ]
    hung = sum(len(moments) for number, moments in polled.items() if number % _HUNG_EACH == 0)
    return late, float(hung)


def _between(slot_s: float, begin_s: float, end_s: float, interval_s: int) -> Iterator[float]:
    """The moments of a slot from `begin_s` to before `end_s`."""
    moment_s = begin_s + (slot_s - begin_s) % interval_s
    while moment_s < end_s:
        yield moment_s
        moment_s += interval_s


def _lateness(moments: Sequence[float], slot_s: float, interval_s: int) -> float:
    """Of the poll that belongs to the slot; a whole interval when there is none."""
    since = (moment - slot_s for moment in moments)
    return min((late for late in since if -_EARLY_S <= late < interval_s - _EARLY_S), default=float(interval_s))
