"""The guarded registry's edge: what is counted against whom, pages of other origins, and its own page of documentation.

Postgres and RabbitMQ are real. The open registry is attacked in `tests/integration/test_inbound_attacks.py`.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import AsyncIterator
from hashlib import sha256
from typing import Final

import asyncpg
import httpx
import pytest

from services.registry.app import build_app
from services.registry.settings import RegistrySettings
from shared.tokens import CLIENT_PREFIX, DerivedTokens, authorization
from tests.registry_parts import Database

PULL_SYNC: Final = "/api/v1/pull-sync"
KEY: Final = "a-key-of-clients-tokens-0123456789"
OPERATOR: Final = authorization("an-operators-token")
READER: Final = authorization("a-readers-token-0")
NEWCOMER: Final = authorization("a-newcomers-token")
NOBODY: Final[tuple[dict[str, str], ...]] = (
    {},
    authorization("a-token-that-is-none"),
    authorization("a-services-token"),
)
NEW: Final = {"client_url": "http://127.0.0.1:1", "user_id": "misty"}
"""Of a client that nobody finds."""


@pytest.fixture
async def http(database: Database, broker_url: str) -> AsyncIterator[httpx.AsyncClient]:
    """Talks to a registry with tokens, and with limits that a test meets."""
    app = build_app(
        RegistrySettings.model_validate(
            {
                "database_url": database.registry_url,
                "rabbitmq_url": broker_url,
                "operator_tokens": "operate:an-operators-token,read:a-readers-token-0",
                "registration_tokens": "a-newcomers-token",
                "service_tokens": "a-services-token",
                "pull_token_keys": KEY,
                "registry_limit_syncs": "3/hour",
                "registry_limit_registrations": "2/hour",
                "registry_limit_nudges": "4/hour",
                "registry_limit_wrong_tokens": "3/hour",
                "registry_cors_origins": "https://dashboard.example",
            }
        )
    )
    transport = httpx.ASGITransport(app)
    async with app.router.lifespan_context(app), httpx.AsyncClient(transport=transport, base_url="http://r") as client:
        yield client


@pytest.fixture
async def ash(database: Database, http: httpx.AsyncClient) -> dict[str, str]:
    """What a registered client shows."""
    del http
    connection = await asyncpg.connect(database.registry_url)
    generation = await connection.fetchval(
        """INSERT INTO registry.clients (user_id, client_url, client_type, capabilities)
           VALUES ('ash', 'http://127.0.0.1:1', 'web', '{}') RETURNING token_generation"""
    )
    await connection.close()
    return authorization(DerivedTokens([KEY]).for_client("ash", generation))


async def statuses(http: httpx.AsyncClient, path: str, *callers: dict[str, str]) -> list[int]:
    """Of a POST by each of these, one after the other."""
    return [(await http.post(f"{PULL_SYNC}/{path}", json=NEW, headers=caller)).status_code for caller in callers]


# ---------------------------------------------------------------- who is counted


async def test_nobody_is_locked_out_by_those_without_a_right(http: httpx.AsyncClient) -> None:
    """From the same address, a hundred refusals count for nothing; what is served counts."""
    for path, limit, caller, served in (
        ("sync-all-background", 3, OPERATOR, 200),
        ("register-client", 2, NEWCOMER, 400),
    ):
        assert set(await statuses(http, path, *NOBODY * 30)) == {401}
        assert await statuses(http, path, *[caller] * (limit + 1)) == [*[served] * limit, 429]
    assert set(await statuses(http, "scheduler/start", OPERATOR)) == {200}


async def test_a_scope_that_is_too_low_does_not_count(http: httpx.AsyncClient) -> None:
    """Who may look only can't keep others from acting."""
    assert set(await statuses(http, "sync-all-background", *[READER] * 10)) == {403}
    assert await statuses(http, "sync-all-background", OPERATOR) == [200]


async def test_a_nudge_is_told_what_is_left(http: httpx.AsyncClient, ash: dict[str, str]) -> None:
    """Of the client's burst, and of what its address may do; who asks beyond that is refused."""
    first, *others = [await http.post(f"{PULL_SYNC}/nudge/ash", headers=ash) for _ in range(6)]
    assert first.status_code == 202
    assert first.headers["ratelimit-policy"] == '"all-nudges-3600s";q=4;w=3600, "nudges";q=5;w=5'
    assert re.fullmatch(r'"all-nudges-3600s";r=3;t=\d+, "nudges";r=4;t=1', first.headers["ratelimit"])
    assert [each.status_code for each in others] == [202, 202, 202, 429, 429]
    assert others[-1].json()["type"] == "urn:pullsync:problem:too-many-requests"
    assert others[-1].headers["ratelimit"].startswith('"all-nudges-3600s";r=0;t=')


async def test_unknown_users_are_nudged_in_bounds(http: httpx.AsyncClient) -> None:
    """Each of them costs a look into the database."""
    assert [(await statuses(http, f"nudge/user_{number}", OPERATOR))[0] for number in range(6)] == [404] * 4 + [429] * 2


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "nudge/ash"), ("GET", "clients/ash"), ("DELETE", "unregister-client/ash"), ("POST", "register-client")],
)
async def test_made_up_tokens_are_looked_up_in_bounds(
    http: httpx.AsyncClient, ash: dict[str, str], method: str, path: str
) -> None:
    """Then they are refused unseen; right ones that were shown before, and those of operators, go on."""

    async def shown(token: dict[str, str], way: str = method, where: str = path) -> int:
        return (await http.request(way, f"{PULL_SYNC}/{where}", headers=token, json=NEW)).status_code

    assert await shown(ash, "GET", "clients/ash") == 200
    made_up = [authorization(f"{CLIENT_PREFIX}made-up-{number}") for number in range(6)]
    assert [await shown(token) for token in made_up] == [401] * 3 + [429] * 3
    assert await shown(made_up[0], "GET", "clients/misty") == 429
    assert [await shown(token) for token in NOBODY] == [401] * 3
    assert await shown(ash, "GET", "clients/ash") == 200
    assert await shown(OPERATOR, "GET", "clients/ash") == 200
    assert await shown(NEWCOMER, "POST", "register-client") == 400


# ---------------------------------------------------------------- pages


@pytest.mark.parametrize(
    "page",
    [
        {"origin": "https://evil.example", "sec-fetch-site": "cross-site"},
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"sec-fetch-site": "same-site"},
    ],
)
async def test_a_foreign_page_is_refused_with_whatever_token(http: httpx.AsyncClient, page: dict[str, str]) -> None:
    """In words that say what to set."""
    for method, path in (("POST", "sync-all"), ("PATCH", "clients/ash"), ("DELETE", "unregister-client/ash")):
        answer = await http.request(method, f"{PULL_SYNC}/{path}", headers={**OPERATOR, **page})
        assert (answer.status_code, answer.json()["type"]) == (403, "urn:pullsync:problem:foreign-page")
        assert "REGISTRY_CORS_ORIGINS" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("host", "page"),
    [
        ("pullsync.example:8443", {"origin": "https://pullsync.example:8443"}),
        ("pullsync.example", {"origin": "https://pullsync.example", "sec-fetch-site": "same-origin"}),
        ("r", {"origin": "https://dashboard.example", "sec-fetch-site": "cross-site"}),
        ("whatever.example", {}),
    ],
)
async def test_own_and_named_pages_may_call(http: httpx.AsyncClient, host: str, page: dict[str, str]) -> None:
    """Under whatever name the front has, which passes it on; tokens protect from those that only lead here."""
    headers = {**OPERATOR, "host": host, **page}
    assert (await http.post(f"{PULL_SYNC}/scheduler/start", headers=headers)).status_code == 200


async def test_the_documentation_is_its_own(http: httpx.AsyncClient) -> None:
    """Operators type tokens there: all that it loads is served here, and its policy lets nothing else run or hear."""
    page = await http.get("/docs")
    assert page.status_code == 200
    loaded = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert len(loaded) == 3
    for path in loaded:
        asset = await http.get(path)
        assert (path[:6], asset.status_code) == ("/docs/", 200)
        assert len(asset.content) > 1_000
    policy = dict(part.strip().split(" ", 1) for part in page.headers["content-security-policy"].split(";"))
    scripts = re.findall(r"<script>(.*?)</script>", page.text, re.DOTALL)
    hashes = [f"'sha256-{b64encode(sha256(script.encode()).digest()).decode()}'" for script in scripts]
    assert len(hashes) == 1
    assert policy.pop("script-src").split() == ["'self'", *hashes]
    assert (policy["default-src"], policy["connect-src"]) == ("'none'", "'self'")
    assert not re.search(r"https?:|\*|unsafe", " ".join(policy.values()))
    assert (await http.get("/redoc")).status_code == 404
