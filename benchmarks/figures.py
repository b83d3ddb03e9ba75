"""What was measured: ratios and shares, each from several runs, against what is to be reached."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Goal:
    """What a figure must not be below, or not be above."""

    bound: float
    sense: Literal[">=", "<="]

    def reached(self, value: float) -> bool:
        """Whether the value is on the right side, or just on the bound."""
        return value >= self.bound if self.sense == ">=" else value <= self.bound

    def __str__(self) -> str:
        return f"{'≥' if self.sense == '>=' else '≤'} {self.bound:g}"


def at_least(bound: float) -> Goal:
    """More is better."""
    return Goal(bound=bound, sense=">=")


def at_most(bound: float) -> Goal:
    """Less is better."""
    return Goal(bound=bound, sense="<=")


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One line of the table."""

    what: str
    """With its unit, if it has one."""
    runs: Sequence[float]
    goal: Goal | None = None
    """None for what is told beside."""
    in_each_run: bool = False
    """Whether every run must reach the goal, and not only the median: for what must never happen."""

    @property
    def median(self) -> float:
        """Of the runs."""
        return statistics.median(self.runs)

    @property
    def missed(self) -> bool:
        """Whether there is a goal, and it is not reached."""
        if self.goal is None:
            return False
        return not all(map(self.goal.reached, self.runs if self.in_each_run else [self.median]))

    def row(self) -> str:
        """A line of the Markdown table."""
        spread = f"{_short(min(self.runs))} to {_short(max(self.runs))}" if len(self.runs) > 1 else ""
        verdict = "" if self.goal is None else "**no**" if self.missed else "yes"
        cells = (self.what, _short(self.median), spread, str(self.goal or ""), verdict)
        return f"| {' | '.join(cells)} |"


HEAD = "| figure | median | of the runs | goal | reached |\n|---|---|---|---|---|"


def _short(value: float) -> str:
    """Three digits that count, and no more than are meant."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"  # noqa: PLR2004 - as it reads best


def ratios(ones: Sequence[float], others: Sequence[float]) -> list[float]:
    """Run by run."""
    return [one / other for one, other in zip(ones, others, strict=True)]


def late_99(values: Sequence[float]) -> float:
    """The 99th percentile."""
    return statistics.quantiles(values, n=100)[-1]
