"""Prometheus metrics of one service: a registry that its composition root makes, and `GET /metrics`.

What is measured knows nothing of this: the core tells observers, which are named so and do nothing by themselves, and a
service's `metrics.py` has those that count. No text from outside is ever the value of a label.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left, bisect_right
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from itertools import chain
from typing import Any, Final

from prometheus_client import CollectorRegistry, GCCollector, Info, PlatformCollector, ProcessCollector
from prometheus_client import exposition as text_format
from prometheus_client.core import GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.registry import Collector
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from shared.version import VERSION

METRICS_PATH: Final = "/metrics"
READ_WITHIN_S: Final = 2.0
"""For what must be asked of others at a scrape, which Prometheus gives up after 10 s."""
OPENMETRICS: Final = "application/openmetrics-text"

EXAMPLE: Final = """# HELP pullsync_pulls_in_flight Clients whose lease a pull holds.
# TYPE pullsync_pulls_in_flight gauge
pullsync_pulls_in_flight 3.0
"""
DOCUMENTED: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "description": "All metrics, as the caller takes them.",
        "content": {
            "text/plain": {"schema": {"type": "string"}, "example": EXAMPLE},
            OPENMETRICS: {"schema": {"type": "string"}, "example": f"{EXAMPLE}# EOF\n"},
        },
    }
}
"""The answer, for OpenAPI."""

Source = Callable[[], Awaitable[Iterable[Metric]]]
"""Asks others for metrics at a scrape: in a bounded time, and without raising when they are away."""
Check = Callable[[], Awaitable[bool]]


class Metrics:
    """All metrics of a service, with those of its process."""

    def __init__(self, *, service: str) -> None:
        self.registry = CollectorRegistry()
        """Where the service's own are made; a name can be taken once."""
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        Info("pullsync_build", "The service, and its version.", registry=self.registry).info(
            {"service": service, "version": VERSION}
        )
        self._sources: list[Source] = []
        self._look: asyncio.Task[list[Metric]] | None = None

    def add_source(self, source: Source) -> None:
        """Ask this one, too, at each scrape."""
        self._sources.append(source)

    def add_check(self, name: str, documentation: str, check: Check) -> None:
        """A gauge that is 1 while this holds, else 0; also when it is not known in time."""

        async def look() -> list[Metric]:
            try:
                async with asyncio.timeout(READ_WITHIN_S):
                    holds = await check()
            except TimeoutError:
                holds = False
            return [gauge(name, documentation, holds)]

        self.add_source(look)

    def route(self) -> Route:
        """To be mounted by an app that has no routes of another kind."""
        return Route(METRICS_PATH, self.answer)

    async def answer(self, request: Request) -> Response:
        """All metrics: in OpenMetrics where the caller takes that, else in Prometheus' older text format."""
        collected = _Collected(self.registry, await self._asked())
        if OPENMETRICS in request.headers.get("accept", ""):
            text = openmetrics.generate_latest(collected)  # type: ignore[no-untyped-call] # the library has no types there
            return _answer(text, openmetrics.CONTENT_TYPE_LATEST)
        return _answer(text_format.generate_latest(collected), text_format.CONTENT_TYPE_PLAIN_0_0_4)

    async def _asked(self) -> list[Metric]:
        """What the sources say; scrapes at the same time ask once, so that others have no more work by them."""
        if self._look is None or self._look.done():
            self._look = asyncio.create_task(self._ask())
        return await asyncio.shield(self._look)

    async def _ask(self) -> list[Metric]:
        return list(chain.from_iterable(await asyncio.gather(*(source() for source in self._sources))))


class ManyHistogram(Collector):
    """A histogram for tens of thousands of values a second: many are observed at once, at a fraction of the cost.

    (The library's own takes a microsecond for each, which all captures together would feel: see docs/metrics.md.)
    """

    def __init__(self, name: str, documentation: str, *, buckets: Sequence[float], registry: CollectorRegistry) -> None:
        """`buckets` are their upper ends, ascending, without infinity."""
        self._name, self._documentation = name, documentation
        self._bounds = (*map(float, buckets), float("inf"))
        self._labels = [*map(str, self._bounds[:-1]), "+Inf"]
        self._up_to = [0] * len(self._bounds)
        """How many values were not greater than each bound."""
        self._sum = 0.0
        registry.register(self)

    def observe_many(self, values: list[float]) -> None:
        """Count these, and leave them sorted; what is below 0, as clocks differ, counts as 0."""
        values.sort()
        if values and values[0] < 0:
            below = bisect_left(values, 0.0)
            values[:below] = [0.0] * below
        for place, bound in enumerate(self._bounds):
            self._up_to[place] += bisect_right(values, bound)
        self._sum += sum(values)

    def describe(self) -> list[Metric]:
        """Its name, without a value."""
        return [HistogramMetricFamily(self._name, self._documentation)]

    def collect(self) -> list[Metric]:
        """As it is now."""
        buckets = list(zip(self._labels, self._up_to, strict=True))
        return [HistogramMetricFamily(self._name, self._documentation, buckets=buckets, sum_value=self._sum)]


def gauge(name: str, documentation: str, value: float) -> Metric:
    """One value of this moment."""
    return GaugeMetricFamily(name, documentation, value=float(value))


def gauges(name: str, documentation: str, label: str, values: Iterable[tuple[str, float]]) -> Metric:
    """Values of this moment, by one label."""
    family = GaugeMetricFamily(name, documentation, labels=[label])
    for value_of_label, value in values:
        family.add_metric([value_of_label], float(value))
    return family


class _Collected:
    """The registry's families and some more, as the library writes them."""

    def __init__(self, registry: CollectorRegistry, asked: Iterable[Metric]) -> None:
        self._registry = registry
        self._asked = asked

    def collect(self) -> Iterator[Metric]:
        """All of them, without the times since when each child exists: they would double the text."""
        for family in chain(self._registry.collect(), self._asked):
            family.samples = [sample for sample in family.samples if not sample.name.endswith("_created")]
            yield family


def _answer(body: bytes, media_type: str) -> Response:
    return Response(body, media_type=media_type, headers={"cache-control": "no-store"})
