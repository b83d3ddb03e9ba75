"""No statement that serves one page, one claim or one client touches more as the clients grow: by buffers, not by time.

`EXPLAIN (ANALYZE, BUFFERS)` counts the blocks of 8 kB that a statement touches, with 1,000 clients and with 50,000, in
each of the states in which many clients may be at once. A tree is a level deeper then, and that is all.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, Literal
from uuid import UUID

import pytest

from services.registry.clients import behind
from tests.registry_parts import QUERIES, Database, Registry, registry_over

FEW: Final = 1_000
MANY: Final = 50_000
GROWTH: Final = 3.0
"""How many times as many blocks may be touched with 50 times the clients."""
SMALL: Final = 350
"""So many blocks are nothing, however few they were before: a settlement of 100 looks 100 times for its lease."""

RUN: Final = UUID(int=1)
COMPLETE: Final = UUID(int=2)
EARLIER: Final = UUID(int=3)
LATE_PULL: Final = UUID(int=700)
Mode = Literal["force_custom_plan", "force_generic_plan"]
MODES: Final[tuple[Mode, ...]] = ("force_custom_plan", "force_generic_plan")
"""PostgreSQL plans a prepared statement with its values, or once without them, as it thinks best."""

IDLE = """UPDATE registry.clients SET next_pull_at = now() + random() * interval '30 seconds' + interval '1 hour',
    pull_id = NULL, pull_run = NULL, demanded_at = NULL, failures = 0, inactive_since = NULL, paused = false,
    updated_at = now(), last_success_at = now(), last_pull_at = now()"""
DUE = "UPDATE registry.clients SET next_pull_at = now() - random() * interval '8 hours'"
DEMANDED = "UPDATE registry.clients SET demanded_at = now() - random() * interval '1 minute'"
IN_FLIGHT = """UPDATE registry.clients SET claimed_at = now(),
    pull_id = ('00000000-0000-0000-0000-' || lpad(right(user_id, 5), 12, '0'))::uuid,
    next_pull_at = now() + interval '120 seconds'"""
LOST = """UPDATE registry.clients SET pull_id = gen_random_uuid(), claimed_at = now() - interval '9 hours',
    leases_lost = 5, next_pull_at = now() - random() * interval '1 hour'"""
FAILING = "UPDATE registry.clients SET failures = 3"
INACTIVE = "UPDATE registry.clients SET failures = 9, inactive_since = now()"
PAUSED = "UPDATE registry.clients SET paused = true, failures = 9, inactive_since = now()"
WAITED_FOR = "UPDATE registry.sync_run_clients SET settled_at = NULL, reason = NULL"

STATES: Final = MappingProxyType(
    {
        "idle": (),
        "all due": (DUE,),
        "all demanded": (DEMANDED, WAITED_FOR),
        "all due and demanded": (DUE, DEMANDED),
        "all in flight": (IN_FLIGHT, WAITED_FOR),
        "all in flight and demanded": (IN_FLIGHT, DEMANDED, WAITED_FOR),
        "all leases lost": (LOST, DEMANDED, WAITED_FOR),
        "all failing": (FAILING,),
        "all inactive": (INACTIVE,),
        "all paused": (PAUSED,),
    }
)
"""What is done to clients that wait for their slots, and whose runs have ended."""


@dataclass(frozen=True)
class Statement:
    """A query, and its values as SQL."""

    query: str
    values: tuple[str, ...] = ()


LATE_USER = "'user_00700'"
ALL = ("''", f"'{behind('')}'")
SEARCH = ("'user_007'", f"'{behind('user_007')}'")
PULLS = "'{" + ",".join(str(UUID(f"{n:032}")) for n in range(200, 300)) + "}'"


def each(value: str) -> str:
    """An array with that for each of `PULLS`."""
    return f"array_fill({value}, ARRAY[100])"


SETTLED = (
    PULLS,
    each("1::bigint"),
    each("0::bigint"),
    each("false"),
    each("'timeout'::text"),
    each("'by a test'::text"),
    each("0.25::float8"),
    each("NULL::jsonb"),
    "900",
    "3600",
    PULLS,
    each("'user_00700'::text"),
    each("'failed'::text"),
    each("0::bigint"),
    each("0::bigint"),
    each("0::float8"),
)
HOLDER: Final = (f"'{UUID(int=7)}'", "3")
STATEMENTS: Final = MappingProxyType(
    {
        "a page of clients": Statement("clients", (LATE_USER, "100", *ALL)),
        "a page of a search": Statement("clients", ("''", "100", *SEARCH)),
        "a later page of a search": Statement("clients", (LATE_USER, "100", *SEARCH)),
        "a page of failing ones": Statement("clients_failing", ("''", "100", *ALL)),
        "a page of failing ones of a search": Statement("clients_failing", ("''", "100", *SEARCH)),
        "a page of inactive ones": Statement("clients_inactive", ("''", "100", *ALL)),
        "a page of inactive ones of a search": Statement("clients_inactive", ("''", "100", *SEARCH)),
        "a page of paused ones": Statement("clients_paused", ("''", "100", *ALL)),
        "a page of paused ones of a search": Statement("clients_paused", ("''", "100", *SEARCH)),
        "the last hour of pulls": Statement("pull_minutes_of_an_hour"),
        "a client": Statement("client", (LATE_USER,)),
        "an interval of its own": Statement("set_own_interval", (LATE_USER, "60")),
        "a pause": Statement("pause", (LATE_USER,)),
        "what a pause ends": Statement("abandon_parts", (f"array[{LATE_USER}]", "'paused'", "'by a test'")),
        "a nudge": Statement("nudge", (LATE_USER, "'1 s'", "5")),
        "the totals of clients": Statement("client_totals"),
        "the totals of pulls": Statement("pull_totals", ("'5 min'",)),
        "the reasons of pulls": Statement("pull_failures", ("'5 min'",)),
        "a page of runs": Statement("runs", ("NULL", "50")),
        "a later page of runs": Statement("runs", (f"'{EARLIER}'", "50")),
        "the number of runs that wait": Statement("unfinished_runs"),
        "a run": Statement("run", (f"'{RUN}'",)),
        "a page of a run's clients": Statement("run_clients", (f"'{RUN}'", LATE_USER, "100")),
        "a page of a run's waiting": Statement("run_clients_waiting", (f"'{RUN}'", LATE_USER, "100")),
        "a page of a run's failed": Statement("run_clients_failed", (f"'{RUN}'", LATE_USER, "100")),
        "a page of a run's differing": Statement("run_clients_differing", (f"'{RUN}'", LATE_USER, "100")),
        "a page of a client's pulls": Statement("pulls_of_client", (LATE_USER, "NULL", "100")),
        "a later page of a client's pulls": Statement("pulls_of_client", (LATE_USER, f"'{LATE_PULL}'", "100")),
        "a client's pull": Statement("pull", (LATE_USER, f"'{LATE_PULL}'")),
        "whether a client has pulls": Statement("has_pulls", (LATE_USER,)),
        "a telling of 100": Statement("note_acknowledged", (each("'user_00700'::text"), PULLS)),
        "a removal of 100 old pulls": Statement("remove_old_pulls", ("'7 days'", "100")),
        "a settlement of 100": Statement("settle", SETTLED),
        "leases given back": Statement("release", (PULLS,)),
        "a heartbeat": Statement("beat", (*HOLDER, PULLS)),
        "the demands of the future": Statement("correct_demands", ("'1 s'",)),
        "the runs of the future": Statement("correct_runs"),
        "a claim for a complete run": Statement("claim_complete", ("100", "'120 s'", "2000", *HOLDER)),
        "a claim of demanded": Statement("claim_demanded", ("2000", "'120 s'", *HOLDER)),
        "a claim of 500 due": Statement("claim_due", ("500", "'120 s'", "'500 ms'", *HOLDER)),
        "a claim of 1,000 due": Statement("claim_due", ("1000", "'120 s'", "'500 ms'", *HOLDER)),
    }
)
"""In this order: what is undone leaves dead rows behind, of which a claim of many leaves most."""


async def add_clients(registry: Registry, number: int) -> None:
    """Up to that number; an ordinary and a complete run are over them, and as many runs have ended before."""
    await registry.pool.execute(
        """INSERT INTO registry.clients (user_id, client_url, client_type, capabilities)
           SELECT 'user_' || lpad(n::text, 5, '0'), 'http://localhost:' || n, 'web', '{}'
           FROM generate_series(1, $1::integer) AS n ON CONFLICT DO NOTHING""",
        number,
    )
    await registry.pool.execute(
        """INSERT INTO registry.sync_runs (run_id, kind, created_at, finished_at, requested)
           VALUES ($1, 'sync-all', now(), NULL, $3), ($2, 'sync-complete-state', now(), NULL, $3)
           ON CONFLICT (run_id) DO UPDATE SET requested = excluded.requested""",
        RUN,
        COMPLETE,
        number,
    )
    await registry.pool.execute(
        """INSERT INTO registry.sync_runs (run_id, kind, created_at, finished_at)
           SELECT ('00000000-0000-0000-0000-' || lpad(to_hex(n), 12, '0'))::uuid, 'sync-all',
                  now() - interval '1 day' + make_interval(secs => 50000 - n), now()
           FROM generate_series(10, 10 + $1::integer) AS n ON CONFLICT DO NOTHING""",
        number,
    )
    await registry.pool.execute(
        """INSERT INTO registry.sync_runs (run_id, kind, created_at, finished_at)
           VALUES ($1, 'sync-all', now() - interval '2 days', now()),
                  (gen_random_uuid(), 'sync-all', now() - interval '3 days', now())
           ON CONFLICT DO NOTHING""",
        EARLIER,
    )
    await registry.pool.execute(
        """INSERT INTO registry.sync_run_clients (run_id, user_id, client_url, settled_at, reason)
           SELECT run_id, user_id, client_url, now(), 'timeout' FROM registry.clients,
               unnest(ARRAY[$1, $2]::uuid[]) AS run_id ON CONFLICT DO NOTHING""",
        RUN,
        COMPLETE,
    )
    await registry.pool.execute(
        """INSERT INTO registry.pulls (user_id, pull_id, settled_at, outcome)
           SELECT CASE WHEN n % 2 = 0 THEN 'user_00700' ELSE 'user_' || lpad(n::text, 5, '0') END,
                  ('00000000-0000-0000-0000-' || lpad(to_hex(n), 12, '0'))::uuid,
                  now() - make_interval(secs => 1000000.0 * n / $1::integer), 'failed'
           FROM generate_series(400, $1::integer) AS n ON CONFLICT DO NOTHING""",
        number,
    )


async def bring_into(registry: Registry, state: str) -> None:
    """All clients into that state, with fresh statistics."""
    await registry.pool.execute(
        "UPDATE registry.sync_run_clients SET settled_at = now(), reason = 'timeout' WHERE settled_at IS NULL"
    )
    for statement in (IDLE, *STATES[state]):
        await registry.pool.execute(statement)
    for table in ("clients", "sync_runs", "sync_run_clients", "client_counts", "pulls"):
        await registry.pool.execute(f"VACUUM ANALYZE registry.{table}")


async def explain(registry: Registry, statement: Statement, mode: Mode) -> Mapping[str, Any]:
    """What the statement did, node by node; then it is undone."""
    values = f"({', '.join(statement.values)})" if statement.values else ""
    async with registry.pool.acquire() as connection:
        transaction = connection.transaction()
        await transaction.start()
        try:
            await connection.execute(f"SET LOCAL plan_cache_mode = {mode}")
            await connection.execute(f"PREPARE explained AS {QUERIES[statement.query]}")
            text = await connection.fetchval(
                f"EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON) EXECUTE explained{values}"
            )
            await connection.execute("DEALLOCATE explained")
        finally:
            await transaction.rollback()
    [explained] = json.loads(text)
    plan: Mapping[str, Any] = explained["Plan"]
    return plan


def nodes_of(plan: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The node, and all below it."""
    yield plan
    for below in plan.get("Plans", []):
        yield from nodes_of(below)


def blocks_of(plan: Mapping[str, Any]) -> int:
    """Blocks touched; what a changing part of a `WITH` touches is told by that part alone, or twice."""
    counted = [plan, *(node for node in nodes_of(plan) if node["Node Type"] == "ModifyTable" and node is not plan)]
    return sum(node["Shared Hit Blocks"] + node["Shared Read Blocks"] for node in counted)


def scanned_whole(plan: Mapping[str, Any]) -> list[str]:
    """Large tables that were read from one end to the other."""
    large = {"clients", "sync_run_clients", "sync_runs", "pulls"}
    return [
        node["Relation Name"]
        for node in nodes_of(plan)
        if node["Node Type"] == "Seq Scan" and node["Relation Name"] in large and node["Actual Loops"] > 0
    ]


@pytest.fixture
async def registry(database: Database) -> AsyncIterator[Registry]:
    """Over a database without clients, whose timer runs; nobody has counted its few settings for the planner."""
    async with registry_over(database, running=True) as registry:
        yield registry


Key = tuple[str, str, Mode]


async def measure(registry: Registry, number: int) -> dict[Key, tuple[int, list[str]]]:
    """With so many clients, by state, statement and mode: the blocks, and the tables that were read as a whole."""
    await add_clients(registry, number)
    found: dict[Key, tuple[int, list[str]]] = {}
    for state in STATES:
        await bring_into(registry, state)
        for mode in MODES:
            await registry.pool.execute("VACUUM registry.clients")
            for name, statement in STATEMENTS.items():
                plan = await explain(registry, statement, mode)
                found[state, name, mode] = (blocks_of(plan), scanned_whole(plan))
    return found


async def test_no_statement_touches_more_when_there_are_many_clients(
    registry: Registry, subtests: pytest.Subtests
) -> None:
    """Of claims, settlements, pages, totals and single clients, whatever all the others are doing."""
    few, many = await measure(registry, FEW), await measure(registry, MANY)
    for key, (blocks, whole) in many.items():
        with subtests.test(state=key[0], statement=key[1], mode=key[2]):
            print(f"{' | '.join(key)}: {few[key][0]} -> {blocks} blocks")  # noqa: T201 - pytest shows it on failure
            assert blocks <= max(SMALL, GROWTH * few[key][0])
            assert whole == []


async def test_reading_the_whole_table_is_noticed(registry: Registry) -> None:
    """The measure itself: a plain count touches all of it, and is seen to."""
    await add_clients(registry, FEW)
    await bring_into(registry, "idle")
    QUERIES["counted"] = "SELECT count(client_url) FROM registry.clients"
    try:
        plan = await explain(registry, Statement("counted"), "force_custom_plan")
    finally:
        del QUERIES["counted"]
    assert scanned_whole(plan) == ["clients"]
    assert blocks_of(plan) > FEW / 100
