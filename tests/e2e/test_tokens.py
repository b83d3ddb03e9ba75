"""The whole of it with tokens: captures come through as ever, and nobody else gets at them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import httpx
import pytest

from shared.tokens import authorization
from tests.waiting import eventually

if TYPE_CHECKING:
    from dev.stack import Stack

API: Final = "/api/v1/pull-sync"
READ, OPERATE, ENROL, SERVICE = (f"{name}-01234567890" for name in ("read", "operate", "enrol", "service"))
KEY: Final = "the-key-of-tokens-0123456789abcdef"
PIKACHU: Final = {"pokemon_id": 25, "pokemon_name": "pikachu", "action": "capture"}
PULLS: Final[tuple[tuple[str, str, Any], ...]] = (
    ("GET", "/api/client/sync-data", None),
    ("GET", "/api/client/all-captures", None),
    ("POST", "/api/client/acknowledge", {"capture_ids": []}),
)


@pytest.fixture
def guarded(stack: Stack) -> Stack:
    """All services, each with the secrets that it needs and no other."""
    stack.configure(
        "registry",
        OPERATOR_TOKENS=f"read:{READ},operate:{OPERATE}",
        REGISTRATION_TOKENS=ENROL,
        SERVICE_TOKENS=SERVICE,
        PULL_TOKEN_KEYS=KEY,
    )
    stack.configure("puller-1", SERVICE_TOKENS=SERVICE, PULL_TOKEN_KEYS=KEY)
    stack.configure("ingest-1", PULL_TOKEN_KEYS=KEY)
    stack.configure("client-1", CLIENT_REGISTRATION_TOKEN=ENROL, CLIENT_NUDGE="true")
    stack.start_together("registry", "ingest-1", "puller-1")
    stack.start("client-1")
    return stack


async def record(http: httpx.AsyncClient, stack: Stack) -> dict[str, Any]:
    """What the registry has of the client; nothing as long as it is not registered."""
    answer = await http.get(f"{stack.url('registry')}{API}/clients/user_1", headers=authorization(READ))
    return dict(answer.json()) if answer.status_code == 200 else {}


async def refusals(http: httpx.AsyncClient, stack: Stack, token: str | None) -> list[int]:
    """What the client answers to whoever brings this token, to each of what pullers and ingests ask."""
    url = stack.url("client-1")
    return [
        (await http.request(method, f"{url}{path}", json=body, headers=authorization(token))).status_code
        for method, path, body in PULLS
    ]


@pytest.mark.timeout(180)
async def test_captures_come_through_and_nobody_else_gets_at_them(guarded: Stack) -> None:
    """Pulled, stored and acknowledged, by the timer, by nudges and by a complete run; also after a restart."""
    async with httpx.AsyncClient(timeout=70, trust_env=False) as http:

        async def stored(number: int) -> bool:
            return bool((await record(http, guarded)).get("stored") == number)

        async def told() -> bool:
            stats = await http.get(f"{guarded.url('client-1')}/api/client/stats")
            return bool(stats.json()["pending_sync"] == 0)

        async def capture(**changes: Any) -> None:
            answer = await http.post(f"{guarded.url('client-1')}/api/client/add-capture", json={**PIKACHU, **changes})
            assert answer.status_code == 200, answer.text

        async def protected() -> bool:
            return await refusals(http, guarded, None) == [401] * 3

        await eventually(protected)
        await capture()
        await eventually(lambda: stored(1))
        await eventually(told)
        ranking = (await http.get(f"{guarded.url('client-1')}/api/client/ranking")).json()["ranking"]
        assert [(each["pokemon_name"], each["favorite_count"]) for each in ranking] == [("pikachu", 1)]
        for token in (None, "pull_" + "x" * 43, READ, OPERATE, ENROL, SERVICE, KEY):
            assert await refusals(http, guarded, token) == [401] * 3

        guarded.stop("client-1")
        guarded.start("client-1")
        assert await protected()  # before it has registered again
        await capture(pokemon_id=1)
        await eventually(lambda: stored(2))
        await eventually(told)

        operator = authorization(OPERATE)
        answer = await http.post(f"{guarded.url('registry')}{API}/sync-complete-state", headers=operator)
        assert answer.status_code == 202, answer.text
        run = f"{guarded.url('registry')}{answer.json()['status_url']}"

        async def finished() -> bool:
            return bool((await http.get(run, headers=operator)).json()["state"] == "finished")

        await eventually(finished)
        result = (await http.get(run, headers=operator)).json()
        assert (result["failed"], result["missing"], result["unknown"]) == (0, 0, 0)
