"""The registry's diagnosis, on real servers: what is well is told, what is away spoils nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import aio_pika
import asyncpg
import httpx
import pytest

from dev.broker import Broker, create_broker
from dev.database import Database
from dev.servers.rabbitmq import RabbitMQNode
from services.registry.app import MIGRATIONS, build_app
from services.registry.diagnosis.bounded import within
from services.registry.diagnosis.broker import BrokerDiagnosis
from services.registry.diagnosis.database import DatabaseDiagnosis
from services.registry.settings import RegistrySettings
from shared.contracts.topology import BINDINGS, PULL_SETTLED, WORK_QUEUES
from shared.postgres.database import make_pool
from shared.postgres.sql import load_queries
from tests.servers import PASSWORD
from tests.waiting import eventually

PATH: Final = "/api/v1/admin/diagnosis"
NOWHERE: Final = "127.0.0.1:1"


@asynccontextmanager
async def registry(settings: RegistrySettings) -> AsyncIterator[httpx.AsyncClient]:
    """The whole service, and something that talks to it."""
    app = build_app(settings)
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://localhost", timeout=60) as web,
    ):
        yield web


@pytest.fixture
def settings(database: Database, broker: Broker) -> RegistrySettings:
    """As a service's user, who may not declare."""
    return RegistrySettings(
        database_url=database.registry_url, rabbitmq_url=broker.registry_url, rabbitmq_declare=False
    )


async def diagnosis(web: httpx.AsyncClient) -> dict[str, Any]:
    """What it answers, which is always 200."""
    answer = await web.get(PATH)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def test_all_is_told_of_a_stack_that_is_well(settings: RegistrySettings) -> None:
    """Servers, tables, every queue with those who consume it, clocks, disk; and nothing that names a machine."""
    async with registry(settings) as web:

        async def consumes() -> bool:
            return (await web.get("/health/ready")).is_success

        await eventually(consumes)
        found = await diagnosis(web)
        text = (await web.get(PATH)).text
    database, broker = found["database"], found["broker"]
    assert (database["problem"], broker["problem"]) == (None, None)
    assert database["version_number"] >= 150000
    assert database["tables"]["standing"] == "current"
    assert database["tables"]["revision"] == database["tables"]["expected"]
    assert (database["tables"]["missing_views"], database["tables"]["captures_problem"]) == ([], None)
    assert 0 < database["connections"] < database["max_connections"]
    assert abs(database["clock_offset_s"]) < 1
    assert (broker["product"], broker["takes_messages"]) == ("RabbitMQ", True)
    queues = {queue["queue"]: queue for queue in broker["queues"]}
    assert set(queues) == {queue.name for _, queue in BINDINGS}
    assert all(queue["exists"] and queue["messages"] == 0 for queue in queues.values())
    kinds = [queue["kind"] for queue in queues.values()]
    assert (kinds.count("work"), kinds.count("dead")) == (len(WORK_QUEUES), len(WORK_QUEUES))
    assert {name for name, queue in queues.items() if queue["consumers"]} == {PULL_SETTLED.name}
    assert 0 < found["disk"]["free_bytes"] < found["disk"]["total_bytes"]
    assert found["settings"] == {"is_anonymous": True, "timeout_s": 15.0, "lease_s": 120}
    assert PASSWORD not in text
    assert "127.0.0.1" not in text


async def test_it_answers_without_a_broker(settings: RegistrySettings) -> None:
    """Which is told, and the database as ever."""
    without = settings.model_copy(update={"rabbitmq_url": f"amqp://guest:guest@{NOWHERE}/"})
    async with registry(without) as web:
        found = await diagnosis(web)
    assert found["broker"] == {
        "problem": "away",
        "product": None,
        "version": None,
        "takes_messages": None,
        "queues": [],
    }
    assert found["database"]["problem"] is None


async def test_it_answers_without_a_database(database: Database, broker: Broker) -> None:
    """Away, with a password that is refused, without tables, or silent: each by its name."""
    queries = load_queries("services.registry")

    async def problem(url: str) -> str | None:
        async with make_pool(url, service="test", max_size=1) as pool:
            return (
                await DatabaseDiagnosis(pool=pool, captures_pool=pool, queries=queries, migrations=MIGRATIONS).report()
            ).problem

    assert await problem(f"postgresql://pullsync_registry:x@{NOWHERE}/pullsync") == "away"
    assert await problem(database.registry_url.replace("pullsync_registry:", "pullsync_nobody:")) == "refused"
    owner = await asyncpg.connect(database.registry_url)
    await owner.execute("ALTER TABLE registry.alembic_version RENAME TO elsewhere")
    await owner.close()
    assert await problem(database.registry_url) == "unprepared"
    assert (await BrokerDiagnosis(url=broker.registry_url).report()).problem is None


async def test_it_does_not_wait_for_a_silent_server(hung_server: str) -> None:
    """Both take connections and say nothing."""
    address = hung_server.removeprefix("http://")
    queries = load_queries("services.registry")
    async with make_pool(f"postgresql://a:b@{address}/c", service="test", max_size=1) as pool:
        database = await DatabaseDiagnosis(
            pool=pool, captures_pool=pool, queries=queries, migrations=MIGRATIONS
        ).report()
    broker = await BrokerDiagnosis(url=f"amqp://a:b@{address}/").report()
    assert (database.problem, broker.problem) == ("slow", "slow")


async def test_a_wrong_password_of_rabbitmq_is_told_from_an_outage(broker: Broker) -> None:
    """For what is to be done about it differs."""
    wrong = broker.registry_url.replace("pullsync_registry:", "pullsync_registry:not-")
    assert (await BrokerDiagnosis(url=wrong).report()).problem == "refused"


@pytest.mark.parametrize(("revision", "standing"), [("0001", "behind"), ("9999", "ahead")])
async def test_tables_of_another_version_are_told(
    settings: RegistrySettings, database: Database, revision: str, standing: str
) -> None:
    """Older ones and newer ones, and views that are no longer granted."""
    async with registry(settings) as web:
        registrys, ingests = await asyncpg.connect(database.registry_url), await asyncpg.connect(database.ingest_url)
        await registrys.execute("UPDATE registry.alembic_version SET version_num = $1", revision)
        await ingests.execute("REVOKE SELECT ON captures.published_totals FROM pullsync_captures_reader")
        await registrys.close()
        await ingests.close()
        tables = (await diagnosis(web))["database"]["tables"]
    assert (tables["revision"], tables["standing"]) == (revision, standing)
    assert tables["missing_views"] == ["published_totals"]


async def test_clocks_that_differ_are_told(database: Database) -> None:
    """The database's is an hour behind one that is an hour ahead."""
    async with make_pool(database.registry_url, service="test", max_size=1) as pool:
        found = await DatabaseDiagnosis(
            pool=pool,
            captures_pool=pool,
            queries=load_queries("services.registry"),
            migrations=MIGRATIONS,
            now=lambda: datetime.now(UTC) + timedelta(hours=1),
        ).report()
    assert found.clock_offset_s is not None
    assert -3605 < found.clock_offset_s < -3595


async def test_a_queue_that_is_missing_is_told(settings: RegistrySettings, broker: Broker) -> None:
    """And those behind it as ever."""
    queue = PULL_SETTLED.name
    async with await aio_pika.connect(broker.admin_url) as connection:
        await (await connection.channel()).queue_delete(queue)
    found = await BrokerDiagnosis(url=settings.rabbitmq_url).report()
    assert [each.queue for each in found.queues if not each.exists] == [queue]
    assert len(found.queues) == len(BINDINGS)


async def test_an_alarm_of_rabbitmq_is_told(tmp_path: Path) -> None:
    """Of a node of its own, since it blocks whoever publishes."""
    with RabbitMQNode(tmp_path / "rabbitmq") as node:
        own = await create_broker(node.url, node.management_url, password=PASSWORD, monitoring_password=PASSWORD)
        diagnosis_of = BrokerDiagnosis(url=own.registry_url)
        assert (await diagnosis_of.report()).takes_messages is True
        node.rabbitmqctl("set_vm_memory_high_watermark", "0.0000001")

        async def is_told() -> bool:
            return (await diagnosis_of.report()).takes_messages is False

        await eventually(is_told)
        found = await diagnosis_of.report()
        assert (found.problem, len(found.queues)) == (None, len(BINDINGS))


async def test_a_part_that_does_not_end_is_given_up() -> None:
    """Even when it takes no notice of being cancelled; and one that fails spoils nothing."""
    released = asyncio.Event()

    async def deaf() -> str:
        while not released.is_set():
            try:
                await released.wait()
            except asyncio.CancelledError:
                continue
        return "late"

    async def broken() -> str:
        raise RuntimeError

    assert await within(0.05, deaf(), otherwise="nothing", name="deaf") == "nothing"
    assert await within(5, broken(), otherwise="nothing", name="broken") == "nothing"
    released.set()


async def test_a_login_for_captures_that_is_refused_is_told(settings: RegistrySettings) -> None:
    """By itself: the registry's own tables are read by another."""
    wrong = settings.reading_captures.replace("pullsync_captures_reader:", "pullsync_nobody:")
    async with registry(settings.model_copy(update={"captures_database_url": wrong})) as web:
        found = (await diagnosis(web))["database"]
    assert (found["problem"], found["tables"]["standing"]) == (None, "current")
    assert found["tables"]["captures_problem"] == "refused"
