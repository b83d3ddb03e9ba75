"""A real stack is scraped as Prometheus would: the services' numbers of the same captures agree."""

from __future__ import annotations

import re
from typing import Final

from shared.version import VERSION
from tests.e2e.world import World, start_clients
from tests.waiting import eventually

CAPTURES: Final = 5
ACCEPT: Final = {"accept": "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3"}


async def scraped(world: World, *names: str) -> dict[str, dict[str, float]]:
    """What each of these exposes, by series; of histograms the sums and counts."""
    found: dict[str, dict[str, float]] = {}
    for name in names:
        answer = await world.http.get(f"{world.stack.url(name)}/metrics", headers=ACCEPT)
        assert answer.status_code == 200, answer.text
        assert answer.headers["content-type"].startswith("application/openmetrics-text")
        assert answer.text.endswith("# EOF\n")
        lines = re.findall(r"^(\w+(?:\{.*\})?) (\S+)$", answer.text, re.MULTILINE)
        found[name] = {series: float(value) for series, value in lines if "_bucket" not in series}
    return found


async def test_the_services_agree_on_what_they_counted(world: World) -> None:
    """Captures of two clients, from the clients to the registry; and each tells of its own process and servers."""
    clients = await start_clients(world, 2)
    for number in range(1, CAPTURES + 1):
        for client in clients:
            await world.capture(client, pokemon_id=number)
    assert (await world.sync_all())["success"]
    for client in clients:
        await world.told(client)
    names = ("registry", "puller-1", "ingest-1", *clients)
    total = 2 * CAPTURES

    async def settled() -> bool:
        of_registry = (await scraped(world, "registry"))["registry"]
        return of_registry['pullsync_pulls_settled_total{outcome="stored",reason=""}'] >= len(clients)

    await eventually(settled)
    found = await scraped(world, *names)
    puller, ingest, registry = found["puller-1"], found["ingest-1"], found["registry"]
    assert puller["pullsync_pull_captures_sum"] >= total
    assert puller['pullsync_claims_total{result="claimed"}'] + puller['pullsync_claims_total{result="empty"}'] >= 1
    assert ingest['pullsync_captures_total{outcome="stored"}'] == total
    assert ingest['pullsync_captures_total{outcome="quarantined"}'] == 0
    assert ingest["pullsync_capture_age_seconds_count"] == total
    assert ingest['pullsync_acknowledgements_total{outcome="acknowledged"}'] >= len(clients)
    assert registry['pullsync_clients{state="active"}'] == len(clients)
    assert registry["pullsync_captures_pending"] == 0
    registered = 'pullsync_http_requests_total{method="POST",route="/api/v1/pull-sync/register-client",status="200"}'
    assert registry[registered] >= len(clients)
    for client in clients:
        assert found[client]['pullsync_client_captures{state="acknowledged"}'] == CAPTURES
        assert found[client]['pullsync_client_captures{state="pending"}'] == 0
        assert found[client]["pullsync_client_registered"] == 1


async def test_each_process_tells_of_itself_and_of_its_servers(world: World) -> None:
    """Who it is, what it takes, and that all that it needs is there."""
    [client] = await start_clients(world, 1)
    names = {"registry": "registry", "puller-1": "puller", "ingest-1": "ingest", client: "client"}
    for name, values in (await scraped(world, *names)).items():
        assert values[f'pullsync_build_info{{service="{names[name]}",version="{VERSION}"}}'] == 1
        assert values["process_resident_memory_bytes"] > 0
        assert ("pullsync_broker_ready" in values) == (name != client)
        assert values.get("pullsync_broker_ready", 1) == 1
        assert ("pullsync_database_up" in values) == (name in {"registry", "ingest-1"})
        assert values.get("pullsync_database_up", 1) == 1
