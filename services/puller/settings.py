"""The puller's settings; each field is an environment variable of the same name in capitals."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from shared.settings import HttpUrl, Networks, Port, RabbitMQUrl, Seconds, ServiceSettings


class PullerSettings(ServiceSettings):
    """Defaults are for one machine."""

    rabbitmq_url: RabbitMQUrl = "amqp://guest:guest@localhost:5672/"
    rabbitmq_declare: bool = True
    """Whether to declare exchanges and queues; without, RabbitMQ must have them, and its user needs fewer rights."""
    backend_url: HttpUrl = "http://localhost:8000"
    """The registry."""
    puller_host: str = "127.0.0.1"
    puller_port: Port = 8001
    """For health only."""

    pull_sync_timeout: Seconds = 15.0
    """Seconds for a client's whole answer."""
    pull_sync_concurrency: Annotated[int, Field(ge=1, le=10_000)] = 500
    """Clients that are pulled at once."""
    pull_sync_body_limit_bytes: Annotated[int, Field(ge=1_024)] = 16 * 1024 * 1024
    """Largest answer of a client."""
    pull_sync_networks: Networks = frozenset({"public", "private", "loopback"})
    """Where clients may live."""
