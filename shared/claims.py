"""What passes between puller and registry over HTTP: the claims."""

from __future__ import annotations

from typing import Final

from pydantic import BaseModel, ConfigDict

from shared.messages import PullTarget

CLAIMS_PATH: Final = "/api/v1/pull-sync/claims"

CLAIM_LIMIT: Final = 1_000
"""Most clients in one claim."""


class Claims(BaseModel):
    """Leases that the caller holds now."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    targets: tuple[PullTarget, ...]
