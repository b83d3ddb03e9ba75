"""A real Prometheus watches the services as they run: every replica answers, and what is asked for is there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final

import httpx
import pytest

from dev.monitoring import address, configuration
from dev.servers.install import ensure_prometheus
from dev.servers.prometheus import PrometheusServer
from dev.stack import Stack
from tests.asking_prometheus import asked, rules, true_in_time, values
from tests.unit.exposed_metrics import OF_EACH_PROCESS, OURS

REPLICAS: Final = {
    "registry": ["registry"],
    "puller": ["puller-1", "puller-2"],
    "ingest": ["ingest-1"],
    "client": ["client-1"],
}
TOKEN: Final = "read-0123456789abcdef"
CLIENT_TOKEN: Final = "client-0123456789abcdef"
ENROL: Final = "enrol-0123456789abcdef"
SERVICE: Final = "service-0123456789abcdef"
KEY: Final = "key-0123456789abcdef0123456789abcdef"


@contextmanager
def watching(stack: Stack, folder: Path, **tokens: str) -> Iterator[PrometheusServer]:
    """Prometheus, with these tokens in the files of their jobs; the others are empty, as its entry point makes them."""
    ensure_prometheus()
    for job in ("registry", "client"):
        (folder / f"{job}-token").write_text(tokens.get(job, ""))
    targets = {job: [address(stack.url(name)) for name in names] for job, names in REPLICAS.items()}
    text = configuration(targets, every="1s", tokens=folder)
    with PrometheusServer(folder / "prometheus", configuration=text) as prometheus:
        yield prometheus


def up(prometheus: PrometheusServer) -> dict[str, float]:
    """How many replicas of each service answer."""
    return values(prometheus, "sum by (job) (up)", "job")


def is_one(prometheus: PrometheusServer, metric: str) -> bool:
    """Whether it has happened once, over all replicas."""
    return values(prometheus, f"sum({metric})", "") == {"": 1}


@pytest.mark.timeout(180)
async def test_all_that_is_asked_for_is_told_and_nothing_is_wrong(stack: Stack, tmp_path: Path) -> None:
    """Without tokens. A capture is seen on its way; no alert is raised but those of what does not run here."""
    names = [name for replicas in REPLICAS.values() for name in replicas]
    stack.start_together(*(name for name in names if name != "client-1"))
    stack.start("client-1")
    with watching(stack, tmp_path) as prometheus:
        await true_in_time(lambda: up(prometheus) == {job: len(replicas) for job, replicas in REPLICAS.items()})
        ours = OURS["gauge"] | OURS["counter"] | {f"{name}_bucket" for name in OURS["histogram"]}
        await true_in_time(lambda: ours | OF_EACH_PROCESS <= set(asked(prometheus, "label/__name__/values")))
        async with httpx.AsyncClient(trust_env=False) as http:
            pikachu = {"pokemon_id": 25, "pokemon_name": "pikachu", "action": "capture"}
            made = await http.post(f"{stack.url('client-1')}/api/client/add-capture", json=pikachu)
        assert made.status_code == 200
        for metric in (
            'pullsync_pulls_total{outcome="handed_over"}',
            'pullsync_captures_total{outcome="stored"}',
            'pullsync_acknowledgements_total{outcome="acknowledged"}',
            'pullsync_pulls_settled_total{outcome="stored",reason=""}',
        ):
            await true_in_time(partial(is_one, prometheus, metric))
        # What a busy machine raises for a moment passes; what the rules have wrong stays.
        await true_in_time(lambda: {rule["state"] for rule in rules(prometheus).values()} == {"inactive"})


@pytest.mark.timeout(180)
async def test_with_tokens_prometheus_shows_its_own(stack: Stack, tmp_path: Path) -> None:
    """One that lets look is enough; without, the registry and the client tell nothing, and that is an alert."""
    stack.configure(
        "registry",
        OPERATOR_TOKENS=f"read:{TOKEN}",
        REGISTRATION_TOKENS=ENROL,
        SERVICE_TOKENS=SERVICE,
        PULL_TOKEN_KEYS=KEY,
    )
    for name in ("puller-1", "puller-2"):
        stack.configure(name, SERVICE_TOKENS=SERVICE, PULL_TOKEN_KEYS=KEY)
    stack.configure("ingest-1", PULL_TOKEN_KEYS=KEY)
    stack.configure("client-1", CLIENT_REGISTRATION_TOKEN=ENROL, CLIENT_METRICS_TOKENS=CLIENT_TOKEN)
    stack.start_together("registry", "puller-1", "puller-2", "ingest-1")
    stack.start("client-1")
    (tmp_path / "with").mkdir()
    with watching(stack, tmp_path / "with", registry=TOKEN, client=CLIENT_TOKEN) as prometheus:
        await true_in_time(lambda: up(prometheus) == {"registry": 1, "puller": 2, "ingest": 1, "client": 1})
    (tmp_path / "without").mkdir()
    with watching(stack, tmp_path / "without") as prometheus:
        await true_in_time(lambda: up(prometheus) == {"registry": 0, "puller": 2, "ingest": 1, "client": 0})
        await true_in_time(lambda: rules(prometheus)["ServiceDown"]["state"] == "pending")
