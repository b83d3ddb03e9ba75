"""The registry's settings; each field is an environment variable of the same name in capitals."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from pydantic import Field

from shared.settings import DatabaseUrl, Networks, Port, RabbitMQUrl, Seconds, ServiceSettings


class RegistrySettings(ServiceSettings):
    """Defaults are for one machine."""

    database_url: DatabaseUrl = "postgresql://pullsync_registry:pullsync@localhost:5432/pullsync"
    rabbitmq_url: RabbitMQUrl = "amqp://guest:guest@localhost:5672/"
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
    pull_sync_cleanup_interval: Annotated[int, Field(ge=60)] = 3_600
    pull_sync_retention_days: Annotated[int, Field(ge=1, le=36_500)] = 30
    """Days without any success after which a client is removed; it may hold captures that exist nowhere else."""
    pull_sync_networks: Networks = frozenset({"public", "private", "loopback"})
    """Where clients may live."""

    @property
    def lease(self) -> timedelta:
        """How long a pull may take, all included."""
        return timedelta(seconds=self.pull_sync_lease)

    @property
    def retention(self) -> timedelta:
        """How long a silent client is kept."""
        return timedelta(days=self.pull_sync_retention_days)
