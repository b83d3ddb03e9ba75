"""Polls: what one costs the puller, and how many it makes, against bare loops over the same clients."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from typing import Final

from benchmarks.figures import Figure, at_least, at_most
from benchmarks.place import Place, Servers
from benchmarks.plan import Plan, progress
from benchmarks.rivals.running import run_rival
from benchmarks.waiting import until
from shared.client_protocol import SYNC_DATA_PATH

CAPTURES: Final = 3
AT_ONCE: Final = 500
_QUIET_S: Final = 1.0
"""Until the last batches are published."""


async def measure(servers: Servers, plan: Plan) -> Sequence[Figure]:
    """Each run asks every client once by each; what the puller publishes stays in the queue."""
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
    return [
        Figure(what="CPU of a poll / httpx's", runs=_ratios(cpu["puller"], cpu["httpx"]), goal=at_most(0.5)),
        Figure(what="CPU of a poll / aiohttp's", runs=_ratios(cpu["puller"], cpu["aiohttp"]), goal=at_most(3)),
        Figure(what="polls/s / aiohttp's", runs=_ratios(rate["puller"], rate["aiohttp"]), goal=at_least(0.3)),
        Figure(what="CPU of a poll (µs)", runs=[1e6 * each for each in cpu["puller"]]),
        Figure(what="polls/s", runs=rate["puller"]),
    ]


def _ratios(ours: Sequence[float], theirs: Sequence[float]) -> list[float]:
    return [one / other for one, other in zip(ours, theirs, strict=True)]


async def _bare(place: Place, name: str) -> tuple[float, float]:
    """CPU seconds of a poll, and polls each second, of a bare loop."""
    urls = [f"{url}{SYNC_DATA_PATH}?limit=1000" for _, url in place.simulator.rows()]
    seen = await run_rival([sys.executable, "-m", "benchmarks.rivals.bare_loop", name, str(AT_ONCE)], urls)
    assert seen["captures"] == CAPTURES * len(urls), seen
    await place.simulator.take()
    return seen["cpu_s"] / len(urls), len(urls) / seen["seconds"]


async def _pulled(place: Place) -> tuple[float, float]:
    """The same of the puller, from the claim until all is published."""
    clients = place.simulator.clients
    cpu_s = place.cpu_s("puller-1")
    await place.make_due()
    moments: list[float] = []

    async def all_polled() -> bool:
        seen = await place.simulator.take()
        moments.extend(moment for _, moment in seen.polls)
        return len(moments) >= clients

    await until("every client is polled", all_polled)
    await asyncio.sleep(_QUIET_S)
    cpu_s = place.cpu_s("puller-1") - cpu_s
    assert len(moments) == clients, "a client was polled twice"
    assert await place.ready_messages() > 0, "nothing was published"
    await place.purge()
    return cpu_s / clients, clients / (max(moments) - min(moments))
