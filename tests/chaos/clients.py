"""`python -m tests.chaos.clients SETTINGS`: many simulated clients in one process, each under a path of its own.

They speak the protocol as deployed clients do; some know paging, some nudge, some are slow, and some misbehave now and
then. The process may be killed at any moment: what it has accepted is in its journal, from which it goes on.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any, Final
from urllib.parse import parse_qsl

from aiohttp import ClientSession, ClientTimeout

from benchmarks.simulator.http import Request, Response, serve
from shared.contracts.client_protocol import ACKNOWLEDGE_PATH, HEALTH_PATH, SYNC_DATA_PATH
from tests.chaos.registering import keep_nudging, keep_registered
from tests.chaos.seeds import seeded
from tests.chaos.users import Settings, User, Users

SLOW_PATH: Final = "/control/slow"
_HUNG_S: Final = 30.0
_MOODS: Final = ("status", "reset", "body", "redirect")
_BAD_BODIES: Final = (
    b"<html>no JSON</html>",
    b'{"user_id": "somebody_else", "captures": []}',
    b'{"captures": {}}',
    b'{"user_id": 1, "captures": null}',
    b'{"user_id": "\xff\xfe"',
    b"[" * 10_000,
    b'{"user_id": "a", "captures": [NaN',
    b"",
)


class Routes:
    """The protocol of one process' clients."""

    def __init__(self, *, settings: Settings, users: Users) -> None:
        self._settings = settings
        self._users = users
        # Truly by chance: how often a client is asked depends on the faults, so nothing could be repeated here.
        self._random = seeded(settings.seed, "mood", settings.name, time.time())
        self._served = settings.served.open("a", encoding="utf-8", buffering=1)

    async def handle(self, request: Request) -> Response | None:
        """`/<user><path of the protocol>`, or a word of the harness."""
        path = request.path.decode()
        if path == SLOW_PATH:
            return self._slow(json.loads(request.body))
        _, user_id, rest = path.split("/", 2)
        user = self._users.by_id.get(user_id)
        if user is not None and f"/{rest}" == HEALTH_PATH:
            return _json({"status": "healthy", "client_id": user.user_id, "version": "1.0.0"})
        if user is not None and f"/{rest}" == SYNC_DATA_PATH:
            return await self._sync_data(request, user)
        if user is not None and f"/{rest}" == ACKNOWLEDGE_PATH:
            return await self._acknowledge(request, user)
        return _json({"error": "not found"}, 404)

    async def _sync_data(self, request: Request, user: User) -> Response | None:
        """What is pending, or something worse."""
        mood = await self._mood(user)
        if mood is not None:
            return self._bad_answer(mood, request)
        query = dict(parse_qsl(request.query.decode()))
        answer, shown = user.sync_data(
            since=query.get("since", ""),
            limit=int(query["limit"]) if query.get("limit") else None,
            url=f"{self._settings.public_url}/{user.user_id}",
        )
        if shown:
            numbers = [made.number for made in shown]
            self._served.write(json.dumps({"at": time.time(), "user_id": user.user_id, "numbers": numbers}) + "\n")
        return _json(answer)

    async def _acknowledge(self, request: Request, user: User) -> Response | None:
        """Remember that these are stored; a flaky client may do so and still not say so."""
        capture_ids = json.loads(request.body)["capture_ids"]
        mood = await self._mood(user)
        if mood is None or self._random.random() < 0.5:
            await self._users.acknowledge(user, capture_ids)
        return (
            _json({"message": "thanks", "count": len(capture_ids)}) if mood is None else self._bad_answer(mood, request)
        )

    def _slow(self, body: dict[str, Any]) -> Response:
        """The harness makes some users hang for some seconds."""
        for user_id in body["users"]:
            self._users.by_id[user_id].slow_until = time.time() + body["seconds"]
        return _json({})

    async def _mood(self, user: User) -> str | None:
        """Wait as long as this client does; how it misbehaves, if it does."""
        now = time.time()
        if now > self._settings.make_until:
            return None
        if now < user.slow_until:
            await asyncio.sleep(min(_HUNG_S, user.slow_until - now))
        elif user.slow_s:
            await asyncio.sleep(user.slow_s)
        return None if self._random.random() >= user.flaky else self._random.choice(_MOODS)

    def _bad_answer(self, mood: str, request: Request) -> Response | None:
        if mood == "reset":
            request.transport.abort()
            return None
        if mood == "redirect":
            return Response(b"", 302, (("location", "http://127.0.0.1:9/"),))
        if mood == "body":
            return Response(self._random.choice(_BAD_BODIES))
        return Response(b"not now", self._random.choice((400, 404, 500, 503)))


def _json(answer: object, status: int = 200) -> Response:
    return Response(json.dumps(answer).encode(), status)


async def _run(settings: Settings) -> None:
    users = Users(settings)
    server = await serve(Routes(settings=settings, users=users).handle, port=settings.port)
    async with server, ClientSession(timeout=ClientTimeout(total=12)) as http, asyncio.TaskGroup() as tasks:
        tasks.create_task(users.flush_for_ever())
        tasks.create_task(users.make())
        tasks.create_task(keep_registered(http, settings))
        tasks.create_task(keep_nudging(http, settings, users))


if __name__ == "__main__":
    asyncio.run(_run(Settings(**json.loads(sys.argv[1]))))
