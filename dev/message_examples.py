"""One example of each message between the services, for their documentation."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

from shared.contracts.messages import (
    AcknowledgeCaptures,
    Acknowledgement,
    CaptureBatch,
    Message,
    Outcome,
    Pull,
    PulledCapture,
    PullOutcome,
    PullRequested,
    PullSettled,
    PullTarget,
    ReplayQuarantined,
    UnreadableItem,
)

_PULL_ID: Final = UUID("7d3c9c5e-1a57-4a53-8d0e-2f8a4b9c6d7e")
_NOW: Final = datetime(2026, 1, 31, 12, tzinfo=UTC)
_URL: Final = "http://localhost:3001"
_CAPTURE_ID: Final = "25_1760000000000_capture"

_PULL: Final = Pull(
    pull_id=_PULL_ID,
    user_id="user_1",
    client_url=_URL,
    pulled_at=_NOW,
    duration_s=0.021,
    pending=2,
    more_pending=False,
    captures=(
        PulledCapture(
            capture_id=_CAPTURE_ID,
            pokemon_id=25,
            pokemon_name="pikachu",
            action="capture",
            timestamp=_NOW - timedelta(minutes=1),
            removed=False,
            metadata='{"client_version":"1.0.0"}',
        ),
    ),
    unreadable=(
        UnreadableItem(
            capture_id="0_1760000000000_capture",
            problem="pokemon_id: Input should be greater than or equal to 1",
            raw='{"capture_id": "0_1760000000000_capture", "pokemon_id": 0}',
        ),
    ),
)

_OUTCOME: Final = PullOutcome(
    pull_id=_PULL_ID, user_id="user_1", outcome=Outcome.STORED, stored=1, quarantined=1, duration_s=0.021
)

EXAMPLES: Final[tuple[Message, ...]] = (
    PullRequested(
        targets=(
            PullTarget(
                pull_id=_PULL_ID,
                user_id="user_1",
                client_url=_URL,
                lease_expires_at=_NOW + timedelta(minutes=2),
                traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            ),
        )
    ),
    CaptureBatch(pulls=(_PULL,)),
    AcknowledgeCaptures(
        acknowledgements=(
            Acknowledgement(
                user_id="user_1", client_url=_URL, capture_ids=(_CAPTURE_ID,), outcome=_OUTCOME, pull_id=_PULL_ID
            ),
        )
    ),
    PullSettled(outcomes=(_OUTCOME,)),
    ReplayQuarantined(quarantine_ids=(1, 2)),
)
