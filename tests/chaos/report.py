"""The table that a round ends with. No I/O."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tests.chaos.checks import Broken
from tests.chaos.plan import Kind
from tests.chaos.recovery import Recovery, spread


@dataclass(frozen=True, slots=True, kw_only=True)
class Numbers:
    """What became of what was made."""

    made: int
    """Captures that clients accepted."""
    stored: int
    lost: int
    doubled: int
    garbage: int
    quarantined: int
    untold: int
    settled_s: float
    """From the last fault until every client was told and nothing was under way."""


def table(numbers: Numbers, recovered: Mapping[Kind, Recovery]) -> str:
    """Faults by kind with their times of recovery, and the totals."""
    head = f"{'fault':<38} {'times':>5} {'resumed (s)':>17} {'caught up (s)':>17}"
    lines = [head, f"{'':<38} {'':>5} {'median':>8} {'worst':>8} {'median':>8} {'worst':>8}"]
    for kind, recovery in recovered.items():
        resumed, caught_up = spread(recovery.resumed_s), spread(recovery.caught_up_s)
        lines.append(f"{kind:<38} {recovery.times:>5} {resumed} {caught_up}")
    total = sum(recovery.times for recovery in recovered.values())
    return "\n".join(
        [
            *lines,
            f"{'all':<38} {total:>5}",
            "",
            "resumed: from the end of a fault until the first capture made after it was stored;",
            "caught up: until every capture made during it was stored.",
            "",
            f"captures made   {numbers.made:>8}    garbage made    {numbers.garbage:>8}",
            f"captures stored {numbers.stored:>8}    in quarantine   {numbers.quarantined:>8}",
            f"lost            {numbers.lost:>8}    not told        {numbers.untold:>8}",
            f"doubled         {numbers.doubled:>8}    settled within  {numbers.settled_s:>7.0f} s",
        ]
    )


def broken_summary(broken: Sequence[Broken], *, seed: int, examples: int) -> str:
    """Each broken invariant with some examples; nothing when all hold."""
    if not broken:
        return "every invariant holds"
    lines = [f"BROKEN INVARIANTS with seed {seed}:"]
    for invariant, number in Counter(each.invariant for each in broken).items():
        lines.append(f"- {invariant}: {number} times not")
        lines += [f"    {each.text}" for each in broken if each.invariant == invariant][:examples]
    return "\n".join(lines)
