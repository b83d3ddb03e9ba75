"""The schedule on real SQL: leases are handed out once, end, come back, and each client keeps to its slot."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import asyncpg
import pytest
from msgspec.structs import replace

from services.registry.clients import Clients
from services.registry.domain import NewClient
from services.registry.leases import Asked, Leases
from services.registry.schedule import Schedule
from shared.contracts.messages import Outcome, PullTarget
from shared.postgres.database import make_pool
from shared.postgres.sql import load_queries
from tests.registry_parts import BACKOFF_CAP_S, INTERVAL_S, LEASE, TIMES, Database, failed, outcome

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
NOW = datetime(2026, 1, 31, 12, 0, 7, 123456, tzinfo=UTC)


@pytest.fixture
async def pool(database: Database) -> AsyncIterator[asyncpg.Pool]:
    """Connections to a database whose timer runs each 30 s, and which has no clients."""
    async with make_pool(database.registry_url, service="test", max_size=20) as pool:
        await schedule_of(pool).ensure(INTERVAL_S)
        await pool.execute("UPDATE registry.scheduler SET running = true, sync_interval_s = $1", INTERVAL_S)
        yield pool


@pytest.fixture
def leases(pool: asyncpg.Pool) -> Leases:
    """What hands clients out."""
    return Leases(
        pool=pool,
        queries=load_queries("services.registry"),
        in_flight=10_000,
        times=TIMES,
    )


@pytest.fixture
def clients(pool: asyncpg.Pool) -> Clients:
    """The client records."""
    return Clients(pool=pool, queries=load_queries("services.registry"))


@pytest.fixture
def schedule(pool: asyncpg.Pool) -> Schedule:
    """The timer's settings."""
    return schedule_of(pool)


def schedule_of(pool: asyncpg.Pool) -> Schedule:
    """The timer's settings behind `pool`."""
    return Schedule(pool=pool, queries=load_queries("services.registry"))


async def register(clients: Clients, *users: str) -> None:
    """Each of them, at an address of its own."""
    for user in users:
        await clients.register(NewClient(user_id=user, client_url=f"http://{user}:3001"))


async def register_many(pool: asyncpg.Pool, number: int) -> None:
    """Clients `user_1` and so on, as fast as it goes."""
    await pool.execute(
        """INSERT INTO registry.clients (user_id, client_url, client_type, capabilities)
           SELECT 'user_' || n, 'http://localhost:' || n, 'web', '{}' FROM generate_series(1, $1::integer) AS n""",
        number,
    )


async def record(pool: asyncpg.Pool, user: str = "ash") -> asyncpg.Record:
    """All columns of one client."""
    row = await pool.fetchrow("SELECT *, now() AS read_at FROM registry.clients WHERE user_id = $1", user)
    assert row is not None
    return row


async def let_lease_end(pool: asyncpg.Pool) -> None:
    """As if the time of every lease had passed: everything moves into the past together."""
    await pool.execute(
        """UPDATE registry.clients SET claimed_at = claimed_at - (next_pull_at - now()), next_pull_at = now()
           WHERE pull_id IS NOT NULL"""
    )


async def make_due(pool: asyncpg.Pool) -> None:
    """As if the time had come for every client that no pull holds."""
    await pool.execute("UPDATE registry.clients SET next_pull_at = now() WHERE pull_id IS NULL")


async def slots(pool: asyncpg.Pool, users: Sequence[str], *, interval_s: int, after: datetime) -> list[datetime]:
    """The first slot of each user after a moment."""
    rows = await pool.fetch(
        "SELECT registry.next_slot(u, $2, $3) AS slot FROM unnest($1::text[]) WITH ORDINALITY AS t (u, n) ORDER BY n",
        list(users),
        interval_s,
        after,
    )
    return [row["slot"] for row in rows]


async def test_a_claim_hands_out_what_is_due_with_a_lease(clients: Clients, pool: asyncpg.Pool, leases: Leases) -> None:
    """A registered client is due at once; who claims it gets its address and the end of the lease, and nobody else."""
    await register(clients, "ash")
    [target] = await leases.claim_due(10)
    row = await record(pool)
    assert (target.user_id, target.client_url) == ("ash", "http://ash:3001")
    assert (row["pull_id"], row["next_pull_at"]) == (target.pull_id, target.lease_expires_at)
    assert target.lease_expires_at == row["claimed_at"] + LEASE
    assert await leases.claim_due(10) == []


async def test_a_claim_takes_no_more_than_its_limit_and_the_oldest_first(pool: asyncpg.Pool, leases: Leases) -> None:
    """Nobody starves: who waited longest is first."""
    await register_many(pool, 5)
    await pool.execute(
        "UPDATE registry.clients SET next_pull_at = now() - make_interval(secs => right(user_id, 1)::integer)"
    )
    assert {target.user_id for target in await leases.claim_due(2)} == {"user_5", "user_4"}
    assert {target.user_id for target in await leases.claim_due(2)} == {"user_3", "user_2"}
    assert {target.user_id for target in await leases.claim_due(2)} == {"user_1"}


async def test_a_client_in_the_future_is_not_due(clients: Clients, pool: asyncpg.Pool, leases: Leases) -> None:
    """The timer does not pull ahead of time."""
    await register(clients, "ash")
    await pool.execute("UPDATE registry.clients SET next_pull_at = now() + interval '1 minute'")
    assert await leases.claim_due(10) == []


async def test_a_claim_ahead_says_when_each_client_is_due(pool: asyncpg.Pool, leases: Leases) -> None:
    """What is due sooner comes first, what is later than asked not at all, and nobody else gets what was handed out."""
    await register_many(pool, 3)
    await pool.execute(
        "UPDATE registry.clients SET next_pull_at = now() + make_interval(secs => 10 * right(user_id, 1)::integer - 10)"
    )
    due, soon = await leases.claim_due(10, ahead=timedelta(seconds=11))
    if due.due_in_s:
        due, soon = soon, due
    assert (due.user_id, due.due_in_s, soon.user_id) == ("user_1", 0.0, "user_2")
    assert 0 < soon.due_in_s <= 10
    assert await leases.claim_due(10, ahead=timedelta(seconds=11)) == []


async def test_a_lease_is_not_claimed_ahead_of_its_end(pool: asyncpg.Pool, leases: Leases) -> None:
    """It belongs to its puller to the last moment."""
    await register_many(pool, 1)
    assert len(await leases.claim_due(1)) == 1
    assert await leases.claim_due(1, ahead=LEASE + timedelta(seconds=60)) == []
    await let_lease_end(pool)
    assert len(await leases.claim_due(1, ahead=timedelta(seconds=1))) == 1


async def test_claims_at_the_same_time_never_share_a_client(pool: asyncpg.Pool, leases: Leases) -> None:
    """Sixteen pullers claim at once until nothing is left: each client was handed out exactly once."""
    await register_many(pool, 2_000)

    async def claim_all() -> list[PullTarget]:
        mine: list[PullTarget] = []
        while targets := await leases.claim_due(37):
            mine += targets
        return mine

    claimed = [target for mine in await asyncio.gather(*(claim_all() for _ in range(16))) for target in mine]
    claimed += await leases.claim_due(2_000)  # a puller that met only locked rows stopped early
    assert Counter(target.user_id for target in claimed).most_common(1)[0][1] == 1
    assert len(claimed) == len({target.pull_id for target in claimed}) == 2_000


async def test_timer_and_demand_at_the_same_time_never_share_a_client(pool: asyncpg.Pool, leases: Leases) -> None:
    """Both kinds of claim respect each other's leases."""
    await register_many(pool, 500)
    await pool.execute("UPDATE registry.clients SET demanded_at = now()")

    async def demanded() -> list[PullTarget]:
        return [target for targets in (await leases.claim_demanded()).values() for target in targets]

    rounds = [claim for _ in range(8) for claim in (leases.claim_due(40), demanded())]
    claimed = [target.user_id for targets in await asyncio.gather(*rounds) for target in targets]
    claimed += [target.user_id for target in [*await demanded(), *await leases.claim_due(1_000)]]
    assert sorted(claimed) == sorted(f"user_{n}" for n in range(1, 501))


async def test_a_lost_lease_is_handed_out_again_after_its_end(
    clients: Clients, pool: asyncpg.Pool, leases: Leases
) -> None:
    """Under a new pull id, so that a late outcome of the lost pull does not count."""
    await register(clients, "ash")
    [lost] = await leases.claim_due(1)
    await let_lease_end(pool)
    [again] = await leases.claim_due(1)
    assert (again.user_id, again.pull_id == lost.pull_id) == ("ash", False)


async def test_leases_that_are_lost_grow_up_to_a_cap(clients: Clients, pool: asyncpg.Pool, leases: Leases) -> None:
    """Twice as long with each loss, 32 times at most, and as before after a settlement."""
    await register(clients, "ash")
    factors = []
    for _ in range(8):
        [target] = await leases.claim_due(1)
        factors.append((target.lease_expires_at - (await record(pool))["claimed_at"]) / LEASE)
        await let_lease_end(pool)
    assert factors == [1, 2, 4, 8, 16, 32, 32, 32]
    [target] = await leases.claim_due(1)
    await leases.settle([outcome(target)])
    await make_due(pool)
    [target] = await leases.claim_due(1)
    assert target.lease_expires_at - (await record(pool))["claimed_at"] == LEASE


async def test_settling_records_the_outcome_and_ends_the_lease(
    clients: Clients, pool: asyncpg.Pool, leases: Leases
) -> None:
    """What the pull said is kept; what is stored adds up."""
    await register(clients, "ash")
    for stored in (3, 4):
        await make_due(pool)
        [target] = await leases.claim_due(1)
        claimed_at = (await record(pool))["claimed_at"]
        assert (
            await leases.settle([outcome(target, outcome=Outcome.STORED, stored=stored, pending=stored + 1)]) is False
        )
    client = await clients.get("ash")
    assert (client.in_flight, client.stored, client.pending, client.failures) == (False, 7, 5, 0)
    assert (client.last_reason, client.last_error, client.last_duration_s) == (None, None, 0.25)
    assert client.last_pull_at == claimed_at
    assert client.last_success_at is not None
    assert client.last_success_at >= claimed_at


async def test_settling_moves_a_client_to_its_slot(clients: Clients, pool: asyncpg.Pool, leases: Leases) -> None:
    """Within the next interval, and always at the same second in it, however late the pull was."""
    await register(clients, "ash", "misty", "brock")
    places: dict[str, set[timedelta]] = {}
    for _ in range(5):
        await make_due(pool)
        targets = await leases.claim_due(10)
        await leases.settle([outcome(target) for target in targets])
        for user in ("ash", "misty", "brock"):
            row = await record(pool, user)
            assert (
                row["last_success_at"] < row["next_pull_at"] <= row["last_success_at"] + timedelta(seconds=INTERVAL_S)
            )
            places.setdefault(user, set()).add((row["next_pull_at"] - EPOCH) % timedelta(seconds=INTERVAL_S))
    assert [len(seen) for seen in places.values()] == [1, 1, 1]
    assert len(set.union(*places.values())) == 3


@pytest.mark.parametrize("interval_s", [5, 30, 3_600, 86_400])
async def test_slots_lie_in_the_next_interval_and_do_not_move(pool: asyncpg.Pool, interval_s: int) -> None:
    """A slot is strictly later than now, at most an interval away, and at one place in each interval."""
    users = [f"user_{n}" for n in range(200)]
    interval = timedelta(seconds=interval_s)
    first = await slots(pool, users, interval_s=interval_s, after=NOW)
    assert all(NOW < slot <= NOW + interval for slot in first)
    for user, slot in zip(users[:20], first, strict=False):
        at_it, just_before = [
            (await slots(pool, [user], interval_s=interval_s, after=slot - gap))[0]
            for gap in (timedelta(0), timedelta(milliseconds=1))
        ]
        assert (at_it, just_before) == (slot + interval, slot)


async def test_slots_of_many_users_fill_the_interval_evenly(pool: asyncpg.Pool) -> None:
    """10,000 users over 30 s: each second gets its share within 15 % (Prometheus' TestTargetOffset does the same)."""
    found = await slots(pool, [f"user_{n}" for n in range(10_000)], interval_s=INTERVAL_S, after=NOW)
    seconds = Counter(int((slot - EPOCH) % timedelta(seconds=INTERVAL_S) / timedelta(seconds=1)) for slot in found)
    share = 10_000 / INTERVAL_S
    assert set(seconds) == set(range(INTERVAL_S))
    assert max(abs(number - share) / share for number in seconds.values()) <= 0.15


async def test_settling_again_changes_nothing(clients: Clients, pool: asyncpg.Pool, leases: Leases) -> None:
    """A settlement that is delivered twice, in one message or in two or at once, counts once."""
    await register(clients, "ash")
    [target] = await leases.claim_due(1)
    result = outcome(target, outcome=Outcome.STORED, stored=2)
    await asyncio.gather(*(leases.settle([result, result]) for _ in range(8)))
    before = dict(await record(pool), read_at=None)
    await leases.settle([result])
    await leases.settle([failed(target)])
    assert dict(await record(pool), read_at=None) == before
    assert before["stored"] == 2


async def test_settling_a_lost_pull_changes_nothing(clients: Clients, pool: asyncpg.Pool, leases: Leases) -> None:
    """An outcome that comes after its lease was handed on, or of a pull that never was, is ignored."""
    await register(clients, "ash")
    [lost] = await leases.claim_due(1)
    await let_lease_end(pool)
    [current] = await leases.claim_due(1)
    before = dict(await record(pool), read_at=None)
    assert await leases.settle([outcome(lost, stored=5), outcome(replace(lost, pull_id=uuid4()), stored=5)]) is False
    assert dict(await record(pool), read_at=None) == before
    await leases.settle([outcome(current, stored=1)])
    assert (await record(pool))["stored"] == 1


async def test_settling_nothing_changes_nothing(leases: Leases) -> None:
    """A message without outcomes is no error."""
    assert await leases.settle([]) is False


async def test_failures_back_off_up_to_the_cap(clients: Clients, pool: asyncpg.Pool, leases: Leases) -> None:
    """Twice the interval more with each failure, never beyond the cap, of which a random half to all."""
    await register(clients, "ash")
    for failures in range(1, 11):
        await make_due(pool)
        [target] = await leases.claim_due(1)
        await leases.settle([failed(target)])
        row = await record(pool)
        whole = min(BACKOFF_CAP_S, INTERVAL_S * 2 ** (failures - 1))
        pause_s = (row["next_pull_at"] - row["read_at"]).total_seconds()
        assert whole / 2 - 5 <= pause_s <= whole
        assert (row["failures"], row["last_reason"]) == (failures, "timeout")
        assert row["last_error"] == "no whole answer within 15 s"
    assert row["last_success_at"] is None


async def test_clients_that_fail_together_come_back_apart(pool: asyncpg.Pool, leases: Leases) -> None:
    """The jitter spreads 1,000 clients over half the pause, and not in heaps."""
    await register_many(pool, 1_000)
    await leases.settle([failed(target) for target in await leases.claim_due(1_000)])
    due = [row["next_pull_at"] for row in await pool.fetch("SELECT next_pull_at FROM registry.clients")]
    assert timedelta(seconds=14) <= max(due) - min(due) <= timedelta(seconds=15)
    fullest = Counter(int((each - min(due)).total_seconds()) for each in due).most_common(1)[0][1]
    assert fullest < 2 * 1_000 / 15


@pytest.mark.parametrize(("asked_s", "at_least_s", "at_most_s"), [(600, 600, 600), (0.001, 15, 30), (1e9, 900, 900)])
async def test_a_client_is_left_alone_as_long_as_it_asks(
    leases: Leases, clients: Clients, pool: asyncpg.Pool, asked_s: float, at_least_s: float, at_most_s: float
) -> None:
    """But never shorter than after any failure, nor longer than the longest backoff."""
    await register(clients, "ash")
    [target] = await leases.claim_due(1)
    await leases.settle([replace(failed(target), retry_after_s=asked_s)])
    row = await record(pool)
    wait_s = (row["next_pull_at"] - row["read_at"]).total_seconds()
    assert at_least_s - 5 <= wait_s <= at_most_s


async def test_a_success_forgets_the_failures(clients: Clients, pool: asyncpg.Pool, leases: Leases) -> None:
    """The client is back in its slot, and the reason is gone."""
    await register(clients, "ash")
    for make in (failed, failed, outcome):
        await make_due(pool)
        [target] = await leases.claim_due(1)
        await leases.settle([make(target)])
    row = await record(pool)
    assert (row["failures"], row["last_reason"], row["last_error"]) == (0, None, None)
    assert row["next_pull_at"] <= row["read_at"] + timedelta(seconds=INTERVAL_S)


async def test_a_client_with_more_is_wanted_again_at_once(clients: Clients, pool: asyncpg.Pool, leases: Leases) -> None:
    """`more_pending` becomes a demand, which lasts until a pull leaves nothing."""
    await register(clients, "ash")
    [target] = await leases.claim_due(1)
    assert await leases.settle([outcome(target, more_pending=True)]) is True
    [(asked, [again])] = (await leases.claim_demanded()).items()
    assert (asked, again.user_id) == (Asked(), "ash")
    assert await leases.settle([outcome(again)]) is False
    assert await leases.claim_demanded() == {}
    assert (await record(pool))["demanded_at"] is None


async def test_a_client_with_more_that_failed_is_not_wanted_at_once(clients: Clients, leases: Leases) -> None:
    """Asking a client again at once that has just failed would spin."""
    await register(clients, "ash")
    [target] = await leases.claim_due(1)
    assert await leases.settle([replace(failed(target), more_pending=True)]) is False
    assert await leases.claim_demanded() == {}


async def test_a_stopped_timer_hands_out_nothing(clients: Clients, schedule: Schedule, leases: Leases) -> None:
    """Until it is started again; demands are served all the same."""
    await register(clients, "ash")
    await schedule.set_running(running=False)
    assert await leases.claim_due(10) == []
    await schedule.set_running(running=True)
    [target] = await leases.claim_due(10)
    await schedule.set_running(running=False)
    await leases.settle([outcome(target, more_pending=True)])
    assert len((await leases.claim_demanded())[Asked()]) == 1


async def test_demands_are_bounded_by_the_leases_that_are_out(pool: asyncpg.Pool) -> None:
    """With room for ten, ten are handed out, and the next when some have settled."""
    queries = load_queries("services.registry")
    leases = Leases(pool=pool, queries=queries, in_flight=10, times=TIMES)
    await register_many(pool, 25)
    await pool.execute("UPDATE registry.clients SET demanded_at = now() - interval '1 minute'")
    first = (await leases.claim_demanded())[Asked()]
    assert (len(first), await leases.claim_demanded()) == (10, {})
    await leases.settle([outcome(target) for target in first[:4]])
    assert len((await leases.claim_demanded())[Asked()]) == 4
    await let_lease_end(pool)
    assert len((await leases.claim_demanded())[Asked()]) == 10


async def test_a_released_lease_is_free_and_its_demand_stays(
    clients: Clients, pool: asyncpg.Pool, leases: Leases
) -> None:
    """What could not be asked for is claimed again, as if nothing had been."""
    await register(clients, "ash")
    await pool.execute("UPDATE registry.clients SET demanded_at = now()")
    [first] = (await leases.claim_demanded())[Asked()]
    await leases.release([first.pull_id])
    [again] = (await leases.claim_demanded())[Asked()]
    assert again.pull_id != first.pull_id
    assert again.lease_expires_at - (await record(pool))["claimed_at"] == LEASE


async def test_registering_again_is_due_at_once_and_keeps_the_history(
    clients: Clients, pool: asyncpg.Pool, leases: Leases
) -> None:
    """Whatever went wrong before is forgiven; what was stored is not forgotten; a new address is used."""
    await register(clients, "ash")
    [target] = await leases.claim_due(1)
    await leases.settle([failed(target)])
    await pool.execute("UPDATE registry.clients SET stored = 7")
    registered = await clients.register(NewClient(user_id="ash", client_url="http://elsewhere:3001"))
    assert not registered.is_new
    [target] = await leases.claim_due(1)
    assert (target.client_url, (await clients.get("ash")).stored) == ("http://elsewhere:3001", 7)


async def test_registering_again_does_not_break_a_lease(clients: Clients, pool: asyncpg.Pool, leases: Leases) -> None:
    """A client that registers while it is pulled is not pulled twice at once."""
    await register(clients, "ash")
    [target] = await leases.claim_due(1)
    await register(clients, "ash")
    assert await leases.claim_due(1) == []
    await leases.settle([outcome(target, stored=1)])
    assert (await record(pool))["stored"] == 1


async def test_a_new_interval_moves_the_idle_clients_to_their_new_slot(
    clients: Clients, pool: asyncpg.Pool, schedule: Schedule, leases: Leases
) -> None:
    """A shorter interval counts at once; a client that is pulled or backs off is left alone."""
    await schedule.set_interval(86_400)
    await register(clients, "idle", "failing", "pulled")
    targets = {target.user_id: target for target in await leases.claim_due(3)}
    await leases.settle([outcome(targets["idle"]), failed(targets["failing"])])
    left_alone = [(await record(pool, user))["next_pull_at"] for user in ("failing", "pulled")]
    await schedule.set_interval(5)
    idle = await record(pool, "idle")
    assert idle["read_at"] < idle["next_pull_at"] <= idle["read_at"] + timedelta(seconds=5)
    assert [(await record(pool, user))["next_pull_at"] for user in ("failing", "pulled")] == left_alone


async def test_a_new_interval_does_not_put_off_who_is_due(clients: Clients, schedule: Schedule, leases: Leases) -> None:
    """A client that was just registered, or is late, is pulled now and not up to an interval later."""
    await register(clients, "ash")
    await schedule.set_interval(86_400)
    assert len(await leases.claim_due(1)) == 1
