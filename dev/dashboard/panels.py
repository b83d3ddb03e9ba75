"""What a panel of the dashboard is, without anything of Grafana's own form."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Query:
    """What Prometheus is asked, and how each answer is called."""

    expression: str
    legend: str = ""


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One picture."""

    title: str
    description: str
    queries: tuple[Query, ...]
    kind: Literal["stat", "timeseries", "table"] = "timeseries"
    unit: str = "short"
    """By Grafana's name."""
    red_from: float | None = None
    """From this value on something is wrong."""
    if_nothing: str = "no data"
    """What stands there when the query has no answer."""
    stacking: Literal["none", "normal"] = "none"


@dataclass(frozen=True, kw_only=True)
class Row:
    """Panels that belong together, in lines that are as wide as the page."""

    title: str
    height: int
    lines: tuple[tuple[Panel, ...], ...]

    @property
    def panels(self) -> tuple[Panel, ...]:
        """All of them."""
        return tuple(panel for line in self.lines for panel in line)


def quantiles(metric: str, by: str = "le") -> tuple[Query, ...]:
    """Half of all, and all but one in a hundred."""
    buckets = f"sum by ({by}) (rate({metric}_bucket[$__rate_interval]))"
    others = by.removesuffix("le").rstrip(", ")
    name = f"{{{{{others}}}}} " if others else ""
    return tuple(
        Query(f"histogram_quantile({part}, {buckets})", f"{name}{words}")
        for part, words in ((0.5, "half"), (0.99, "99%"))
    )


def rate(metric: str, by: str, legend: str, where: str = "") -> Query:
    """How often a second, by these labels; `where` chooses some by theirs."""
    return Query(f"sum by ({by}) (rate({metric}{where}[$__rate_interval]))", legend)
