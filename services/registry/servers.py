"""What the registry talks to: the part of its composition that knows how each is reached."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import asyncpg

from services.registry.settings import RegistrySettings
from shared.contracts.messages import PullRequested, ReplayQuarantined
from shared.contracts.topology import PULL_SETTLED
from shared.observing.message_metrics import MessageMetrics
from shared.observing.metrics import Metrics
from shared.observing.outbound_metrics import count_lacks
from shared.outbound.client_http import ClientHttp, OutboundPolicy
from shared.postgres.database import make_pool
from shared.postgres.sql import load_queries
from shared.rabbitmq.broker import ServiceBroker, make_broker
from shared.rabbitmq.consuming import BrokerConnection

_PROBE_TIMEOUT_S = 10.0
_HEALTH_BYTES = 64 * 1024
_POOL_SIZE = 10
_CAPTURES_POOL_SIZE = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Servers:
    """What the registry talks to; not yet connected."""

    pool: asyncpg.Pool
    captures_pool: asyncpg.Pool
    """For what ingest publishes, by a role that may do nothing else."""
    queries: Mapping[str, str]
    broker: ServiceBroker
    connection: BrokerConnection
    http: ClientHttp
    metrics: Metrics


def servers_of(settings: RegistrySettings) -> Servers:
    """All of them, not yet connected. Raises OSError for a bad file of certificates."""
    ca_file, metrics = settings.tls_ca_file, Metrics(service="registry")
    messages = MessageMetrics(metrics, published=(PullRequested, ReplayQuarantined), consumed=(PULL_SETTLED,))
    broker = make_broker(settings.rabbitmq_url, service="registry", ca_file=ca_file, observer=messages)
    connection = BrokerConnection(broker, consumed=(PULL_SETTLED,), declares=settings.rabbitmq_declare)
    messages.watch(metrics, holding=broker.holding, ready=connection.ready)
    http = ClientHttp(
        policy=OutboundPolicy(networks=settings.pull_sync_networks, ports=settings.pull_sync_ports),
        timeout_s=min(_PROBE_TIMEOUT_S, settings.pull_sync_timeout),
        body_limit_bytes=_HEALTH_BYTES,
        ca_file=settings.pull_sync_ca_file,
    )
    count_lacks(metrics, http.sockets)
    return Servers(
        pool=make_pool(settings.database_url, service="registry", max_size=_POOL_SIZE, ca_file=ca_file),
        captures_pool=make_pool(
            settings.reading_captures, service="registry", max_size=_CAPTURES_POOL_SIZE, ca_file=ca_file
        ),
        queries=load_queries("services.registry"),
        broker=broker,
        connection=connection,
        http=http,
        metrics=metrics,
    )
