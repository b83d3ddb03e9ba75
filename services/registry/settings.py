"""The registry's settings; each field is an environment variable of the same name in capitals."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from shared.settings import DatabaseUrl, Networks, Port, RabbitMQUrl, Seconds, ServiceSettings


class RegistrySettings(ServiceSettings):
    """Defaults are for one machine."""

    database_url: DatabaseUrl = "postgresql://pullsync_registry:pullsync@localhost:5432/pullsync"
    rabbitmq_url: RabbitMQUrl = "amqp://guest:guest@localhost:5672/"
    rabbitmq_declare: bool = True
    """Whether to declare exchanges and queues; without, RabbitMQ must have them, and its user needs fewer rights."""
    registry_host: str = "127.0.0.1"
    registry_port: Port = 8000

    pull_sync_interval: Annotated[int, Field(ge=5, le=86_400)] = 30
    """Seconds between two pulls of a client, until an operator sets another interval."""
    pull_sync_timeout: Seconds = 15.0
    """Seconds for a client's whole answer."""
    pull_sync_lease: Annotated[int, Field(ge=5, le=86_400)] = 120
    """Seconds after which a pull that was not settled is taken for lost; well above the timeout."""
    pull_sync_backoff_cap: Annotated[int, Field(ge=5, le=86_400)] = 900
    """Most seconds between two pulls of a client that fails."""
    pull_sync_in_flight: Annotated[int, Field(ge=1)] = 2_000
    """Most leases at once while pulls on demand are handed out."""
    pull_sync_inactive_after: Annotated[int, Field(ge=60, le=86_400 * 365)] = 86_400
    """Seconds without success after which a client that fails is taken for gone, and only probed."""
    pull_sync_probe_interval: Annotated[int, Field(ge=5, le=86_400)] = 3_600
    """Seconds between two pulls of an inactive client, more or less."""
    pull_sync_nudge_spacing: Seconds = 1.0
    """Seconds between two pulls of a client for its nudges, in the long run."""
    pull_sync_nudge_burst: Annotated[int, Field(ge=1, le=1_000)] = 5
    """Pulls for nudges that a client may have at once, before they are spaced."""
    pull_sync_cleanup_interval: Annotated[int, Field(ge=60)] = 3_600
    pull_sync_retention_days: Annotated[int, Field(ge=1, le=36_500)] = 30
    """Days without any success after which a client is removed; it may hold captures that exist nowhere else."""
    pull_sync_networks: Networks = frozenset({"public", "private", "loopback"})
    """Where clients may live."""
