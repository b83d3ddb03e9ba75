"""How long it took after each fault until work went on. No I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median

from tests.chaos.faults import Injected
from tests.chaos.plan import Kind

Passage = tuple[str, float, float]
"""A user, when he made a capture, and when that was stored; in seconds since 1970."""


@dataclass(slots=True)
class Recovery:
    """Of all faults of one kind, in seconds from the end of each."""

    times: int = 0
    resumed_s: list[float] = field(default_factory=list)
    """Until the first capture that was made after the fault was stored; of those whom the fault concerned."""
    caught_up_s: list[float] = field(default_factory=list)
    """Until all captures that were made during the fault were stored."""


def recoveries(injected: Sequence[Injected], passages: Sequence[Passage]) -> Mapping[Kind, Recovery]:
    """By kind, in the order of the kinds. A fault after which nobody made anything counts without a time."""
    found = {kind: Recovery() for kind in Kind if any(fault.kind == kind for fault in injected)}
    for fault in injected:
        recovery = found[fault.kind]
        recovery.times += 1
        mine = [(made, stored) for user, made, stored in passages if fault.users is None or user in fault.users]
        after = [stored for made, stored in mine if made > fault.ended]
        during = [stored for made, stored in mine if fault.began <= made <= fault.ended]
        if after:
            recovery.resumed_s.append(min(after) - fault.ended)
        if during:
            recovery.caught_up_s.append(max(0.0, max(during) - fault.ended))
    return found


def spread(values: Sequence[float]) -> str:
    """Median and worst, for a table."""
    return f"{median(values):8.1f} {max(values):8.1f}" if values else f"{'-':>8} {'-':>8}"
