"""What a check found. No I/O."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

State = Literal["ok", "warning", "problem", "skipped"]

_ORDER: Final = ("skipped", "ok", "warning", "problem")


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One check's result."""

    check: str
    state: State
    """`skipped`: it could not be looked at."""
    found: str
    """One sentence."""
    advice: str | None = None
    """What to do; for a skipped check what would allow it. A line each."""

    def data(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def ok(check: str, found: str) -> Finding:
    """All is as it should be."""
    return Finding(check=check, state="ok", found=found)


def warning(check: str, found: str, advice: str) -> Finding:
    """It works, and may not for long."""
    return Finding(check=check, state="warning", found=found, advice=advice)


def problem(check: str, found: str, advice: str) -> Finding:
    """It does not work."""
    return Finding(check=check, state="problem", found=found, advice=advice)


def skipped(check: str, found: str, advice: str) -> Finding:
    """It could not be looked at."""
    return Finding(check=check, state="skipped", found=found, advice=advice)


def worst(findings: Iterable[Finding]) -> State:
    """The state of all of them together."""
    return max((finding.state for finding in findings), key=_ORDER.index, default="skipped")
