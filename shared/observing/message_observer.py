"""What can be told of messages as they are published and consumed. It does nothing by itself: metrics do."""

from __future__ import annotations

from enum import StrEnum


class Fate(StrEnum):
    """What became of a message that was consumed."""

    HANDLED = "handled"
    UNREADABLE = "unreadable"
    """To the dead letters at once."""
    FAILED = "failed"
    """Back to its queue, by an error of its own."""
    RETURNED = "returned"
    """Back to its queue, or a copy to its end: the service stops, or something that it needs stays away."""


class MessageObserver:
    """Is told of each message once; its methods must not raise."""

    def published(self, message: str, *, confirmed: bool, seconds: float) -> None:
        """A message of this class was confirmed, or is not known to be kept, after so long."""

    def consumed(self, queue: str, fate: Fate, *, seconds: float) -> None:
        """What became of a message of this queue, so long after its delivery; the time in which it was held counts."""
