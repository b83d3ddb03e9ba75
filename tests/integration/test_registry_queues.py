"""The queues as RabbitMQ's management API tells them, to a user who may look and no more; and what if it does not."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlsplit, urlunsplit

import aio_pika
import httpx
import pytest
from aio_pika.abc import AbstractIncomingMessage
from pydantic import ValidationError

from dev.broker import MONITORING_USER, REGISTRY_USER, Broker, monitoring_url
from dev.database import Database
from dev.servers.ports import free_port
from services.registry.app import build_app
from services.registry.queues import Queues, QueuesReport
from services.registry.settings import RegistrySettings
from shared.contracts.topology import BINDINGS, CAPTURE_BATCHES, DEAD_LETTERS, EXCHANGE
from tests.raw_server import OK, endless_body, served, wait_for_ever
from tests.servers import MONITORING_PASSWORD, PASSWORD, Servers
from tests.waiting import eventually

LINK: Final = "https://rabbitmq.example.org"
TOO_LONG: Final = 8.0
"""Longer than any look takes, and shorter than what it would wait for otherwise."""


def as_user(url: str, user: str, password: str) -> str:
    """The management API's URL with that login."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=f"{user}:{quote(password, safe='')}@{parts.netloc}"))


async def hold(_message: AbstractIncomingMessage) -> None:
    """Take a message, and neither acknowledge it nor give it back."""


async def report(url: str | None, rabbitmq_url: str, ca_file: Path | None = None) -> QueuesReport:
    """What is told, within the time of one look; no password is in it."""
    async with asyncio.timeout(TOO_LONG):
        found = await Queues(url=url, link=LINK, rabbitmq_url=rabbitmq_url, ca_file=ca_file).report()
    assert found.management_url == LINK
    assert MONITORING_PASSWORD not in found.model_dump_json()
    assert quote(MONITORING_PASSWORD) not in found.model_dump_json()
    return found


async def test_each_queue_is_told(servers: Servers, broker: Broker) -> None:
    """What waits in it, what somebody has in hand, who reads it; in the order of the pipeline, by their kinds."""
    url = monitoring_url(servers.management_url, MONITORING_PASSWORD)
    async with await aio_pika.connect(broker.admin_url) as connection:
        channel = await connection.channel()
        await channel.set_qos(prefetch_count=1)
        exchange = await channel.get_exchange(EXCHANGE.name, ensure=False)
        for _ in range(3):
            await exchange.publish(aio_pika.Message(b"1"), CAPTURE_BATCHES.routing())
        dead = await channel.get_exchange(DEAD_LETTERS.name, ensure=False)
        await dead.publish(aio_pika.Message(b"2"), CAPTURE_BATCHES.name)
        queue = await channel.get_queue(CAPTURE_BATCHES.name, ensure=False)
        await queue.consume(hold)

        async def told() -> bool:
            by_name = {each.queue: each for each in (await report(url, broker.registry_url)).queues}
            if len(by_name) < len(BINDINGS):
                return False
            work, died = by_name[CAPTURE_BATCHES.name], by_name[f"{CAPTURE_BATCHES.name}.dead"]
            figures = (work.messages, work.ready, work.unacknowledged, work.consumers)
            return (figures, died.messages) == ((3, 2, 1, 1), 1) and work.publish_rate is not None

        await eventually(told)
        found = await report(url, broker.registry_url)
    assert found.problem is None
    assert [each.queue for each in found.queues] == [queue.name for _, queue in BINDINGS]
    kinds = {each.queue: each.kind for each in found.queues}
    assert kinds[CAPTURE_BATCHES.name] == "work"
    assert kinds[f"{CAPTURE_BATCHES.name}.dead"] == "dead"
    assert kinds["ingest.acknowledgements.after-5s"] == "delay"


async def test_it_is_answered_by_the_registry(database: Database, servers: Servers, broker: Broker) -> None:
    """With its settings; the link is for browsers, and has no login."""
    settings = RegistrySettings(
        database_url=database.registry_url,
        rabbitmq_url=broker.registry_url,
        rabbitmq_declare=False,
        rabbitmq_management_url=monitoring_url(servers.management_url, MONITORING_PASSWORD),
        rabbitmq_management_link=LINK,
    )
    assert quote(MONITORING_PASSWORD) not in repr(settings)
    app = build_app(settings)
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://localhost") as http,
    ):

        async def told() -> bool:
            answer = await http.get("/api/v1/admin/queues")
            assert answer.status_code == 200
            assert quote(MONITORING_PASSWORD) not in answer.text
            shown: dict[str, Any] = answer.json()
            assert (shown["management_url"], shown["problem"]) == (LINK, None)
            return len(shown["queues"]) == len(BINDINGS)

        await eventually(told)


async def test_without_a_setting_it_says_which(broker: Broker) -> None:
    """Nobody needs it, and who wants it is told how."""
    found = await report(None, broker.registry_url)
    assert (found.queues, found.problem) == ([], found.problem)
    assert "set it to RabbitMQ's management API" in str(found.problem)


@pytest.mark.parametrize(
    ("user", "password", "vhost", "said"),
    [
        (MONITORING_USER, "wrong", None, "refuses the user"),
        (REGISTRY_USER, PASSWORD, None, "refuses the user"),
        (MONITORING_USER, MONITORING_PASSWORD, "nowhere", "knows no virtual host 'nowhere'"),
    ],
)
async def test_what_is_wrong_is_told(
    servers: Servers, broker: Broker, user: str, password: str, vhost: str | None, said: str
) -> None:
    """A wrong password, a user who may not look, another RabbitMQ: each names the setting to correct."""
    rabbitmq_url = broker.registry_url if vhost is None else f"amqp://localhost/{vhost}"
    found = await report(as_user(servers.management_url, user, password), rabbitmq_url)
    assert found.queues == []
    assert said in str(found.problem)
    assert "RABBITMQ_MANAGEMENT_URL" in str(found.problem)


async def test_a_virtual_host_without_our_queues_is_told(servers: Servers, broker_url: str) -> None:
    """As long as no service has started."""
    parts = urlsplit(servers.rabbitmq_url)
    url = as_user(servers.management_url, parts.username or "guest", parts.password or "guest")
    found = await report(url, broker_url)
    assert (found.queues, "has no queue of PullSync" in str(found.problem)) == ([], True)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (OK + b"content-length: 5\r\n\r\nhello", "is not RabbitMQ's management API"),
        (OK + b'content-length: 13\r\n\r\n[{"queue":1}]', "is not RabbitMQ's management API"),
        (endless_body, "is not RabbitMQ's management API"),
        (wait_for_ever, "does not answer in time"),
        (b"HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n", "answered 500"),
        (b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n", "answered 302"),
        (b"no HTTP at all\r\n\r\n", "nobody answers"),
    ],
)
async def test_whatever_answers_there_is_told(answer: Any, said: str) -> None:
    """And takes no more of time and memory than it may."""
    async with served(answer) as url:
        found = await report(monitoring_url(url, MONITORING_PASSWORD), "amqp://localhost/")
    assert (found.queues, said in str(found.problem)) == ([], True)


async def test_nobody_there_is_told() -> None:
    """With what to look at."""
    found = await report(monitoring_url(f"http://127.0.0.1:{free_port()}", MONITORING_PASSWORD), "amqp://localhost/")
    assert "does RABBITMQ_MANAGEMENT_URL lead to it?" in str(found.problem)


def test_the_link_has_no_login(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is shown to everybody who may look."""
    monkeypatch.setenv("RABBITMQ_MANAGEMENT_LINK", "http://user:secret@localhost:15672")
    with pytest.raises(ValidationError, match="must not contain a user name or a password"):
        RegistrySettings()
