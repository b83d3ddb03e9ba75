"""The servers of the tests: real ones, always. A missing server is an error that says what to install, never a skip.

- `TEST_DATABASE_URL` (a superuser's) and `TEST_RABBITMQ_URL` with `TEST_RABBITMQ_MANAGEMENT_URL`: those;
- else, where a Docker engine answers, containers;
- else private servers, started by the project itself.
"""

from __future__ import annotations

import gc
import os
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import docker
from docker.errors import DockerException

from dev.servers.install import ensure_rabbitmq_server
from dev.servers.postgres import PostgresServer
from dev.servers.rabbitmq import RabbitMQNode

PASSWORD: Final = "of a private test server"
"""Of the services' roles and users."""
MONITORING_PASSWORD: Final = "of an operator"


@dataclass(frozen=True, slots=True, kw_only=True)
class Servers:
    """Where they are. The AMQP URL is that of the default vhost, and its user may make others."""

    postgres_url: str
    rabbitmq_url: str
    management_url: str


@contextmanager
def running_servers(folder: Path) -> Iterator[Servers]:
    """Whichever servers there are, until leaving."""
    if "TEST_DATABASE_URL" in os.environ and "TEST_RABBITMQ_URL" in os.environ:
        yield _given()
    elif _docker_answers():
        with _containers() as servers:
            yield servers
    else:
        with _private(folder) as servers:
            yield servers


def _given() -> Servers:
    rabbitmq_url = os.environ["TEST_RABBITMQ_URL"]
    management_url = f"http://{urlsplit(rabbitmq_url).hostname}:15672"
    return Servers(
        postgres_url=os.environ["TEST_DATABASE_URL"],
        rabbitmq_url=rabbitmq_url,
        management_url=os.environ.get("TEST_RABBITMQ_MANAGEMENT_URL", management_url),
    )


def _docker_answers() -> bool:
    # The SDK leaves its socket to the garbage collector when nobody answers, which must not fail a later test.
    with warnings.catch_warnings(action="ignore", category=ResourceWarning):
        try:
            with closing(docker.from_env(timeout=3)) as client:
                return bool(client.ping())
        except DockerException:
            return False
        finally:
            gc.collect()


@contextmanager
def _containers() -> Iterator[Servers]:
    # Imported late: it reads the Docker configuration when imported.
    from testcontainers.community.postgres import PostgresContainer  # noqa: PLC0415
    from testcontainers.core.container import DockerContainer  # noqa: PLC0415
    from testcontainers.core.wait_strategies import LogMessageWaitStrategy  # noqa: PLC0415

    postgres = PostgresContainer("postgres:18", username="postgres", password="pullsync", driver=None)
    # Not testcontainers' RabbitMqContainer: it needs pika, for nothing but to ask whether RabbitMQ is up.
    rabbitmq = DockerContainer("rabbitmq:4-management").with_exposed_ports(5672, 15672)
    rabbitmq.with_envs(RABBITMQ_DEFAULT_USER="pullsync", RABBITMQ_DEFAULT_PASS="pullsync")
    rabbitmq.waiting_for(LogMessageWaitStrategy("Server startup complete").with_startup_timeout(120))
    with postgres, rabbitmq:
        host = rabbitmq.get_container_host_ip()
        yield Servers(
            postgres_url=postgres.get_connection_url(),
            rabbitmq_url=f"amqp://pullsync:pullsync@{host}:{rabbitmq.get_exposed_port(5672)}/",
            management_url=f"http://{host}:{rabbitmq.get_exposed_port(15672)}",
        )


@contextmanager
def _private(folder: Path) -> Iterator[Servers]:
    ensure_rabbitmq_server()
    postgres = PostgresServer(folder / "postgres", durable=False)
    rabbitmq = RabbitMQNode(folder / "rabbitmq")
    with ExitStack() as stack, ThreadPoolExecutor() as threads:
        starting = [threads.submit(stack.enter_context, server) for server in (postgres, rabbitmq)]
        for start in starting:
            start.result()
        yield Servers(postgres_url=postgres.url, rabbitmq_url=rabbitmq.url, management_url=rabbitmq.management_url)
