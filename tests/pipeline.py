"""The whole pipeline within the process of a test: registry, puller, ingest and reference clients on real servers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Final

import httpx
from fastapi import FastAPI

from dev.broker import Broker
from dev.database import Database
from services.client.app import build_app as build_client
from services.client.settings import ClientSettings
from services.ingest.app import build_app as build_ingest
from services.ingest.settings import IngestSettings
from services.puller.app import build_app as build_puller
from services.puller.settings import PullerSettings
from services.registry.app import build_app as build_registry
from services.registry.settings import RegistrySettings
from tests.serving import served
from tests.waiting import eventually

PIKACHU: Final = {"pokemon_id": 25, "pokemon_name": "pikachu", "action": "capture"}


class Pipeline:
    """What a test does with it."""

    def __init__(self, http: httpx.AsyncClient, registry: str, clients: dict[str, str]) -> None:
        self.http = http
        self.registry = registry
        self.clients = clients
        """URLs by user."""

    async def capture(self, user_id: str) -> None:
        """Make a capture on a device."""
        (await self.http.post(f"{self.clients[user_id]}/api/client/add-capture", json=PIKACHU)).raise_for_status()

    async def pending(self, user_id: str) -> int:
        """How many captures the client was not told to be stored."""
        return int((await self.http.get(f"{self.clients[user_id]}/api/client/stats")).json()["pending_sync"])

    async def sync_all(self) -> None:
        """Pull each client now, and wait for it."""
        (await self.http.post(f"{self.registry}/api/v1/pull-sync/sync-all", json={})).raise_for_status()

    async def registered(self) -> set[str]:
        """Users whose clients the registry knows."""
        answer = await self.http.get(f"{self.registry}/api/v1/pull-sync/registered-clients")
        return {client["user_id"] for client in answer.json()}


@asynccontextmanager
async def pipeline(database: Database, broker: Broker, folder: Path, *users: str) -> AsyncIterator[Pipeline]:
    """All of it, with the clients of these users registered."""
    async with AsyncExitStack() as stack:
        registry_settings = RegistrySettings(
            database_url=database.registry_url,
            rabbitmq_url=broker.urls["registry"],
            rabbitmq_declare=False,
            pull_sync_interval=5,
        )
        port = await stack.enter_async_context(served(lambda _port: build_registry(registry_settings)))
        registry = f"http://127.0.0.1:{port}"
        ingest = build_ingest(
            IngestSettings(database_url=database.ingest_url, rabbitmq_url=broker.urls["ingest"], rabbitmq_declare=False)
        )
        puller = build_puller(
            PullerSettings(backend_url=registry, rabbitmq_url=broker.urls["puller"], rabbitmq_declare=False)
        )
        for app in (ingest, puller):
            await stack.enter_async_context(app.router.lifespan_context(app))
        http = await stack.enter_async_context(httpx.AsyncClient(trust_env=False, timeout=90))
        clients = {}
        for user in users:
            port = await stack.enter_async_context(served(partial(_client, folder, registry, user)))
            clients[user] = f"http://127.0.0.1:{port}"
        running = Pipeline(http, registry, clients)

        async def all_registered() -> bool:
            return await running.registered() == set(users)

        await eventually(all_registered)
        yield running


def _client(folder: Path, registry: str, user_id: str, port: int) -> FastAPI:
    return build_client(
        ClientSettings(
            client_user_id=user_id,
            client_port=port,
            client_url=f"http://127.0.0.1:{port}",
            client_database=folder / f"{user_id}.sqlite3",
            client_import_file=folder / "none.json",
            backend_url=registry,
        )
    )
