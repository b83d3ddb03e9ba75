"""Metrics on real servers: what is documented is exposed, what happens is counted, and no outage fails a scrape."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import SystemRandom
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import aio_pika
import asyncpg
import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

import services.ingest.writer
import shared.rabbitmq.holding
from dev.database import Database
from dev.servers.ports import free_port
from services.client.app import build_app as build_client
from services.client.settings import ClientSettings
from services.ingest.app import build_app as build_ingest
from services.ingest.settings import IngestSettings
from services.puller.app import build_app as build_puller
from services.puller.settings import PullerSettings
from services.registry.app import build_app as build_registry
from services.registry.settings import RegistrySettings
from shared.contracts.encoding import encoded
from shared.contracts.messages import (
    AcknowledgeCaptures,
    Acknowledgement,
    CaptureBatch,
    Outcome,
    Pull,
    PulledCapture,
    PullOutcome,
    PullRequested,
    PullSettled,
    PullTarget,
    Reason,
    UnreadableItem,
)
from shared.contracts.topology import ACKNOWLEDGEMENTS, CAPTURE_BATCHES, PULL_REQUESTED, PULL_SETTLED
from shared.tokens import authorization
from tests.chaos.proxy import Link
from tests.raw_server import OK, served
from tests.waiting import eventually

API: Final = "/api/v1/pull-sync"
METRICS: Final = Path(__file__).parents[2] / "docs" / "metrics.md"
ROW: Final = re.compile(r"^\| `(pullsync_\w+)`(?: †)? \| (\w+) \| ([^|]*)\| .+ \|$", re.MULTILINE)
SECTIONS: Final = {
    "All services": ("registry", "puller", "ingest", "client"),
    "With RabbitMQ: registry, puller, ingest": ("registry", "puller", "ingest"),
    "With clients to call: registry, puller, ingest": ("registry", "puller", "ingest"),
    "With PostgreSQL: registry, ingest": ("registry", "ingest"),
    "Registry": ("registry",),
    "Puller": ("puller",),
    "Ingest": ("ingest",),
    "Client": ("client",),
}
MONITORING: Final = ("one-of-monitoring", "two-of-monitoring")
"""Tokens for a client's metrics, while one takes the place of the other."""

Shape = tuple[str, frozenset[str]]
"""Type and labels."""


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses are short."""
    monkeypatch.setattr(shared.rabbitmq.holding, "_FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr(shared.rabbitmq.holding, "_LONGEST_PAUSE_S", 0.05)
    monkeypatch.setattr(shared.rabbitmq.holding, "REQUEUE_PAUSE_S", 0.0)
    monkeypatch.setattr(services.ingest.writer, "RETRY_S", 0.1)


class Service:
    """One that runs, by HTTP."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self.http = http

    async def text(self, **headers: str) -> str:
        """All metrics."""
        answer = await self.http.get("/metrics", headers=headers)
        assert answer.status_code == 200, answer.text
        return answer.text

    async def values(self) -> dict[str, float]:
        """Those that are ours, by series, without what is 0."""
        lines = [line.rpartition(" ") for line in (await self.text()).splitlines() if line.startswith("pullsync_")]
        return {series: float(value) for series, _, value in lines if float(value)}

    async def series(self) -> set[str]:
        """All that there are, of 0, too."""
        return {line.rpartition(" ")[0] for line in (await self.text()).splitlines() if not line.startswith("#")}

    async def shapes(self) -> dict[str, Shape]:
        """Type and labels of each that is ours."""
        found: dict[str, Shape] = {}
        for family in text_string_to_metric_families(await self.text()):
            name = f"{family.name}_total" if family.type == "counter" else family.name
            if name.startswith("pullsync_"):
                labels = {label for sample in family.samples for label in sample.labels}
                found[name] = (family.type, frozenset(labels - {"le"}))
        return found

    async def counts(self, expected: Mapping[str, float]) -> None:
        """Wait until these series have these values."""

        async def so_it_is() -> bool:
            values = await self.values()
            return {series: values.get(series, 0.0) for series in expected} == dict(expected)

        try:
            await eventually(so_it_is)
        except AssertionError:
            values = await self.values()
            assert {series: values.get(series, 0.0) for series in expected} == dict(expected)


@asynccontextmanager
async def running(app: Any, *, ready: bool = True) -> AsyncIterator[Service]:
    """The service with its lifespan, when it is ready."""
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://localhost") as http,
    ):
        if ready:

            async def is_ready() -> bool:
                return (await http.get("/health/ready")).is_success

            await eventually(is_ready)
        yield Service(http)


def registry(database: Database, broker_url: str, **settings: Any) -> Any:
    """The whole registry."""
    known = {"database_url": database.registry_url, "rabbitmq_url": broker_url}
    return build_registry(RegistrySettings.model_validate({**known, **settings}))


def ingest(database: Database, broker_url: str) -> Any:
    """The whole ingest."""
    return build_ingest(
        IngestSettings(database_url=database.ingest_url, rabbitmq_url=broker_url, pull_sync_timeout=3.0)
    )


def puller(broker_url: str) -> Any:
    """The whole puller, whose registry is away."""
    return build_puller(
        PullerSettings(rabbitmq_url=broker_url, backend_url="http://127.0.0.1:9", pull_sync_timeout=0.5)
    )


def client(folder: Path, **settings: Any) -> Any:
    """The whole client, whose registry is away."""
    paths = {"client_database": folder / "captures.sqlite3", "client_import_file": folder / "none.json"}
    return build_client(ClientSettings(**{**paths, "backend_url": "http://127.0.0.1:9", **settings}))


@asynccontextmanager
async def publishing(broker_url: str) -> AsyncIterator[Callable[[Any, str], Any]]:
    """Publishes messages, or bytes that are none, as another service would."""
    async with await aio_pika.connect(broker_url) as connection:
        channel = await connection.channel()
        exchange = await channel.get_exchange("pullsync", ensure=False)

        async def publish(message: Any, routing_key: str) -> None:
            body = message if isinstance(message, bytes) else encoded(message)
            await exchange.publish(aio_pika.Message(body, message_id=str(uuid4()), type="a type of ours"), routing_key)

        yield publish


def batch(*capture_ids: str, unreadable: int = 0, url: str = "http://127.0.0.1:9", user: str = "ash") -> CaptureBatch:
    """One user's pull of a moment ago, with captures of an hour before."""
    now = datetime.now(UTC)
    captures = tuple(
        PulledCapture(
            capture_id=capture_id,
            pokemon_id=25,
            pokemon_name="pikachu",
            action="capture",
            timestamp=now - timedelta(hours=1),
        )
        for capture_id in capture_ids
    )
    items = tuple(
        UnreadableItem(capture_id=f"bad {number}", problem="it is none", raw=f"[{number}]")
        for number in range(unreadable)
    )
    pull = Pull(
        pull_id=uuid4(),
        user_id=user,
        client_url=url,
        pulled_at=now,
        duration_s=0.1,
        pending=len(captures),
        more_pending=False,
        captures=captures,
        unreadable=items,
    )
    return CaptureBatch(pulls=(pull,))


def documented(service: str) -> dict[str, Shape]:
    """What `docs/metrics.md` says of it."""
    parts = re.split(r"^## (.+)$", METRICS.read_text(encoding="utf-8"), flags=re.MULTILINE)
    sections = dict(zip(parts[1::2], parts[2::2], strict=True))
    assert set(SECTIONS) < set(sections)
    rows = [row for name, services in SECTIONS.items() if service in services for row in ROW.findall(sections[name])]
    assert len({name for name, _, _ in rows}) == len(rows)
    return {name: (kind, frozenset(re.findall(r"`(\w+)`", labels))) for name, kind, labels in rows}


async def test_the_tables_say_what_is_exposed(database: Database, broker_url: str, tmp_path: Path) -> None:
    """Every metric of every service with its type and its labels, and none that there is not."""
    apps = {
        "registry": registry(database, broker_url),
        "puller": puller(broker_url),
        "ingest": ingest(database, broker_url),
        "client": client(tmp_path),
    }
    for name, app in apps.items():
        async with running(app, ready=name != "client") as service:
            await service.http.get("/")  # so that there is a request to count
            assert await service.shapes() == documented(name), name


async def test_ingest_counts_what_becomes_of_captures(database: Database, broker_url: str) -> None:
    """New ones, those that came again, and what is none; their ages, commits, messages and acknowledgements."""
    answer = OK + b"content-length: 2\r\nconnection: close\r\n\r\n{}"
    async with AsyncExitStack() as stack:
        service = await stack.enter_async_context(running(ingest(database, broker_url)))
        publish = await stack.enter_async_context(publishing(broker_url))
        url = await stack.enter_async_context(served(answer))
        first = batch("a", "b", unreadable=3, url=url)
        await publish(first, CAPTURE_BATCHES.routing())
        handled = 'pullsync_messages_consumed_total{message="CaptureBatch",result="handled"}'
        await service.counts({handled: 1})
        await publish(first, CAPTURE_BATCHES.routing())
        await service.counts({handled: 2})
        await publish(batch("b", "c", url=url), CAPTURE_BATCHES.routing())
        await publish(b"no message", CAPTURE_BATCHES.routing())
        await service.counts(
            {
                handled: 3,
                'pullsync_messages_consumed_total{message="CaptureBatch",result="unreadable"}': 1,
                'pullsync_message_consume_seconds_count{message="CaptureBatch"}': 4,
                'pullsync_captures_total{outcome="stored"}': 3,
                'pullsync_captures_total{outcome="duplicate"}': 3,
                'pullsync_captures_total{outcome="quarantined"}': 6,
                'pullsync_commits_total{result="committed"}': 3,
                "pullsync_commit_rows_sum": 12,
                "pullsync_commit_seconds_count": 3,
                "pullsync_store_delay_seconds_count": 3,
                "pullsync_capture_age_seconds_count": 3,
                'pullsync_capture_age_seconds_bucket{le="900.0"}': 0,
                'pullsync_capture_age_seconds_bucket{le="21600.0"}': 3,
                'pullsync_acknowledgements_total{outcome="acknowledged"}': 3,
                'pullsync_messages_published_total{message="AcknowledgeCaptures",result="confirmed"}': 3,
                "pullsync_broker_ready": 1,
                "pullsync_database_up": 1,
                "pullsync_database_connections_max": 7,
            }
        )
        found = await service.values()
        assert found['pullsync_messages_published_total{message="PullSettled",result="confirmed"}'] >= 1
        used, idle = (found.get(f'pullsync_database_connections{{state="{state}"}}', 0) for state in ("used", "idle"))
        assert 1 <= used + idle <= 7


async def test_ingest_counts_clients_that_can_not_be_told(database: Database, broker_url: str) -> None:
    """Tried again later, and given up after the last try."""
    async with running(ingest(database, broker_url)) as service, publishing(broker_url) as publish:
        told = Acknowledgement(user_id="ash", client_url="http://127.0.0.1:9", capture_ids=("a",), outcome=None)
        for attempts in (0, 3, 3):
            await publish(AcknowledgeCaptures(acknowledgements=(told,), attempts=attempts), ACKNOWLEDGEMENTS.routing())
        await service.counts(
            {
                'pullsync_acknowledgements_total{outcome="retried"}': 1,
                'pullsync_acknowledgements_total{outcome="given_up"}': 2,
            }
        )


async def test_the_puller_counts_pulls_by_outcome_and_reason(broker: Any, broker_url: str) -> None:
    """Whatever a client sends: nothing of it is a label."""
    del broker  # which has made the queues that a puller publishes to
    captures = [
        {
            "capture_id": f'evil{{}}"{number}',
            "pokemon_id": 1,
            "action": "capture",
            "timestamp": "2026-01-31T12:00:00Z",
        }
        for number in range(3)
    ]
    nothing, some = ({"user_id": 'u"}\n 1', "captures": items} for items in ([], captures))
    answers = {
        "nothing": json.dumps(nothing).encode(),
        "some": json.dumps(some).encode(),
        "evil": b'pullsync_evil{evil="1"} 1',
    }
    async with AsyncExitStack() as stack:
        service = await stack.enter_async_context(running(puller(broker_url)))
        publish = await stack.enter_async_context(publishing(broker_url))
        heads = {name: OK + b"content-length: %d\r\n\r\n" % len(body) + body for name, body in answers.items()}
        urls = {name: await stack.enter_async_context(served(answer)) for name, answer in heads.items()}
        urls |= {"away": f"http://127.0.0.1:{free_port()}", "forbidden": "http://169.254.169.254"}
        targets = tuple(
            PullTarget(
                pull_id=uuid4(),
                user_id='u"}\n 1',
                client_url=url,
                lease_expires_at=datetime.now(UTC) + timedelta(hours=1),
            )
            for url in urls.values()
        )
        await publish(PullRequested(targets=targets), PULL_REQUESTED.routing())
        await service.counts(
            {
                'pullsync_pulls_total{outcome="nothing",reason=""}': 1,
                'pullsync_pulls_total{outcome="handed_over",reason=""}': 1,
                'pullsync_pulls_total{outcome="failed",reason="bad_payload"}': 1,
                'pullsync_pulls_total{outcome="failed",reason="connect"}': 1,
                'pullsync_pulls_total{outcome="failed",reason="forbidden_address"}': 1,
                'pullsync_pull_seconds_count{outcome="failed"}': 3,
                "pullsync_pull_answer_bytes_count": 3,
                "pullsync_pull_answer_bytes_sum": sum(map(len, answers.values())),
                "pullsync_pull_captures_sum": 3,
                "pullsync_pull_captures_count": 1,
                "pullsync_pull_lateness_seconds_count": 5,
                "pullsync_batch_pulls_sum": 1,
                "pullsync_batch_captures_sum": 3,
                "pullsync_pulls_under_way": 0,
                "pullsync_pulls_limit": 500,
                'pullsync_messages_published_total{message="CaptureBatch",result="confirmed"}': 1,
                'pullsync_messages_consumed_total{message="PullRequested",result="handled"}': 1,
                "pullsync_broker_ready": 1,
            }
        )

        async def claimed() -> bool:
            found = await service.values()
            return found.get('pullsync_claims_total{result="failed"}', 0) == found.get("pullsync_claim_seconds_count")

        await eventually(claimed)  # when the timer comes to it
        assert "evil" not in await service.text()


async def test_the_registry_tells_what_it_knows_of_clients(database: Database, broker_url: str) -> None:
    """By state, with runs, the timer, and what pullers and ingests told it."""
    healthy = OK + b'content-type: application/json\r\ncontent-length: 20\r\n\r\n{"status":"healthy"}'
    async with AsyncExitStack() as stack:
        service = await stack.enter_async_context(running(registry(database, broker_url)))
        publish = await stack.enter_async_context(publishing(broker_url))
        url = await stack.enter_async_context(served(healthy))
        for user in ("ash", "misty", "brock"):
            answer = await service.http.post(f"{API}/register-client", json={"client_url": url, "user_id": user})
            assert answer.status_code == 200, answer.text
        await service.http.patch(f"{API}/clients/brock", json={"paused": True})
        await service.http.post(f"{API}/sync-all-background")
        outcomes = [
            PullOutcome(pull_id=uuid4(), user_id="ash", outcome=Outcome.NOTHING),
            PullOutcome(pull_id=uuid4(), user_id="ash", outcome=Outcome.STORED, stored=3),
            PullOutcome(pull_id=uuid4(), user_id="ash", outcome=Outcome.STORED, reason=Reason.UNACKNOWLEDGED),
            *(
                PullOutcome(pull_id=uuid4(), user_id="ash", outcome=Outcome.FAILED, reason=Reason.TIMEOUT, error="evil")
                for _ in range(2)
            ),
        ]
        await publish(PullSettled(outcomes=tuple(outcomes)), PULL_SETTLED.routing())
        await service.counts(
            {
                'pullsync_clients{state="active"}': 2,
                'pullsync_clients{state="paused"}': 1,
                'pullsync_clients{state="failing"}': 0,
                "pullsync_pulls_in_flight": 2,
                "pullsync_sync_runs_unfinished": 1,
                "pullsync_scheduler_running": 1,
                "pullsync_scheduler_interval_seconds": 30,
                "pullsync_database_up": 1,
                'pullsync_pulls_settled_total{outcome="nothing",reason=""}': 1,
                'pullsync_pulls_settled_total{outcome="stored",reason=""}': 1,
                'pullsync_pulls_settled_total{outcome="stored",reason="unacknowledged"}': 1,
                'pullsync_pulls_settled_total{outcome="failed",reason="timeout"}': 2,
                'pullsync_messages_published_total{message="PullRequested",result="confirmed"}': 1,
                f'pullsync_http_requests_total{{method="POST",route="{API}/register-client",status="200"}}': 3,
            }
        )
        await service.http.post(f"{API}/scheduler/stop")
        await service.counts({"pullsync_scheduler_running": 0})
        assert "evil" not in await service.text()


async def test_what_a_caller_sends_makes_no_new_series(database: Database, broker_url: str) -> None:
    """Neither his paths, nor his methods, users or headers, nor what is refused before a route is found."""
    limited = registry(database, broker_url, registry_limit_syncs="1/minute")
    async with running(limited) as service:
        http = service.http

        async def send() -> None:
            for number in range(20):
                await http.get(f"/evil-{number}", headers={"x-evil": f"evil-{number}"})
                await http.request(f"EVIL{number}", "/health")
                await http.get(f"{API}/clients/evil-{number}")
                await http.get(f"{API}/runs/evil-{number}")
                await http.delete("/api/v1/ranking")
                await http.post(f"{API}/sync-recent?wait_s=0&evil={number}")
                await http.post(
                    f"{API}/register-client",
                    json={"client_url": f"http://127.0.0.1:9/evil-{number}", "user_id": "evil"},
                )
                await http.post("/", content=b"x" * 300_000)

        await service.text()
        await send()
        before = await service.series()
        await send()
        after = await service.series()
        assert after == before
        text = await service.text()
        assert "evil" not in text.lower()
        series = [name for name in after if name.startswith("pullsync_http_requests_total{")]
        found = {tuple(re.findall(r'="([^"]*)"', name)) for name in series}
        assert found >= {
            ("GET", "unknown", "404"),
            ("other", "unknown", "405"),
            ("GET", f"{API}/clients/{{user_id}}", "404"),
            ("GET", f"{API}/runs/{{run_id}}", "422"),
            ("DELETE", "unknown", "405"),
            ("POST", f"{API}/sync-recent", "429"),
            ("POST", "unknown", "413"),
        }


async def test_metrics_of_the_registry_take_a_reader(database: Database, broker_url: str) -> None:
    """Where tokens are set; they are limited by nothing else, and no page of a named origin reads them."""
    read, service_token = "of-a-reading-operator", "of-a-puller-or-two"
    guarded = {
        "operator_tokens": f"read:{read}",
        "service_tokens": service_token,
        "pull_token_keys": "a-key-of-which-clients-tokens-are-made",
        "registry_cors_origins": "https://dashboard.example",
        "registry_limit_syncs": "1/minute",
        "registry_limit_registrations": "1/minute",
    }
    async with running(registry(database, broker_url, **guarded)) as service:
        assert (await service.http.get("/metrics")).status_code == 401
        assert (await service.http.get("/metrics", headers=authorization(service_token))).status_code == 401
        origin = {"origin": "https://dashboard.example"}
        for _ in range(5):
            answer = await service.http.get("/metrics", headers={**authorization(read), **origin})
            assert answer.status_code == 200
            assert not any(name.startswith(("access-control", "ratelimit")) for name in answer.headers)
        assert "access-control-allow-origin" in (await service.http.get("/health", headers=origin)).headers


@asynccontextmanager
async def linked(database: Database) -> AsyncIterator[tuple[Database, Link]]:
    """The same database by way of a link that can be cut."""
    parts = urlsplit(database.registry_url)
    link = Link("postgres", [parts.port or 5432])

    def moved(url: str) -> str:
        found = urlsplit(url)
        return urlunsplit(found._replace(netloc=f"{found.netloc.rpartition(':')[0]}:{link.port}"))

    await link.open()
    try:
        yield (
            Database(
                admin_url=database.admin_url,
                registry_url=moved(database.registry_url),
                ingest_url=moved(database.ingest_url),
            ),
            link,
        )
    finally:
        await link.close()


@pytest.mark.parametrize("silent", [False, True], ids=["refused", "silent"])
@pytest.mark.parametrize("build", [registry, ingest])
async def test_an_outage_of_postgres_fails_no_scrape(
    database: Database,
    broker_url: str,
    build: Callable[..., Any],
    silent: bool,  # noqa: FBT001 - a column
) -> None:
    """What is read out of it is absent, all else is there; and when it is back, everything."""
    async with linked(database) as (reached, link), running(build(reached, broker_url)) as service:
        before = await service.shapes()
        assert (await service.values())["pullsync_database_up"] == 1
        if silent:
            link.stall()
        else:
            await link.refuse()
            link.cut(SystemRandom())
        await service.counts({"pullsync_database_up": 0, "pullsync_broker_ready": 1})
        during = await service.shapes()
        read = {
            "pullsync_clients",
            "pullsync_pulls_in_flight",
            "pullsync_captures_pending",
            "pullsync_scheduler_running",
            "pullsync_scheduler_interval_seconds",
        }
        read |= {"pullsync_schedule_lag_seconds", "pullsync_sync_runs_unfinished", "pullsync_quarantined_items"}
        read |= {"pullsync_database_writable"}
        assert set(before) - set(during) == set(before) & read
        link.resume()
        await link.open()
        await service.counts({"pullsync_database_up": 1})
        assert set(await service.shapes()) >= set(before)


async def test_before_ingest_has_tables_only_its_number_is_absent(database: Database, broker_url: str) -> None:
    """The registry may be there first."""
    async with running(registry(database, broker_url)) as service:
        assert "pullsync_quarantined_items" in await service.shapes()
        await execute(database.admin_url, "ALTER SCHEMA captures RENAME TO elsewhere")
        found = await service.shapes()
        assert "pullsync_quarantined_items" not in found
        assert "pullsync_clients" in found
        assert (await service.values())["pullsync_database_up"] == 1


async def execute(url: str, statement: str) -> None:
    """One statement, on a connection of its own."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


async def test_messages_that_are_held_are_counted_while_they_are(database: Database, broker_url: str) -> None:
    """Without a result until they have one; commits that failed are counted, and the captures once."""
    async with (
        linked(database) as (reached, link),
        running(ingest(reached, broker_url)) as service,
        publishing(broker_url) as publish,
    ):
        await link.refuse()
        link.cut(SystemRandom())
        for number in range(3):
            await publish(batch("a", user=f"user {number}"), CAPTURE_BATCHES.routing())
        held = 'pullsync_messages_held{message="CaptureBatch"}'
        handled = 'pullsync_messages_consumed_total{message="CaptureBatch",result="handled"}'
        await service.counts({held: 3, handled: 0})
        assert (await service.values())['pullsync_commits_total{result="failed"}'] >= 1
        await link.open()
        await service.counts({held: 0, handled: 3, 'pullsync_captures_total{outcome="stored"}': 3})


async def test_the_client_tells_of_its_captures(tmp_path: Path) -> None:
    """How many are pending and acknowledged."""
    async with running(client(tmp_path), ready=False) as service:
        for number in range(1, 4):
            answer = await service.http.post(
                "/api/client/add-capture", json={"pokemon_id": number, "pokemon_name": "x", "action": "capture"}
            )
        capture_id = answer.json()["capture"]["capture_id"]
        await service.http.post("/api/client/acknowledge", json={"capture_ids": [capture_id]})
        await service.counts(
            {
                'pullsync_client_captures{state="pending"}': 2,
                'pullsync_client_captures{state="acknowledged"}': 1,
                "pullsync_client_registered": 0,
                'pullsync_http_requests_total{method="POST",route="/api/client/add-capture",status="200"}': 3,
            }
        )


@pytest.mark.parametrize("tokens", ["", ",".join(MONITORING)], ids=["without", "with"])
@pytest.mark.parametrize("is_open", [True, False], ids=["open", "closed"])
async def test_who_may_read_the_metrics_of_a_client(tmp_path: Path, tokens: str, is_open: bool) -> None:  # noqa: FBT001 - a column
    """Whoever may pull; with tokens of its own, whoever has one, and nobody else."""
    pull = "pull_" + "x" * 43
    registration = {"pull_token": None if is_open else pull, "client_token": None if is_open else "client_" + "x" * 43}
    body = json.dumps(registration).encode()
    answer = (
        OK + b"content-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n" % len(body) + body
    )
    async with AsyncExitStack() as stack:
        url = await stack.enter_async_context(served(answer))
        app = client(tmp_path, backend_url=url, client_metrics_tokens=tokens)
        service = await stack.enter_async_context(running(app, ready=False))
        http = service.http

        async def status(token: str | None, path: str = "/metrics") -> int:
            return (await http.get(path, headers=authorization(token))).status_code

        async def told() -> bool:
            return await status(None, "/api/client/sync-data") == (200 if is_open else 401)

        await eventually(told)
        expected = {
            None: not tokens and is_open,
            pull: not tokens,
            "pull_" + "y" * 43: not tokens and is_open,
            MONITORING[0]: bool(tokens) or is_open,
            MONITORING[1]: bool(tokens) or is_open,
            "another-of-monitoring": not tokens and is_open,
        }
        assert {token: await status(token) == 200 for token in expected} == expected
        refused = await http.get("/metrics", headers=authorization("another-of-monitoring"))
        if refused.status_code != 200:
            assert refused.status_code == 401
            assert refused.headers["www-authenticate"] == "Bearer"
            assert list(refused.json()) == ["error"]
        if tokens and not is_open:
            assert await status(MONITORING[0], "/api/client/sync-data") == 401
