"""The puller's settings; each field is an environment variable of the same name in capitals."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from shared.outbound.policy import USUAL_PORTS
from shared.settings import (
    CaFile,
    HttpUrl,
    Networks,
    Port,
    Ports,
    RabbitMQUrl,
    Seconds,
    ServiceSettings,
    TokenKeys,
    Tokens,
)


class PullerSettings(ServiceSettings):
    """Defaults are for one machine."""

    rabbitmq_url: RabbitMQUrl = "amqp://guest:guest@localhost:5672/"
    rabbitmq_declare: bool = True
    """Whether to declare exchanges and queues; without, RabbitMQ must have them, and its user needs fewer rights."""
    backend_url: HttpUrl = "http://localhost:8000"
    """The registry."""
    puller_host: str = "127.0.0.1"
    puller_port: Port = 8001
    """For health and metrics only."""
    service_tokens: Tokens = ()
    """The first of them is shown to the registry; empty for none."""
    pull_token_keys: TokenKeys = ()
    """As the registry has them: by the first of them clients are shown that it is us; empty for no tokens."""

    pull_sync_timeout: Seconds = 15.0
    """Seconds for a client's whole answer."""
    pull_sync_concurrency: Annotated[int, Field(ge=1, le=10_000)] = 500
    """Clients that are pulled at once."""
    pull_sync_body_limit_bytes: Annotated[int, Field(ge=1_024)] = 16 * 1024 * 1024
    """Largest answer of a client."""
    pull_sync_networks: Networks = frozenset({"public", "private", "loopback"})
    """Where clients may live."""
    pull_sync_ports: Ports = USUAL_PORTS
    """Where clients may listen."""
    pull_sync_ca_file: CaFile = None
    """Certificates of private authorities, which clients may have theirs from; beside those of the system."""
