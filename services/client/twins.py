"""Remembers what was captured within the last seconds: the same again is the same tap, sent twice.

The seconds are the monotonic clock's, so a clock that is set makes no twins and parts none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from shared.contracts.client_protocol import AddCapture

WINDOW_S: Final = 5.0


class Twins:
    """By what makes captures the same: Pokémon, action, and whether it is a removal."""

    def __init__(self, *, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._began_at = monotonic()
        self._added: dict[tuple[int, str, bool], tuple[float, str]] = {}

    @property
    def may_be_older(self) -> bool:
        """Whether a capture of the run before may still be a twin."""
        return self._monotonic() - self._began_at < WINDOW_S

    def first(self, new: AddCapture) -> str | None:
        """The id of the capture that this one repeats, as long as that is pending."""
        self._forget_old()
        found = self._added.get(_kind(new))
        return None if found is None else found[1]

    def remember(self, new: AddCapture, capture_id: str) -> None:
        """It was added now."""
        self._added.pop(_kind(new), None)  # to the end: the oldest are first
        self._added[_kind(new)] = (self._monotonic(), capture_id)

    def _forget_old(self) -> None:
        now = self._monotonic()
        while self._added:
            kind, (added_at, _) = next(iter(self._added.items()))
            if now - added_at < WINDOW_S:
                return
            del self._added[kind]


def _kind(new: AddCapture) -> tuple[int, str, bool]:
    return new.pokemon_id, new.action, new.removed
