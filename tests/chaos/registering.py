"""How simulated clients keep themselves known to the registry, and how some of them nudge it."""

from __future__ import annotations

import asyncio
from typing import Final

from aiohttp import ClientError, ClientSession

from tests.chaos.users import Settings, Users

API: Final = "/api/v1/pull-sync"
_AT_ONCE: Final = 6
_CHECK_EVERY_S: Final = 15.0
_AGAIN_S: Final = 1.0
_NUDGE_EVERY_S: Final = 1.0
_NUDGES_AT_ONCE: Final = 4


async def keep_registered(http: ClientSession, settings: Settings) -> None:
    """Register each user, and look again every now and then whether the registry still knows him."""
    turns = asyncio.Semaphore(_AT_ONCE)
    async with asyncio.TaskGroup() as tasks:
        for index, user_id in enumerate(settings.users):
            first_check_s = _CHECK_EVERY_S * (1 + index / len(settings.users))
            tasks.create_task(_keep(http, settings, user_id, turns, first_check_s))


async def _keep(
    http: ClientSession, settings: Settings, user_id: str, turns: asyncio.Semaphore, pause_s: float
) -> None:
    known = False
    while True:
        async with turns:
            known = await _is_known(http, settings, user_id) if known else await _register(http, settings, user_id)
        await asyncio.sleep(pause_s if known else _AGAIN_S)
        pause_s = _CHECK_EVERY_S


async def _register(http: ClientSession, settings: Settings, user_id: str) -> bool:
    body = {
        "client_url": f"{settings.public_url}/{user_id}",
        "user_id": user_id,
        "client_type": "simulated",
        "capabilities": ["capture", "favorite"],
    }
    try:
        async with http.post(f"{settings.registry_url}{API}/register-client", json=body) as response:
            return response.ok
    except (ClientError, TimeoutError, OSError):
        return False


async def _is_known(http: ClientSession, settings: Settings, user_id: str) -> bool:
    """In doubt yes."""
    try:
        async with http.get(f"{settings.registry_url}{API}/clients/{user_id}") as response:
            return response.status != 404
    except (ClientError, TimeoutError, OSError):
        return True


async def keep_nudging(http: ClientSession, settings: Settings, users: Users) -> None:
    """Once a second, tell the registry of users with something new; what becomes of it does not matter."""
    turns = asyncio.Semaphore(_NUDGES_AT_ONCE)
    nudged: dict[str, int] = {}
    while True:
        await asyncio.sleep(_NUDGE_EVERY_S)
        fresh = [
            user.user_id
            for user in users.by_id.values()
            if user.nudges and user.pending and nudged.get(user.user_id) != user.next_number
        ]
        nudged.update({user_id: users.by_id[user_id].next_number for user_id in fresh})
        await asyncio.gather(*(_nudge(http, settings, user_id, turns) for user_id in fresh))


async def _nudge(http: ClientSession, settings: Settings, user_id: str, turns: asyncio.Semaphore) -> None:
    try:
        async with turns, http.post(f"{settings.registry_url}{API}/nudge/{user_id}") as response:
            await response.read()
    except (ClientError, TimeoutError, OSError):
        return
