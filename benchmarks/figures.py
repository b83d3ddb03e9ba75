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

    @property
    def median(self) -> float:
        """Of the runs."""
        return statistics.median(self.runs)

    @property
    def verdict(self) -> str:
        """Whether the goal is reached by the median; empty without a goal."""
        if self.goal is None:
            return ""
        return "yes" if self.goal.reached(self.median) else "**no**"

    def row(self) -> str:
        """A line of the Markdown table."""
        spread = f"{_short(min(self.runs))} to {_short(max(self.runs))}" if len(self.runs) > 1 else ""
        cells = (self.what, _short(self.median), spread, str(self.goal or ""), self.verdict)
        return f"| {' | '.join(cells)} |"


HEAD = "| figure | median | of the runs | goal | reached |\n|---|---|---|---|---|"


def _short(value: float) -> str:
    """Three digits that count, and no more than are meant."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"  # noqa: PLR2004 - as it reads best
