"""Whose captures are looked for before they are stored. No I/O."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Final

DOUBT_S: Final = 3_600.0
"""How long after a user's captures came again. Each that is not looked for, and comes, costs others a try."""
_MOST: Final = 100_000


class Doubts:
    """Users whose captures came again lately, as those of a client do that can't be told. Bounded: the oldest go."""

    def __init__(self, *, now_s: Callable[[], float] = time.monotonic, most: int = _MOST) -> None:
        self._now_s = now_s
        self._most = most
        self._since: dict[str, float] = {}
        """Seconds by user, oldest first."""

    def __contains__(self, user_id: str) -> bool:
        since = self._since.get(user_id)
        return since is not None and self._now_s() - since < DOUBT_S

    def add(self, user_ids: Iterable[str]) -> None:
        """Captures of these users came again just now."""
        for user_id in user_ids:
            self._since.pop(user_id, None)
            self._since[user_id] = self._now_s()
        while len(self._since) > self._most:
            del self._since[next(iter(self._since))]
