"""What an operator sees in RabbitMQ's management UI: connections and consumers tell whose they are."""

from __future__ import annotations

import os
import socket
from collections.abc import AsyncIterator
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import httpx
import pytest

from dev.broker import Broker
from services.registry.dead_letters.queue import DeadLetterQueue
from shared.contracts.messages import AcknowledgeCaptures, CaptureBatch
from shared.contracts.topology import ACKNOWLEDGEMENTS, CAPTURE_BATCHES, EXCHANGE
from shared.rabbitmq.broker import decoder, make_broker
from shared.rabbitmq.consuming import BrokerConnection
from tests.servers import Servers
from tests.waiting import eventually

HERE: Final = f"{socket.gethostname()}/{os.getpid()}"


class Management:
    """The management API, asked about one vhost."""

    def __init__(self, http: httpx.AsyncClient, vhost: str) -> None:
        self._http = http
        self._vhost = vhost

    async def consumers(self) -> dict[str, str]:
        """Consumer tags by queue."""
        answer = (await self._http.get(f"/api/consumers/{self._vhost}")).raise_for_status()
        return {consumer["queue"]["name"]: consumer["consumer_tag"] for consumer in answer.json()}

    async def connections(self) -> list[dict[str, Any]]:
        """Those of the vhost, with `user_provided_name` as the UI shows it and `name` to close it by."""
        answer = (await self._http.get(f"/api/vhosts/{self._vhost}/connections")).raise_for_status()
        return [connection for connection in answer.json() if "client_properties" in connection]

    async def names(self) -> set[str]:
        """What the connections call themselves."""
        return {connection["client_properties"].get("connection_name", "") for connection in await self.connections()}

    async def close(self, name: str) -> None:
        """Close a connection, as an operator may."""
        (await self._http.delete(f"/api/connections/{name}")).raise_for_status()


@pytest.fixture
async def management(servers: Servers, broker: Broker) -> AsyncIterator[Management]:
    """As the server's administrator."""
    parts = urlsplit(servers.rabbitmq_url)
    auth = (parts.username or "guest", unquote(parts.password or "guest"))
    async with httpx.AsyncClient(base_url=servers.management_url, auth=auth, trust_env=False) as http:
        yield Management(http, urlsplit(broker.urls["ingest"]).path[1:])


async def test_connections_and_consumers_have_names_also_after_a_reconnect(
    broker: Broker, management: Management
) -> None:
    """Service, host and process, and of a consumer what it consumes; each consumer another tag."""
    ingest = make_broker(broker.urls["ingest"], service="ingest")
    for queue, message in ((CAPTURE_BATCHES, CaptureBatch), (ACKNOWLEDGEMENTS, AcknowledgeCaptures)):
        ingest.subscriber(queue, EXCHANGE, decoder=decoder(message))(_ignore)
    connection = BrokerConnection(ingest, consumed=(CAPTURE_BATCHES, ACKNOWLEDGEMENTS), declares=False)
    expected = {
        "ingest.capture-batches": f"ingest@{HERE} capture-batches",
        "ingest.acknowledgements": f"ingest@{HERE} acknowledgements",
    }

    async def shown() -> bool:
        return await management.consumers() == expected and await management.names() == {f"ingest@{HERE}"}

    async def gone() -> bool:
        return old not in {connection["name"] for connection in await management.connections()}

    async with connection.running():
        await eventually(shown)
        await eventually(connection.ready)
        (found,) = await management.connections()
        old = found["name"]
        await management.close(old)
        await eventually(gone)
        await eventually(shown)
        await eventually(connection.ready)


async def test_who_looks_at_dead_letters_is_shown(broker: Broker, management: Management) -> None:
    """The registry's connection for that tells which queue it looks into."""
    letters = DeadLetterQueue(url=broker.urls["registry"], work_queue=CAPTURE_BATCHES)

    async def shown() -> bool:
        return await management.names() == {f"registry@{HERE} ingest.capture-batches.dead"}

    async with letters.opened():
        await eventually(shown)


async def _ignore(_message: object) -> None:
    """Handle nothing."""
