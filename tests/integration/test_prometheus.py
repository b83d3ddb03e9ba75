"""A real Prometheus asks a real RabbitMQ, and has all that rules and dashboard ask for."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Final

import aio_pika
import pytest

from dev.broker import create_broker
from dev.monitoring import address, configuration
from dev.servers.errors import DevError
from dev.servers.install import ensure_prometheus, ensure_rabbitmq_server
from dev.servers.prometheus import PrometheusServer
from dev.servers.rabbitmq import RabbitMQNode
from shared.contracts.topology import BINDINGS, EXCHANGE, WORK_QUEUES
from tests.asking_prometheus import asked, rules, true_in_time, values
from tests.servers import MONITORING_PASSWORD, PASSWORD
from tests.unit.exposed_metrics import RABBITMQ

JOBS: Final = ("rabbitmq", "rabbitmq-queues")


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitMQNode]:
    """A node whose metrics can be asked for, since the one of the other tests may be in a container."""
    ensure_rabbitmq_server()
    with RabbitMQNode(tmp_path_factory.mktemp("monitored") / "rabbitmq") as running:
        yield running


@pytest.fixture
async def prometheus(node: RabbitMQNode, tmp_path: Path) -> AsyncIterator[PrometheusServer]:
    """It asks the node as it asks that of docker compose."""
    ensure_prometheus()
    await create_broker(node.url, node.management_url, password=PASSWORD, monitoring_password=MONITORING_PASSWORD)
    at = [address(node.metrics_url)]
    with PrometheusServer(
        tmp_path / "prometheus", configuration=configuration(dict.fromkeys(JOBS, at), every="1s")
    ) as it:
        yield it


async def test_prometheus_has_what_rules_and_dashboard_ask_of_rabbitmq(prometheus: PrometheusServer) -> None:
    """Each metric, and each queue by itself."""
    await true_in_time(lambda: values(prometheus, "up == 1", "job") == dict.fromkeys(JOBS, 1))
    await true_in_time(
        lambda: len(values(prometheus, "rabbitmq_detailed_queue_messages_bytes", "queue")) >= len(BINDINGS)
    )
    names = set(asked(prometheus, "label/__name__/values"))
    assert RABBITMQ - names == set()
    assert not any(name.startswith("erlang_") for name in names)
    for metric in ("messages", "messages_ready", "messages_unacked", "messages_bytes", "consumers"):
        assert set(values(prometheus, f"rabbitmq_detailed_queue_{metric}", "queue")) == {
            queue.name for _, queue in BINDINGS
        }


async def test_prometheus_evaluates_the_rules(prometheus: PrometheusServer) -> None:
    """Each without an error; those of services that do not run are raised in time, those of RabbitMQ are not."""
    await true_in_time(lambda: all(rule["health"] == "ok" for rule in rules(prometheus).values()))
    await true_in_time(lambda: rules(prometheus)["ServiceDown"]["state"] == "pending")
    found = rules(prometheus)
    assert {alert["labels"]["job"] for alert in found["ServiceDown"]["alerts"]} == {"registry", "puller", "ingest"}
    for name in ("BrokerNotReady", "RabbitMQAlarm", "TargetDown", "DeadLettersPresent", "QueueNearlyFull"):
        assert found[name]["state"] == "inactive"


async def test_a_message_that_nobody_consumes_is_seen(prometheus: PrometheusServer, node: RabbitMQNode) -> None:
    """In its queue, by the alert that is for it."""
    queue = WORK_QUEUES[0]
    async with await aio_pika.connect(node.url) as connection:
        channel = await connection.channel()
        exchange = await channel.get_exchange(EXCHANGE.name)
        await exchange.publish(aio_pika.Message(b"{}"), routing_key=queue.routing())
    await true_in_time(
        lambda: values(prometheus, "rabbitmq_detailed_queue_messages_ready > 0", "queue") == {queue.name: 1}
    )
    await true_in_time(
        lambda: (
            [alert["labels"] for alert in asked(prometheus, "alerts")["alerts"] if "queue" in alert["labels"]]
            == [{"alertname": "QueueNotConsumed", "queue": queue.name, "severity": "critical"}]
        )
    )
    node.rabbitmqctl("purge_queue", queue.name)


async def test_a_prometheus_does_not_share_its_data(prometheus: PrometheusServer) -> None:
    """A second one on the same folder is refused, and the first goes on."""
    second = PrometheusServer(prometheus.data_dir, configuration="")
    with pytest.raises(DevError, match="is in use by process"):
        second.start()
    assert asked(prometheus, "rules")


async def test_a_prometheus_can_be_started_again(prometheus: PrometheusServer) -> None:
    """On the same port, with what it had collected."""
    await true_in_time(lambda: bool(values(prometheus, "up", "queue")))
    prometheus.stop()
    with pytest.raises(OSError, match="refused"):
        asked(prometheus, "rules")
    prometheus.start()
    assert asked(prometheus, "label/__name__/values")
