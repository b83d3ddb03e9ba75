"""Waits until the dust has settled after the last fault, and says what has not."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

import asyncpg
import httpx

from dev.servers.errors import DevError
from shared.contracts.client_protocol import STATS_PATH
from shared.contracts.topology import WORK_QUEUES
from tests.chaos.checks import Broken
from tests.chaos.journal import Counts, count
from tests.chaos.registering import API
from tests.chaos.world import INGESTS, PULLERS, REGISTRIES, SERVICES, World

READY_WITHIN_S: Final = 90.0
_EMPTY_WITHIN_S: Final = 30.0
_POLL_S: Final = 1.0
_HTTP_TIMEOUT_S: Final = 5.0
_A_DAY_S: Final = 86_400
_CONSUMERS: Final = {"ingest": len(INGESTS), "puller": len(PULLERS), "registry": len(REGISTRIES)}
_SHOWN: Final = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Deadlines:
    """In seconds."""

    told_s: float
    """Until every client is told."""
    quiet_s: float
    """Until no pull, no run and no message is left."""


class Settling:
    """Each step waits for one thing, and gives what was broken when it did not come about in time."""

    def __init__(self, world: World, *, deadlines: Deadlines, say: Callable[[str], Awaitable[None]]) -> None:
        self._world = world
        self._deadlines = deadlines
        self._say = say

    async def settle(self) -> list[Broken]:
        """All steps, in order."""
        return [*await self._all_ready(), *await self._all_told(), *await self._all_quiet(), *await self._queues()]

    async def _all_ready(self) -> list[Broken]:
        left = set(SERVICES)

        async def ready() -> bool:
            left.difference_update([name for name in left if await self._is_ready(name)])
            return not left

        await self._within(READY_WITHIN_S, ready, lambda: f"not ready: {', '.join(sorted(left))}")
        return [
            Broken(
                invariant="services are ready again by themselves",
                text=f"{name} is not, {READY_WITHIN_S:g} s after the last fault: {await self._readiness(name)}",
            )
            for name in sorted(left)
        ]

    async def _all_told(self) -> list[Broken]:
        """What is not told is found by the check against the model."""

        async def told() -> bool:
            return counts(self._world).pending == 0 and await self._references_told()

        await self._within(self._deadlines.told_s, told, lambda: "waiting until every client is told")
        return []

    async def _references_told(self) -> bool:
        async with httpx.AsyncClient(timeout=_HTTP_TIMEOUT_S, trust_env=False) as http:
            for name in self._world.references:
                try:
                    stats = await http.get(f"{self._world.stack.url(name)}{STATS_PATH}")
                    pending = stats.raise_for_status().json()["pending_sync"]
                except httpx.HTTPError:
                    return False
                if pending:
                    return False
        return True

    async def _all_quiet(self) -> list[Broken]:
        """With an interval of a day nothing falls due any more, but for what was lost on the way."""
        left: dict[str, int] = {}

        async def quiet() -> bool:
            await self._set_interval(_A_DAY_S)
            left.update(await self._under_way())
            return not any(left.values())

        await self._within(self._deadlines.quiet_s, quiet, lambda: f"still under way: {left}")
        return [
            Broken(invariant=f"no {what} is left open", text=f"{number} {what}s are")
            for what, number in left.items()
            if number
        ]

    async def _queues(self) -> list[Broken]:
        """Empty, and as many consumers as there are services."""
        found: list[Broken] = []

        async def empty() -> bool:
            found[:] = await self._queue_faults()
            return not found

        await self._within(_EMPTY_WITHIN_S, empty, lambda: "; ".join(broken.text for broken in found))
        named = [broken.text.partition(" ")[0] for broken in found]
        return found + [await self._dead_letters(name) for name in named if name.endswith(".dead")]

    async def _queue_faults(self) -> list[Broken]:
        """An acknowledgement that waits to be repeated is explained: it was not heard the first time."""
        ctl = self._world.rabbitmq.rabbitmqctl
        try:
            text = await asyncio.to_thread(ctl, "list_queues", "--formatter=json", "name", "messages", "consumers")
        except DevError as error:
            return [Broken(invariant="queues can be listed", text=f"{error}")]
        work = {queue.name for queue in WORK_QUEUES}
        faults: list[Broken] = []
        for queue in json.loads(text):
            name, messages, consumers = queue["name"], queue["messages"], queue["consumers"]
            if messages and ".after-" not in name:
                faults.append(Broken(invariant="queues are empty", text=f"{name} has {messages} messages"))
            wanted = _CONSUMERS[name.partition(".")[0]]
            if name in work and consumers != wanted:
                text = f"{name} has {consumers} consumers instead of {wanted}"
                faults.append(Broken(invariant="every service consumes again", text=text))
        return faults

    async def _dead_letters(self, queue: str) -> Broken:
        node = self._world.rabbitmq
        async with httpx.AsyncClient(timeout=_HTTP_TIMEOUT_S, trust_env=False, auth=(node.user, node.password)) as http:
            body = {"count": 3, "ackmode": "ack_requeue_true", "encoding": "auto"}
            answer = await http.post(f"{node.management_url}/api/queues/%2F/{queue}/get", json=body)
        letters: list[dict[str, Any]] = answer.json()
        shown = "\n".join(f"{letter['properties']} {letter['payload'][:_SHOWN]}" for letter in letters)
        return Broken(invariant="no dead letters", text=f"in {queue}, for example:\n{shown}")

    async def _is_ready(self, name: str) -> bool:
        return (await self._readiness(name)).startswith("200")

    async def _readiness(self, name: str) -> str:
        async with httpx.AsyncClient(timeout=_HTTP_TIMEOUT_S, trust_env=False) as http:
            try:
                answer = await http.get(f"{self._world.stack.url(name)}/health/ready")
            except httpx.HTTPError as error:
                return f"{type(error).__name__}: {error}"
        return f"{answer.status_code} {answer.text}"

    async def _set_interval(self, seconds: int) -> None:
        async with httpx.AsyncClient(timeout=_HTTP_TIMEOUT_S, trust_env=False) as http:
            try:
                await http.post(f"{self._world.registry_url}{API}/scheduler/set-interval?interval={seconds}")
            except httpx.HTTPError:
                return

    async def _under_way(self) -> dict[str, int]:
        connection = await asyncpg.connect(self._world.database.admin_url)
        try:
            leases = await connection.fetchval("SELECT count(*) FROM registry.clients WHERE pull_id IS NOT NULL")
            runs = await connection.fetchval("SELECT count(*) FROM registry.sync_runs WHERE finished_at IS NULL")
        finally:
            await connection.close()
        return {"lease": leases, "run": runs}

    async def _within(
        self, deadline_s: float, condition: Callable[[], Awaitable[bool]], describe: Callable[[], str]
    ) -> None:
        end = time.monotonic() + deadline_s
        while not await condition() and time.monotonic() < end:
            await self._say(describe())
            await self._world.restart_ended()
            await asyncio.sleep(_POLL_S)


def counts(world: World) -> Counts:
    """Of all simulated clients."""
    return sum((count(settings.journal) for settings in world.settings.values()), Counts())
