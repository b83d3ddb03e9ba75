"""What pullers ask for each second: clients that are due; and how they show that they are alive."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any, Final
from uuid import UUID

import structlog
from fastapi import APIRouter, Response
from pydantic import ConfigDict, Field

from services.registry.api.models import ApiModel
from services.registry.holders import Claimant, Holders
from services.registry.leases import Leases
from services.registry.routes.clients import Said
from shared.contracts.claims import CLAIM_LIMIT, CLAIMS_PATH, HEARTBEAT_PATH, MOST_AHEAD_S, MOST_IN_HAND, Claims
from shared.contracts.encoding import encoded
from shared.contracts.message_schemas import SCHEMAS

_ANSWER: Final[dict[str, Any]] = {
    "content": {"application/json": {"schema": {"$ref": SCHEMAS.format(name=Claims.__name__)}}}
}
"""For the document, since FastAPI knows no structs; the schema is added there."""

_LARGEST: Final = 2**62

Count = Annotated[int, Field(ge=0, le=_LARGEST)]

log = structlog.get_logger()


class Holder(ApiModel):
    """Who claims, so that the leases of a puller that died end soon."""

    holder_id: UUID
    """Of this puller's process."""
    number: Annotated[int, Field(ge=1, le=_LARGEST)]
    """Of this claim: one more than that of the last."""
    answered: Count
    """All claims up to this number were answered; what others leased is taken back first."""


class ClaimRequest(ApiModel):
    """How many clients the puller can pull now."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"limit": 100}]})

    limit: Annotated[int, Field(ge=1, le=CLAIM_LIMIT)]
    """Most clients to lease."""
    ahead_s: Annotated[float, Field(ge=0, le=MOST_AHEAD_S)] = 0.0
    """Also lease clients that will be due within so many seconds."""
    holder: Holder | None = None
    """Without it the leases end only by themselves."""


class Heartbeat(ApiModel):
    """What a puller holds."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"holder_id": "0195a1b2-0000-7000-8000-000000000000", "answered": 17}]}
    )

    holder_id: UUID
    answered: Count
    """All claims up to this number were answered."""
    in_hand: Annotated[tuple[UUID, ...], Field(max_length=MOST_IN_HAND)] = ()
    """Pulls of these claims that it has not handed over to RabbitMQ yet. They are lost if the puller dies."""
    given_back: Annotated[tuple[UUID, ...], Field(max_length=MOST_IN_HAND)] = ()
    """Pulls whose outcome it could not tell; their clients are due again."""
    leaves: bool = False
    """It ends now, and gives back what it has in hand."""


class ClaimRoutes:
    """For pullers only."""

    def __init__(self, *, leases: Leases, holders: Holders, key_fingerprint: str | None) -> None:
        """`key_fingerprint` is that of the key of clients' tokens."""
        self._leases = leases
        self._holders = holders
        self._key_fingerprint = key_fingerprint

    def router(self) -> APIRouter:
        """To be included by the app."""
        router = APIRouter(tags=["pullers"])
        router.post(CLAIMS_PATH, responses={200: _ANSWER})(self.claim)
        router.post(HEARTBEAT_PATH)(self.heartbeat)
        return router

    async def claim(self, body: ClaimRequest) -> Response:
        """Lease clients that are due to the caller; nobody else gets them until they are settled or the lease ends."""
        claimant = Claimant(**body.holder.model_dump()) if body.holder else None
        if claimant is not None:
            await self._holders.take_back(claimant)
        ahead = timedelta(seconds=body.ahead_s)
        targets = await self._leases.claim_due(body.limit, ahead=ahead, claimant=claimant)
        for target in targets:
            log.debug("pull_claimed", user_id=target.user_id, pull_id=target.pull_id)
        claims = Claims(targets=tuple(targets), key_fingerprint=self._key_fingerprint)
        return Response(encoded(claims), media_type="application/json")

    async def heartbeat(self, body: Heartbeat) -> Said:
        """Show that the caller is alive. A puller that shows it no more is dead: what it had in hand is pulled anew."""
        given_back = (*body.given_back, *body.in_hand) if body.leaves else body.given_back
        if given_back:
            await self._leases.release(given_back)
            log.info("leases_given_back", pulls=len(given_back))
        await self._holders.beat(body.holder_id, answered=body.answered, in_hand=() if body.leaves else body.in_hand)
        if not body.leaves:
            return Said(message="The leases stay.")
        await self._holders.end(body.holder_id)
        log.info("holder_left", holder_id=str(body.holder_id))
        return Said(message="Goodbye. What was in hand is due again.")
