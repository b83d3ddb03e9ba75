"""Messages between services of which one is a version older: what it does not know it passes over."""

from __future__ import annotations

from typing import Final
from uuid import UUID

from shared.contracts.encoding import decoded, encoded
from shared.contracts.messages import Message, Outcome, PullAcknowledged, PullOutcome, PullSettled

PULL: Final = UUID(int=7)
SETTLED: Final = PullOutcome(pull_id=PULL, user_id="ash", outcome=Outcome.STORED, stored=1)


class FormerPullSettled(Message, frozen=True, kw_only=True):
    """As it was before clients that were told later were in it."""

    outcomes: tuple[PullOutcome, ...]


def test_a_former_registry_bears_who_was_told_later() -> None:
    """It settles what there is to be settled, and takes the rest for no lease's end."""
    later = PullAcknowledged(pull_id=UUID(int=8), user_id="ash")
    read = decoded(FormerPullSettled, encoded(PullSettled(outcomes=(SETTLED,), acknowledged=(later,))))
    assert read.outcomes == (SETTLED,)


def test_a_registry_bears_a_former_service() -> None:
    """That tells of nobody who was told later."""
    read = decoded(PullSettled, encoded(FormerPullSettled(outcomes=(SETTLED,))))
    assert (read.outcomes, read.acknowledged) == ((SETTLED,), ())
