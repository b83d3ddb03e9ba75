"""Clients of their own pace on real SQL: intervals, pauses, failing and silent ones, what is due after an outage."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Final, get_args

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from services.registry.clients import Clients, Selection
from services.registry.domain import NewClient
from services.registry.errors import UnknownClientError
from services.registry.leases import Leases
from services.registry.schedule import Schedule
from shared.postgres.database import make_pool
from tests.registry_parts import (
    BACKOFF_CAP_S,
    INTERVAL_S,
    PROBE_INTERVAL_S,
    QUERIES,
    TIMES,
    Database,
    Registry,
    failed,
    figures,
    outcome,
    registry_over,
)
from tests.waiting import eventually

DAY_S = 86_400
ODD_ENDS: Final = ("a", "b", "\ud7ff", "\ue000", "\U0010ffff", "\U0010fffe", "%", "_", "é")


@pytest.fixture
async def registry(database: Database) -> AsyncIterator[Registry]:
    """Over a database without clients, whose timer runs."""
    async with registry_over(database, running=True) as registry:
        yield registry


async def pull(registry: Registry, *, well: bool = True) -> None:
    """Pull all that is due."""
    await registry.make_due()
    targets = await registry.leases.claim_due(1_000)
    await registry.leases.settle([outcome(target) if well else failed(target) for target in targets])


async def wait_s(registry: Registry, user: str = "ash") -> float:
    """Seconds until the client is due."""
    row = await registry.record(user)
    wait: timedelta = row["next_pull_at"] - row["read_at"]
    return wait.total_seconds()


# ---------------------------------------------------------------- the schedule


async def test_settings_hold_at_once_for_every_claimer_and_after_a_restart(
    registry: Registry, database: Database
) -> None:
    """Two registries share them, and a new one begins with them and not with its own default."""
    await registry.register("ash")
    async with make_pool(database.registry_url, service="test", max_size=2) as pool:
        other = Leases(pool=pool, queries=QUERIES, in_flight=10, times=TIMES)
        await registry.schedule.set_running(running=False)
        assert await other.claim_due(1) == []
        again = Schedule(pool=pool, queries=QUERIES)
        await again.ensure(99)
        await again.set_interval(77)
        await again.set_running(running=True)
        settings = await registry.schedule.get()
        assert (settings.running, settings.sync_interval_s) == (True, 77)
        assert len(await other.claim_due(1)) == 1


async def test_a_settlement_that_read_the_former_interval_does_not_escape_the_new_one(registry: Registry) -> None:
    """It is still under way when the interval changes, and has put its client a day away."""
    await registry.schedule.set_interval(DAY_S)
    await registry.register("ash")
    target = await registry.only_due()
    settled = outcome(target)
    async with registry.pool.acquire() as connection, connection.transaction():
        columns = [[settled.pull_id], [0], [0], [False], [None], [None], [0.1], [None]]
        kept_in_history: list[list[object]] = [[], [], [], [], []]
        await connection.execute(QUERIES["settle"], *columns, BACKOFF_CAP_S, PROBE_INTERVAL_S, *kept_in_history, [0.0])
        changing = asyncio.create_task(registry.schedule.set_interval(5))

        async def told() -> bool:
            return (await registry.schedule.get()).sync_interval_s == 5

        await eventually(told)
    await changing
    assert await wait_s(registry) <= 5


async def test_a_client_has_an_interval_of_its_own(registry: Registry) -> None:
    """It moves to its slot in that one at once and stays in it; null gives it the scheduler's again."""
    await registry.schedule.set_interval(DAY_S)
    await registry.register("ash")
    await pull(registry)
    await registry.clients.set_interval("ash", 5)
    assert await wait_s(registry) <= 5
    await pull(registry)
    assert await wait_s(registry) <= 5
    client = await registry.clients.get("ash")
    assert (client.sync_interval_s, client.next_slot_at >= client.next_pull_at) == (5, True)
    await registry.schedule.set_interval(3_600)
    assert await wait_s(registry) <= 5
    await registry.clients.set_interval("ash", None)
    record = await registry.record()
    slot = await registry.pool.fetchval("SELECT registry.next_slot('ash', 3600, now())")
    assert (record["sync_interval_s"], record["next_pull_at"]) == (None, slot)


@pytest.mark.parametrize("state", ["due", "pulled", "failing"])
async def test_a_new_interval_leaves_who_does_not_wait_for_a_slot(registry: Registry, state: str) -> None:
    """Who is due stays due, a lease keeps its end, a backoff too."""
    await registry.register("ash")
    if state != "due":
        target = await registry.only_due()
        if state == "failing":
            await registry.leases.settle([failed(target)])
    before = (await registry.record())["next_pull_at"]
    await registry.clients.set_interval("ash", 5)
    assert (await registry.record())["next_pull_at"] == before


async def test_unknown_clients_are_not_changed(registry: Registry) -> None:
    """Each way to change one says so."""
    clients: Clients = registry.clients
    for change in (
        clients.set_interval("ash", 5),
        clients.pause("ash"),
        clients.resume("ash"),
        clients.unregister("ash"),
        clients.get("ash"),
    ):
        with pytest.raises(UnknownClientError):
            await change


# ---------------------------------------------------------------- pauses


async def test_a_paused_client_is_not_claimed(registry: Registry) -> None:
    """Neither by the timer nor on demand, also when its lease was lost; it is due at once when it is resumed late."""
    await registry.register("ash")
    await registry.pool.execute("UPDATE registry.clients SET demanded_at = now()")
    lost = await registry.only_demanded()
    for _ in range(2):
        await registry.clients.pause("ash")
    await registry.let_leases_end()
    assert (await registry.leases.claim_due(9), await registry.demanded()) == ([], [])
    assert (await registry.clients.get("ash")).state == "paused"
    for _ in range(2):
        await registry.clients.resume("ash")
    assert (await registry.only_due()).pull_id != lost.pull_id


async def test_a_client_that_is_resumed_early_waits_for_its_slot(registry: Registry) -> None:
    """A pause does not make it due."""
    await registry.schedule.set_interval(DAY_S)
    await registry.register("ash")
    await pull(registry)
    before = (await registry.record())["next_pull_at"]
    await registry.clients.pause("ash")
    await registry.clients.resume("ash")
    assert (await registry.record())["next_pull_at"] == before
    assert await registry.leases.claim_due(9) == []


async def test_a_pause_ends_what_waits_for_the_client(registry: Registry) -> None:
    """Open runs count it as failed, `paused`; the pull under way ends, and counts for the client alone."""
    await registry.register("ash", "misty")
    runs = [await registry.runs.start("sync-all", since=None) for _ in range(2)]
    targets = {target.user_id: target for target in await registry.demanded()}
    await registry.clients.pause("ash")
    await registry.leases.settle([outcome(target, stored=1) for target in targets.values()])
    for run_id in runs:
        progress = await registry.runs.progress(run_id)
        assert (figures(progress), progress.failed_by_reason) == ((2, 2, 1, 1), {"paused": 1})
        assert not await registry.is_open(run_id)
    client = await registry.clients.get("ash")
    assert (client.stored, client.in_flight, client.state) == (1, False, "paused")


async def test_a_pause_while_a_run_starts_leaves_it_no_open_part(registry: Registry) -> None:
    """Whichever of the two is first."""
    for _ in range(20):
        await registry.register("ash", "misty")
        await asyncio.gather(registry.clients.pause("ash"), registry.runs.start("sync-all", since=None))
        await registry.finish()
        [run] = await registry.runs.page(before=None, limit=1)
        assert run.finished_at is not None
        await registry.clients.resume("ash")


async def test_registering_again_does_not_end_a_pause(registry: Registry) -> None:
    """An operator decided it, and the client may not undo it."""
    await registry.register("ash")
    await registry.clients.pause("ash")
    await registry.register("ash")
    assert await registry.leases.claim_due(9) == []


# ---------------------------------------------------------------- failing and silent ones


@pytest.mark.parametrize(("interval_s", "own"), [(3_600, False), (DAY_S, True)])
async def test_a_failing_client_is_not_pulled_more_often_than_a_healthy_one(
    registry: Registry, interval_s: int, *, own: bool
) -> None:
    """Also when the interval is above the cap: after the first retry it waits for an interval at least."""
    await registry.register("ash")
    if own:
        await registry.clients.set_interval("ash", interval_s)
    else:
        await registry.schedule.set_interval(interval_s)
    await pull(registry, well=False)
    assert interval_s / 2 - 60 <= await wait_s(registry) <= interval_s
    for _ in range(8):
        await pull(registry, well=False)
        assert interval_s - 60 <= await wait_s(registry) <= 2 * interval_s


async def test_an_inactive_client_is_probed(registry: Registry) -> None:
    """About each probe interval, however it fails; it is active at once when a pull succeeds."""
    await registry.register("ash")
    await pull(registry, well=False)
    await registry.pool.execute("UPDATE registry.clients SET inactive_since = now()")
    for _ in range(5):
        await pull(registry, well=False)
        assert 0.75 * PROBE_INTERVAL_S - 60 <= await wait_s(registry) <= 1.25 * PROBE_INTERVAL_S
        assert (await registry.clients.get("ash")).state == "inactive"
    await pull(registry)
    assert (await registry.clients.get("ash")).state == "active"
    assert 0 < await wait_s(registry) <= INTERVAL_S


async def test_an_inactive_client_is_not_probed_more_often_than_a_healthy_one(registry: Registry) -> None:
    """When its interval is longer than that of the probes, that one counts."""
    await registry.register("ash")
    await registry.clients.set_interval("ash", DAY_S)
    await registry.pool.execute("UPDATE registry.clients SET inactive_since = now(), failures = 9")
    await pull(registry, well=False)
    assert await wait_s(registry) >= 0.75 * DAY_S - 60


async def test_an_inactive_client_that_registers_is_active(registry: Registry) -> None:
    """And due at once."""
    await registry.register("ash")
    await pull(registry, well=False)
    await registry.pool.execute("UPDATE registry.clients SET inactive_since = now()")
    await registry.register("ash")
    client = await registry.clients.get("ash")
    assert (client.state, client.inactive_since, client.failures) == ("active", None, 0)
    assert (await registry.only_due()).user_id == "ash"


# ---------------------------------------------------------------- lists


async def test_clients_are_listed_by_state(registry: Registry) -> None:
    """Each state in pages of its own, by the order of the bytes, from any cursor."""
    users = [f"{state}-{n}" for state in ("active", "failing", "inactive", "paused") for n in range(3)]
    await registry.register(*users)
    await registry.pool.execute(
        """UPDATE registry.clients SET failures = CASE WHEN user_id !~ '^active' THEN 3 ELSE 0 END,
               inactive_since = CASE WHEN user_id ~ '^(inactive|paused)' THEN now() END,
               paused = user_id ~ '^paused'"""
    )
    for state in get_args(Selection):
        seen: list[str] = []
        after = ""
        while page := await registry.clients.page(after=after, limit=2, selection=state):
            assert {client.state for client in page} == {state}
            seen += [client.user_id for client in page]
            after = seen[-1]
        assert seen == [f"{state}-{n}" for n in range(3)]
    assert await registry.clients.page(after="\U0010ffff", limit=2) == []
    assert [client.user_id for client in await registry.clients.page(after="failing-", limit=1)] == ["failing-0"]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=50)
@given(
    ends=st.sets(st.sampled_from(ODD_ENDS) | st.text(st.sampled_from(ODD_ENDS), max_size=4), min_size=1, max_size=20),
    search=st.text(st.sampled_from(ODD_ENDS), max_size=3),
)
@example(ends=set(ODD_ENDS), search="\U0010ffff")
@example(ends=set(ODD_ENDS), search="\ud7ff")
@example(ends={"\U0010ffff" * 255}, search="\U0010ffff" * 255)
async def test_a_search_finds_what_begins_like_that(registry: Registry, ends: set[str], search: str) -> None:
    """Every id that does, whatever characters it has, and no other; from any cursor."""
    await registry.pool.execute("DELETE FROM registry.clients")
    users = sorted(end for end in ends if end)
    for user in users:
        await registry.clients.register(NewClient(user_id=user, client_url="http://localhost:3001"))
    wanted = [user for user in users if user.startswith(search)]
    found = await registry.clients.page(after="", limit=99, search=search)
    assert [client.user_id for client in found] == wanted
    for after in users:
        page = await registry.clients.page(after=after, limit=2, search=search)
        assert [client.user_id for client in page] == [user for user in wanted if user > after][:2]


# ---------------------------------------------------------------- after an outage


async def test_after_an_outage_all_is_due_and_nobody_is_overrun(registry: Registry) -> None:
    """Claims are bounded, oldest slot first, each client once; after that all are in their slots of before."""
    await registry.schedule.set_interval(DAY_S)
    await registry.register_many(1_000)
    await pull(registry)
    slots = "SELECT array_agg((extract(epoch FROM next_pull_at) * 1000)::bigint % 86400000 ORDER BY user_id) FROM {}"
    before = await registry.pool.fetchval(slots.format("registry.clients"))
    await registry.let_pass(timedelta(days=2))
    rows = await registry.pool.fetch("SELECT user_id, next_pull_at FROM registry.clients")
    due = {row["user_id"]: row["next_pull_at"] for row in rows}
    claimed: list[str] = []
    while targets := await registry.leases.claim_due(300):
        assert len(targets) <= 300
        claimed += [target.user_id for target in targets]
        latest = max(due[target.user_id] for target in targets)
        assert all(slot >= latest for user, slot in due.items() if user not in claimed)
        await registry.leases.settle([outcome(target) for target in targets])
    assert sorted(claimed) == sorted(due)
    assert await registry.pool.fetchval(slots.format("registry.clients")) == before


async def test_the_timer_asks_for_all_that_is_pending(registry: Registry) -> None:
    """A `since` that a run left behind is never the timer's."""
    await registry.register("ash")
    await registry.runs.start("sync-recent", since=(await registry.record())["read_at"])
    await registry.only_due()
    assert (await registry.record())["pull_since"] is None
