"""What can be told of storing and acknowledging. It does nothing by itself: metrics do."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

from services.ingest.incoming import ReceivedPull


class Told(StrEnum):
    """What became of one try to tell a client."""

    ACKNOWLEDGED = "acknowledged"
    RETRIED = "retried"
    """It will be tried again, later."""
    GIVEN_UP = "given_up"
    """The next pull brings the same captures again."""


class IngestObserver:
    """Is told of each commit and each acknowledgement; its methods must not raise."""

    def committed(self, pulls: Sequence[ReceivedPull], counts: Sequence[int], *, seconds: float) -> None:
        """These were just stored together, which took so long; of each so many captures are new."""

    def not_committed(self) -> None:
        """A transaction failed; it may be tried again."""

    def told(self, outcome: Told) -> None:
        """A client was told that its captures are stored, or could not be."""
