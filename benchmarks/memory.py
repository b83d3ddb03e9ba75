"""Memory of each service: with many clients for a while, and with many captures waiting in the queue."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Mapping, Sequence
from typing import Final

from benchmarks.checking import check_tables
from benchmarks.figures import Figure, at_most
from benchmarks.freshness import spread_slots
from benchmarks.ingest import fill_queue
from benchmarks.place import Place, Servers
from benchmarks.plan import Plan, progress

_MB: Final = 1e6
_SAMPLE_S: Final = 1.0
_SERVICES: Final = ("registry", "puller-1", "ingest-1")
_MOST_MB: Final = 200.0


async def measure(servers: Servers, plan: Plan) -> Sequence[Figure]:
    """Resident memory. What grows is the median of the last third against that of the second."""
    clients, seconds = plan.size(full=10_000, quick=3_000), plan.size(full=600, quick=30)
    figures = []
    samples = await _watched(servers, clients, seconds)
    for name, mine in samples.items():
        third = len(mine) // 3
        growth = statistics.median(mine[-third:]) / statistics.median(mine[third : 2 * third]) - 1
        what = f"{_service(name)} with {clients:,} clients, most (MB)"
        figures.append(Figure(what=what, runs=[max(mine)], goal=at_most(_MOST_MB)))
        what = f"{_service(name)}: growth from the second to the last third of {seconds} s, as a share"
        figures.append(Figure(what=what, runs=[growth], goal=at_most(0.02)))
    captures = plan.size(full=1_000_000, quick=100_000)
    most = await _drained(servers, clients, captures // clients)
    for name, peak in most.items():
        what = f"{_service(name)} with {clients * (captures // clients):,} captures in the queue, most (MB)"
        figures.append(Figure(what=what, runs=[peak], goal=at_most(_MOST_MB)))
    return figures


def _service(name: str) -> str:
    return name.partition("-")[0]


async def _watched(servers: Servers, clients: int, seconds: int) -> dict[str, list[float]]:
    """Each service's memory while clients with some captures each are pulled, a sample each second."""
    interval_s = 30
    async with servers.place(clients=clients, env={"PULL_SYNC_INTERVAL": str(interval_s)}) as place:
        place.stack.start_together(*_SERVICES)
        await place.register_all()
        await spread_slots(place, interval_s)
        samples: dict[str, list[float]] = {name: [] for name in _SERVICES}
        end = time.monotonic() + seconds
        filled, fills = 0.0, 0
        while time.monotonic() < end:
            if time.monotonic() - filled > interval_s:
                await place.simulator.fill(3)
                filled, fills = time.monotonic(), fills + 1
            await asyncio.sleep(_SAMPLE_S)
            _sample(place, samples)
            await place.simulator.take()
        await place.all_told()
        await check_tables(place.pool, captures=3 * clients * fills)
        progress(f"memory, {clients:,} clients: " + _told({name: mine[-1] for name, mine in samples.items()}))
        return samples


async def _drained(servers: Servers, clients: int, captures: int) -> Mapping[str, float]:
    """The most that each service takes while a long queue is made, and stored."""
    async with servers.place(clients=clients) as place:
        await fill_queue(place, captures)
        place.stack.start_together("puller-1", "ingest-1")
        await place.all_told()
        await check_tables(place.pool, captures=clients * captures)
        for name in _SERVICES:
            place.note_peak(name)
        progress(f"memory, {clients * captures:,} captures in the queue: " + _told(place.peak_mb))
        return place.peak_mb


def _sample(place: Place, samples: Mapping[str, list[float]]) -> None:
    for name, mine in samples.items():
        mine.append(place.process(name).memory_info().rss / _MB)


def _told(megabytes: Mapping[str, float]) -> str:
    return ", ".join(f"{_service(name)} {each:.0f} MB" for name, each in megabytes.items())
