"""What is exposed follows the conventions, no label is foreign, and the core does not know of it. Without servers."""

from __future__ import annotations

import asyncio
import re
import tomllib
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final
from uuid import uuid4

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.core import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as prometheus
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Route

import shared.observing.http_metrics
import shared.observing.metrics
from dev import asyncapi
from services.client.app import build_app as build_client
from services.client.settings import ClientSettings
from services.ingest.app import build_app as build_ingest
from services.ingest.incoming import ReceivedPull
from services.ingest.metrics import IngestMetrics, times_of_new
from services.ingest.settings import IngestSettings
from services.puller.app import build_app as build_puller
from services.puller.settings import PullerSettings
from services.registry.app import build_app as build_registry
from services.registry.settings import RegistrySettings
from shared.contracts.messages import PulledCapture, UnreadableItem
from shared.observing.http_metrics import Cors, CountRequests, RequestMetrics
from shared.observing.message_metrics import MESSAGE_OF
from shared.observing.metrics import ManyHistogram, Metrics
from shared.version import VERSION

ROOT: Final = Path(__file__).parents[2]
SERVICES: Final[dict[str, Callable[[], Any]]] = {
    "registry": lambda: build_registry(RegistrySettings()),
    "puller": lambda: build_puller(PullerSettings()),
    "ingest": lambda: build_ingest(IngestSettings()),
    "client": lambda: build_client(ClientSettings()),
}
OPENMETRICS: Final = {"accept": "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"}
LABELS: Final = {
    *(
        "service",
        "version",
        "message",
        "result",
        "state",
        "method",
        "route",
        "status",
        "outcome",
        "reason",
        "kind",
        "le",
    ),
    *("generation", "implementation", "major", "minor", "patchlevel"),  # of Python
}
UNITS: Final = re.compile(r"_(seconds|bytes|info|total|captures|pulls|rows|items)$")
ABBREVIATED: Final = re.compile(
    r"_(ms|s|sec|secs|milliseconds?|minutes?|hours?|days?|kb|mb|kib|mib|percent|gauge|counter|histogram)(_|$)"
)
NOON: Final = datetime(2026, 1, 31, 12, tzinfo=UTC)

every_service = pytest.mark.parametrize("service", SERVICES)


async def scrape(app: Any, *, path: str = "/metrics", **headers: str) -> httpx.Response:
    """One scrape of an app that was not started."""
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as http:
        answer = await http.get(path, headers=headers)
    assert answer.status_code == 200, answer.text
    return answer


def values(text: str) -> dict[str, float]:
    """Each series that is ours, as it is written, with its value."""
    lines = [line.rpartition(" ") for line in text.splitlines() if line.startswith("pullsync_")]
    return {series: float(value) for series, _, value in lines}


async def families(service: str) -> list[Metric]:
    """What the service exposes, as Prometheus reads it."""
    return list(prometheus((await scrape(SERVICES[service]())).text))


@every_service
async def test_names_follow_the_conventions(service: str) -> None:
    """As `promtool check metrics` asks for: help, base units, `_total` for counters and for nothing else."""
    found = await families(service)
    assert len(found) > 10
    for family in found:
        name = family.name if family.type != "counter" else f"{family.name}_total"
        assert re.fullmatch(r"(pullsync|process|python)(_[a-z]+)+", name), name
        assert not ABBREVIATED.search(name), name
        assert re.fullmatch(r"[A-Z].{8,110}\.|.*[^.]", family.documentation), name
        assert family.type in {"counter", "gauge", "histogram"}, name
        assert name.endswith("_total") == (family.type == "counter"), name
        if family.type == "histogram":
            assert UNITS.search(name), name
        if name.startswith("pullsync_"):
            assert family.documentation.endswith("."), name


@every_service
async def test_labels_are_of_a_fixed_set(service: str) -> None:
    """And no label is in the name, nor the same for all series but those of a histogram and an info."""
    for family in await families(service):
        names = {name for sample in family.samples for name in sample.labels}
        assert names <= LABELS, family.name
        assert not any(f"_by_{name}" in family.name for name in names)
        assert len({frozenset(sample.labels) - {"le"} for sample in family.samples}) <= 1, family.name


@every_service
async def test_both_formats_tell_the_same(service: str) -> None:
    """OpenMetrics to whoever takes it, the older text to all others; each series once, and none of when it was made."""
    app = SERVICES[service]()
    text, opened = await scrape(app), await scrape(app, **OPENMETRICS)
    assert text.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert opened.headers["content-type"] == "application/openmetrics-text; version=1.0.0; charset=utf-8"
    assert opened.text.endswith("# EOF\n")
    assert list(openmetrics(opened.text))  # type: ignore[no-untyped-call] # the library has no types there
    lines = [line.rpartition(" ")[0] for line in text.text.splitlines() if not line.startswith("#")]
    assert len(set(lines)) == len(lines)
    assert "_created" not in text.text + opened.text
    assert set(values(text.text)) - {series for series in values(text.text) if "http_request" in series} <= set(
        values(opened.text)
    )


@pytest.mark.parametrize(
    "accept",
    [
        "application/openmetrics-text;version=abc",
        "application/openmetrics-text;version=1.0.0.evil\xe9",
        "application/openmetrics-text;escaping=;;=;",
        "text/plain;version=x.y",
        "text/plain;version=9.9.9;escaping=dots",
        "*/*;q=none",
        "\xff",
        "," * 5_000,
    ],
)
async def test_no_accept_header_is_an_error(accept: str) -> None:
    """It chooses one of two formats, and nothing of it is in the answer."""
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(SERVICES["puller"]()), base_url="http://localhost"
    ) as http:
        answer = await http.get("/metrics", headers=[(b"accept", accept.encode("latin-1"))])
    assert answer.status_code == 200
    assert answer.headers["content-type"] in {
        "text/plain; version=0.0.4; charset=utf-8",
        "application/openmetrics-text; version=1.0.0; charset=utf-8",
    }


@every_service
async def test_it_is_told_who_speaks(service: str) -> None:
    """The service and its version, which is that of the project."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["version"] == VERSION
    text = (await scrape(SERVICES[service]())).text
    assert f'pullsync_build_info{{service="{service}",version="{VERSION}"}} 1.0' in text


async def test_two_of_a_kind_do_not_share_their_metrics() -> None:
    """In one process, as in tests."""
    first, second = SERVICES["client"](), SERVICES["client"]()
    for _ in range(3):
        await scrape(first)
    assert (
        values((await scrape(first)).text)['pullsync_http_requests_total{method="GET",route="/metrics",status="200"}']
        == 3
    )
    assert not any("http_requests_total{" in series for series in values((await scrape(second)).text))


def test_only_modules_named_metrics_know_the_library() -> None:
    """The core tells observers, which import nothing of it."""
    found = {
        str(path.relative_to(ROOT))
        for folder in ("services", "shared")
        for path in (ROOT / folder).rglob("*.py")
        if re.search(r"\bprometheus", path.read_text(encoding="utf-8"))
    }
    assert {path for path in found if not path.endswith("metrics.py")} == set()
    assert len(found) > 5


def test_each_queue_has_the_message_that_is_documented() -> None:
    """The label of what is consumed is ours, not the delivery's own word."""
    assert {flow.queue.name: flow.message.__name__ for flow in asyncapi.FLOWS} == MESSAGE_OF


# What is asked of others at a scrape.


async def test_a_check_that_takes_too_long_does_not_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    """The scrape is answered."""
    monkeypatch.setattr(shared.observing.metrics, "READ_WITHIN_S", 0.01)
    metrics = Metrics(service="test")

    async def hang() -> bool:
        await asyncio.Event().wait()
        return True

    async def holds() -> bool:
        return True

    metrics.add_check("pullsync_hung", "A check.", hang)
    metrics.add_check("pullsync_good", "A check.", holds)
    found = values((await scrape(Starlette(routes=[metrics.route()]))).text)
    assert (found["pullsync_hung"], found["pullsync_good"]) == (0, 1)


async def test_scrapes_at_once_ask_once() -> None:
    """However many come, others have one question at a time; one who goes does not take the answer from the rest."""
    metrics, asked, go = Metrics(service="test"), 0, asyncio.Event()

    async def ask() -> Iterable[Metric]:
        nonlocal asked
        asked += 1
        await go.wait()
        return [shared.observing.metrics.gauge("pullsync_asked", "How often.", asked)]

    metrics.add_source(ask)
    app = Starlette(routes=[metrics.route()])
    scrapes = [asyncio.create_task(scrape(app)) for _ in range(20)]
    await asyncio.sleep(0.05)
    scrapes[0].cancel()
    await asyncio.sleep(0)
    go.set()
    answers = await asyncio.gather(*scrapes[1:])
    assert {values(answer.text)["pullsync_asked"] for answer in answers} == {1}
    assert values((await scrape(app)).text)["pullsync_asked"] == 2


# Many values at once.


@given(st.lists(st.lists(st.floats(-10, 100) | st.sampled_from([0.0, 1.0, 5.0, 60.0]), max_size=30), max_size=5))
def test_many_values_are_counted_as_the_library_does(batches: Sequence[list[float]]) -> None:
    """Bucket by bucket, ends included; what is negative counts as 0."""
    bounds = (1.0, 5.0, 60.0)
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    many = ManyHistogram("x_seconds", "X.", buckets=bounds, registry=ours)
    one = Histogram("x_seconds", "X.", buckets=bounds, registry=theirs)
    for batch in batches:
        for value in batch:
            one.observe(max(0.0, value))
        many.observe_many(list(batch))
    for name, labels in samples(theirs):
        expected = theirs.get_sample_value(name, labels)
        assert ours.get_sample_value(name, labels) == pytest.approx(expected)
    assert {name for name, _ in samples(ours)} == {name for name, _ in samples(theirs)}


def samples(registry: CollectorRegistry) -> list[tuple[str, dict[str, str]]]:
    """Name and labels of each, but for when it was made."""
    found = [sample for family in registry.collect() for sample in family.samples]
    return [(sample.name, sample.labels) for sample in found if not sample.name.endswith("_created")]


def test_a_name_is_taken_once() -> None:
    """Also by a histogram of ours."""
    registry = CollectorRegistry()
    ManyHistogram("x_seconds", "X.", buckets=(1.0,), registry=registry)
    with pytest.raises(ValueError, match="Duplicated"):
        Histogram("x_seconds", "X.", registry=registry)


def pull(*ages_s: float, unreadable: int = 0, at: datetime = NOON) -> ReceivedPull:
    """Pulled at that time, with a capture made so long before it, each."""
    captures = tuple(
        PulledCapture(
            capture_id=str(number),
            pokemon_id=1,
            pokemon_name="bulbasaur",
            action="capture",
            timestamp=at - timedelta(seconds=age_s),
        )
        for number, age_s in enumerate(ages_s)
    )
    items = (UnreadableItem(capture_id=None, problem="none", raw="{}"),) * unreadable
    return ReceivedPull(pull_id=uuid4(), user_id="ash", received_at=at, captures=captures, unreadable=items)


def test_the_latest_captures_of_a_pull_are_taken_for_the_new_ones() -> None:
    """Since only their number is known; of pulls with nothing new none is taken."""
    pulls = [pull(30, 20, 10), pull(5, 50), pull(7), pull()]
    ages = [(NOON - made).total_seconds() for made in times_of_new(pulls, [2, 2, 0, 0])]
    assert ages == [20, 10, 5, 50]


async def test_a_commit_is_counted_once_whatever_is_in_it() -> None:
    """Items by what became of them, ages of what is new, a delay for each pull, and a clock ahead counts as now."""
    metrics = Metrics(service="ingest")
    now = datetime.now(UTC)
    pulls = [pull(4_000, 2_000, 0, at=now), pull(-3_600, unreadable=2, at=now + timedelta(hours=1))]
    IngestMetrics(metrics).committed(pulls, [1, 1], seconds=0.2)
    found = values((await scrape(Starlette(routes=[metrics.route()]))).text)
    assert {
        outcome: found[f'pullsync_captures_total{{outcome="{outcome}"}}']
        for outcome in ("stored", "duplicate", "quarantined")
    } == {"stored": 2, "duplicate": 2, "quarantined": 2}
    assert found['pullsync_commits_total{result="committed"}'] == 1
    assert found["pullsync_commit_rows_sum"] == 6
    assert found["pullsync_commit_seconds_sum"] == 0.2
    assert found["pullsync_store_delay_seconds_count"] == 2
    assert found["pullsync_capture_age_seconds_count"] == 2
    assert found["pullsync_capture_age_seconds_sum"] < 1_000


# HTTP.


clock: Final = [0.0]
"""For an app that takes an hour."""


def web(metrics: Metrics) -> Starlette:
    """An app with all kinds of answers."""

    async def plain(_request: Request) -> PlainTextResponse:
        return PlainTextResponse("fine")

    async def fail(_request: Request) -> PlainTextResponse:
        message = "a bug"
        raise RuntimeError(message)

    async def events() -> AsyncIterator[bytes]:
        yield b": one\n\n"
        clock[0] += 3_600.0
        yield b": two\n\n"

    async def stream(request: Request) -> StreamingResponse:
        media_type = "text/event-stream" if request.url.path == "/stream" else "text/plain"
        return StreamingResponse(events(), media_type=media_type)

    routes = [
        Route("/things/{name}", plain),
        Route("/things/{name}/parts/{part:int}", plain, methods=["POST"]),
        Route("/limited", plain, methods=["POST"]),
        Route("/fail", fail),
        Route("/stream", stream),
        Route("/download", stream),
        metrics.route(),
    ]
    counting = Middleware(CountRequests, requests=RequestMetrics(metrics))
    cors = Middleware(Cors, allow_origins=["*"], allow_methods=["*"])
    return Starlette(routes=routes, middleware=[counting, cors])


async def counted(*requests: tuple[str, str]) -> dict[str, float]:
    """What is counted after these."""
    app = web(Metrics(service="test"))
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://web") as http:
        for method, path in requests:
            await http.request(method, path)
    return values((await scrape(app)).text)


def by_series(found: dict[str, float], name: str) -> dict[str, float]:
    """Of that name, without it."""
    return {series.removeprefix(name): value for series, value in found.items() if series.startswith(f"{name}{{")}


async def test_requests_are_counted_by_the_template_of_their_route() -> None:
    """Whatever stands in the path; what no operation takes is one series by its method and status."""
    found = await counted(
        *(("GET", f"/things/{number}") for number in range(50)),
        ("POST", "/things/a/parts/7"),
        *(("GET", f"/{number}/x{{y}}") for number in range(50)),
        ("DELETE", "/things/a"),
        ("PROPFIND", "/things/a"),
        ("BREW", "/coffee"),
        ("GET", "/fail"),
        ("OPTIONS", "/limited"),
    )
    assert by_series(found, "pullsync_http_requests_total") == {
        '{method="GET",route="/things/{name}",status="200"}': 50,
        '{method="POST",route="/things/{name}/parts/{part}",status="200"}': 1,
        '{method="GET",route="unknown",status="404"}': 50,
        '{method="DELETE",route="unknown",status="405"}': 1,
        '{method="other",route="unknown",status="405"}': 1,
        '{method="other",route="unknown",status="404"}': 1,
        '{method="GET",route="/fail",status="500"}': 1,
        '{method="OPTIONS",route="unknown",status="405"}': 1,
    }
    assert sum(by_series(found, "pullsync_http_request_seconds_count").values()) == 106


async def test_who_is_refused_before_the_route_is_found_is_counted_by_his_path() -> None:
    """If it is one that has no parameter, and is known."""
    metrics = Metrics(service="test")

    async def refuse(scope: Any, receive: Any, send: Any) -> None:
        await PlainTextResponse("no", 403)(scope, receive, send)

    app = CountRequests(refuse, requests=RequestMetrics(metrics), literal_paths={"/limited"})
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://web") as http:
        for path in ("/limited", "/limited/else", "/LIMITED"):
            await http.post(path)
    found = values((await scrape(Starlette(routes=[metrics.route()]))).text)
    assert by_series(found, "pullsync_http_requests_total") == {
        '{method="POST",route="/limited",status="403"}': 1,
        '{method="POST",route="unknown",status="403"}': 2,
    }


async def test_an_event_stream_is_timed_to_its_begin(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else one that goes on for hours would hide all others, which are timed to their ends."""
    monkeypatch.setattr(shared.observing.http_metrics, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    clock[0] = 0.0
    found = await counted(("GET", "/stream"), ("GET", "/download"))
    assert by_series(found, "pullsync_http_request_seconds_sum") == {
        '{method="GET",route="/stream"}': 0.0,
        '{method="GET",route="/download"}': 3_600.0,
    }


async def test_metrics_stay_out_of_cors() -> None:
    """No page of another origin may read them, where all others may be read."""
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(web(Metrics(service="test"))), base_url="http://w"
    ) as http:
        origin = {"origin": "https://elsewhere.example"}
        assert "access-control-allow-origin" in (await http.get("/things/a", headers=origin)).headers
        asked = {**origin, "access-control-request-method": "GET"}
        assert (await http.options("/things/a", headers=asked)).status_code == 200
        answer = await http.get("/metrics", headers=origin)
        assert answer.status_code == 200
        assert not any(name.startswith("access-control") for name in answer.headers)
        assert (await http.options("/metrics", headers=asked)).status_code == 405
