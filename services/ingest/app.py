"""Ingest's composition root: the only place that knows which classes work together."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path

from starlette.applications import Starlette

from services.ingest.acknowledge import Acknowledger
from services.ingest.client_api import ClientApi
from services.ingest.compare import Comparison
from services.ingest.consumers import Acknowledgements, CaptureBatches
from services.ingest.metrics import IngestMetrics
from services.ingest.replay import Replays
from services.ingest.settings import IngestSettings
from services.ingest.species import keep_species
from services.ingest.store import CaptureStore
from services.ingest.writer import Writer
from shared.contracts.messages import AcknowledgeCaptures, PullSettled
from shared.contracts.species import shipped_species
from shared.contracts.topology import ACKNOWLEDGEMENTS, CAPTURE_BATCHES, REPLAYS
from shared.observing.database_metrics import watch_database
from shared.observing.message_metrics import MessageMetrics
from shared.observing.metrics import Metrics
from shared.observing.outbound_metrics import count_lacks
from shared.outbound.client_http import ClientHttp, OutboundPolicy
from shared.patience import patiently
from shared.postgres.database import answers, make_pool, takes_writes
from shared.postgres.migrations import migrate
from shared.postgres.sql import load_queries
from shared.rabbitmq.broker import Publisher, make_broker
from shared.rabbitmq.consuming import BrokerConnection
from shared.rabbitmq.settlements import Settlements
from shared.serving.health import watched_app
from shared.tasks import running
from shared.tokens import DerivedTokens

MIGRATIONS = Path(__file__).with_name("migrations")
SCHEMA = "captures"

_ANSWER_BYTES = 64 * 1024
_POOL_SIZE = 7
"""For three groups, two comparisons, a replay, and the question whether Postgres answers (of health and metrics)."""

_CONSUMED = (CAPTURE_BATCHES, ACKNOWLEDGEMENTS, REPLAYS)


def build_app(settings: IngestSettings) -> Starlette:
    """Ingest, not yet connected to anything. Its lifespan migrates the schema, then connects."""
    metrics = Metrics(service="ingest")
    messages = MessageMetrics(metrics, published=(AcknowledgeCaptures, PullSettled), consumed=_CONSUMED)
    observer = IngestMetrics(metrics)
    ca_file = settings.tls_ca_file
    pool = make_pool(settings.database_url, service="ingest", max_size=_POOL_SIZE, ca_file=ca_file)
    broker = make_broker(settings.rabbitmq_url, service="ingest", ca_file=ca_file, observer=messages)
    connection = BrokerConnection(broker, consumed=_CONSUMED, declares=settings.rabbitmq_declare)
    publisher = Publisher(broker)
    http = ClientHttp(
        policy=OutboundPolicy(networks=settings.pull_sync_networks, ports=settings.pull_sync_ports),
        timeout_s=settings.pull_sync_timeout / 3,
        body_limit_bytes=_ANSWER_BYTES,
        ca_file=settings.pull_sync_ca_file,
    )
    queries = load_queries("services.ingest")
    store = CaptureStore(pool=pool, queries=queries)
    writer = Writer(store=store, observer=observer)
    acknowledger = Acknowledger(client_api=_client_api(settings, http), publisher=publisher, observer=observer)
    CaptureBatches(writer=writer, comparison=Comparison(pool=pool, queries=queries), publisher=publisher).subscribe(
        broker
    )
    Acknowledgements(acknowledger=acknowledger, settlements=Settlements(publisher=publisher), writer=writer).subscribe(
        broker
    )
    Replays(store=store).subscribe(broker)

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            await migrate(settings.database_url, schema=SCHEMA, history=MIGRATIONS, ca_file=ca_file)
            await stack.enter_async_context(pool)
            await patiently(partial(keep_species, pool, queries, shipped_species()))
            await stack.enter_async_context(http)
            await stack.enter_async_context(running("writer", writer.run))
            await stack.enter_async_context(connection.running())
            yield

    observer.watch(writer)
    count_lacks(metrics, http.sockets)
    messages.watch(metrics, holding=broker.holding, ready=connection.ready)
    watch_database(metrics, pool)
    return watched_app(
        lifespan,
        checks={
            "database": partial(answers, pool),
            "database_writes": partial(takes_writes, pool),
            "broker": connection.ready,
            "sockets": http.sockets.suffice,
        },
        metrics=metrics,
    )


def _client_api(settings: IngestSettings, http: ClientHttp) -> ClientApi:
    return ClientApi(http=http, derived_tokens=DerivedTokens.by(settings.pull_token_keys))
