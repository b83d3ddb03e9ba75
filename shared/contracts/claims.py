"""What passes between puller and registry over HTTP: claims, and heartbeats."""

from __future__ import annotations

from typing import Final

from shared.contracts.messages import Part, PullTarget

CLAIMS_PATH: Final = "/api/v1/pull-sync/claims"
HEARTBEAT_PATH: Final = "/api/v1/pull-sync/heartbeat"

CLAIM_LIMIT: Final = 1_000
"""Most clients in one claim."""
MOST_AHEAD_S: Final = 5.0
"""Most seconds that a client may be claimed before it is due."""

HEARTBEAT_EVERY_S: Final = 3.0
"""From one sign of life of a holder of leases to the next."""
DEAD_AFTER_S: Final = 12.0
"""A holder that showed none for so long is dead: its leases end."""
MOST_IN_HAND: Final = 3_000
"""Most pulls in each list of a heartbeat, so that it fits into a request. The leases of others end by themselves."""


class Claims(Part, frozen=True, kw_only=True):
    """Leases that the caller holds now."""

    targets: tuple[PullTarget, ...]
    key_fingerprint: str | None = None
    """Of the key by which clients' tokens are made (`shared.tokens`); None where they have none."""
