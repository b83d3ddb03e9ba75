"""How much of everything a benchmark does."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from typing import Final

_BEGUN: Final = time.monotonic()


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The long form, or the quick one, which says roughly the same in less than three minutes."""

    quick: bool
    runs: int
    """Of each measurement, each from a fresh start."""

    def size(self, *, full: int, quick: int) -> int:
        """So much, as the form has it."""
        return quick if self.quick else full


def progress(text: str) -> None:
    """A line on the terminal, beside the result."""
    sys.stderr.write(f"{time.monotonic() - _BEGUN:6.0f} s  {text}\n")
    sys.stderr.flush()
