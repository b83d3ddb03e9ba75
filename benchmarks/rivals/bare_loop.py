"""`python -m benchmarks.rivals.bare_loop httpx|aiohttp CONCURRENCY < urls`: ask all of them, and do nothing with it.

Prints a line of JSON: seconds, CPU seconds, and captures seen.
"""

from __future__ import annotations

import asyncio
import json
import resource
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Final

import aiohttp
import httpx
import uvloop

_TIMEOUT_S: Final = 15
Ask = Callable[[str], Awaitable[int]]


async def with_httpx(urls: list[str], concurrency: int) -> int:
    """By the default transport."""
    # Its fastest: with kept connections it is ten times slower still, since it looks through all of them each time.
    limits = httpx.Limits(max_connections=concurrency, max_keepalive_connections=0)
    async with httpx.AsyncClient(timeout=_TIMEOUT_S, limits=limits, trust_env=False) as http:

        async def ask(url: str) -> int:
            response = await http.get(url)
            response.raise_for_status()
            return len(response.json()["captures"])

        return await _all(ask, urls, concurrency)


async def with_aiohttp(urls: list[str], concurrency: int) -> int:
    """By its own connector."""
    connector = aiohttp.TCPConnector(limit=concurrency, force_close=True)  # its fastest: no client is asked twice
    timeout = aiohttp.ClientTimeout(total=_TIMEOUT_S)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as http:

        async def ask(url: str) -> int:
            async with http.get(url, raise_for_status=True) as response:
                return len((await response.json())["captures"])

        return await _all(ask, urls, concurrency)


async def _all(ask: Ask, urls: list[str], concurrency: int) -> int:
    todo = iter(urls)

    async def work() -> int:
        return sum([await ask(url) for url in todo])

    return sum(await asyncio.gather(*(work() for _ in range(concurrency))))


def main() -> None:
    """Measured without the start of the program."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    loop = {"httpx": with_httpx, "aiohttp": with_aiohttp}[sys.argv[1]]
    urls = sys.stdin.read().split()
    cpu, begun = time.process_time(), time.perf_counter()
    captures = uvloop.run(loop(urls, int(sys.argv[2])))
    seen = {"seconds": time.perf_counter() - begun, "cpu_s": time.process_time() - cpu, "captures": captures}
    print(json.dumps(seen))


if __name__ == "__main__":
    main()
