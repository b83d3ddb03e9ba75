"""The registry's API with tokens: what each caller is let do, operation by operation, and how a client gets its token.

Postgres and RabbitMQ are real; whoever is asked for his health at a registration is healthy.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Final

import asyncpg
import httpx
import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute

from services.registry.access import RETRY_WINDOW
from services.registry.api.permissions import NEEDS, Need
from services.registry.app import build_app
from services.registry.settings import RegistrySettings
from shared.tokens import PullTokens, authorization
from tests.raw_server import OK, served
from tests.registry_parts import Database

PULL_SYNC: Final = "/api/v1/pull-sync"
KEY: Final = "k" * 32
TOKENS: Final = {name: name[0] * 16 for name in ("read", "operate", "admin", "service", "enrol")}
IDS: Final = {
    "user_id": "ash",
    "run_id": "00000000-0000-0000-0000-000000000000",
    "quarantine_id": "1",
    "queue": "ingest.capture-batches",
    "message_id": "1",
}
OWN: Final = (Need.OWN_OR_READ, Need.OWN_OR_OPERATE, Need.OWN_OR_ADMIN)
OPENED: Final = {
    "read": (Need.READ, Need.OWN_OR_READ),
    "operate": (Need.READ, Need.OWN_OR_READ, Need.OPERATE, Need.OWN_OR_OPERATE),
    "admin": (Need.READ, Need.OPERATE, Need.ADMIN, *OWN),
    "service": (Need.SERVICE,),
    "enrol": (),
    "own": OWN,
    "another's": (),
    "none": (),
}
"""What each token opens, beside what is open to all; registration is looked at by itself."""
HEALTHY: Final = OK + b'content-type: application/json\r\ncontent-length: 20\r\n\r\n{"status":"healthy"}'


@pytest.fixture
def app(database: Database, broker_url: str) -> FastAPI:
    """The registry with all kinds of tokens."""
    return build_app(
        RegistrySettings.model_validate(
            {
                "database_url": database.registry_url,
                "rabbitmq_url": broker_url,
                "operator_tokens": ",".join(f"{name}:{TOKENS[name]}" for name in ("read", "operate", "admin")),
                "registration_tokens": TOKENS["enrol"],
                "service_tokens": TOKENS["service"],
                "pull_token_keys": KEY,
            }
        )
    )


@pytest.fixture
async def http(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """Talks to that registry."""
    transport = httpx.ASGITransport(app)
    async with app.router.lifespan_context(app), httpx.AsyncClient(transport=transport, base_url="http://r") as client:
        yield client


@pytest.fixture
async def connection(database: Database, http: httpx.AsyncClient) -> AsyncIterator[asyncpg.Connection]:
    """To the registry's tables, which are there by now."""
    del http
    found = await asyncpg.connect(database.registry_url)
    yield found
    await found.close()


@pytest.fixture
async def here() -> AsyncIterator[str]:
    """The address of a client."""
    async with served(HEALTHY) as url:
        yield url


@pytest.fixture
async def elsewhere() -> AsyncIterator[str]:
    """Another one's."""
    async with served(HEALTHY) as url:
        yield url


async def register(
    http: httpx.AsyncClient, client_url: str, token: str | None, *, user_id: str = "ash"
) -> httpx.Response:
    """As a client does."""
    body = {"client_url": client_url, "user_id": user_id, "client_type": "web", "capabilities": []}
    return await http.post(f"{PULL_SYNC}/register-client", json=body, headers=authorization(token))


async def generation(connection: asyncpg.Connection, user_id: str = "ash") -> int:
    """Of the registration, which is made if there is none."""
    return int(
        await connection.fetchval(
            """INSERT INTO registry.clients (user_id, client_url, client_type, capabilities)
               VALUES ($1, 'http://127.0.0.1:1', 'web', '{}')
               ON CONFLICT (user_id) DO UPDATE SET user_id = excluded.user_id RETURNING token_generation""",
            user_id,
        )
    )


async def age(connection: asyncpg.Connection) -> None:
    """Let the time pass in which a registration may be repeated by anybody."""
    await connection.execute("UPDATE registry.clients SET registered_at = registered_at - $1::interval", RETRY_WINDOW)


def test_every_operation_is_in_the_table(app: FastAPI) -> None:
    """And nothing else."""
    assert {route.unique_id for route in app.routes if isinstance(route, APIRoute)} == set(NEEDS)


@pytest.mark.parametrize("caller", OPENED)
async def test_a_caller_is_let_do_what_his_token_opens(
    app: FastAPI, http: httpx.AsyncClient, connection: asyncpg.Connection, caller: str
) -> None:
    """Operation by operation, each with its method; what is refused says with what it would not be."""
    refused, expected = set(), set()
    for route in (route for route in app.routes if isinstance(route, APIRoute)):
        need = NEEDS[route.unique_id]
        if need is Need.REGISTRATION:
            continue
        user = "misty" if caller == "another's" else "ash"
        token = PullTokens([KEY]).token(user, await generation(connection, user))
        await generation(connection)
        headers = authorization({**TOKENS, "own": token, "another's": token, "none": None}[caller])
        (method,) = route.methods
        answer = await http.request(
            method, route.path_format.format(**IDS), params={"wait_s": 0}, json={}, headers=headers
        )
        if answer.status_code in {401, 403}:
            refused.add(route.unique_id)
            assert answer.headers["content-type"] == "application/problem+json"
            assert (answer.status_code == 401) == (answer.headers.get("www-authenticate") == "Bearer")
            assert (answer.status_code == 403) == (caller in {"read", "operate"} and need is not Need.SERVICE)
        if need is not Need.NOTHING and need not in OPENED[caller]:
            expected.add(route.unique_id)
    assert refused == expected


async def test_deleting_captures_takes_an_administrator(http: httpx.AsyncClient) -> None:
    """To compare does not."""
    asked = [("operate", "false", 202), ("operate", "true", 403), ("read", "true", 403), ("admin", "true", 409)]
    for name, delete, status in asked:
        answer = await http.post(
            f"{PULL_SYNC}/sync-complete-state",
            params={"delete_unknown": delete},
            headers=authorization(TOKENS[name]),
        )
        assert (name, answer.status_code) == (name, status if name != "admin" else answer.status_code), answer.text
        assert name != "admin" or answer.status_code not in {401, 403}


async def test_a_client_gets_its_token_when_it_registers(
    http: httpx.AsyncClient, here: str, elsewhere: str, connection: asyncpg.Connection
) -> None:
    """By it it may move, and look at itself; who is removed and registers again gets another one."""
    answer = await register(http, here, TOKENS["enrol"])
    token = answer.json()["pull_token"]
    assert token == PullTokens([KEY]).token("ash", await generation(connection))
    await age(connection)
    moved = await register(http, elsewhere, token)
    assert (moved.status_code, moved.json()["pull_token"]) == (200, token)
    record = await http.get(f"{PULL_SYNC}/clients/ash", headers=authorization(token))
    assert record.json()["client_url"] == elsewhere
    assert (await http.delete(f"{PULL_SYNC}/unregister-client/ash", headers=authorization(token))).status_code == 200
    assert (await register(http, here, token)).status_code == 401
    again = await register(http, here, TOKENS["enrol"])
    assert again.json()["pull_token"] != token


async def test_nobody_registers_without_a_token(http: httpx.AsyncClient, here: str) -> None:
    """And nobody is called for him: the registry is no way to reach others."""
    for token in (None, "x" * 16, TOKENS["read"], TOKENS["service"]):
        assert (await register(http, "http://127.0.0.1:9", token)).status_code == 401
    assert (await register(http, here, TOKENS["operate"])).status_code == 200


async def test_nobody_takes_over_a_user(
    http: httpx.AsyncClient, here: str, elsewhere: str, connection: asyncpg.Connection
) -> None:
    """Not by the registration token, that every device has, at once or later; the record stays as it was."""
    assert (await register(http, here, TOKENS["enrol"])).status_code == 200
    for _ in range(2):
        answer = await register(http, elsewhere, TOKENS["enrol"])
        assert (answer.status_code, answer.json()["type"]) == (403, "urn:pullsync:problem:forbidden")
        await age(connection)
    record = await http.get(f"{PULL_SYNC}/clients/ash", headers=authorization(TOKENS["read"]))
    assert record.json()["client_url"] == here


async def test_a_lost_answer_may_be_asked_for_again_for_a_while(
    http: httpx.AsyncClient, here: str, connection: asyncpg.Connection
) -> None:
    """Later the client may still say where it is, as deployed ones do, and is told nothing."""
    first = await register(http, here, TOKENS["enrol"])
    assert (await register(http, here, TOKENS["enrol"])).json() == first.json()
    await age(connection)
    later = await register(http, here, TOKENS["enrol"])
    assert (later.status_code, list(later.json())) == (200, ["message"])
    assert (await register(http, here, first.json()["pull_token"])).json() == first.json()


async def test_claims_name_the_generation_of_which_pullers_make_the_token(
    http: httpx.AsyncClient, here: str, connection: asyncpg.Connection
) -> None:
    """The token itself travels nowhere but to its client."""
    told = (await register(http, here, TOKENS["enrol"])).json()["pull_token"]
    answer = await http.post(f"{PULL_SYNC}/claims", json={"limit": 10}, headers=authorization(TOKENS["service"]))
    [target] = answer.json()["targets"]
    assert target["token_generation"] == await generation(connection)
    assert PullTokens([KEY]).token(target["user_id"], target["token_generation"]) == told
    assert told not in answer.text


async def test_tokens_are_logged_nowhere(
    http: httpx.AsyncClient, here: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """Neither those that are right nor those that are not."""
    told = (await register(http, here, TOKENS["enrol"])).json()["pull_token"]
    for token in (told, "wrong" * 5, *TOKENS.values()):
        await http.get(f"{PULL_SYNC}/clients/ash", headers=authorization(token))
    shown: Any = capfd.readouterr()
    assert not any(token in shown.out + shown.err for token in (told, "wrong" * 5, *TOKENS.values()))


def test_the_document_says_which_operation_takes_a_token(app: FastAPI) -> None:
    """So that generated clients ask for one."""
    for item in app.openapi()["paths"].values():
        for operation in item.values():
            needs_token = NEEDS[operation["operationId"]] is not Need.NOTHING
            assert ("security" in operation) == needs_token
            assert ("401" in operation["responses"]) == needs_token
