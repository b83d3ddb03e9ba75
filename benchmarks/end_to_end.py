"""End to end: one run over all clients until all is committed and acknowledged, against two other ways to get it."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import Final

import asyncpg
import httpx

from benchmarks.checking import check_tables
from benchmarks.figures import Figure, at_least, ratios
from benchmarks.place import Place, Servers
from benchmarks.plan import Plan, progress
from benchmarks.rivals.running import run_rival
from dev.environments import python_with
from dev.stack import CHECKOUT
from shared.contracts.client_protocol import SYNC_DATA_PATH

CLIENTS: Final = 500
CAPTURES: Final = 100
_SERVICES: Final = ("registry", "puller-1", "ingest-1")
_ENVIRONMENT: Final = CHECKOUT / ".venv-bench"
"""dlt has its own: it needs other versions than we do."""
_RUN: Final = "/api/v1/pull-sync/sync-all?wait=280"
_TIMEOUT_S: Final = 300.0


async def measure(servers: Servers, plan: Plan) -> Sequence[Figure]:
    """Each run from fresh tables, with services that wait."""
    dlt = python_with(_ENVIRONMENT, CHECKOUT / "benchmarks" / "requirements.txt")
    times: dict[str, list[float]] = {"us": [], "dlt": [], "one by one": []}
    for run in range(plan.runs):
        async with servers.place(clients=CLIENTS) as place:
            await place.simulator.fill(CAPTURES)
            urls = [url for _, url in place.simulator.rows()]
            pages = [f"{url}{SYNC_DATA_PATH}" for url in urls]
            seen = await run_rival([str(dlt), "benchmarks/rivals/dlt_pull.py", place.database.admin_url], pages)
            times["dlt"].append(seen["seconds"])
            await _check_count(place.pool, "captures_by_dlt.events")
            times["us"].append(await _ours(place))
            await place.simulator.fill(CAPTURES)
            command = [sys.executable, "-m", "benchmarks.rivals.one_by_one", place.database.admin_url]
            times["one by one"].append((await run_rival(command, urls))["seconds"])
            await _check_count(place.pool, "one_by_one")
        progress(f"end to end, run {run + 1}: " + ", ".join(f"{name} {runs[-1]:.1f} s" for name, runs in times.items()))
    return [
        Figure(what="dlt's time / ours", runs=ratios(times["dlt"], times["us"]), goal=at_least(3)),
        Figure(what="one by one's time / ours", runs=ratios(times["one by one"], times["us"]), goal=at_least(15)),
        Figure(what=f"{CLIENTS} clients with {CAPTURES} captures each (s)", runs=times["us"]),
        Figure(what="the same by dlt (s)", runs=times["dlt"]),
        Figure(what="the same one by one (s)", runs=times["one by one"]),
    ]


async def _ours(place: Place) -> float:
    """Seconds of `sync-all`, which answers when every client is pulled, stored and told."""
    place.stack.start_together(*_SERVICES)
    await place.register_all()
    async with httpx.AsyncClient(timeout=_TIMEOUT_S, trust_env=False) as http:
        begun = time.perf_counter()
        answer = await http.post(f"{place.stack.url('registry')}{_RUN}")
        seconds = time.perf_counter() - begun
    assert answer.status_code == httpx.codes.OK, answer.text
    assert (await place.simulator.take()).pending == 0, "a client was not told"
    await check_tables(place.pool, captures=CLIENTS * CAPTURES)
    for name in _SERVICES:
        place.stop(name)
    return seconds


async def _check_count(pool: asyncpg.Pool, table: str) -> None:
    assert await pool.fetchval(f"SELECT count(*) FROM {table}") == CLIENTS * CAPTURES
