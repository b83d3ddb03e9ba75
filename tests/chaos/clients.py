"""`python -m tests.chaos.clients SETTINGS`: many simulated clients in one process, each under a path of its own.

They speak the protocol as deployed clients do; some know paging, some nudge, some are slow, and some misbehave now and
then. The process may be killed at any moment: what it has accepted is in its journal, from which it goes on.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from random import Random
from typing import Final

from aiohttp import ClientSession, ClientTimeout, web

from dev.servers.ports import LOOPBACK
from shared.client_protocol import ACKNOWLEDGE_PATH, HEALTH_PATH, SYNC_DATA_PATH
from tests.chaos.registering import keep_nudging, keep_registered
from tests.chaos.seeds import seeded
from tests.chaos.users import Settings, User, Users

SLOW_PATH: Final = "/control/slow"
_HUNG_S: Final = 30.0
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

    def app(self) -> web.Application:
        """To be served."""
        app = web.Application(client_max_size=16 * 1024 * 1024)
        app.router.add_get("/{user}" + HEALTH_PATH, self.health)
        app.router.add_get("/{user}" + SYNC_DATA_PATH, self.sync_data)
        app.router.add_post("/{user}" + ACKNOWLEDGE_PATH, self.acknowledge)
        app.router.add_post(SLOW_PATH, self.slow)
        return app

    async def health(self, request: web.Request) -> web.StreamResponse:
        """Asked at a registration."""
        user = self._user(request)
        return web.json_response({"status": "healthy", "client_id": user.user_id, "version": "1.0.0"})

    async def sync_data(self, request: web.Request) -> web.StreamResponse:
        """What is pending, or something worse."""
        user = self._user(request)
        if (bad := await self._mood(request, user)) is not None:
            return bad
        limit = request.query.get("limit")
        answer, shown = user.sync_data(
            since=request.query.get("since", ""),
            limit=int(limit) if limit else None,
            url=f"{self._settings.public_url}/{user.user_id}",
        )
        if shown:
            numbers = [made.number for made in shown]
            self._served.write(json.dumps({"at": time.time(), "user_id": user.user_id, "numbers": numbers}) + "\n")
        return web.json_response(answer)

    async def acknowledge(self, request: web.Request) -> web.StreamResponse:
        """Remember that these are stored; a flaky client may do so and still not say so."""
        user = self._user(request)
        body = await request.json()
        bad = await self._mood(request, user)
        if bad is not None and self._random.random() < 0.5:
            return bad
        await self._users.acknowledge(user, body["capture_ids"])
        return bad or web.json_response({"message": "thanks", "count": len(body["capture_ids"])})

    async def slow(self, request: web.Request) -> web.StreamResponse:
        """The harness makes some users hang for some seconds."""
        body = await request.json()
        for user_id in body["users"]:
            self._users.by_id[user_id].slow_until = time.time() + body["seconds"]
        return web.json_response({})

    def _user(self, request: web.Request) -> User:
        user = self._users.by_id.get(request.match_info["user"])
        if user is None:
            raise web.HTTPNotFound
        return user

    async def _mood(self, request: web.Request, user: User) -> web.StreamResponse | None:
        """Wait as long as this client does; a bad answer if it gives one."""
        now = time.time()
        if now > self._settings.make_until:
            return None
        if now < user.slow_until:
            await asyncio.sleep(min(_HUNG_S, user.slow_until - now))
        elif user.slow_s:
            await asyncio.sleep(user.slow_s)
        return None if self._random.random() >= user.flaky else _bad_answer(request, self._random)


def _bad_answer(request: web.Request, random: Random) -> web.StreamResponse:
    kind = random.choice(("status", "reset", "body", "redirect"))
    if kind == "reset" and request.transport is not None:
        request.transport.abort()
    if kind == "redirect":
        return web.Response(status=302, headers={"location": "http://127.0.0.1:9/"})
    if kind == "body":
        return web.Response(body=random.choice(_BAD_BODIES), content_type="application/json")
    return web.Response(status=random.choice((400, 404, 500, 503)), text="not now")


async def _run(settings: Settings) -> None:
    users = Users(settings)
    runner = web.AppRunner(Routes(settings=settings, users=users).app(), access_log=None)
    await runner.setup()
    await web.TCPSite(runner, LOOPBACK, settings.port, backlog=1_024).start()
    async with ClientSession(timeout=ClientTimeout(total=12)) as http, asyncio.TaskGroup() as tasks:
        tasks.create_task(users.flush_for_ever())
        tasks.create_task(users.make())
        tasks.create_task(keep_registered(http, settings))
        tasks.create_task(keep_nudging(http, settings, users))


if __name__ == "__main__":
    asyncio.run(_run(Settings(**json.loads(sys.argv[1]))))
