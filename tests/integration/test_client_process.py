"""The client as a real process: what it promises when it is killed, stopped, started wrongly or left alone."""

from __future__ import annotations

import asyncio
import json
import resource
import signal
import time
from contextlib import AsyncExitStack, suppress
from functools import partial
from typing import TYPE_CHECKING

import httpx
import pytest

from shared.contracts.client_protocol import (
    ACKNOWLEDGE_PATH,
    ADD_CAPTURE_PATH,
    CAPTURE_STATES_PATH,
    HEALTH_PATH,
    STATS_PATH,
    SYNC_DATA_PATH,
)
from tests.client_process import BULBASAUR, DEADLINE_S, Registry, free_port, get, post, starting_clients, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.client_process import Process, Start


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Start]:
    """Starts clients, and ends what is left of them."""
    async with starting_clients(tmp_path) as launch:
        yield launch


async def test_it_registers_once_it_can_be_called_back(start: Start) -> None:
    """The registry's call to the health endpoint succeeds at the first attempt, so the client listened by then."""
    registry = Registry(free_port())
    async with registry.running():
        client = await start(BACKEND_URL=registry.url + "/", CLIENT_USER_ID="ash/é", CLIENT_REGISTRATION_CHECK="0.05")
        await until(lambda: registry.checks > 3, "the client did not ask for its record")
        assert registry.registrations == 1
        record = registry.records["ash/é"]
        assert len(record.pop("registration_key")) > 32
        assert record == {
            "client_url": f"http://localhost:{client.port}",
            "user_id": "ash/é",
            "client_type": "web",
            "capabilities": ["capture", "favorite"],
        }
        assert await client.stop() == 0
    assert client.events == ["listening", "registered"]


async def test_it_keeps_trying_while_the_registry_is_away(start: Start) -> None:
    """A registry that comes later is found, captures are taken meanwhile, and one line tells of the wait."""
    registry = Registry(free_port())
    client = await start(BACKEND_URL=registry.url, CLIENT_REGISTRATION_CHECK="0.05")
    assert (await post(client, ADD_CAPTURE_PATH, BULBASAUR)).status_code == 200
    await until(lambda: "not_registered" in client.events, "the failure was not told")
    async with registry.running():
        await until(lambda: "registered" in client.events, "it did not register")
        assert await client.stop() == 0
    assert client.events == ["listening", "not_registered", "registered"]
    assert "Traceback" not in client.output


async def test_it_registers_again_when_it_was_forgotten(start: Start) -> None:
    """A registry that lost its records, or has another address for this client, is told again."""
    registry = Registry(free_port())
    async with registry.running():
        client = await start(BACKEND_URL=registry.url, CLIENT_REGISTRATION_CHECK="0.05")
        await until(lambda: "user_1" in registry.records, "it did not register")
        registry.records.clear()
        await until(lambda: "user_1" in registry.records, "it did not register again after being forgotten")
        registry.records["user_1"] = {**registry.records["user_1"], "client_url": "http://localhost:1"}
        ours = f"http://localhost:{client.port}"
        await until(lambda: registry.records["user_1"]["client_url"] == ours, "it did not put its address right")
    async with registry.running():
        registry.records.clear()
        await until(lambda: "user_1" in registry.records, "it did not register after the registry's restart")
    assert await client.stop() == 0
    assert "Traceback" not in client.output


async def test_a_refused_registration_tells_the_registrys_own_words(start: Start) -> None:
    """The detail is in the log, once, and attempts go on at the pace of the checks."""
    registry = Registry(free_port())
    registry.detail = "client_url points into a network that is not allowed"
    async with registry.running():
        client = await start(BACKEND_URL=registry.url, CLIENT_REGISTRATION_CHECK="0.05")
        await until(lambda: registry.registrations > 3, "it gave up")
        assert await client.stop() == 0
    assert client.output.count(registry.detail) == 1


async def test_a_capture_survives_kill_9_right_after_the_reply(start: Start) -> None:
    """Twenty times: the moment that 200 has arrived the process is killed, and the capture is there afterwards."""
    expected = []
    for pokemon_id in range(1, 21):
        client = await start()
        response = await post(client, ADD_CAPTURE_PATH, {**BULBASAUR, "pokemon_id": pokemon_id})
        client.process.kill()
        assert await client.status() == -signal.SIGKILL
        expected.append(response.json()["capture"])
    client = await start()
    assert (await get(client, SYNC_DATA_PATH))["captures"] == expected


async def test_captures_survive_kill_9_under_load(start: Start) -> None:
    """Killed while requests come in, the client has every capture that it said yes to."""
    client = await start()
    accepted: set[str] = set()

    async def keep_adding(worker: int) -> None:
        async with httpx.AsyncClient(base_url=client.url) as http:
            for number in range(1_000):
                try:
                    body = {**BULBASAUR, "pokemon_id": 1 + worker * 1_000 + number}
                    response = await http.post(ADD_CAPTURE_PATH, json=body)
                except httpx.HTTPError:
                    return
                accepted.add(response.json()["capture"]["capture_id"])

    async with asyncio.TaskGroup() as workers:
        for worker in range(8):
            workers.create_task(keep_adding(worker))
        await until(lambda: len(accepted) >= 100, "no captures were accepted")
        client.process.kill()
    await client.status()
    again = await start()
    there = {each["capture_id"] for each in (await get(again, SYNC_DATA_PATH))["captures"]}
    assert accepted <= there
    assert len(there - accepted) <= 8


async def test_captures_with_ids_are_there_once_whatever_is_killed(start: Start) -> None:
    """Two senders hand over the same captures, each until it is answered, while the client is killed three times."""
    client = await start()
    bodies = [{**BULBASAUR, "capture_id": f"page-{number}"} for number in range(300)]
    answered = 0

    async def hand_over() -> None:
        nonlocal answered
        for body in bodies:
            while True:
                with suppress(httpx.HTTPError):
                    answer = await post(client, ADD_CAPTURE_PATH, body)
                    if answer.status_code != httpx.codes.SERVICE_UNAVAILABLE:  # it is starting
                        assert answer.status_code == httpx.codes.OK
                        break
                await asyncio.sleep(0.01)
            answered += 1

    async with asyncio.TaskGroup() as senders:
        for _ in range(2):
            senders.create_task(hand_over())
        for kills in range(1, 4):
            await until(partial(lambda least: answered >= least, 120 * kills), "no captures were accepted")
            client.process.kill()
            await client.status()
            client = await start(CLIENT_PORT=str(client.port))
    there = [each["capture_id"] for each in (await get(client, SYNC_DATA_PATH))["captures"]]
    assert there == [body["capture_id"] for body in bodies]


async def test_what_was_pulled_is_known_after_a_restart(start: Start) -> None:
    """It is noted once the answer is out, and on the disk."""
    client = await start()
    await post(client, ADD_CAPTURE_PATH, {**BULBASAUR, "capture_id": "page-1"})
    assert await states(client, "page-1") == ["pending"]
    await get(client, SYNC_DATA_PATH)

    async def is_noted() -> bool:
        return await states(client, "page-1") == ["pulled"]

    await until(is_noted, "the pull was not noted")
    client.process.kill()
    await client.status()
    again = await start()
    assert await states(again, "page-1") == ["pulled"]
    await post(again, ACKNOWLEDGE_PATH, {"capture_ids": ["page-1"]})
    assert await states(again, "page-1") == ["stored"]


async def states(client: Process, *capture_ids: str) -> list[str]:
    """How far these captures have come."""
    answer = await post(client, CAPTURE_STATES_PATH, {"capture_ids": capture_ids})
    return [each["state"] for each in answer.json()["captures"]]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_it_with_status_0(start: Start, number: signal.Signals) -> None:
    """Within two seconds, without a trace, while it waits for a registry, and with an idle connection open."""
    client = await start()
    async with httpx.AsyncClient(base_url=client.url) as http:
        await http.get(HEALTH_PATH)
        began = time.monotonic()
        client.process.send_signal(number)
        assert await client.status() == 0
        assert time.monotonic() - began < 2
    assert client.events == ["listening", "not_registered"]
    assert "Traceback" not in client.output


@pytest.mark.parametrize("delay_ms", [0, 100, 200, 300, 400, 500, 700])
async def test_a_signal_during_the_start_leaves_no_trace(start: Start, delay_ms: int) -> None:
    """Whenever it comes, the process ends, and not by an error of its own."""
    client = await start(serving=False)
    await asyncio.sleep(delay_ms / 1_000)  # the point is to hit different moments; there is no condition to wait for
    assert await client.stop() in {0, -signal.SIGTERM}
    assert "Traceback" not in client.output


async def test_a_request_under_way_is_finished_before_the_end(start: Start) -> None:
    """Half of a body is sent, then SIGTERM, then the rest: the answer is 200, and the capture is stored."""
    client = await start()
    reader, writer = await asyncio.open_connection("127.0.0.1", client.port)
    body = json.dumps(BULBASAUR).encode()
    writer.write(
        b"POST %b HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % (ADD_CAPTURE_PATH.encode(), len(body))
    )
    writer.write(body[:10])
    await writer.drain()
    await get(client, HEALTH_PATH)
    client.process.terminate()

    async def refuses() -> bool:
        try:
            _, other = await asyncio.open_connection("127.0.0.1", client.port)
        except ConnectionError:
            return True
        other.close()
        return False

    await until(refuses, "it still takes connections")
    writer.write(body[10:])
    assert b"200 OK" in await reader.readline()
    await reader.read()
    writer.close()
    assert await client.status() == 0
    again = await start()
    assert (await get(again, STATS_PATH))["pending_sync"] == 1


async def test_a_request_that_never_ends_does_not_hold_up_the_stop(start: Start) -> None:
    """An upload that stands still is cut off after a few seconds, without a trace."""
    client = await start()
    _, writer = await asyncio.open_connection("127.0.0.1", client.port)
    writer.write(b"POST %b HTTP/1.1\r\nHost: localhost\r\nContent-Length: 50\r\n\r\n{" % ADD_CAPTURE_PATH.encode())
    await writer.drain()
    await get(client, HEALTH_PATH)
    began = time.monotonic()
    assert await client.stop() == 0
    assert time.monotonic() - began < 8
    writer.close()
    assert "Traceback" not in client.output


async def test_a_reader_that_never_reads_does_not_hold_up_the_stop(start: Start, tmp_path: Path) -> None:
    """The same for an answer that nobody takes."""
    capture = {**BULBASAUR, "timestamp": "2026-01-01T00:00:00.000Z", "metadata": {"device_info": "x" * 10_000}}
    captures = [{**capture, "capture_id": str(number)} for number in range(2_000)]
    (tmp_path / "client-sync-data.json").write_text(json.dumps({"captures": captures}))
    client = await start()
    _, writer = await asyncio.open_connection("127.0.0.1", client.port)
    writer.write(b"GET %b HTTP/1.1\r\nHost: localhost\r\n\r\n" % SYNC_DATA_PATH.encode())
    await writer.drain()
    await get(client, STATS_PATH)
    assert await client.stop() == 0
    writer.close()
    assert "Traceback" not in client.output


async def test_a_large_upload_gets_its_refusal(start: Start) -> None:
    """A real client that sends 10 MiB hears 413 and the reason, whether it announced the length or not."""
    client = await start()

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(10):
            yield b" " * 2**20

    async with httpx.AsyncClient(base_url=client.url, timeout=10) as http:
        for content in (b" " * 10 * 2**20, chunks()):
            response = await http.post(ADD_CAPTURE_PATH, content=content)
            assert response.status_code == 413
            assert "1048576" in response.json()["error"]
    assert (await post(client, ADD_CAPTURE_PATH, BULBASAUR)).status_code == 200


async def test_a_length_above_the_limit_is_refused_before_anything_is_sent(start: Start) -> None:
    """The headers alone are answered at once, and a sender without end is cut off."""
    client = await start()
    reader, writer = await asyncio.open_connection("127.0.0.1", client.port)
    writer.write(
        b"POST %b HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999\r\n\r\n" % ADD_CAPTURE_PATH.encode()
    )
    began = time.monotonic()
    assert b"413" in await reader.readline()
    assert time.monotonic() - began < 1

    async def pour() -> None:
        while True:
            writer.write(b" " * 2**20)
            await writer.drain()

    with pytest.raises(ConnectionError):
        await asyncio.wait_for(pour(), DEADLINE_S)
    writer.close()


async def test_a_full_disk_refuses_captures_until_there_is_room(start: Start) -> None:
    """503 and not 200 while nothing can be written, nothing accepted is lost, and it recovers by itself."""
    client = await start()
    assert (await post(client, ADD_CAPTURE_PATH, BULBASAUR)).status_code == 200
    _, unlimited = resource.prlimit(client.process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(client.process.pid, resource.RLIMIT_FSIZE, (0, unlimited))
    response = await post(client, ADD_CAPTURE_PATH, {**BULBASAUR, "pokemon_id": 2})
    assert response.status_code == 503
    assert "Nothing was accepted" in response.json()["error"]
    async with httpx.AsyncClient(base_url=client.url) as http:
        unwell = await http.head(HEALTH_PATH)
        assert (unwell.status_code, (await http.get(HEALTH_PATH)).json()["status"]) == (503, "unhealthy")
    assert len((await get(client, SYNC_DATA_PATH))["captures"]) == 1
    resource.prlimit(client.process.pid, resource.RLIMIT_FSIZE, (unlimited, unlimited))
    assert (await post(client, ADD_CAPTURE_PATH, {**BULBASAUR, "pokemon_id": 2})).status_code == 200
    await until(client.answers, "it is not healthy again")
    assert client.events.count("database_unavailable") == client.events.count("database_back") == 1
    assert await client.stop() == 0
    assert "Traceback" not in client.output
    again = await start()
    assert (await get(again, STATS_PATH))["pending_sync"] == 2


async def test_the_original_clients_file_is_taken_over(start: Start, tmp_path: Path) -> None:
    """It lies in the working folder; after a restart an acknowledged capture has not come back."""
    capture = {
        **{key: BULBASAUR[key] for key in ("pokemon_id", "pokemon_name", "action")},
        "capture_id": "1_1760000000000_capture",
        "timestamp": "2025-10-09T08:53:20.000Z",
        "user_id": "user_1",
        "synced": False,
        "metadata": {"removed": False, "device_info": {"model": "é"}},
    }
    (tmp_path / "client-sync-data.json").write_text(json.dumps({"captures": [capture], "last_sync": None}))
    client = await start()
    assert (await get(client, SYNC_DATA_PATH))["captures"] == [capture]
    await post(client, ACKNOWLEDGE_PATH, {"capture_ids": [capture["capture_id"]]})
    await client.stop()
    again = await start()
    assert (await get(again, STATS_PATH)) | {"last_sync": None} == {
        "total_captures": 1,
        "pending_sync": 0,
        "synced_captures": 1,
        "last_sync": None,
        "client_id": "user_1",
    }


async def test_a_damaged_file_is_one_line_and_status_1(start: Start, tmp_path: Path) -> None:
    """The line names the file; nothing else is written, nothing is imported, and repair is all it takes."""
    file = tmp_path / "client-sync-data.json"
    file.write_text('{"captures": [{"capture_id": "1_1_capture"')
    client = await start(serving=False)
    assert await client.status() == 1
    [line] = client.output.splitlines()
    assert str(file) in line
    assert "not JSON" in line
    assert file.read_text() == '{"captures": [{"capture_id": "1_1_capture"'
    file.write_text('{"captures": [], "last_sync": null}')
    assert (await get(await start(), STATS_PATH))["total_captures"] == 0


async def test_a_port_in_use_is_one_line_and_status_1(start: Start) -> None:
    """The line names the port; the first client goes on."""
    first = await start()
    second = await start(serving=False, CLIENT_PORT=str(first.port))
    assert await second.status() == 1
    [line] = second.output.splitlines()
    assert f"port {first.port}" in line
    assert "CLIENT_PORT" in line
    assert await first.answers()


async def test_a_database_in_use_is_one_line_and_status_1(start: Start) -> None:
    """A second client on another port is refused; it may start as soon as the first was killed."""
    first = await start()
    second = await start(serving=False)
    assert await second.status() == 1
    [line] = second.output.splitlines()
    assert "in use by another client" in line
    first.process.kill()
    await first.status()
    assert await (await start()).answers()


async def test_bad_settings_are_a_line_each_and_status_2(start: Start) -> None:
    """All of them at once, without a trace."""
    client = await start(serving=False, CLIENT_REGISTRATION_CHECK="often", LOG_LEVEL="loud", BACKEND_URL="nowhere")
    assert await client.status() == 2
    lines = client.output.splitlines()
    assert len(lines) == 3
    for name in ("CLIENT_REGISTRATION_CHECK", "LOG_LEVEL", "BACKEND_URL"):
        assert any(name in line for line in lines)


async def test_two_clients_serve_side_by_side(start: Start) -> None:
    """With a database each, two users' clients do not meet."""
    async with AsyncExitStack():
        ash = await start(CLIENT_USER_ID="ash", CLIENT_DATABASE="ash/captures.sqlite3")
        misty = await start(CLIENT_USER_ID="misty", CLIENT_DATABASE="misty/captures.sqlite3")
        await post(ash, ADD_CAPTURE_PATH, BULBASAUR)
        assert (await get(misty, STATS_PATH))["total_captures"] == 0
        assert (await get(ash, SYNC_DATA_PATH))["captures"][0]["user_id"] == "ash"
