"""What passes between puller and registry over HTTP: the claims."""

from __future__ import annotations

from typing import Final

from shared.contracts.messages import Part, PullTarget

CLAIMS_PATH: Final = "/api/v1/pull-sync/claims"

CLAIM_LIMIT: Final = 1_000
"""Most clients in one claim."""
MOST_AHEAD_S: Final = 5.0
"""Most seconds that a client may be claimed before it is due."""


class Claims(Part, frozen=True, kw_only=True):
    """Leases that the caller holds now."""

    targets: tuple[PullTarget, ...]
    key_fingerprint: str | None = None
    """Of the key by which clients' tokens are made (`shared.tokens`); None where they have none."""
