"""The puller's composition root: the only place that knows which classes work together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial

import httpx
from starlette.applications import Starlette

from services.puller.client_api import ClientApi
from services.puller.consumers import RequestedPulls
from services.puller.heartbeat import Heartbeat
from services.puller.leases import HeldLeases
from services.puller.loop import Pulls, Timer
from services.puller.metrics import PullerMetrics
from services.puller.publisher import BatchPublisher
from services.puller.pull import Puller
from services.puller.registry_api import RegistryApi
from services.puller.settings import PullerSettings
from shared import tls
from shared.contracts.messages import CaptureBatch, PullSettled
from shared.contracts.topology import PULL_REQUESTED
from shared.observing.message_metrics import MessageMetrics
from shared.observing.metrics import Metrics
from shared.observing.outbound_metrics import count_lacks
from shared.outbound.client_http import ClientHttp, OutboundPolicy
from shared.outbound.own_sockets import OwnSockets, room_for
from shared.rabbitmq.broker import Publisher, make_broker
from shared.rabbitmq.consuming import BrokerConnection
from shared.rabbitmq.settlements import Settlements
from shared.serving.health import watched_app
from shared.tasks import running
from shared.tokens import DerivedTokens, authorization

_REGISTRY_TIMEOUT_S = 10.0
_DRAIN_S = 4.0


def build_app(settings: PullerSettings) -> Starlette:
    """The puller, not yet connected to anything."""
    metrics = Metrics(service="puller")
    messages = MessageMetrics(metrics, published=(CaptureBatch, PullSettled), consumed=(PULL_REQUESTED,))
    observer = PullerMetrics(metrics)
    broker = make_broker(settings.rabbitmq_url, service="puller", ca_file=settings.tls_ca_file, observer=messages)
    connection = BrokerConnection(broker, consumed=(PULL_REQUESTED,), declares=settings.rabbitmq_declare)
    publisher = Publisher(broker)
    client_http = ClientHttp(
        policy=OutboundPolicy(networks=settings.pull_sync_networks, ports=settings.pull_sync_ports),
        timeout_s=settings.pull_sync_timeout,
        body_limit_bytes=settings.pull_sync_body_limit_bytes,
        ca_file=settings.pull_sync_ca_file,
    )
    registry_http = httpx.AsyncClient(
        timeout=_REGISTRY_TIMEOUT_S,
        trust_env=False,
        verify=tls.trusting(settings.tls_ca_file),
        headers=authorization(next(iter(settings.service_tokens), None)),
    )
    derived_tokens = DerivedTokens.by(settings.pull_token_keys)
    puller = Puller(
        client_api=ClientApi(http=client_http, derived_tokens=derived_tokens, observer=observer),
        batches=BatchPublisher(publisher=publisher, observer=observer),
        settlements=Settlements(publisher=publisher),
        observer=observer,
    )
    concurrency = room_for(settings.pull_sync_concurrency)
    pulls = Pulls(puller=puller, concurrency=concurrency, observer=observer)
    registry = RegistryApi(
        http=registry_http,
        backend_url=settings.backend_url,
        key_fingerprint=derived_tokens.fingerprint if derived_tokens else None,
    )
    leases = HeldLeases()
    heartbeat = Heartbeat(registry=registry, leases=leases)
    timer = Timer(
        registry=registry,
        pulls=pulls,
        can_hand_over=partial(_can_pull, connection, client_http.sockets),
        leases=leases,
        observer=observer,
    )
    RequestedPulls(pulls=pulls).subscribe(broker)

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(client_http)
            await stack.enter_async_context(registry_http)
            await stack.enter_async_context(connection.running())
            await stack.enter_async_context(heartbeat.running())
            stack.push_async_callback(_drain, pulls)
            await stack.enter_async_context(running("timer", timer.run))
            yield

    observer.watch(pulls, limit=concurrency)
    count_lacks(metrics, client_http.sockets)
    messages.watch(metrics, holding=broker.holding, ready=connection.ready)
    return watched_app(
        lifespan,
        checks={"broker": connection.ready, "registry": registry.accepts_us, "sockets": client_http.sockets.suffice},
        metrics=metrics,
    )


async def _can_pull(connection: BrokerConnection, sockets: OwnSockets) -> bool:
    """Whether a client that is claimed now could be called, and what it sends be handed over."""
    return await sockets.suffice() and await connection.ready()


async def _drain(pulls: Pulls) -> None:
    """Let the pulls under way end; those that take too long are given back."""
    with suppress(TimeoutError):
        async with asyncio.timeout(_DRAIN_S):
            await pulls.drain()
