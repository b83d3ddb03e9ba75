"""The registry's API with tokens: what each caller is let do, operation by operation, and how a client gets its token.

Postgres and RabbitMQ are real; whoever is asked for his health at a registration is healthy.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import asyncpg
import httpx
import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute, iter_route_contexts

from dev.servers.ports import free_port
from dev.stack import inherited_environment
from services.registry.access import RETRY_WINDOW
from services.registry.api.permissions import NEEDS, Need
from services.registry.app import build_app
from services.registry.settings import RegistrySettings
from shared.contracts.client_protocol import registration_key_digest
from shared.tokens import DerivedTokens, authorization
from tests.raw_server import OK, served
from tests.registry_parts import Database

PULL_SYNC: Final = "/api/v1/pull-sync"
KEY: Final = "the-key-of-tokens-0123456789abcdef"
TOKENS: Final = {name: f"{name}-01234567890" for name in ("read", "operate", "admin", "service", "enrol")}
REGISTRATION_KEY: Final = "what-only-this-client-knows-0123456789"
IDS: Final = {
    "user_id": "ash",
    "capture_id": "1_1_capture",
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
HEALTH: Final = json.dumps(
    {"status": "healthy", "registration_key_sha256": registration_key_digest(REGISTRATION_KEY)}
).encode()
HEALTHY: Final = b"%bcontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (OK, len(HEALTH), HEALTH)


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
    http: httpx.AsyncClient, client_url: str, token: str | None, *, key: str | None = REGISTRATION_KEY, **more: Any
) -> httpx.Response:
    """As a client does, or as somebody who does not have its key."""
    body = {"client_url": client_url, "user_id": "ash", "client_type": "web", "capabilities": [], **more}
    body |= {"registration_key": key} if key else {}
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
    """Let the time pass in which a client may ask for its tokens again without them."""
    await connection.execute("UPDATE registry.clients SET tokens_told_at = tokens_told_at - $1::interval", RETRY_WINDOW)


def operations(app: FastAPI) -> dict[str, tuple[str, str]]:
    """Method and path of each operation, by its id."""
    contexts = [one for one in iter_route_contexts(app.routes) if isinstance(one.original_route, APIRoute)]
    found = {one.unique_id: (min(one.methods or ()), str(one.path_format)) for one in contexts}
    assert len(found) > 30
    return found


def test_every_operation_is_in_the_table(app: FastAPI) -> None:
    """And nothing else."""
    assert set(operations(app)) == set(NEEDS)


@pytest.mark.parametrize("caller", OPENED)
async def test_a_caller_is_let_do_what_his_token_opens(
    app: FastAPI, http: httpx.AsyncClient, connection: asyncpg.Connection, caller: str
) -> None:
    """Operation by operation, each with its method; what is refused says with what it would not be."""
    refused, expected = set(), set()
    for name, (method, path) in operations(app).items():
        need = NEEDS[name]
        if need is Need.REGISTRATION:
            continue
        user = "misty" if caller == "another's" else "ash"
        token = DerivedTokens([KEY]).for_client(user, await generation(connection, user))
        await generation(connection)
        headers = authorization({**TOKENS, "own": token, "another's": token, "none": None}[caller])
        answer = await http.request(
            method, path.format(**IDS), params={"wait_s": 0, "topics": "no stream"}, json={}, headers=headers
        )
        if answer.status_code in {401, 403}:
            refused.add(name)
            assert answer.headers["content-type"] == "application/problem+json"
            assert (answer.status_code == 401) == (answer.headers.get("www-authenticate") == "Bearer")
            assert (answer.status_code == 403) == (caller in {"read", "operate"} and need is not Need.SERVICE)
        if need is not Need.NOTHING and need not in OPENED[caller]:
            expected.add(name)
    assert refused == expected


@pytest.mark.parametrize(
    ("path", "open_to_all"),
    [
        ("/health", True),
        ("/openapi.json", True),
        (f"{PULL_SYNC}/registered-clients", False),
        ("/api/v1/ranking/", False),
        ("/api/v1/admin/queues", False),
        ("/api/v1/admin/access", False),
    ],
)
async def test_what_a_stranger_sees(http: httpx.AsyncClient, path: str, open_to_all: bool) -> None:  # noqa: FBT001 - a column
    """Written out, so that a fault of the table can't hide one of the guard."""
    assert (await http.get(path)).status_code == (200 if open_to_all else 401)
    assert (await http.get(path, headers=authorization(TOKENS["read"]))).status_code in {200, 503}


async def test_the_stream_is_for_who_may_look(http: httpx.AsyncClient, connection: asyncpg.Connection) -> None:
    """Written out, too. Who gets by the guard is told that he has to name a topic, and no stream begins."""
    own = DerivedTokens([KEY]).for_client("ash", await generation(connection))
    for token in (None, own, TOKENS["service"], TOKENS["enrol"]):
        answer = await http.get("/api/v1/admin/events", headers=authorization(token))
        assert (answer.status_code, answer.json()["type"]) == (401, "urn:pullsync:problem:unauthenticated")
    for scope in ("read", "operate", "admin"):
        answer = await http.get("/api/v1/admin/events", headers=authorization(TOKENS[scope]))
        assert answer.status_code == 422


@pytest.mark.parametrize("scope", ["read", "operate", "admin"])
async def test_an_operator_is_told_what_he_may(http: httpx.AsyncClient, scope: str) -> None:
    """The highest that his token opens; a page shows him no more."""
    answer = await http.get("/api/v1/admin/access", headers=authorization(TOKENS[scope]))
    assert answer.json() == {"scope": scope, "needs_token": True}


async def test_deleting_captures_takes_an_administrator(http: httpx.AsyncClient) -> None:
    """To compare does not."""

    async def asked(name: str, delete: str, body: dict[str, bool] | None = None) -> int:
        parameters, headers = {"delete_unknown": delete}, authorization(TOKENS[name])
        answer = await http.post(f"{PULL_SYNC}/sync-complete-state", params=parameters, headers=headers, json=body)
        return answer.status_code

    assert [await asked("read", "true"), await asked("operate", "true")] == [403, 403]
    assert await asked("operate", "false", {"delete_unknown": True}) == 403
    assert await asked("admin", "true") == 202
    runs = (await http.get(f"{PULL_SYNC}/runs", headers=authorization(TOKENS["read"]))).json()
    assert [run["delete_unknown"] for run in runs] == [True]


async def test_a_client_gets_its_token_when_it_registers(
    http: httpx.AsyncClient, here: str, elsewhere: str, connection: asyncpg.Connection
) -> None:
    """By it it may move, and look at itself; who is removed and registers again gets another one."""
    answer = await register(http, here, TOKENS["enrol"])
    told, derived = answer.json(), DerivedTokens([KEY])
    token = told["client_token"]
    of_client = ("ash", await generation(connection))
    assert (token, told["pull_token"]) == (derived.for_client(*of_client), derived.for_pulls(*of_client, here))
    await age(connection)
    assert (await register(http, elsewhere, told["pull_token"])).status_code == 401
    moved = await register(http, elsewhere, token)
    assert (moved.status_code, moved.json()["client_token"]) == (200, token)
    assert moved.json()["pull_token"] == derived.for_pulls(*of_client, elsewhere) != told["pull_token"]
    record = await http.get(f"{PULL_SYNC}/clients/ash", headers=authorization(token))
    assert record.json()["client_url"] == elsewhere
    assert (await http.delete(f"{PULL_SYNC}/unregister-client/ash", headers=authorization(token))).status_code == 200
    assert (await register(http, here, token)).status_code == 401
    again = await register(http, here, TOKENS["enrol"])
    assert again.json()["client_token"] != token


async def test_nobody_registers_without_a_token(http: httpx.AsyncClient, here: str) -> None:
    """And nobody is called for him: the registry is no way to reach others."""
    for token in (None, "strange-0123456789", TOKENS["read"], TOKENS["service"]):
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
    assert (await register(http, here, first.json()["client_token"])).json() == first.json()


@pytest.mark.parametrize("key", [None, "another-client-that-has-the-token-0123"])
async def test_who_is_not_the_client_is_told_no_token(
    http: httpx.AsyncClient, here: str, connection: asyncpg.Connection, key: str | None
) -> None:
    """Every device has the registration token, and may know another's address: before, right after and long after."""
    assert (await register(http, here, TOKENS["enrol"], key=key)).json().keys() == {"message"}
    told = (await register(http, here, TOKENS["enrol"])).json()
    assert told["client_token"], "the client itself gets its tokens, whoever was there before it"
    assert (await register(http, here, TOKENS["enrol"], key=key)).json().keys() == {"message"}
    await age(connection)
    assert (await register(http, here, TOKENS["enrol"], key=key)).json().keys() == {"message"}


async def test_a_stranger_changes_nothing_of_a_client(
    http: httpx.AsyncClient, here: str, connection: asyncpg.Connection
) -> None:
    """Neither what kind it is nor what it can; the client does."""

    async def kind() -> str:
        record = await http.get(f"{PULL_SYNC}/clients/ash", headers=authorization(TOKENS["read"]))
        return str(record.json()["client_type"])

    told = (await register(http, here, TOKENS["enrol"])).json()
    await age(connection)
    assert (await register(http, here, TOKENS["enrol"], client_type="other")).status_code == 200
    assert await kind() == "web"
    assert (await register(http, here, told["client_token"], client_type="other")).status_code == 200
    assert await kind() == "other"


async def test_a_client_that_is_moved_by_an_operator_is_not_opened_elsewhere(
    http: httpx.AsyncClient, here: str, elsewhere: str
) -> None:
    """What is shown at the new address is another token than the one that opens the client at the old one."""
    told = (await register(http, here, TOKENS["enrol"])).json()
    assert (await register(http, elsewhere, TOKENS["operate"])).json().keys() == {"message"}
    answer = await http.post(f"{PULL_SYNC}/claims", json={"limit": 10}, headers=authorization(TOKENS["service"]))
    [target] = answer.json()["targets"]
    shown = DerivedTokens([KEY]).for_pulls(target["user_id"], target["token_generation"], target["client_url"])
    assert shown != told["pull_token"]
    moved_back = await register(http, here, told["client_token"])
    assert moved_back.json() == told


async def test_claims_name_the_generation_of_which_pullers_make_the_token(
    http: httpx.AsyncClient, here: str, connection: asyncpg.Connection
) -> None:
    """The token itself travels nowhere but to its client."""
    told = (await register(http, here, TOKENS["enrol"])).json()["pull_token"]
    answer = await http.post(f"{PULL_SYNC}/claims", json={"limit": 10}, headers=authorization(TOKENS["service"]))
    [target] = answer.json()["targets"]
    assert target["token_generation"] == await generation(connection)
    derived = DerivedTokens([KEY])
    assert derived.for_pulls(target["user_id"], target["token_generation"], target["client_url"]) == told
    assert told not in answer.text
    assert answer.json()["key_fingerprint"] == derived.fingerprint


async def test_tokens_are_logged_nowhere(http: httpx.AsyncClient, here: str, capfd: pytest.CaptureFixture[str]) -> None:
    """Neither those that are right nor those that are not."""
    told = (await register(http, here, TOKENS["enrol"])).json()
    tokens = [told["pull_token"], told["client_token"], "wrong" * 5, *TOKENS.values()]
    for token in tokens:
        await http.get(f"{PULL_SYNC}/clients/ash", headers=authorization(token))
    shown: Any = capfd.readouterr()
    assert "client_registered" in shown.out + shown.err
    assert not any(token in shown.out + shown.err for token in tokens)


def test_the_document_says_which_operation_takes_a_token(app: FastAPI) -> None:
    """So that generated clients ask for one."""
    for item in app.openapi()["paths"].values():
        for operation in item.values():
            needs_token = NEEDS[operation["operationId"]] is not Need.NOTHING
            assert ("security" in operation) == needs_token
            assert ("401" in operation["responses"]) == needs_token


async def test_a_registry_without_tokens_does_not_start_on_the_network(tmp_path: Path) -> None:
    """One line says what to do, before anything is connected to."""
    env = {**inherited_environment(), "REGISTRY_HOST": "0.0.0.0", "REGISTRY_PORT": str(free_port())}
    command = [sys.executable, "-m", "services.registry"]
    done = await asyncio.to_thread(
        subprocess.run, command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False, timeout=60
    )
    told = [line for line in (done.stdout + done.stderr).splitlines() if line]
    assert (done.returncode, len(told)) == (1, 1), told
    assert "OPERATOR_TOKENS" in told[0]
    assert "REGISTRY_ANONYMOUS=true" in told[0]
