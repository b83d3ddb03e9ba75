"""What can be told of pulls as they go on. It does nothing by itself: metrics do."""

from __future__ import annotations

from shared.contracts.messages import Reason


class PullObserver:
    """Is told of each step; its methods must not raise, and cost microseconds."""

    def claimed(self, clients: int | None, seconds: float) -> None:
        """The registry was asked for clients that are due, and gave so many; None when it did not answer."""

    def begins(self, late_s: float) -> None:
        """A pull begins, so long after its slot; after its claim or its request, when that came later."""

    def answered(self, answer_bytes: int) -> None:
        """A client sent a whole answer, whatever is in it."""

    def had_nothing(self, seconds: float) -> None:
        """A client had nothing pending, as it said so long after it was asked."""

    def handed_over(self, captures: int, seconds: float) -> None:
        """RabbitMQ keeps what a client sent so long after it was asked."""

    def failed(self, reason: Reason, seconds: float) -> None:
        """A pull came to nothing, so long after the client was asked."""

    def batched(self, pulls: int, captures: int) -> None:
        """RabbitMQ keeps a batch of so many pulls and captures."""
