"""Services on a Postgres that fails in every way we know: what is asked of them waits, is answered 503, and heals."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, Final
from uuid import uuid4

import aio_pika
import asyncpg
import httpx
import pytest
import structlog

import services.ingest.writer
import shared.rabbitmq.holding
from dev.database import INGEST_ROLE, REGISTRY_ROLE, Database, create_database
from dev.servers.postgres import PostgresServer
from services.ingest.app import build_app as build_ingest
from services.ingest.incoming import ReceivedPull
from services.ingest.settings import IngestSettings
from services.ingest.store import CaptureStore
from services.registry.app import build_app as build_registry
from services.registry.settings import RegistrySettings
from shared.contracts.encoding import encoded
from shared.contracts.messages import CaptureBatch, Outcome, Pull, PulledCapture, PullOutcome, PullSettled
from shared.contracts.topology import CAPTURE_BATCHES, DELIVERY_LIMIT, PULL_SETTLED
from shared.postgres.database import TRANSIENT, answers, make_pool
from shared.postgres.sql import load_queries
from tests.waiting import eventually

API: Final = "/api/v1/pull-sync"
PASSWORD: Final = "of a private server"
NOON: Final = datetime(2026, 1, 31, 12, tzinfo=UTC)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses are short."""
    monkeypatch.setattr(shared.rabbitmq.holding, "_FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr(shared.rabbitmq.holding, "_LONGEST_PAUSE_S", 0.05)
    monkeypatch.setattr(services.ingest.writer, "RETRY_S", 0.1)


@asynccontextmanager
async def serving(app: Any) -> AsyncIterator[httpx.AsyncClient]:
    """A service with its lifespan, and HTTP to it."""
    web = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost")
    async with app.router.lifespan_context(app), web as http:
        yield http


def registry(database: Database, broker_url: str) -> Any:
    """The whole registry."""
    return build_registry(RegistrySettings(database_url=database.registry_url, rabbitmq_url=broker_url))


def ingest(database: Database, broker_url: str) -> Any:
    """The whole ingest."""
    return build_ingest(
        IngestSettings(database_url=database.ingest_url, rabbitmq_url=broker_url, pull_sync_timeout=0.3)
    )


async def is_ready(http: httpx.AsyncClient) -> bool:
    """Whether the service says so."""
    return (await http.get("/health/ready")).is_success


async def becomes(http: httpx.AsyncClient, *, ready: bool) -> None:
    """Wait for its readiness; it is alive all the while."""

    async def says() -> bool:
        assert (await http.get("/health/live")).is_success
        return await is_ready(http) is ready

    await eventually(says, deadline_s=60.0)


async def execute(url: str, statement: str) -> None:
    """One statement, on a connection of its own."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


async def end_sessions(database: Database, role: str) -> None:
    """As an administrator would."""
    await execute(
        database.admin_url, f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{role}'"
    )


@asynccontextmanager
async def channel_of(broker_url: str) -> AsyncIterator[aio_pika.abc.AbstractChannel]:
    """A connection beside the service's."""
    async with await aio_pika.connect(broker_url) as connection:
        yield await connection.channel()


async def publish(channel: aio_pika.abc.AbstractChannel, message: Any, routing_key: str) -> None:
    """As a service would."""
    exchange = await channel.get_exchange("pullsync", ensure=False)
    await exchange.publish(aio_pika.Message(encoded(message), message_id=str(uuid4())), routing_key)


async def count(channel: aio_pika.abc.AbstractChannel, name: str) -> int:
    """Messages in a queue that nobody holds."""
    return (await channel.declare_queue(name, passive=True)).declaration_result.message_count or 0


def capture(capture_id: str = "a") -> PulledCapture:
    """A capture of pikachu at noon."""
    return PulledCapture(
        capture_id=capture_id,
        pokemon_id=25,
        pokemon_name="pikachu",
        action="capture",
        timestamp=NOON,
        removed=False,
        metadata=None,
    )


def batch(capture_id: str = "a") -> CaptureBatch:
    """One user's pull of one capture; the client itself is away."""
    pull = Pull(
        pull_id=uuid4(),
        user_id="ash",
        client_url="http://127.0.0.1:9",
        pulled_at=NOON,
        duration_s=0.1,
        pending=1,
        more_pending=False,
        captures=(capture(capture_id),),
    )
    return CaptureBatch(pulls=(pull,))


def settled(pull_id: Any) -> PullSettled:
    """A pull that found nothing."""
    return PullSettled(
        outcomes=(PullOutcome(pull_id=pull_id, user_id="ash", outcome=Outcome.NOTHING, pending=0, duration_s=0.1),)
    )


# Which errors pass by themselves.


@pytest.fixture
async def pool(database: Database) -> AsyncIterator[asyncpg.Pool]:
    """Ingest's own pool."""
    async with make_pool(database.ingest_url, service="test", max_size=2) as made:
        yield made


async def test_our_own_mistake_is_no_outage(pool: asyncpg.Pool) -> None:
    """A wrong number of arguments and a connection used twice are bugs, however often they are tried."""
    with pytest.raises(asyncpg.InterfaceError) as caught:
        await pool.fetch("SELECT $1::integer", 1, 2)
    assert not isinstance(caught.value, TRANSIENT)
    with pytest.raises(asyncpg.InterfaceError, match="in progress") as caught:
        async with pool.acquire() as connection:
            await asyncio.gather(connection.fetch("SELECT pg_sleep(0.1)"), connection.fetch("SELECT 1"))
    assert not isinstance(caught.value, TRANSIENT)


@pytest.mark.parametrize("where", ["in a statement", "between two statements", "in a transaction", "at its end"])
async def test_a_lost_connection_is_an_outage(where: str, pool: asyncpg.Pool, database: Database) -> None:
    """Whenever it is lost, and whatever asyncpg calls it; the pool has another one at once."""

    async def lose() -> None:
        async with pool.acquire() as connection:
            match where:
                case "in a statement":
                    await asyncio.gather(connection.execute("SELECT pg_sleep(60)"), end_sessions(database, INGEST_ROLE))
                case "between two statements":
                    await connection.execute("SELECT 1")
                    await end_sessions(database, INGEST_ROLE)
                    await eventually(lost(connection))
                    await connection.execute("SELECT 1")
                case "in a transaction":
                    async with connection.transaction():
                        await end_sessions(database, INGEST_ROLE)
                        await eventually(lost(connection))
                        await connection.execute("SELECT 1")
                case _:
                    async with connection.transaction():
                        await connection.execute("SELECT 1")
                        await end_sessions(database, INGEST_ROLE)
                        await eventually(lost(connection))

    with pytest.raises(TRANSIENT):
        await lose()
    assert await pool.fetchval("SELECT 1") == 1


def lost(connection: Any) -> Any:
    """Whether asyncpg has noticed."""

    async def noticed() -> bool:
        try:
            return bool(connection.is_closed())
        except asyncpg.InterfaceError:
            return True

    return noticed


async def test_a_pool_that_closes_is_an_outage(database: Database) -> None:
    """What comes after the end of the service goes back to where it came from."""
    pool = make_pool(database.ingest_url, service="test", max_size=1)
    async with pool:
        pass
    with pytest.raises(TRANSIENT):
        await pool.fetch("SELECT 1")
    assert not await answers(pool)


async def test_a_connection_that_cannot_be_given_back_is_an_outage(
    pool: asyncpg.Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A statement ran into its timeout, Postgres does not answer to that either, and asyncpg is confused."""

    async def confused(_self: asyncpg.Connection, **_options: Any) -> None:
        message = "cannot switch to state 15; another operation (2) is in progress"
        raise asyncpg.InternalClientError(message)

    with monkeypatch.context() as patch:
        patch.setattr(asyncpg.Connection, "reset", confused)
        with pytest.raises(TRANSIENT):
            await pool.fetchval("SELECT 1")
    assert await pool.fetchval("SELECT 1") == 1


async def test_a_pool_without_a_free_connection_does_not_answer(pool: asyncpg.Pool) -> None:
    """Readiness says so within its second, and does not wait for whoever has the connections."""
    async with pool.acquire(), pool.acquire(), asyncio.timeout(20.0):
        assert not await answers(pool)


async def test_a_pool_closes_over_a_statement_that_hangs(database: Database) -> None:
    """A service that stops does not wait for it."""
    async with asyncio.timeout(15.0), make_pool(database.ingest_url, service="test", max_size=1) as pool:
        connection = await pool.acquire()
        hanging = asyncio.create_task(connection.execute("SELECT pg_sleep(600)"))
    with pytest.raises(TRANSIENT):
        await hanging


async def test_after_failing_over_the_pool_connects_anew(pool: asyncpg.Pool, database: Database) -> None:
    """A server that turned read-only is not asked for ever: the next connections are new ones."""
    name = database.ingest_url.rpartition("/")[2]
    await execute(database.admin_url, f'ALTER DATABASE "{name}" SET default_transaction_read_only = on')
    await pool.expire_connections()
    with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
        await pool.execute("CREATE TABLE captures.anything ()")
    reset = f'ALTER DATABASE "{name}" RESET default_transaction_read_only'
    await execute(database.admin_url, f"BEGIN READ WRITE; {reset}; COMMIT")
    await pool.execute("CREATE TABLE captures.anything ()")


# Ingest.

RAISES: Final = """
    CREATE SEQUENCE captures.failures;
    GRANT USAGE ON SEQUENCE captures.failures TO PUBLIC;
    CREATE FUNCTION captures.fail() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF nextval('captures.failures') <= {times} THEN
                RAISE EXCEPTION 'on purpose' USING ERRCODE = '{sqlstate}';
            END IF;
            RETURN NULL;
        END $$;
    CREATE TRIGGER fail AFTER INSERT ON captures.events FOR EACH STATEMENT EXECUTE FUNCTION captures.fail();
"""


@pytest.mark.parametrize(
    "sqlstate",
    [
        "40001",
        "40P01",
        "25006",
        "57014",
        "57P01",
        "57P03",
        "53300",
        "53100",
        "08006",
        "55P03",
        "58030",
        "XX001",
        "42501",
    ],
)
async def test_ingest_outlasts_what_passes(sqlstate: str, database: Database, broker_url: str) -> None:
    """A serialisation failure, a deadlock, a standby, a cancelled statement, no slot, no space: beyond the limit."""
    await execute(database.admin_url, RAISES.format(sqlstate=sqlstate, times=DELIVERY_LIMIT + 5))
    async with serving(ingest(database, broker_url)) as http, channel_of(broker_url) as channel:
        await becomes(http, ready=True)
        await publish(channel, batch(), CAPTURE_BATCHES.routing())

        async def stored() -> bool:
            connection = await asyncpg.connect(database.ingest_url)
            try:
                return bool(await connection.fetchval("SELECT count(*) = 1 FROM captures.events"))
            finally:
                await connection.close()

        await eventually(stored)
        assert await count(channel, f"{CAPTURE_BATCHES.name}.dead") == 0


async def test_ingest_puts_a_message_aside_for_our_own_mistake(
    database: Database, broker_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A statement that takes other arguments is no outage: the message ends in the dead letters."""
    monkeypatch.setattr(shared.rabbitmq.holding, "REQUEUE_PAUSE_S", 0.0)
    app = ingest(database, broker_url)
    monkeypatch.setattr(CaptureStore, "store", _wrongly)
    async with serving(app) as http, channel_of(broker_url) as channel:
        await becomes(http, ready=True)
        await publish(channel, batch(), CAPTURE_BATCHES.routing())

        async def dead() -> bool:
            return await count(channel, f"{CAPTURE_BATCHES.name}.dead") == 1

        await eventually(dead, deadline_s=200)


async def _wrongly(self: CaptureStore, pulls: list[ReceivedPull]) -> list[int]:
    pool: asyncpg.Pool = vars(self)["_pool"]
    await pool.fetch(load_queries("services.ingest")["quarantined"], pulls, 1, 2)
    raise AssertionError


# Postgres itself.


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    """A server that these tests may harm; each leaves it running."""
    with PostgresServer(tmp_path_factory.mktemp("harmed") / "postgres", durable=False) as made:
        yield made


@pytest.fixture
async def fragile(server: PostgresServer) -> Database:
    """A fresh database on that server."""
    return await create_database(server.url, f"fragile_{uuid4().hex}", password=PASSWORD)


@pytest.mark.parametrize("build", [registry, ingest])
async def test_a_postgres_that_is_away_at_start_is_waited_for(
    build: Any, server: PostgresServer, fragile: Database, broker_url: str
) -> None:
    """The service waits for it, and is ready when it comes; one line tells."""
    await asyncio.to_thread(server.stop)
    with structlog.testing.capture_logs() as logs:
        starting = asyncio.create_task(_until_ready(build(fragile, broker_url)))

        async def told() -> bool:
            return "database_away" in [entry["event"] for entry in logs]

        try:
            await eventually(told)
        finally:
            await asyncio.to_thread(server.start)
        await starting
    assert [entry["event"] for entry in logs].count("database_away") == 1


async def _until_ready(app: Any) -> None:
    async with serving(app) as http:
        await becomes(http, ready=True)


@pytest.mark.parametrize("end", ["stop", "kill"])
async def test_the_registry_outlasts_a_postgres_that_restarts(
    end: str, server: PostgresServer, fragile: Database, broker_url: str
) -> None:
    """HTTP answers 503, a settlement waits for longer than the delivery limit, and both succeed afterwards."""
    async with serving(registry(fragile, broker_url)) as http, channel_of(broker_url) as channel:
        await becomes(http, ready=True)
        await asyncio.to_thread(getattr(server, end))
        with structlog.testing.capture_logs() as logs:
            try:
                await publish(channel, settled(uuid4()), PULL_SETTLED.routing())
                response = await http.get(f"{API}/status")
                assert response.status_code == 503
                assert response.json()["type"] == "urn:pullsync:problem:database-away"
                await becomes(http, ready=False)

                async def held() -> bool:
                    return "messages_held" in [entry["event"] for entry in logs]

                await eventually(held)
            finally:
                await asyncio.to_thread(server.start)
            await becomes(http, ready=True)

            async def flows() -> bool:
                return "messages_flow_again" in [entry["event"] for entry in logs]

            await eventually(flows)
        assert (await http.get(f"{API}/status")).is_success
        assert await count(channel, f"{PULL_SETTLED.name}.dead") == 0
        assert await count(channel, PULL_SETTLED.name) == 0
    told = [entry["event"] for entry in logs]
    assert told.count("messages_held") == 1
    assert told.count("dispatch_failed") <= 1


@pytest.mark.parametrize("end", ["stop", "kill"])
async def test_ingest_outlasts_a_postgres_that_restarts(
    end: str, server: PostgresServer, fragile: Database, broker_url: str
) -> None:
    """A batch waits in hand and is stored once."""
    async with serving(ingest(fragile, broker_url)) as http, channel_of(broker_url) as channel:
        await becomes(http, ready=True)
        await asyncio.to_thread(getattr(server, end))
        try:
            await publish(channel, batch(), CAPTURE_BATCHES.routing())
            await becomes(http, ready=False)
        finally:
            await asyncio.to_thread(server.start)
        await becomes(http, ready=True)

        async def reported() -> bool:
            return await count(channel, PULL_SETTLED.name) == 1

        await eventually(reported)
        connection = await asyncpg.connect(fragile.ingest_url)
        assert await connection.fetchval("SELECT count(*) FROM captures.events") == 1
        await connection.close()
        assert await count(channel, f"{CAPTURE_BATCHES.name}.dead") == 0


async def test_without_a_free_slot_the_registry_answers_503(fragile: Database, broker_url: str) -> None:
    """Postgres is out of connections (53300): the registry says so, and goes on when there are some."""
    async with serving(registry(fragile, broker_url)) as http:
        await becomes(http, ready=True)
        await execute(fragile.admin_url, f"ALTER ROLE {REGISTRY_ROLE} CONNECTION LIMIT 0")
        try:
            await end_sessions(fragile, REGISTRY_ROLE)

            async def refused() -> bool:
                return (await http.get(f"{API}/status")).status_code == 503

            await eventually(refused)
            await becomes(http, ready=False)
        finally:
            await execute(fragile.admin_url, f"ALTER ROLE {REGISTRY_ROLE} CONNECTION LIMIT -1")
        await becomes(http, ready=True)
        assert (await http.get(f"{API}/status")).is_success
