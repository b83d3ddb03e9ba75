"""A client behind TLS with a certificate of a private authority, and the services as real processes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import trustme
import uvicorn

from dev.servers.ports import free_port
from services.client.app import build_app
from services.client.settings import ClientSettings
from shared import tls
from tests.certificates import expired, written
from tests.e2e.world import API, PIKACHU, World
from tests.waiting import eventually

if TYPE_CHECKING:
    from dev.database import Database
    from dev.stack import Stack


@asynccontextmanager
async def client_behind_tls(certificate: trustme.LeafCert, folder: Path) -> AsyncIterator[str]:
    """The reference client of user_1; its URL. It does not register itself."""
    folder.mkdir()  # noqa: ASYNC240 - nothing else runs yet
    certificate.private_key_and_cert_chain_pem.write_to_path(folder / "server.pem")
    port = free_port()
    url = f"https://localhost:{port}"
    settings = ClientSettings(
        client_url=url,
        client_user_id="user_1",
        client_database=folder / "captures.sqlite3",
        client_import_file=folder / "none.json",
        backend_url="http://127.0.0.1:9",
    )
    config = uvicorn.Config(
        build_app(settings), host="127.0.0.1", port=port, ssl_certfile=folder / "server.pem", log_config=None
    )
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())

    async def started() -> bool:
        return server.started

    await eventually(started)
    try:
        yield url
    finally:
        server.should_exit = True
        await serving


async def test_a_private_authority_is_believed_by_every_service(
    stack: Stack, database: Database, tmp_path: Path
) -> None:
    """Registry, puller and ingest each verify by `PULL_SYNC_CA_FILE`: the capture is stored, and the client told.

    Another client, whose certificate has expired, is not registered.
    """
    authority = trustme.CA()
    ca_file = written(authority, tmp_path)
    for name in ("registry", "ingest-1", "puller-1"):
        stack.configure(name, PULL_SYNC_CA_FILE=str(ca_file))
    stack.start_together("registry", "ingest-1", "puller-1")
    good, bad = authority.issue_cert("localhost"), expired(authority, "localhost")
    async with (
        httpx.AsyncClient(timeout=70) as http,
        client_behind_tls(good, tmp_path / "good") as url,
        client_behind_tls(bad, tmp_path / "bad") as expired_url,
    ):
        world = World(stack=stack, database=database, http=http)
        register = f"{stack.url('registry')}{API}/register-client"
        refused = await http.post(register, json={"client_url": expired_url, "user_id": "user_2"})
        assert refused.status_code == 400
        assert "tls: its certificate is refused: certificate has expired" in refused.json()["detail"]
        assert (await http.post(register, json={"client_url": url, "user_id": "user_1"})).status_code == 200

        await world.scheduler("stop")
        async with httpx.AsyncClient(base_url=url, verify=tls.for_clients(ca_file)) as device:
            assert (await device.post("/api/client/add-capture", json=PIKACHU)).status_code == 200
            assert (await world.sync_all())["total_captures"] == 1
            assert (await device.get("/api/client/stats")).json()["pending_sync"] == 0
        assert await world.ranking() == {25: 1}
