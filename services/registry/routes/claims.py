"""What pullers ask for each second: clients that are due."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any, Final

import structlog
from fastapi import APIRouter, Response
from pydantic import ConfigDict, Field

from services.registry.api.models import ApiModel
from services.registry.leases import Leases
from shared.contracts.claims import CLAIM_LIMIT, CLAIMS_PATH, MOST_AHEAD_S, Claims
from shared.contracts.encoding import encoded
from shared.contracts.message_schemas import SCHEMAS

_ANSWER: Final[dict[str, Any]] = {
    "content": {"application/json": {"schema": {"$ref": SCHEMAS.format(name=Claims.__name__)}}}
}
"""For the document, since FastAPI knows no structs; the schema is added there."""

log = structlog.get_logger()


class ClaimRequest(ApiModel):
    """How many clients the puller can pull now."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"limit": 100}]})

    limit: Annotated[int, Field(ge=1, le=CLAIM_LIMIT)]
    """Most clients to lease."""
    ahead_s: Annotated[float, Field(ge=0, le=MOST_AHEAD_S)] = 0.0
    """Also lease clients that will be due within so many seconds."""


class ClaimRoutes:
    """For pullers only."""

    def __init__(self, *, leases: Leases, key_fingerprint: str | None) -> None:
        """`key_fingerprint` is that of the key of clients' tokens."""
        self._leases = leases
        self._key_fingerprint = key_fingerprint

    def router(self) -> APIRouter:
        """To be included by the app."""
        router = APIRouter(tags=["pullers"])
        router.post(CLAIMS_PATH, responses={200: _ANSWER})(self.claim)
        return router

    async def claim(self, body: ClaimRequest) -> Response:
        """Lease clients that are due to the caller; nobody else gets them until they are settled or the lease ends."""
        targets = await self._leases.claim_due(body.limit, ahead=timedelta(seconds=body.ahead_s))
        for target in targets:
            log.debug("pull_claimed", user_id=target.user_id, pull_id=target.pull_id)
        claims = Claims(targets=tuple(targets), key_fingerprint=self._key_fingerprint)
        return Response(encoded(claims), media_type="application/json")
