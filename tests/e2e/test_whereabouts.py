"""Where is my capture: followed through a running system, with a client that is down in between."""

from __future__ import annotations

from typing import Any

from tests.e2e.world import API, World, start_clients
from tests.waiting import eventually


async def where(world: World, capture_id: str, user: str = "user_1") -> dict[str, Any]:
    """What the registry answers; of a capture that was never seen, too."""
    answer = await world.http.get(f"{world.stack.url('registry')}/api/v1/captures/{user}/{capture_id}")
    assert answer.status_code in {200, 404}, answer.text
    body: dict[str, Any] = answer.json()
    return body if answer.is_success else body["whereabouts"]


async def comes_to_be(world: World, capture_id: str, state: str) -> dict[str, Any]:
    """Wait until the capture is there; what is answered then."""
    way: dict[str, Any] = {}

    async def is_there() -> bool:
        way.clear()
        way.update(await where(world, capture_id))
        return bool(way["state"] == state)

    await eventually(is_there, deadline_s=60)
    return way


async def test_a_capture_is_followed_past_a_client_that_is_down(world: World) -> None:
    """The timer is stopped, the client dies, comes back, is pulled, and told: each is said at its time."""
    await start_clients(world, 1)
    await world.scheduler("stop")
    assert (await where(world, "no_such_capture"))["state"] in {"timer_stopped", "on_its_way"}
    capture_id = await world.capture("client-1")
    await comes_to_be(world, capture_id, "timer_stopped")

    world.stack.kill("client-1")
    await world.scheduler("start")
    way = await comes_to_be(world, capture_id, "client_failing")
    assert "connect" in way["client"]["last_reason"]
    assert way["client"]["last_error"] in way["summary"]

    world.stack.start("client-1")
    way = await comes_to_be(world, capture_id, "acknowledged")
    await world.told("client-1")
    assert way["acknowledgement"] == "known"
    assert way["made_at"] <= way["pulled_at"] <= way["stored_at"] <= way["acknowledged_at"]
    history = (await world.http.get(f"{world.stack.url('registry')}{API}/clients/user_1/pulls")).json()
    assert history[0]["pull_id"] == way["pull_id"]
    assert history[0]["stored"] == 1
    assert {pull["outcome"] for pull in history} == {"stored", "failed"}
    assert (await where(world, "no_such_capture"))["state"] in {"never_seen", "on_its_way"}
