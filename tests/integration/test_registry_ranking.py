"""The ranking for operators, on a real Postgres: names, validators, who holds most, and what a user holds."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from urllib.parse import quote
from uuid import UUID

import asyncpg
import httpx
import pytest

from dev.database import Database
from services.ingest.incoming import ReceivedPull
from services.ingest.store import CaptureStore
from services.registry.app import build_app
from services.registry.clients import Clients
from services.registry.domain import NewClient
from services.registry.settings import RegistrySettings
from shared.contracts.messages import PulledCapture
from shared.postgres.database import make_pool
from shared.postgres.sql import load_queries
from shared.untrusted_text import visible

RANKING: Final = "/api/v1/ranking"
CLIENTS: Final = "/api/v1/pull-sync/clients"
USERS: Final = f"{RANKING}/users"
NOON: Final = datetime(2026, 1, 31, 12, tzinfo=UTC)
ODD_USERS: Final = ("a/b", "a?b=c&d#e", "ü %2F+", "<b>", "user:1", "x" * 255, '"quoted"', "..a", "\u202eevil")


@pytest.fixture
async def pool(database: Database) -> AsyncIterator[asyncpg.Pool]:
    """Ingest's own pool."""
    async with make_pool(database.ingest_url, service="test", max_size=2) as made:
        yield made


@pytest.fixture
async def http(database: Database, broker_url: str) -> AsyncIterator[httpx.AsyncClient]:
    """Talks to a registry that runs here."""
    app = build_app(RegistrySettings(database_url=database.registry_url, rabbitmq_url=broker_url))
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://localhost") as made,
    ):
        yield made


async def hold(
    pool: asyncpg.Pool, user_id: str, *numbers: int, name: str = "said", removed: bool = False, hours: int = 0
) -> None:
    """A user captures these, or lets them go, so many hours after noon."""
    at = NOON + timedelta(hours=hours)
    captures = [
        PulledCapture(
            capture_id=f"{number}-{removed}-{hours}",
            pokemon_id=number,
            pokemon_name=name,
            action="capture",
            timestamp=at,
            removed=removed,
            metadata=None,
        )
        for number in numbers
    ]
    pull = ReceivedPull(pull_id=UUID(int=1), user_id=user_id, received_at=at, captures=captures, unreadable=())
    await CaptureStore(pool=pool, queries=load_queries("services.ingest")).store([pull])


async def pages(http: httpx.AsyncClient, address: str) -> list[list[dict[str, Any]]]:
    """All pages from there on, by the header `Link`."""
    found = []
    following: str | None = address
    while following is not None:
        answer = await http.get(following)
        assert answer.status_code == 200, answer.text
        found.append(answer.json())
        assert len(found) < 100, "the pages do not end"
        following = answer.links["next"]["url"] if "next" in answer.links else None
    return found


async def test_names_are_the_species_own(http: httpx.AsyncClient, pool: asyncpg.Pool) -> None:
    """Whatever the first client said; in the ranking and in a user's own list."""
    await hold(pool, "ash", 25, 10_001, name="magikarp<script>")
    for path in (RANKING, f"{USERS}/ash"):
        assert [entry["pokemon_name"] for entry in (await http.get(path)).json()] == ["pikachu", "deoxys-attack"]


NAMES: Final = {
    "plain": ("Bulby-2 é 漢", "Bulby-2 é 漢"),
    "markup": ("<img src=x onerror=alert(1)>&amp;", "<img src=x onerror=alert(1)>&amp;"),
    "right to left": ("a\u202eb\u2066c\u200f", r"a\u202eb\u2066c\u200f"),
    "line breaks": ("a\r\nb\u2028c\x85d\te", r"a\u000d\u000ab\u2028c\u0085d\u0009e"),
    "escape sequence": ("\x1b[2Ja\x7f", r"\u001b[2Ja\u007f"),
    "invisible": ("\u200b\ufeff\u3164\ufe0f\u2800", r"\u200b\ufeff\u3164\ufe0f\u2800"),
    "beyond the first plane": ("\U000e0041\U000e0100x", r"\U000e0041\U000e0100x"),
    "empty": ("", "#20000"),
    "blank": (" \u00a0 ", "#20000"),
}


@pytest.mark.parametrize(("name", "shown"), NAMES.values(), ids=NAMES)
async def test_an_unknown_number_shows_what_the_client_said(
    name: str, shown: str, http: httpx.AsyncClient, pool: asyncpg.Pool
) -> None:
    """What can't be seen as escapes, an empty name as its number; no markup in the bytes, and the value exact."""
    await hold(pool, "ash", 20_000, name=name)
    for path in (RANKING, f"{USERS}/ash"):
        answer = await http.get(path)
        assert answer.headers["content-type"] == "application/json"
        assert [entry["pokemon_name"] for entry in answer.json()] == [shown]
        assert not re.search(rb"[<>&]", answer.content)


def test_every_character_of_control_is_made_visible() -> None:
    """None of Unicode's bidirectional or separating characters is left, and letters are left alone."""
    hidden = [*range(0x20), *range(0x7F, 0xA0), 0xAD, 0x61C, *range(0x200B, 0x2010), *range(0x2028, 0x202F)]
    hidden += [*range(0x2060, 0x2070), 0xFEFF, *range(0xFFF0, 0xFFFC), 0xE0001, 0xF0000]
    assert [hex(code) for code in hidden if chr(code) in visible(chr(code))] == []
    assert visible("Flabébé ♀ 漢字 😀 \\u202e") == "Flabébé ♀ 漢字 😀 \\u202e"


@pytest.mark.parametrize("path", [RANKING, f"{RANKING}/stats", USERS, f"{USERS}/ash"])
async def test_an_unchanged_answer_is_not_sent_again(path: str, http: httpx.AsyncClient, pool: asyncpg.Pool) -> None:
    """`If-None-Match` by tag, list, `*` and weak tag; a change makes another tag, and so does another limit."""
    await hold(pool, "ash", 1, 4)
    await hold(pool, "misty", 1)
    first = await http.get(path)
    etag = first.headers["etag"]
    assert re.fullmatch(r'"[^"]+"', etag)
    assert (await http.get(path)).headers["etag"] == etag
    for condition in (etag, "*", f'"other", {etag}', f"W/{etag}", f'W/"a,b" ,{etag}'):
        again = await http.get(path, headers={"if-none-match": condition})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", etag), condition
    twice = await http.get(path, headers=[("if-none-match", '"a"'), ("if-none-match", etag)])
    assert twice.status_code == 304
    for condition in ('"other"', 'W/"other"', "", etag.strip('"'), f'"{etag}'):
        assert (await http.get(path, headers={"if-none-match": condition})).content == first.content, condition
    await hold(pool, "ash", 7, hours=1)
    changed = await http.get(path, headers={"if-none-match": etag})
    assert changed.status_code == 200
    assert changed.headers["etag"] != etag
    if path != f"{RANKING}/stats":
        assert (await http.get(path, params={"limit": 1})).headers["etag"] not in {etag, changed.headers["etag"]}


@pytest.mark.parametrize("user_id", [*ODD_USERS, "ash", "ranking", "x/ranking", "/a//b/", "%41"])
async def test_a_client_reads_the_ranking(
    user_id: str, http: httpx.AsyncClient, pool: asyncpg.Pool, database: Database
) -> None:
    """By a path of its own, whatever its id is; the answer is the same, with its validator."""
    await hold(pool, "ash", 1, 4)
    await hold(pool, "misty", 4)
    path = f"{CLIENTS}/{quote(user_id, safe='')}/ranking"
    unknown = await http.get(path)
    assert (unknown.status_code, unknown.json()["type"]) == (404, "urn:pullsync:problem:unknown-client")
    async with make_pool(database.registry_url, service="test", max_size=1) as registry:
        clients = Clients(pool=registry, queries=load_queries("services.registry"))
        await clients.register(NewClient(user_id=user_id, client_url="http://localhost:3001"))
    for limit in (1, 10):
        told, expected = [await http.get(each, params={"limit": limit}) for each in (path, RANKING)]
        assert (told.status_code, told.content) == (200, expected.content)
        assert len(told.json()) == min(limit, 2)
        assert told.headers["etag"] == expected.headers["etag"]
        again = await http.get(path, params={"limit": limit}, headers={"if-none-match": told.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
    assert (await http.get(f"{CLIENTS}/{quote(user_id, safe='')}")).json()["user_id"] == user_id
    assert (await http.get(path, params={"limit": 1_501})).status_code == 422


async def test_who_holds_most_comes_first(http: httpx.AsyncClient, pool: asyncpg.Pool) -> None:
    """By holdings, then by user id; who holds nothing is not listed."""
    for user_id, held in (("b", 2), ("a", 2), ("c", 3), ("B", 2), ("d", 1), ("nobody", 1)):
        await hold(pool, user_id, *range(1, held + 1))
    await hold(pool, "nobody", 1, removed=True, hours=1)
    await hold(pool, "c", 1, 2, removed=True, hours=1)
    body = (await http.get(USERS)).json()
    assert [(entry["user_id"], entry["holdings"]) for entry in body] == [
        ("B", 2),
        ("a", 2),
        ("b", 2),
        ("c", 1),
        ("d", 1),
    ]
    assert {frozenset(entry) for entry in body} == {frozenset({"user_id", "holdings", "last_updated"})}


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 1_500])
async def test_pages_of_holders_leave_nobody_out(limit: int, http: httpx.AsyncClient, pool: asyncpg.Pool) -> None:
    """Each user once, in the order of the whole, over ties and ids that a URL must quote; the last page has no next."""
    for place, user_id in enumerate(ODD_USERS):
        await hold(pool, user_id, *range(1, 2 + place % 3))
    found = await pages(http, f"{USERS}?limit={limit}")
    everybody = (await http.get(f"{USERS}?limit=1500")).json()
    assert [entry for page in found for entry in page] == everybody
    assert sorted(entry["user_id"] for entry in everybody) == sorted(ODD_USERS)
    assert {len(page) for page in found[:-1]} <= {limit}
    assert 0 < len(found[-1]) <= limit


@pytest.mark.parametrize("user_id", ODD_USERS, ids=ascii)
async def test_a_user_sees_what_he_holds(user_id: str, http: httpx.AsyncClient, pool: asyncpg.Pool) -> None:
    """By number, page by page, with the time of the capture that decides; not what he let go, nor what others hold."""
    await hold(pool, user_id, 7, 4, 25, 1, 10_001)
    await hold(pool, user_id, 4, removed=True, hours=1)
    await hold(pool, user_id, 7, hours=2)
    await hold(pool, "other", 150)
    found = await pages(http, f"{USERS}/{quote(user_id, safe='')}?limit=2")
    assert found == [
        [
            {"pokemon_id": 1, "pokemon_name": "bulbasaur", "held_since": "2026-01-31T12:00:00.000Z"},
            {"pokemon_id": 7, "pokemon_name": "squirtle", "held_since": "2026-01-31T14:00:00.000Z"},
        ],
        [
            {"pokemon_id": 25, "pokemon_name": "pikachu", "held_since": "2026-01-31T12:00:00.000Z"},
            {"pokemon_id": 10_001, "pokemon_name": "deoxys-attack", "held_since": "2026-01-31T12:00:00.000Z"},
        ],
    ]


async def test_an_unknown_user_is_told_from_one_without_holdings(
    http: httpx.AsyncClient, pool: asyncpg.Pool, database: Database
) -> None:
    """404 only when there is neither a client nor a capture; who let all go, or has sent nothing yet, holds nothing."""
    await hold(pool, "generous", 1)
    await hold(pool, "generous", 1, removed=True, hours=1)
    await hold(pool, "remover", 1, removed=True)
    connection = await asyncpg.connect(database.registry_url)
    register = load_queries("services.registry")["register"]
    await connection.execute(register, "new", "http://localhost:1", "web", [], None, None, True, False)
    await connection.close()
    for known in ("generous", "remover", "new"):
        answer = await http.get(f"{USERS}/{known}")
        assert (answer.status_code, answer.json()) == (200, [])
    await hold(pool, "rich", 1)
    assert (await http.get(f"{USERS}/rich?after=1")).json() == []
    for unknown in ("nobody", "", "a%00b", "generou", "x" * 200):
        answer = await http.get(f"{USERS}/{unknown}")
        assert answer.status_code == 404, unknown
        assert "Nothing is known of user" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("path", "parameter", "values"),
    [
        (RANKING, "limit", ("0", "1501", "x")),
        (USERS, "limit", ("0", "1501")),
        (USERS, "after", ("", "3", ":a", "-1:a", "3:", "1e3:a", "9999999999:a", "3:a\0", "3:" + "a" * 256)),
        (f"{USERS}/ash", "limit", ("0", "1501")),
        (f"{USERS}/ash", "after", ("-1", "2147483648", "x")),
    ],
)
async def test_what_cannot_be_meant_is_refused(
    path: str, parameter: str, values: Sequence[str], http: httpx.AsyncClient
) -> None:
    """With a sentence that names the parameter."""
    for value in values:
        answer = await http.get(path, params={parameter: value})
        assert answer.status_code == 422, value
        assert parameter in answer.json()["detail"]


async def test_the_registry_reads_views_and_no_tables(database: Database) -> None:
    """What ingest does not publish stays its own."""
    connection = await asyncpg.connect(reader_url(database))
    try:
        for view in ("ranking", "totals", "holders", "holdings", "quarantine"):
            await connection.execute(f"SELECT FROM captures.published_{view}")
        for table in ("events", "holdings", "holders", "ranking", "species", "quarantine", "totals"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(f"SELECT FROM captures.{table}")
    finally:
        await connection.close()


def reader_url(database: Database) -> str:
    """Where the registry reads what ingest publishes."""
    return RegistrySettings(database_url=database.registry_url).reading_captures


PAGES: Final[dict[str, tuple[str, str]]] = {
    "top_holders": ("integer, text, integer", "-2, 'u7', 100"),
    "user_holdings": ("text, integer, integer", "'u7', 0, 100"),
    "has_stored": ("text", "'u7'"),
    "quarantine_page": ("bigint, integer, integer", "500, 100, 200"),
    "quarantine_page_of_user": ("bigint, integer, integer, text", "0, 100, 200, 'u7'"),
    "quarantined_item": ("bigint", "7"),
    "quarantine_ids": ("bigint, bigint, integer", "500, 1000000, 100"),
    "known_quarantine_ids": ("bigint[]", "'{1,2}'"),
    "stored_capture": ("text, text", "'heavy', 'c700'"),
    "quarantined_capture": ("text, text", "'heavy', 'c700'"),
}
MANY_ROWS: Final = """
INSERT INTO captures.holders SELECT 'u' || n, 1 + n % 7, now() FROM generate_series(1, 20000) AS n;
INSERT INTO captures.holdings SELECT 'u' || n, p, true, false, now(), now(), 'c'
FROM generate_series(1, 20000) AS n, generate_series(1, 3) AS p;
INSERT INTO captures.quarantine (user_id, fingerprint, problem, raw, pull_id)
SELECT 'u' || n % 5000, sha256(n::text::bytea), 'p', repeat('x', 200), gen_random_uuid()
FROM generate_series(1, 20000) AS n;
INSERT INTO captures.quarantine (user_id, fingerprint, capture_id, problem, raw, pull_id)
SELECT 'heavy', sha256(('heavy' || n)::bytea), 'c' || n, 'p', 'x', gen_random_uuid() FROM generate_series(1, 5000) AS n;
INSERT INTO captures.events (
    user_id, capture_id, pokemon_id, pokemon_name, action, removed, captured_at, received_at, pull_id
)
SELECT CASE n % 2 WHEN 0 THEN 'heavy' ELSE 'u' || n END, 'c' || n, 1, '', 'capture', false, now(), now(),
       gen_random_uuid()
FROM generate_series(1, 20000) AS n;
ANALYZE captures.holders, captures.holdings, captures.quarantine, captures.events;
"""


async def test_no_page_reads_all_users(database: Database, pool: asyncpg.Pool) -> None:
    """Plans of every page, made for its values and for any: by indexes, and of one user in one partition."""
    await pool.execute(MANY_ROWS)
    queries = load_queries("services.registry")
    connection = await asyncpg.connect(reader_url(database))
    try:
        for mode in ("force_custom_plan", "force_generic_plan"):
            await connection.execute(f"SET plan_cache_mode = {mode}")
            for name, (types, values) in PAGES.items():
                await connection.execute(f"PREPARE page ({types}) AS {queries[name]}")
                plan = json.loads(
                    await connection.fetchval(f"EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) EXECUTE page ({values})")
                )
                await connection.execute("DEALLOCATE page")
                assert_by_index(f"{mode} {name}", list(scans(plan[0]["Plan"])))
    finally:
        await connection.close()


def scans(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The nodes of the plan that read one of ingest's large tables."""
    if re.match("holders|holdings|quarantine|events", node.get("Relation Name", "")):
        yield node
    for inner in node.get("Plans", ()):
        yield from scans(inner)


def assert_by_index(name: str, read: Sequence[dict[str, Any]]) -> None:
    """None of them reads more than some hundred rows, and holdings and events are read in a single partition."""
    assert read, name
    for node in read:
        assert node["Node Type"] in {"Index Scan", "Index Only Scan", "Bitmap Heap Scan"}, name
        assert node["Actual Rows"] + node.get("Rows Removed by Filter", 0) <= 300, name
    for table in ("holdings", "events"):
        partitions = {node["Relation Name"] for node in read if node["Relation Name"].startswith(table)}
        assert len(partitions) <= 1, name


async def test_a_login_that_is_refused_is_told_with_what_to_do(database: Database, broker_url: str) -> None:
    """As after an update before the script of the roles was repeated."""
    settings = RegistrySettings(
        database_url=database.registry_url,
        rabbitmq_url=broker_url,
        captures_database_url=reader_url(database).replace("pullsync_captures_reader", "pullsync_nobody"),
    )
    app = build_app(settings)
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://localhost") as http,
    ):
        answer = await http.get(RANKING)
    assert (answer.status_code, answer.json()["type"]) == (503, "urn:pullsync:problem:database-refuses")
    assert "init.sh" in answer.json()["detail"]
