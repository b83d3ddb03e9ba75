"""Attacks on real processes over real sockets: each is refused in words where HTTP has room for them, and harms nobody.

What takes long to end by itself is shown with shorter times in `test_bounded_http.py`.
"""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any, Final
from urllib.parse import urlsplit

import httpx
import pytest

from dev.stack import Stack
from shared.serving.bounded_http import HEAD_BYTES, HEADERS
from shared.serving.connection_places import FOR_THIS_MACHINE
from tests.attacker import MIB, Heard, attack, endless, request, trickle
from tests.waiting import eventually

HEALTH: Final = {
    "registry": "/health",
    "puller-1": "/health/live",
    "ingest-1": "/health/live",
    "client-1": "/api/client/health",
}
PULL_SYNC: Final = "/api/v1/pull-sync"
REGISTER: Final = f"{PULL_SYNC}/register-client"
JSON: Final = {"content-type": "application/json"}
AT_ONCE: Final = 50


def port_of(stack: Stack, name: str) -> int:
    """Where it listens."""
    port = urlsplit(stack.url(name)).port
    assert port is not None
    return port


async def assert_unharmed(stack: Stack, names: Sequence[str]) -> None:
    """Each is the process that it was, answers, and has no trace in its log."""
    async with httpx.AsyncClient(trust_env=False) as http:
        for name in names:
            assert (await http.get(f"{stack.url(name)}{HEALTH[name]}")).status_code == 200, name
            assert stack.returncode(name) is None
            assert "Traceback" not in (stack.folder / "logs" / f"{name}.log").read_text(), name


def assert_too_large(heard: Heard) -> None:
    """431 in words, after little was taken."""
    assert heard.status == 431, heard.text[:200]
    assert str(HEAD_BYTES) in heard.problem["detail"]
    assert heard.problem["error"] == heard.problem["detail"]


@pytest.fixture
def everything(stack: Stack) -> Stack:
    """All services, ready."""
    stack.start_together(*HEALTH)
    return stack


@pytest.fixture
def registry(stack: Stack) -> Stack:
    """The registry alone, ready, with limits that a test meets."""
    stack.configure(
        "registry",
        REGISTRY_LIMIT_REGISTRATIONS="20/minute",
        REGISTRY_LIMIT_SYNCS="3/minute",
        REGISTRY_CONNECTIONS="40",
        REGISTRY_CORS_ORIGINS="https://dashboard.example",
    )
    stack.start("registry")
    return stack


# ---------------------------------------------------------------- heads


async def test_an_endless_header_is_refused(everything: Stack) -> None:
    """By every service, after some KiB of it."""
    for name in HEALTH:
        head = b"GET / HTTP/1.1\r\nhost: localhost\r\nx-endless: "
        heard = await attack(port_of(everything, name), endless(head, b"x" * 65_536))
        assert_too_large(heard)
    await assert_unharmed(everything, list(HEALTH))


async def test_a_million_small_headers_are_refused(everything: Stack) -> None:
    """The first hundred would be taken."""
    for name in HEALTH:
        head = b"GET %b HTTP/1.1\r\nhost: localhost\r\n" % HEALTH[name].encode()
        heard = await attack(port_of(everything, name), [head, *([b"a: b\r\n" * 1_000] * 1_000), b"\r\n"])
        assert_too_large(heard)
        assert f"{HEADERS} headers" in heard.problem["detail"]
    await assert_unharmed(everything, list(HEALTH))


async def test_slowloris_is_ended(everything: Stack) -> None:
    """Heads that come a byte at a time are given up, silent connections are ended, and others are served meanwhile."""

    async def slow(port: int) -> None:
        heard = await attack(port, trickle(b"GET / HTTP/1.1\r\nhost: localhost\r\nx-slow: ", b"x", every_s=0.5))
        assert heard.status == 408
        assert "did not arrive within 10 s" in heard.problem["detail"]

    async def silent(port: int) -> None:
        assert (await attack(port, [])).text == b""

    ports = [port_of(everything, name) for name in HEALTH]
    attacks = [asyncio.create_task(each(port)) for each in (slow, silent) for port in ports for _ in range(AT_ONCE)]
    await assert_unharmed(everything, list(HEALTH))
    await asyncio.gather(*attacks)
    await assert_unharmed(everything, list(HEALTH))


async def test_what_is_no_http_is_refused(everything: Stack) -> None:
    """Another protocol, a request without a host, two lengths that differ, a length that is none."""
    nonsense = [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 100,
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: localhost\r\nbad header\r\n\r\n",
        request("POST", "/", "content-length: 1", "content-length: 2") + b"12",
        request("POST", "/", "content-length: -1"),
        request("POST", "/", f"content-length: {'9' * 5_000}"),
        request("POST", "/", "transfer-encoding: chunked") + b"zz\r\n",
        b"\r\n" * 20_000,
    ]
    for name in HEALTH:
        for sent in nonsense:
            heard = await attack(port_of(everything, name), [sent])
            assert heard.status in {400, 405, 431, None}, (name, sent[:40], heard.text[:200])
    await assert_unharmed(everything, list(HEALTH))


# ---------------------------------------------------------------- bodies


async def test_an_endless_body_is_refused(everything: Stack) -> None:
    """Of a length that is told, and of one that is not: after what any request may have."""
    for name, path, most in (("registry", REGISTER, MIB), ("client-1", "/api/client/add-capture", 2 * MIB)):
        chunked = request("POST", path, "content-type: application/json", "transfer-encoding: chunked")
        heard = await attack(port_of(everything, name), endless(chunked, b"10000\r\n" + b" " * 65_536 + b"\r\n"))
        assert heard.status == 413, heard.text[:200]
        announced = request("POST", path, "content-type: application/json", f"content-length: {10**12}")
        heard = await attack(port_of(everything, name), [announced, b" " * most])
        assert heard.status == 413, heard.text[:200]
    await assert_unharmed(everything, list(HEALTH))


async def test_an_endless_trailer_is_ended(everything: Stack) -> None:
    """After the body as before it, headers are bounded; and so is the line before a chunk."""
    bodies = (b"1\r\n \r\n0\r\nx-endless: ", b"1;x-endless=")
    for name, path in (("registry", REGISTER), ("client-1", "/api/client/add-capture")):
        for body in bodies:
            head = request("POST", path, "content-type: application/json", "transfer-encoding: chunked")
            heard = await attack(port_of(everything, name), endless(head + body, b"x" * 65_536))
            assert_too_large(heard)
    await assert_unharmed(everything, list(HEALTH))


async def test_a_slow_body_is_given_up(everything: Stack) -> None:
    """A byte at a time, within the length that was told: both say so after 10 s."""

    async def slow(name: str, path: str) -> None:
        head = request("POST", path, "content-type: application/json", "content-length: 1000")
        heard = await attack(port_of(everything, name), trickle(head, b" ", every_s=0.5))
        assert heard.status == 408
        assert b"within 10 s" in heard.text

    await asyncio.gather(slow("registry", REGISTER), slow("client-1", "/api/client/add-capture"))
    await assert_unharmed(everything, list(HEALTH))


async def test_deep_json_is_refused(everything: Stack) -> None:
    """Nested 100,000 deep, in lists and in objects, where an object is expected and inside of one."""
    deep = (b"[" * 100_000, b'{"a":' * 40_000, b'{"since":' + b"[" * 50_000 + b"]" * 50_000 + b"}")
    paths = {
        "registry": (REGISTER, *(f"{PULL_SYNC}/{name}" for name in ("sync-all", "claims", "scheduler/set-interval"))),
        "client-1": ("/api/client/add-capture", "/api/client/acknowledge"),
    }
    async with httpx.AsyncClient(trust_env=False, headers=JSON) as http:
        for name, of_service in paths.items():
            for path in of_service:
                for body in deep:
                    answer = await http.post(f"{everything.url(name)}{path}", content=body)
                    assert answer.status_code == 400, (path, body[:20], answer.text)
                    assert "JSON" in answer.text
    await assert_unharmed(everything, list(HEALTH))


HUGE: Final = "9" * 5_000
"""More digits than Python reads."""


async def test_huge_numbers_are_refused(everything: Stack) -> None:
    """In paths, in queries, in bodies: always as a fault of the caller's."""
    numbers = (HUGE, f"-{HUGE}", "1e999", "-1e999", "1" + "0" * 400, "NaN", "Infinity")
    gets = ("/api/v1/ranking?limit={}", "/api/v1/admin/quarantine/{}", "/api/v1/admin/quarantine?after={}")
    posts = (f"{PULL_SYNC}/sync-all?wait_s={{}}", f"{PULL_SYNC}/scheduler/set-interval?interval={{}}")
    bodies = {
        f"{PULL_SYNC}/claims": ('{{"limit": {}}}', '{{"limit": 1, "ahead_s": {}}}'),
        f"{PULL_SYNC}/scheduler/set-interval": ('{{"interval": {}}}',),
        f"{PULL_SYNC}/sync-all": ('{{"since": {}}}',),
        "/api/v1/admin/quarantine/replay": ('{{"quarantine_ids": [{}]}}',),
        REGISTER: ('{{"user_id": {}}}',),
    }
    url, client = everything.url("registry"), everything.url("client-1")
    async with httpx.AsyncClient(trust_env=False, headers=JSON) as http:
        for number in numbers:
            answers = [await http.get(f"{url}{path.format(number)}") for path in gets]
            answers += [await http.post(f"{url}{path.format(number)}") for path in posts]
            for path, texts in bodies.items():
                answers += [await http.post(f"{url}{path}", content=text.format(number)) for text in texts]
            capture = f'{{"pokemon_id": {number}, "pokemon_name": "x"}}'
            answers.append(await http.post(f"{client}/api/client/add-capture", content=capture))
            answers.append(await http.get(f"{client}/api/client/sync-data?limit={number}"))
            taken = [each for each in answers if not 400 <= each.status_code < 500]
            assert [(each.status_code, str(each.url)[:80]) for each in taken] == []
    await assert_unharmed(everything, list(HEALTH))


# ---------------------------------------------------------------- floods


def registration(user_id: str) -> dict[str, Any]:
    """Of a client that nobody finds."""
    return {"client_url": "http://127.0.0.1:1", "user_id": user_id}


async def test_a_flood_of_registrations_is_refused(registry: Stack) -> None:
    """So many as are allowed are looked at; the others hear when to come again; all else is served."""
    async with httpx.AsyncClient(base_url=registry.url("registry"), trust_env=False, timeout=30) as http:
        answers = []
        for number in range(100):
            forged = {"x-forwarded-for": f"10.0.0.{number}", "forwarded": f"for=10.0.0.{number}"}
            answers.append(await http.post(REGISTER, json=registration(f"user_{number}"), headers=forged))
        assert [each.status_code for each in answers] == [400] * 20 + [429] * 80
        assert answers[0].headers["ratelimit-policy"] == '"registrations-60s";q=20;w=60'
        assert answers[0].headers["ratelimit"].startswith('"registrations-60s";r=19;t=')
        refused = answers[-1]
        assert refused.headers["content-type"] == "application/problem+json"
        assert refused.json()["type"] == "urn:pullsync:problem:too-many-requests"
        assert refused.headers["ratelimit"].startswith('"registrations-60s";r=0;t=')
        assert 1 <= int(refused.headers["retry-after"]) <= 60
        assert (await http.get(f"{PULL_SYNC}/registered-clients")).status_code == 200
        assert (await http.post(f"{PULL_SYNC}/sync-all?wait_s=0", json={})).status_code in {200, 202}
    await assert_unharmed(registry, ["registry"])


async def test_a_flood_of_syncs_is_refused(registry: Stack) -> None:
    """All kinds of them share one limit."""
    kinds = ("sync-all?wait_s=0", "sync-recent?wait_s=0", "sync-all-background", "sync-complete-state", "sync-all")
    async with httpx.AsyncClient(base_url=f"{registry.url('registry')}{PULL_SYNC}", trust_env=False) as http:
        answers = [await http.post(kind) for kind in kinds]
        assert [each.status_code < 400 for each in answers] == [True, True, True, False, False]
        assert {each.status_code for each in answers[3:]} == {429}
        assert len((await http.get("runs")).json()) == 3


async def test_who_is_refused_may_come_again(stack: Stack) -> None:
    """After the window, as he was told."""
    stack.configure("registry", REGISTRY_LIMIT_SYNCS="1/second;1000/hour")
    stack.start("registry")
    async with httpx.AsyncClient(base_url=f"{stack.url('registry')}{PULL_SYNC}", trust_env=False) as http:

        async def taken_after_a_refusal() -> bool:
            answers = [await http.post("sync-all-background") for _ in range(2)]
            return [each.status_code for each in answers] == [200, 429]

        await eventually(taken_after_a_refusal)
        answer = await http.post("sync-all-background")
        assert answer.headers["ratelimit-policy"] == '"syncs-1s";q=1;w=1, "syncs-3600s";q=1000;w=3600'

        async def taken() -> bool:
            return (await http.post("sync-all-background")).status_code == 200

        await eventually(taken)


async def test_a_limit_of_0_is_none(stack: Stack) -> None:
    """And then there is nothing to tell of it."""
    stack.configure("registry", REGISTRY_LIMIT_SYNCS="0", REGISTRY_LIMIT_REGISTRATIONS="")
    stack.start("registry")
    async with httpx.AsyncClient(base_url=f"{stack.url('registry')}{PULL_SYNC}", trust_env=False) as http:
        for _ in range(100):
            answer = await http.post("sync-all-background")
            assert (answer.status_code, answer.headers.get("ratelimit")) == (200, None)
        answer = await http.post("register-client", json=registration("ash"))
        assert (answer.status_code, answer.headers.get("ratelimit")) == (400, None)


async def test_only_a_named_proxy_is_believed_for_whom_it_calls(stack: Stack) -> None:
    """Behind it each caller has a limit of his own."""
    stack.configure("registry", REGISTRY_LIMIT_SYNCS="1/hour", REGISTRY_PROXIES="127.0.0.0/8")
    stack.start("registry")
    async with httpx.AsyncClient(base_url=f"{stack.url('registry')}{PULL_SYNC}", trust_env=False) as http:

        async def status_for(address: str) -> int:
            answer = await http.post("sync-all-background", headers={"x-forwarded-for": address})
            return answer.status_code

        callers = [f"192.0.2.{number}" for number in range(1, 6)]
        first = [await status_for(caller) for caller in callers]
        assert first.count(200) >= 4  # two may share a counter
        assert [await status_for(caller) for caller in callers] == [429] * 5
        assert await status_for(f"198.51.100.1, {callers[0]}") == 429  # what a caller himself says does not count


async def test_a_flood_of_connections_shuts_nobody_out(everything: Stack) -> None:
    """Four hundred that say nothing or half a word, where 256 are taken: whoever asks for something is served."""
    for name in ("client-1", "puller-1", "ingest-1"):
        port = port_of(everything, name)
        async with AsyncExitStack() as connections:
            for number in range(400):
                _, writer = await connections.enter_async_context(connection(port))
                writer.write(b"G" * (number % 2))
            await assert_unharmed(everything, [name])


async def test_a_flood_of_connections_is_refused(registry: Stack) -> None:
    """Those that wait for an answer go on, those above are told to come again, and places become free."""
    port = port_of(registry, "registry")
    body = request("POST", REGISTER, "content-type: application/json", "content-length: 2")
    async with AsyncExitStack() as connections:
        for _ in range(40 + FOR_THIS_MACHINE):
            _, writer = await connections.enter_async_context(connection(port))
            writer.write(body)

        async def refused() -> bool:
            heard = await attack(port, [])
            return heard.status == 503 and "connections are open" in heard.problem["detail"]

        await eventually(refused)
    await eventually(partial(served, port))
    async with AsyncExitStack() as connections:
        for _ in range(200):
            await connections.enter_async_context(connection(port))
            assert await served(port)
    await assert_unharmed(registry, ["registry"])


async def served(port: int) -> bool:
    """Whether a request is."""
    return (await attack(port, [request("GET", "/health", "connection: close")])).status == 200


@asynccontextmanager
async def connection(port: int) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """One that says nothing."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    yield reader, writer
    writer.close()


# ---------------------------------------------------------------- what is told


async def test_an_error_names_no_internal_address(registry: Stack) -> None:
    """Whoever registers a name learns neither where it leads nor what the registry's own error said."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    async with httpx.AsyncClient(base_url=registry.url("registry"), trust_env=False, timeout=30) as http:
        answer = await http.post(REGISTER, json={"client_url": f"http://localhost:{port}", "user_id": "ash"})
    assert answer.status_code == 400
    assert "connect" in answer.json()["detail"]
    assert not any(part in answer.text for part in ("127.0.0.1", "::1", "Errno", "ssl", "[Connect"))
    log = (registry.folder / "logs" / "registry.log").read_text()
    assert any(json.loads(line)["event"] == "client_not_registered" for line in log.splitlines())


async def test_pages_of_a_named_origin_may_call(registry: Stack) -> None:
    """And of no other; the refusals can be read as well."""
    preflight = {"access-control-request-method": "PATCH", "access-control-request-headers": "authorization"}
    path = f"{registry.url('registry')}{PULL_SYNC}/clients/ash"
    async with httpx.AsyncClient(trust_env=False) as http:
        for origin, allowed in (("https://dashboard.example", True), ("https://evil.example", False)):
            asked = await http.options(path, headers={"origin": origin, **preflight})
            answer = await http.get(path, headers={"origin": origin})
            assert (asked.status_code, answer.status_code) == (200 if allowed else 400, 404)
            for each in (asked, answer):
                assert each.headers.get("access-control-allow-origin") == (origin if allowed else None)
                assert "access-control-allow-credentials" not in each.headers
            assert "access-control-allow-origin" not in (await http.get(path)).headers


async def test_no_page_of_another_origin_may_call_unless_it_is_named(stack: Stack) -> None:
    """As long as nothing is set."""
    stack.start("registry")
    async with httpx.AsyncClient(base_url=stack.url("registry"), trust_env=False) as http:
        for origin in ("https://dashboard.example", "null"):
            answer = await http.get("/health", headers={"origin": origin})
            assert not [name for name in answer.headers if name.startswith("access-control")]


FOREIGN: Final = (
    {"origin": "https://evil.example", "sec-fetch-site": "cross-site"},
    {"origin": "http://localhost:9999", "sec-fetch-site": "same-site"},
    {"origin": "https://evil.example"},
    {"origin": "null"},
)


@pytest.mark.parametrize("page", FOREIGN)
async def test_a_foreign_page_can_not_use_the_open_registry(registry: Stack, page: dict[str, str]) -> None:
    """Neither to have captures deleted nor to register, also by requests of which a browser does not ask first."""
    async with httpx.AsyncClient(base_url=f"{registry.url('registry')}{PULL_SYNC}", trust_env=False) as http:
        for path in ("sync-complete-state?delete_unknown=true", "sync-all-background", "scheduler/stop", "claims"):
            answer = await http.post(path, headers=page)
            assert (answer.status_code, answer.json()["type"]) == (403, "urn:pullsync:problem:foreign-page")
            assert "REGISTRY_CORS_ORIGINS" in answer.json()["detail"]
        blob = json.dumps(registration("ash"))  # without a content type
        assert (await http.post("register-client", content=blob, headers=page)).status_code == 403
        assert (await http.delete("unregister-client/ash", headers=page)).status_code == 403
        assert (await http.get("runs")).json() == []
        own = {"origin": registry.url("registry"), "sec-fetch-site": "same-origin"}
        named = {"origin": "https://dashboard.example", "sec-fetch-site": "cross-site"}
        for allowed in (own, named, {}):
            assert (await http.post("scheduler/start", headers=allowed)).status_code == 200


async def test_the_open_registry_answers_to_its_own_names_only(stack: Stack) -> None:
    """A name of an attacker that leads here makes his page one of the registry's (DNS rebinding)."""
    stack.configure("registry", REGISTRY_HOSTS="registry.lan")
    stack.start("registry")
    async with httpx.AsyncClient(base_url=f"{stack.url('registry')}{PULL_SYNC}", trust_env=False) as http:
        for host in ("evil.example", "evil.example:8000", "registry.lan.evil.example", "localhost.evil.example"):
            rebound = {"host": host, "origin": f"http://{host}", "sec-fetch-site": "same-origin"}
            for method, path in (("GET", "registered-clients"), ("POST", "sync-all")):
                answer = await http.request(method, path, headers=rebound)
                assert (answer.status_code, answer.json()["type"]) == (421, "urn:pullsync:problem:foreign-host")
                assert "REGISTRY_HOSTS" in answer.json()["detail"]
        for host in ("localhost:8000", "127.0.0.1", "[::1]:8000", "registry.lan:8000"):
            assert (await http.get("registered-clients", headers={"host": host})).status_code == 200
