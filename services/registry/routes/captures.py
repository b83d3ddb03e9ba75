"""Where a capture is: its way with times, and what keeps it where it is."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Path, Request
from pydantic import ConfigDict

from services.registry.access import Access, Scope
from services.registry.api.models import ApiModel
from services.registry.api.problems import Problem
from services.registry.api.raw_paths import RawPathRoute
from services.registry.clients import is_possible
from services.registry.domain import ClientRecord
from services.registry.errors import RegistryError
from services.registry.pulls import PullRecord
from services.registry.routes.clients import UserId
from services.registry.whereabouts.facts import Action, Facts, FoundLetter
from services.registry.whereabouts.gathering import CaptureFacts
from services.registry.whereabouts.sentences import summary
from services.registry.whereabouts.verdict import Acknowledgement, CaptureState, acknowledgement, state_of
from shared.contracts.client_protocol import ID_CHARS
from shared.contracts.times import UtcDatetime
from shared.tokens import bearer

CaptureId = Annotated[
    str,
    Path(max_length=ID_CHARS, description="Which capture; percent-encoded where it has other than plain characters."),
]


class QuarantinePlace(ApiModel):
    """An item of the quarantine."""

    model_config = ConfigDict(from_attributes=True)

    quarantine_id: int
    problem: str
    quarantined_at: UtcDatetime


class DeadLetterPlace(ApiModel):
    """A message among the dead letters."""

    queue: str
    """The work queue that it died in."""
    id: str
    died_at: UtcDatetime | None


class CaptureWay(ApiModel):
    """Where a capture is, and how it came there. A time is null as long as that did not happen."""

    user_id: str
    capture_id: str
    state: CaptureState
    """`acknowledged` and `stored` are safe; all others are not stored, for the reason that the state names."""
    summary: str
    """What is the case, and what to do next."""
    made_at: UtcDatetime | None
    """By the client's clock, which may be wrong."""
    pulled_at: UtcDatetime | None
    stored_at: UtcDatetime | None
    acknowledged_at: UtcDatetime | None
    """When the client had been told, at the latest, where that is on record."""
    acknowledgement: Acknowledgement | None
    """Whether the client was told. `known`: it is on record; `inferred`: a later pull left nothing pending; `waiting`:
    not yet, as far as is known; `unknown`: it is not, or no longer, on record. Null for what was not pulled."""
    pokemon_id: int | None
    pokemon_name: str | None
    action: Action | None
    removed: bool | None
    """Whether it is a removal."""
    pull_id: UUID | None
    """The pull that brought it first."""
    pull: PullRecord | None
    """What became of that pull; null before it is settled, and some days later."""
    quarantine: QuarantinePlace | None
    """The latest item in quarantine with this id."""
    dead_letter: DeadLetterPlace | None
    dead_letters_searched: bool | None
    """Whether all dead letters that could have it were looked through; null where that was not needed, and for a
    client, which keeps what died here, and brings it again."""
    client: ClientRecord | None
    """Null when no client is registered for the user."""


class UnknownCaptureProblem(Problem):
    """Nothing is known of a capture."""

    whereabouts: CaptureWay
    """What is known of its user and client."""


class UnknownCaptureError(RegistryError):
    """Nothing is known of such a capture; `whereabouts` has what is known of the client."""

    status = 404

    def __init__(self, way: CaptureWay) -> None:
        """For one that was never seen."""
        super().__init__(way.summary)
        self.members = {"whereabouts": way.model_dump(mode="json")}


class CaptureRoutes:
    """`/api/v1/captures`."""

    def __init__(self, *, facts: CaptureFacts, access: Access) -> None:
        self._facts = facts
        self._access = access

    def router(self) -> APIRouter:
        """To be included by the app."""
        router = APIRouter(prefix="/api/v1/captures", tags=["captures"], route_class=RawPathRoute)
        router.get("/{user_id}/{capture_id:path}")(self.where)
        return router

    async def where(self, request: Request, user_id: UserId, capture_id: CaptureId) -> CaptureWay:
        """Where a capture is: made, pulled, stored and acknowledged, or what keeps it, and what to do about that.

        404 when nothing is known of it, and nothing keeps its client from being pulled. Dead letters are looked through
        for operators only: each look is a delivery of all of them.
        """
        facts = Facts(user_id=user_id, capture_id=capture_id)
        if is_possible(user_id) and is_possible(capture_id):
            searches = self._access.is_operator(bearer(request.headers.getlist("authorization")), Scope.READ)
            facts = await self._facts.gather(user_id, capture_id, searches=searches)
        way = described(facts)
        if way.state == "never_seen":
            raise UnknownCaptureError(way)
        return way


def described(facts: Facts) -> CaptureWay:
    """The facts, and what they say."""
    stored, item, searched = facts.stored, facts.quarantined, facts.searched
    kept = stored or item
    return CaptureWay(
        user_id=facts.user_id,
        capture_id=facts.capture_id,
        state=state_of(facts),
        summary=summary(facts),
        made_at=stored.captured_at if stored else None,
        pulled_at=stored.received_at if stored else None,
        stored_at=stored.stored_at if stored else None,
        acknowledged_at=facts.told_at,
        acknowledgement=acknowledgement(facts),
        pokemon_id=stored.pokemon_id if stored else None,
        pokemon_name=stored.pokemon_name if stored else None,
        action=stored.action if stored else None,
        removed=stored.removed if stored else None,
        pull_id=kept.pull_id if kept else None,
        pull=facts.pull,
        quarantine=QuarantinePlace.model_validate(item) if item else None,
        dead_letter=_place(searched.found) if searched and searched.found else None,
        dead_letters_searched=searched.gap is None if searched else None,
        client=facts.client.record if facts.client else None,
    )


def _place(found: FoundLetter) -> DeadLetterPlace:
    death = found.letter.death
    return DeadLetterPlace(queue=found.queue, id=found.letter.id, died_at=death.died_at if death else None)
