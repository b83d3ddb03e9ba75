"""Polls: what one costs the puller, and how many it makes, against bare loops over the same clients."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import Final

from benchmarks.figures import Figure, at_least, at_most, ratios
from benchmarks.place import Place, Servers
from benchmarks.plan import Plan, progress
from benchmarks.rivals.running import run_rival
from shared.contracts.client_protocol import SYNC_DATA_PATH

CAPTURES: Final = 3
_AT_ONCE: Final = (100, 500)
"""Each bare loop is run with both, and compared by what it does best; the puller has 500."""


async def measure(servers: Servers, plan: Plan) -> Sequence[Figure]:
    """Each run asks every client once by each; what the puller publishes is read, and counted."""
    clients = plan.size(full=5_000, quick=2_000)
    cpu: dict[str, list[float]] = {"httpx": [], "aiohttp": [], "puller": []}
    rate: dict[str, list[float]] = {"httpx": [], "aiohttp": [], "puller": []}
    async with servers.place(clients=clients) as place:
        await place.simulator.fill(CAPTURES)
        place.stack.start("registry")
        await place.register_all()
        place.stack.start("puller-1")
        for run in range(plan.runs):
            for name in ("httpx", "aiohttp"):
                seen = await _bare(place, name)
                cpu[name].append(seen[0])
                rate[name].append(seen[1])
            seen = await _pulled(place)
            cpu["puller"].append(seen[0])
            rate["puller"].append(seen[1])
            progress(f"polls, run {run + 1}: " + ", ".join(f"{name} {rate[name][-1]:,.0f}/s" for name in rate))
    absolute = [Figure(what=f"CPU of a poll, {name} (µs)", runs=[1e6 * each for each in cpu[name]]) for name in cpu]
    absolute += [Figure(what=f"polls/s, {name}", runs=rate[name]) for name in rate]
    return [
        Figure(what="CPU of a poll / httpx's", runs=ratios(cpu["puller"], cpu["httpx"]), goal=at_most(0.5)),
        Figure(what="CPU of a poll / aiohttp's", runs=ratios(cpu["puller"], cpu["aiohttp"]), goal=at_most(3)),
        Figure(what="polls/s / aiohttp's", runs=ratios(rate["puller"], rate["aiohttp"]), goal=at_least(0.3)),
        *absolute,
    ]


async def _bare(place: Place, name: str) -> tuple[float, float]:
    """CPU seconds of a poll, and polls each second, of a bare loop: the best of either."""
    urls = [f"{url}{SYNC_DATA_PATH}?limit=1000" for _, url in place.simulator.rows()]
    seen = []
    for at_once in _AT_ONCE:
        seen.append(await run_rival([sys.executable, "-m", "benchmarks.rivals.bare_loop", name, str(at_once)], urls))
        assert seen[-1]["captures"] == CAPTURES * len(urls), seen
    await place.simulator.take()
    return min(one["cpu_s"] for one in seen) / len(urls), len(urls) / min(one["seconds"] for one in seen)


async def _pulled(place: Place) -> tuple[float, float]:
    """The same of the puller, from the moment when all are due until the last one's captures are handed over."""
    clients = place.simulator.clients
    cpu_s, begun_s = place.cpu_s("puller-1"), time.time()
    await place.make_due()
    await place.all_polled()
    batches = await place.take_batches(CAPTURES * clients)
    cpu_s = place.cpu_s("puller-1") - cpu_s
    ended_s = max(pull.pulled_at.timestamp() for batch in batches for pull in batch.pulls)
    return cpu_s / clients, clients / (ended_s - begun_s)
