"""Services on a RabbitMQ and a PostgreSQL that speak TLS: a server that can't prove who it is gets nothing."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import asyncpg
import httpx
import pytest
import structlog

import shared.patience
from dev.broker import create_broker, monitoring_url
from dev.certificates import Authority
from dev.database import Database, create_database
from dev.servers.certificate import ServerCertificate
from dev.servers.install import ensure_rabbitmq_server
from dev.servers.postgres import PostgresServer
from dev.servers.proctable import wait_for
from dev.servers.rabbitmq import RabbitMQNode
from dev.stack import Stack
from services.registry import app as registry
from services.registry.dead_letters.queue import BrokerAwayError, DeadLetterQueue
from services.registry.queues import Queues, QueuesReport
from shared import tls
from shared.contracts.topology import PULL_SETTLED
from shared.postgres.database import make_pool
from shared.postgres.migrations import migrate
from shared.rabbitmq.broker import make_broker
from shared.rabbitmq.consuming import BrokerConnection
from tests.waiting import eventually

PASSWORD: Final = "a-secret-word"
SERVER: Final = "localhost"
REMEDIES: Final = {"authority": "TLS_CA_FILE must name", "name": "is for another name", "time": "renew"}
"""What one is told, by what is wrong."""

Logs = list[Any]


@dataclass(frozen=True, kw_only=True)
class World:
    """Two servers whose certificates are for the name `localhost`, and files with authorities."""

    postgres: PostgresServer
    rabbitmq: RabbitMQNode
    good: ServerCertificate
    expired: ServerCertificate
    ca_file: Path
    other_ca_file: Path

    def database_url(self, wrong: str | None, mode: str = "verify-full") -> str:
        """As the superuser; by an address instead of the name, when the name shall be wrong."""
        url = self.postgres.url if wrong == "name" else self.postgres.url.replace("127.0.0.1", SERVER)
        return f"{url}?sslmode={mode}"

    def rabbitmq_url(self, wrong: str | None) -> str:
        """The same of RabbitMQ."""
        url = self.rabbitmq.amqps_url
        return url.replace(SERVER, "127.0.0.1") if wrong == "name" else url

    def trusted(self, wrong: str | None) -> Path:
        """The authority that has signed, or another one."""
        return self.other_ca_file if wrong == "authority" else self.ca_file


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Both servers."""
    ensure_rabbitmq_server()
    folder = tmp_path_factory.mktemp("tls")
    authority, other = Authority.new("a CA"), Authority.new("another CA")
    good = authority.issue([SERVER])
    for name, made in (("ca.crt", authority), ("other.crt", other)):
        (folder / name).write_text(made.certificate_pem)
    with (
        PostgresServer(folder / "postgres", durable=False, certificate=good) as postgres,
        RabbitMQNode(folder / "rabbitmq", certificate=good) as rabbitmq,
    ):
        yield World(
            postgres=postgres,
            rabbitmq=rabbitmq,
            good=good,
            expired=authority.issue([SERVER], until=datetime.now(UTC) - timedelta(days=1)),
            ca_file=folder / "ca.crt",
            other_ca_file=folder / "other.crt",
        )


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is tried again soon."""
    monkeypatch.setattr(shared.patience, "_PAUSES_S", (0.1,))


@pytest.fixture
def logs() -> Iterator[Logs]:
    """What is logged meanwhile."""
    with structlog.testing.capture_logs() as found:
        yield found


@asynccontextmanager
async def wrong_server(world: World, wrong: str | None) -> AsyncIterator[None]:
    """The servers' certificates have expired meanwhile, if the time is what shall be wrong."""
    if wrong != "time":
        yield
        return
    await use(world, world.expired)
    yield
    await use(world, world.good)


async def use(world: World, certificate: ServerCertificate) -> None:
    """Both servers have this certificate from now on."""
    expected = ssl.PEM_cert_to_DER_cert(certificate.certificate)
    world.rabbitmq.use_certificate(certificate)
    world.postgres.use_certificate(certificate)

    async def shown() -> bool:
        return await shown_by_postgres(world) == expected and await shown_by_rabbitmq(world) == expected

    await eventually(shown)


async def shown_by_postgres(world: World) -> bytes | None:
    """The certificate that it has, for whoever does not ask whose it is."""
    connection: Any = await asyncpg.connect(world.database_url(None, "require"))
    transport = connection._transport  # noqa: SLF001 - asyncpg tells nobody else
    found: bytes | None = transport.get_extra_info("ssl_object").getpeercert(binary_form=True)
    await connection.close()
    return found


async def shown_by_rabbitmq(world: World) -> bytes | None:
    """The same of RabbitMQ."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    _, writer = await asyncio.open_connection(SERVER, world.rabbitmq.ports.amqps, ssl=context)
    found: bytes | None = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()
    return found


@asynccontextmanager
async def beside(work: Callable[[], Awaitable[None]]) -> AsyncIterator[asyncio.Future[None]]:
    """It goes on meanwhile, and is given up then."""
    task = asyncio.ensure_future(work())
    try:
        yield task
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def refusals(logs: Logs, event: str) -> list[str]:
    """What was said to do, each time that a server was refused."""
    return [line["remedy"] for line in logs if line["event"] == event and line["log_level"] == "error"]


every_wrong = pytest.mark.parametrize("wrong", REMEDIES)


async def test_a_pool_speaks_tls_with_the_right_postgres(world: World) -> None:
    """And with no other: the connection is encrypted."""
    async with make_pool(world.database_url(None), service="test", max_size=1, ca_file=world.ca_file) as pool:
        assert await pool.fetchval("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")


@every_wrong
async def test_a_pool_refuses_a_wrong_postgres(world: World, wrong: str) -> None:
    """An unknown authority, another name, a certificate that has expired: the error says what to do."""
    url, ca_file = world.database_url(wrong), world.trusted(wrong)
    async with wrong_server(world, wrong), make_pool(url, service="test", max_size=1, ca_file=ca_file) as pool:
        with pytest.raises(ssl.SSLCertVerificationError) as caught:
            await pool.fetchval("SELECT 1")
    assert REMEDIES[wrong] in (tls.remedy(caught.value) or "")


async def test_the_systems_authorities_do_not_know_a_private_one(world: World) -> None:
    """Without TLS_CA_FILE they decide."""
    async with make_pool(world.database_url(None), service="test", max_size=1) as pool:
        with pytest.raises(ssl.SSLCertVerificationError):
            await pool.fetchval("SELECT 1")


async def test_verify_ca_takes_any_name(world: World) -> None:
    """As libpq has it: the authority alone is asked for."""
    url = world.database_url("name", "verify-ca")
    async with make_pool(url, service="test", max_size=1, ca_file=world.ca_file) as pool:
        assert await pool.fetchval("SELECT 1") == 1
    async with make_pool(url, service="test", max_size=1, ca_file=world.other_ca_file) as pool:
        with pytest.raises(ssl.SSLCertVerificationError):
            await pool.fetchval("SELECT 1")


@every_wrong
async def test_a_migration_waits_for_the_right_postgres(world: World, wrong: str, logs: Logs) -> None:
    """It says once what to do, goes on trying, and changes nothing where it does not know who that is."""
    database = await create_database(world.postgres.url, f"migrated_{wrong}", password=PASSWORD)
    url = database.registry_url if wrong == "name" else database.registry_url.replace("127.0.0.1", SERVER)
    ca_file = world.trusted(wrong)

    async def migrated() -> None:
        await migrate(
            f"{url}?sslmode=verify-full", schema=registry.SCHEMA, history=registry.MIGRATIONS, ca_file=ca_file
        )

    async def told() -> bool:
        return bool(refusals(logs, "database_refused"))

    async with beside(migrated) as migrating:
        async with wrong_server(world, wrong):
            await eventually(told)
            assert not migrating.done()
        if wrong == "time":
            await asyncio.wait_for(migrating, 30)
    (remedy,) = refusals(logs, "database_refused")
    assert REMEDIES[wrong] in remedy
    assert await has_clients(database) == (wrong == "time")
    assert PASSWORD not in str(logs)


async def has_clients(database: Database) -> bool:
    """Whether the registry's schema is there."""
    connection = await asyncpg.connect(database.admin_url)
    found = await connection.fetchval("SELECT to_regclass('registry.clients') IS NOT NULL")
    await connection.close()
    return bool(found)


async def test_a_broker_speaks_tls_with_the_right_rabbitmq(world: World) -> None:
    """It becomes ready, and RabbitMQ knows of the TLS."""
    broker = make_broker(world.rabbitmq_url(None), service="test", ca_file=world.ca_file)
    connection = BrokerConnection(broker, consumed=())
    async with connection.running():
        await eventually(connection.ready)
        assert "true" in world.rabbitmq.rabbitmqctl("list_connections", "ssl")


@every_wrong
async def test_a_broker_refuses_a_wrong_rabbitmq(world: World, wrong: str, logs: Logs) -> None:
    """It says once what to do, and goes on trying: the right certificate makes it ready."""
    broker = make_broker(world.rabbitmq_url(wrong), service="test", ca_file=world.trusted(wrong))
    connection = BrokerConnection(broker, consumed=())

    async def told() -> bool:
        return bool(refusals(logs, "broker_refused"))

    async with wrong_server(world, wrong), connection.running():
        await eventually(told)
        assert not await connection.ready()
        if wrong == "time":
            await use(world, world.good)
            await eventually(connection.ready)
    (remedy,) = refusals(logs, "broker_refused")
    assert REMEDIES[wrong] in remedy
    assert world.rabbitmq.password not in str(logs)


async def test_a_port_without_tls_is_told(world: World, logs: Logs) -> None:
    """`amqps://` with the plain port."""
    url = f"amqps://{SERVER}:{world.rabbitmq.ports.amqp}/"
    connection = BrokerConnection(make_broker(url, service="test", ca_file=world.ca_file), consumed=())

    async def told() -> bool:
        return any("does not speak TLS" in remedy for remedy in refusals(logs, "broker_refused"))

    async with connection.running():
        await eventually(told)


async def test_dead_letters_are_read_by_tls(world: World) -> None:
    """From the right RabbitMQ; the rest is told as a broker that is away."""
    broker = make_broker(world.rabbitmq_url(None), service="test", ca_file=world.ca_file)
    connection = BrokerConnection(broker, consumed=(PULL_SETTLED,))
    async with connection.running():
        await eventually(connection.ready)  # it has declared the queue
    queue = DeadLetterQueue(url=world.rabbitmq_url(None), work_queue=PULL_SETTLED, ca_file=world.ca_file)
    async with queue.opened() as opened:
        assert await opened.count() == 0


@every_wrong
async def test_dead_letters_are_not_read_from_a_wrong_rabbitmq(world: World, wrong: str, logs: Logs) -> None:
    """And the log has the reason."""
    queue = DeadLetterQueue(url=world.rabbitmq_url(wrong), work_queue=PULL_SETTLED, ca_file=world.trusted(wrong))
    async with wrong_server(world, wrong):
        with pytest.raises(BrokerAwayError):
            async with queue.opened():
                pass
    assert ["CERTIFICATE_VERIFY_FAILED" in line["problem"] for line in logs] == [True]


@pytest.mark.parametrize("wrong", ["authority", "name"])
async def test_a_wrong_rabbitmq_is_not_asked_for_its_queues(world: World, wrong: str) -> None:
    """Nor told the password; the right one is."""
    await create_broker(
        world.rabbitmq.url, world.rabbitmq.management_url, password=PASSWORD, monitoring_password=PASSWORD
    )
    url = monitoring_url(world.rabbitmq.management_tls_url, PASSWORD)

    async def report(url: str, ca_file: Path) -> QueuesReport:
        return await Queues(url=url, link=None, rabbitmq_url=world.rabbitmq.amqps_url, ca_file=ca_file).report()

    refused = await report(url.replace(SERVER, "127.0.0.1") if wrong == "name" else url, world.trusted(wrong))
    assert (refused.queues, REMEDIES[wrong] in str(refused.problem)) == ([], True)

    async def told() -> bool:
        return bool((await report(url, world.ca_file)).queues)

    await eventually(told)


@asynccontextmanager
async def https_front(certificate: ServerCertificate, folder: Path, backend: str) -> AsyncIterator[str]:
    """A server that ends TLS and passes bytes on, as the front does."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*certificate.write(folder))
    host, port = httpx.URL(backend).host, httpx.URL(backend).port

    async def pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner_reader, inner_writer = await asyncio.open_connection(host, port)
        served.add(asyncio.ensure_future(pipe(reader, inner_writer)))
        served.add(asyncio.ensure_future(pipe(inner_reader, writer)))
        writers.update((writer, inner_writer))

    served: set[asyncio.Future[None]] = set()
    writers: set[asyncio.StreamWriter] = set()
    server = await asyncio.start_server(serve, SERVER, 0, ssl=context)
    yield f"https://{SERVER}:{server.sockets[0].getsockname()[1]}"
    server.close()
    for writer in writers:
        writer.transport.abort()
    await asyncio.gather(*served)


@pytest.fixture
async def stack(world: World, tmp_path: Path) -> AsyncIterator[Stack]:
    """Processes that have what is secret from files, and a wrong word in their environment."""
    database = await create_database(world.postgres.url, f"stack_{tmp_path.name}", password=PASSWORD)
    urls = {"registry": database.registry_url, "ingest": database.ingest_url}
    nowhere = "is a file"
    made = Stack(
        folder=tmp_path / "stack",
        registry_url=nowhere,
        ingest_url=nowhere,
        rabbitmq_urls=dict.fromkeys(("registry", "puller", "ingest"), nowhere),
        env={"PULL_SYNC_INTERVAL": "5", "CLIENT_REGISTRATION_CHECK": "1", "TLS_CA_FILE": str(world.ca_file)},
    )
    for name in ("registry", "puller-1", "ingest-1"):
        secrets = tmp_path / "secrets" / name
        secrets.mkdir(parents=True)
        (secrets / "RABBITMQ_URL").write_text(f"{world.rabbitmq.amqps_url}\n")
        (secrets / "RABBITMQ_DECLARE").write_text("true")  # by the administrator
        if url := urls.get(name.partition("-")[0]):
            (secrets / "database_url").write_text(f"{url.replace('127.0.0.1', SERVER)}?sslmode=verify-full")
        made.configure(name, SECRETS_DIR=str(secrets))
    with made:
        yield made


async def test_a_capture_goes_its_way_when_everything_speaks_tls(stack: Stack, world: World, tmp_path: Path) -> None:
    """Real processes: secrets from files, both servers by TLS, and the registry by HTTPS for puller and client."""
    async with https_front(world.good, tmp_path, stack.url("registry")) as front:
        stack.configure("puller-1", SECRETS_DIR=str(tmp_path / "secrets" / "puller-1"), BACKEND_URL=front)
        stack.configure("client-1", BACKEND_URL=front)
        await asyncio.to_thread(stack.start_together, "registry", "ingest-1", "puller-1", "client-1")
        async with httpx.AsyncClient(trust_env=False, timeout=10) as http:
            capture = {"pokemon_id": 25, "pokemon_name": "pikachu", "action": "capture"}
            (await http.post(f"{stack.url('client-1')}/api/client/add-capture", json=capture)).raise_for_status()

            async def acknowledged() -> bool:
                stats = await http.get(f"{stack.url('client-1')}/api/client/stats")
                return int(stats.json()["pending_sync"]) == 0

            await eventually(acknowledged, deadline_s=60)
    logged = stack.log_tails()
    assert [word for word in (PASSWORD, world.rabbitmq.password) if word in logged] == []


async def test_a_service_with_a_wrong_authority_says_what_to_do(stack: Stack, world: World, tmp_path: Path) -> None:
    """In its log, while it goes on trying; and no password is in there."""
    secrets = tmp_path / "secrets" / "registry"
    stack.configure("registry", SECRETS_DIR=str(secrets), TLS_CA_FILE=str(world.other_ca_file))
    stack.start("registry", wait=False)
    assert await asyncio.to_thread(wait_for, lambda: "TLS_CA_FILE must name" in stack.log_tail("registry"), 30)
    assert stack.returncode("registry") is None
    assert PASSWORD not in stack.log_tail("registry")
