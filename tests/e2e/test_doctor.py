"""`pullsync doctor` on a stack of its own: nothing is found while all is well, and each fault when it is made."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, urlsplit, urlunsplit

import aio_pika
import asyncpg
import pytest

from dev.broker import MONITORING_USER, Broker, create_broker
from dev.database import Database, create_database
from dev.servers.install import ensure_rabbitmq_server
from dev.servers.postgres import PostgresServer
from dev.servers.rabbitmq import RabbitMQNode
from dev.stack import Stack
from shared.contracts.topology import CAPTURE_BATCHES
from tests.operator import Operator, until
from tests.servers import MONITORING_PASSWORD, PASSWORD

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

READ, SERVICE, ENROL, KEY = (f"{letter}-0123456789abcdef" * 2 for letter in "rsek")
DEEP: Final = ("database from here", "broker from here", "RabbitMQ nodes")
AN_HOUR_AHEAD: Final = (
    "-c",
    (
        "import cli.doctor.looking as looking, datetime as d;"
        "looking.utc_now = lambda: d.datetime.now(d.UTC) + d.timedelta(hours=1);"
        "looking.Looking.__init__.__kwdefaults__['now'] = looking.utc_now;"
        "from cli.main import main; main()"
    ),
)
"""The program, on a machine whose clock is wrong."""

pytestmark = pytest.mark.timeout(300)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ward:
    """A stack with tokens, on servers that nobody else uses."""

    stack: Stack
    postgres: PostgresServer
    rabbitmq: RabbitMQNode
    database: Database
    broker: Broker
    folder: Path

    @property
    def settings(self) -> dict[str, str]:
        """Those of the registry, and of the management API, as an operator may have them at hand."""
        management = urlsplit(self.rabbitmq.management_url)
        login = f"{MONITORING_USER}:{quote(MONITORING_PASSWORD)}@{management.netloc}"
        return {
            "DATABASE_URL": self.database.registry_url,
            "RABBITMQ_URL": self.broker.registry_url,
            "RABBITMQ_MANAGEMENT_URL": urlunsplit(management._replace(netloc=login)),
            "PULL_SYNC_NETWORKS": "loopback",
        }

    def operator(self, **env: str) -> Operator:
        """Who may look, and has nothing but the registry's URL and a token."""
        return Operator(self.stack.url("registry"), self.folder, **{"PULLSYNC_TOKEN": READ, **env})

    def findings(self, *args: str, operator: Operator | None = None) -> dict[str, Any]:
        """What is found, by check; the exit status is 1 when something is a problem."""
        said = (operator or self.operator()).calls("doctor", "--json", *args)
        data = said.data
        assert said.status == (1 if data["result"] == "problem" else 0), said
        return {finding["check"]: finding for finding in data["findings"]}

    def states(self, *args: str, operator: Operator | None = None) -> dict[str, str]:
        """What is not well, by check."""
        found = self.findings(*args, operator=operator)
        return {check: each["state"] for check, each in found.items() if each["state"] not in {"ok", "skipped"}}

    def finds(self, **states: str) -> None:
        """Wait until exactly these checks are not well; `_` stands for a blank in their names.

        But for `pulls`, which tells of the last five minutes.
        """
        wanted = {check.replace("_", " "): state for check, state in states.items()}
        until(lambda: {check: state for check, state in self.states().items() if check != "pulls"} == wanted)


@pytest.fixture(scope="module")
def ward(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ward]:
    """Everything runs, one client included."""
    ensure_rabbitmq_server()
    folder = tmp_path_factory.mktemp("ward")
    with PostgresServer(folder / "postgres", durable=False) as postgres, RabbitMQNode(folder / "rabbitmq") as rabbitmq:
        database = asyncio.run(create_database(postgres.url, "pullsync", password=PASSWORD))
        broker = asyncio.run(
            create_broker(
                rabbitmq.url, rabbitmq.management_url, password=PASSWORD, monitoring_password=MONITORING_PASSWORD
            )
        )
        stack = Stack(
            folder=folder / "stack",
            registry_url=database.registry_url,
            ingest_url=database.ingest_url,
            rabbitmq_urls=broker.urls,
            env={"PULL_SYNC_INTERVAL": "5", "PULL_SYNC_NETWORKS": "loopback", "CLIENT_REGISTRATION_CHECK": "1"},
        )
        stack.configure(
            "registry",
            OPERATOR_TOKENS=f"read:{READ}",
            REGISTRATION_TOKENS=ENROL,
            SERVICE_TOKENS=SERVICE,
            PULL_TOKEN_KEYS=KEY,
        )
        stack.configure("puller-1", SERVICE_TOKENS=SERVICE, PULL_TOKEN_KEYS=KEY)
        stack.configure("ingest-1", PULL_TOKEN_KEYS=KEY)
        stack.configure("client-1", CLIENT_REGISTRATION_TOKEN=ENROL)
        with stack:
            stack.start_together("registry", "ingest-1", "puller-1")
            stack.start("client-1")
            yield Ward(
                stack=stack, postgres=postgres, rabbitmq=rabbitmq, database=database, broker=broker, folder=folder
            )
            print(stack.log_tails())  # noqa: T201 - pytest shows it for a test that failed


@pytest.fixture(autouse=True)
def _well(ward: Ward) -> None:
    """Each test begins with a stack in which nothing is wrong."""
    ward.finds()


async def execute(url: str, statement: str) -> None:
    """As the owner of the tables."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


def test_nothing_is_found_where_all_is_well(ward: Ward) -> None:
    """With all that can be reached; what could not be looked at is told with what would allow it."""
    deep = ward.operator(**ward.settings)
    found = ward.findings("--user", "user_1", operator=deep)
    assert {check: each for check, each in found.items() if each["state"] != "ok" and check != "pulls"} == {}
    assert {"registry", "token", "settings", "database", "migrations", "broker", "ingest at work"} <= set(found)
    assert {"puller at work", "queues", "dead letters", "clock", "database clock", "disk", "scheduler"} <= set(found)
    assert {"client user_1", "client user_1 from here", *DEEP} <= set(found)
    shallow = ward.findings()
    assert {check: each["state"] for check, each in shallow.items() if check in DEEP} == dict.fromkeys(DEEP, "skipped")
    assert all(shallow[check]["advice"] for check in DEEP)
    said = ward.operator().calls("doctor")
    assert said.status == 0
    assert "\x1b" not in said.out
    assert "ok       registry" in said.out


@pytest.mark.parametrize(
    ("token", "found"), [("w" * 16, "The registry does not know this token."), ("", "The registry wants a token, and")]
)
def test_a_wrong_token_is_found(ward: Ward, token: str, found: str) -> None:
    """And nothing is guessed of what can't be seen without."""
    findings = ward.findings(operator=ward.operator(PULLSYNC_TOKEN=token))
    assert findings["token"]["state"] == "problem"
    assert findings["token"]["found"].startswith(found)
    assert set(findings) == {"registry", "token", "clock", *DEEP}


def test_a_stopped_scheduler_is_found(ward: Ward) -> None:
    """The chapter's second case, with the command that starts it."""
    url = ward.database.registry_url
    asyncio.run(execute(url, "UPDATE registry.scheduler SET running = false"))
    ward.finds(scheduler="problem")
    assert "pullsync scheduler start" in ward.findings()["scheduler"]["advice"]
    asyncio.run(execute(url, "UPDATE registry.scheduler SET running = true"))


def test_a_client_that_is_down_is_found(ward: Ward) -> None:
    """The chapter's third case, by the numbers of all, and in depth, from here as well."""
    ward.stack.kill("client-1")
    until(lambda: ward.states().get("clients") == "problem")
    found = ward.findings("--user", "user_1")
    assert found["client user_1"]["state"] == "problem"
    assert "connect" in found["client user_1"]["found"]
    assert found["client user_1 from here"]["state"] == "problem"
    ward.stack.start("client-1")


def test_a_client_that_is_not_registered_is_found(ward: Ward) -> None:
    """The chapter's first case: whether it runs where it should, and how to register it."""
    there = ward.stack.url("client-1")
    found = ward.findings("--user", "user_2", "--client-url", there)
    assert found["client user_2"]["found"] == "It is not registered."
    assert "register-client" in found["client user_2"]["advice"]
    assert found["client user_2 from here"]["found"] == f"{there} answers for another user: user_1."


def test_a_queue_that_nobody_reads_is_found(ward: Ward) -> None:
    """Ingest's, and the puller's."""
    ward.stack.stop("ingest-1")
    ward.finds(ingest_at_work="problem")
    ward.stack.start("ingest-1")
    ward.stack.stop("puller-1")
    until(lambda: ward.states().get("puller at work") == "problem")
    ward.stack.start("puller-1")


def test_a_dead_letter_is_found(ward: Ward) -> None:
    """With the commands that show it and replay it."""
    dead = f"{CAPTURE_BATCHES.name}.dead"

    async def bury() -> None:
        async with await aio_pika.connect(ward.broker.admin_url) as connection:
            channel = await connection.channel()
            await channel.default_exchange.publish(aio_pika.Message(b"{}", delivery_mode=2), routing_key=dead)

    async def purge() -> None:
        async with await aio_pika.connect(ward.broker.admin_url) as connection:
            queue = await (await connection.channel()).get_queue(dead, ensure=False)
            await queue.purge()

    asyncio.run(bury())
    ward.finds(dead_letters="problem")
    assert "replay ingest.capture-batches --all" in ward.findings()["dead letters"]["advice"]
    asyncio.run(purge())


def test_a_missing_migration_is_found(ward: Ward) -> None:
    """By the registry itself, and by a look from here at the tables of either service."""
    version = asyncio.run(fetch(ward.database.registry_url, "SELECT version_num FROM registry.alembic_version"))
    asyncio.run(execute(ward.database.registry_url, "UPDATE registry.alembic_version SET version_num = '0001'"))
    ward.finds(migrations="problem")
    assert ward.findings()["migrations"]["found"].startswith("The registry's tables are at 0001, its code wants ")
    assert ward.states(operator=ward.operator(**ward.settings))["database from here"] == "problem"
    asyncio.run(execute(ward.database.registry_url, f"UPDATE registry.alembic_version SET version_num = '{version}'"))


async def fetch(url: str, query: str) -> Any:
    """One value."""
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(query)
    finally:
        await connection.close()


def test_a_wrong_clock_is_found(ward: Ward) -> None:
    """Of the operator's machine, here."""
    operator = Operator(ward.stack.url("registry"), ward.folder, program=AN_HOUR_AHEAD, PULLSYNC_TOKEN=READ)
    found = ward.findings(operator=operator)["clock"]
    assert found["state"] == "problem"
    assert found["found"] == "The registry's clock is 1 h behind this machine's."


def test_a_full_disk_is_found(ward: Ward) -> None:
    """When less is free than should be."""
    assert ward.states("--least-free-mib", str(2**40))["disk"] == "problem"


def test_bad_settings_are_found(ward: Ward) -> None:
    """Those of the services with the lines that these end with, and our own, without which nothing can be asked."""
    found = ward.findings(operator=ward.operator(REGISTRY_PORT="x", DATABASE_URL="mysql://u:hush@h/d"))
    assert found["settings here"]["state"] == "problem"
    assert "hush" not in str(found)
    found = ward.findings(operator=ward.operator(PULLSYNC_URL="nowhere"))
    assert found["settings"]["state"] == "problem"
    assert found["settings"]["found"].startswith("setting PULLSYNC_URL: ")


@contextmanager
def away(ward: Ward, server: PostgresServer | RabbitMQNode) -> Iterator[Operator]:
    """While a server is down; an operator who has the settings at hand."""
    server.stop()
    try:
        yield ward.operator(**ward.settings)
    finally:
        server.start()
        for service in ("registry", "ingest-1", "puller-1"):
            ward.stack.wait_ready(service)


def test_a_database_that_is_down_is_found(ward: Ward) -> None:
    """By the registry and from here; what needs it is told to be unknown."""
    with away(ward, ward.postgres) as operator:
        states = ward.states(operator=operator)
        assert (states["database"], states["database from here"]) == ("problem", "problem")
        found = ward.findings("--user", "user_1", operator=operator)
        assert (found["scheduler"]["state"], found["client user_1"]["state"]) == ("skipped", "skipped")
        assert found["broker"]["state"] == "ok"


def test_a_broker_that_is_down_is_found(ward: Ward) -> None:
    """The same; and the database is well."""
    with away(ward, ward.rabbitmq) as operator:
        states = ward.states(operator=operator)
        assert (states["broker"], states["broker from here"], states["RabbitMQ nodes"]) == (
            "problem",
            "problem",
            "warning",
        )
        assert ward.findings(operator=operator)["database"]["state"] == "ok"


def test_an_alarm_of_rabbitmq_is_found(ward: Ward) -> None:
    """By the registry, which can't publish, and by the management API, which knows why."""
    deep = ward.operator(**ward.settings)
    ward.rabbitmq.rabbitmqctl("set_vm_memory_high_watermark", "0.0000001")
    try:
        until(lambda: ward.states(operator=deep).get("broker") == "problem")
        until(lambda: "out of memory" in ward.findings(operator=deep)["RabbitMQ nodes"]["found"])
    finally:
        ward.rabbitmq.rabbitmqctl("set_vm_memory_high_watermark", "0.6")
    until(lambda: ward.findings(operator=deep)["RabbitMQ nodes"]["state"] == "ok")


def test_a_registry_that_is_down_is_found(ward: Ward) -> None:
    """And the servers are looked at from here all the same."""
    ward.stack.stop("registry")
    deep = ward.operator(**ward.settings)
    assert ward.states(operator=deep) == {"registry": "problem"}
    assert ward.findings(operator=deep)["database from here"]["state"] == "ok"
    assert deep.calls("status").status == 3
    ward.stack.start("registry")
