"""Ingest's settings; each field is an environment variable of the same name in capitals."""

from __future__ import annotations

from shared.outbound.policy import USUAL_PORTS
from shared.settings import CaFile, DatabaseUrl, Networks, Port, Ports, RabbitMQUrl, Seconds, ServiceSettings, TokenKeys


class IngestSettings(ServiceSettings):
    """Defaults are for one machine."""

    database_url: DatabaseUrl = "postgresql://pullsync_ingest:pullsync@localhost:5432/pullsync"
    rabbitmq_url: RabbitMQUrl = "amqp://guest:guest@localhost:5672/"
    rabbitmq_declare: bool = True
    """Whether to declare exchanges and queues; without, RabbitMQ must have them, and its user needs fewer rights."""
    ingest_host: str = "127.0.0.1"
    ingest_port: Port = 8002
    """For health and metrics only."""
    pull_token_keys: TokenKeys = ()
    """As the registry has them: by the first of them clients are shown that it is us; empty for no tokens."""

    pull_sync_timeout: Seconds = 15.0
    """Seconds for a client's whole answer; each try of an acknowledgement gets a third of it."""
    pull_sync_networks: Networks = frozenset({"public", "private", "loopback"})
    """Where clients may live."""
    pull_sync_ports: Ports = USUAL_PORTS
    """Where clients may listen."""
    pull_sync_ca_file: CaFile = None
    """Certificates of private authorities, which clients may have theirs from; beside those of the system."""
