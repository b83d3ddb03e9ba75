"""Whatever the OpenAPI documents allow, and whatever they do not: nothing that is sent is an error of ours.

schemathesis makes the requests, out of the document that the running process serves, and follows what it learns from
the answers. The long form is `make attack`, which sends for `ATTACK_SECONDS` instead.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Final

import aio_pika
import httpx
import pytest

from dev.stack import Stack, inherited_environment
from services.registry.api.examples import URL
from shared.contracts.topology import CAPTURE_BATCHES, dead_letter_queue
from tests.e2e.world import World, start_clients
from tests.waiting import eventually

SEED: Final = os.environ.get("ATTACK_SEED", "7")
SECONDS: Final = os.environ.get("ATTACK_SECONDS")
HOW_LONG: Final = ("--max-time", SECONDS) if SECONDS else ("--max-examples", "5", "--no-shrink")
LIMIT_S: Final = 280.0 + 2 * float(SECONDS or 0)
CONFIGURATION: Final = Path(__file__).with_name("schemathesis.toml")
UNREADABLE: Final = {
    "capture_id": "1_1_capture",
    "pokemon_id": 1,
    "action": "capture",
    "timestamp": "2026-01-31T12:00:00.000Z",
    "metadata": {"device_info": "x" * 10_000},
}
"""Larger than metadata may be, it goes to quarantine."""


async def attack(url: str, folder: Path, *, replaced: tuple[str, str] = ("", "")) -> None:
    """Send it all to the process at this URL; `replaced` is a text of its document, and what is to stand there.

    Raises:
        AssertionError: an answer was none that the document promises; the text has a command that repeats it.
    """
    async with httpx.AsyncClient(base_url=url, trust_env=False) as http:
        document = (await http.get("/openapi.json")).text
    path = folder / "openapi.json"
    path.write_text(document.replace(*replaced) if all(replaced) else document, encoding="utf-8")
    arguments = (
        *("--config-file", str(CONFIGURATION), "--no-color", "run", str(path), "--url", url, "--seed", SEED, *HOW_LONG),
        *("--request-timeout", "30", "--generation-database", "none", "--warnings", "off"),
    )
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "schemathesis.cli", *arguments),
        cwd=folder,
        env=inherited_environment(),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    print(output.decode())  # noqa: T201 - pytest shows it for a test that failed
    assert process.returncode == 0, output.decode()


async def bury(broker_url: str, body: bytes) -> None:
    """Leave a message that nobody can read among the dead letters."""
    async with await aio_pika.connect(broker_url) as connection, connection.channel() as channel:
        message = aio_pika.Message(body, delivery_mode=2, headers={"x-death": "by hand"})
        await channel.default_exchange.publish(message, routing_key=dead_letter_queue(CAPTURE_BATCHES).name)


@pytest.mark.timeout(LIMIT_S)
async def test_nothing_that_is_sent_to_the_registry_is_an_error_of_ours(
    world: World, broker_url: str, tmp_path: Path
) -> None:
    """With a client, captures, a run, quarantine and a dead letter there, each of which requests may hit.

    The example of a registration is of the client that runs, so that some registrations succeed; and no request leads
    the registry to an address beyond this test.
    """
    world.stack.write_import_file("client-1", {"captures": [UNREADABLE], "last_sync": None})
    await start_clients(world, 1)
    await world.capture("client-1")
    assert (await world.sync_all())["success"]
    await bury(broker_url, b"{")
    await attack(world.stack.url("registry"), tmp_path, replaced=(URL, world.stack.url("client-1")))


@pytest.mark.timeout(LIMIT_S)
async def test_nothing_that_is_sent_to_the_client_is_an_error_of_ours(stack: Stack, tmp_path: Path) -> None:
    """With a capture there."""
    stack.start("client-1")
    url = stack.url("client-1")

    async def is_kept() -> bool:
        async with httpx.AsyncClient(base_url=url, trust_env=False) as http:
            sent = {"pokemon_id": 25, "pokemon_name": "pikachu"}
            return (await http.post("/api/client/add-capture", json=sent)).status_code == httpx.codes.OK

    await eventually(is_kept)
    await attack(url, tmp_path)
