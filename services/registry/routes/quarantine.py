"""The quarantine for operators: list, inspect, replay."""

from __future__ import annotations

from typing import Annotated, Final
from uuid import UUID

from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import ConfigDict, Field, StrictBool, TypeAdapter, model_validator

from services.registry.api.answers import json_answer
from services.registry.api.models import ApiModel
from services.registry.api.paging import page_after
from services.registry.quarantine import Quarantine
from shared.contracts.client_protocol import ID_CHARS
from shared.contracts.messages import QUARANTINED_PER_REPLAY
from shared.contracts.times import UtcDatetime

PREFIX: Final = "/api/v1/admin/quarantine"
_LARGEST: Final = 2**63 - 1

Limit = Annotated[int, Query(ge=1, le=QUARANTINED_PER_REPLAY, description="Most items in one answer.")]
After = Annotated[int, Query(ge=0, le=_LARGEST, description="Only items with a higher quarantine_id.")]
OfUser = Annotated[
    str | None, Query(max_length=ID_CHARS, pattern=r"^[^\x00]*$", description="Only items of this user's client.")
]
ItemId = Annotated[int, Path(ge=1, le=_LARGEST)]


class QuarantineEntry(ApiModel):
    """What could not be read or stored."""

    model_config = ConfigDict(from_attributes=True)

    quarantine_id: int
    user_id: str
    capture_id: str | None
    problem: str
    pull_id: UUID
    quarantined_at: UtcDatetime
    raw: str
    """As it came; in the list only its beginning."""


class QuarantineDetail(QuarantineEntry):
    """An item with all that was kept of it, and with its replays."""

    replays: int
    """How often it was tried again, in vain."""
    last_replay_at: UtcDatetime | None
    last_problem: str | None
    """What was wrong with it then; `problem` is why it came here."""


class ReplayRequest(ApiModel):
    """Which items: some by number, or all that are in quarantine now."""

    quarantine_ids: (
        Annotated[
            list[Annotated[int, Field(ge=1, le=_LARGEST)]], Field(min_length=1, max_length=QUARANTINED_PER_REPLAY)
        ]
        | None
    ) = None
    all: StrictBool = False

    @model_validator(mode="after")
    def _one_of_both(self) -> ReplayRequest:
        if self.all == (self.quarantine_ids is not None):
            message = 'give either "quarantine_ids" or "all": true'
            raise ValueError(message)
        return self


class Asked(ApiModel):
    """Ingest will try them."""

    message: str
    asked: int
    """Items."""


_PAGE: Final = TypeAdapter(list[QuarantineEntry])
_DETAIL: Final = TypeAdapter(QuarantineDetail)


class QuarantineRoutes:
    """`/api/v1/admin/quarantine`."""

    def __init__(self, *, quarantine: Quarantine) -> None:
        self._quarantine = quarantine

    def router(self) -> APIRouter:
        """To be included by the app."""
        router = APIRouter(prefix=PREFIX, tags=["quarantine"])
        router.get("", response_model=list[QuarantineEntry])(self.list)
        router.get("/{quarantine_id}", response_model=QuarantineDetail)(self.get)
        router.post("/replay", status_code=202)(self.replay)
        router.post("/{quarantine_id}/replay", status_code=202)(self.replay_one)
        return router

    async def list(self, request: Request, limit: Limit = 100, after: After = 0, user_id: OfUser = None) -> Response:
        """Items by number, oldest first, a page at a time; `Link: <...>; rel="next"` leads to the next page."""
        page = await self._quarantine.page(after=after, limit=limit + 1, user_id=user_id)
        entries = [QuarantineEntry.model_validate(item) for item in page[:limit]]
        following = None
        if len(page) > limit:
            last = entries[-1].quarantine_id
            following = page_after(request, PREFIX, limit=limit, after=last, user_id=user_id)
        return json_answer(request, entries, _PAGE, following=following)

    async def get(self, request: Request, quarantine_id: ItemId) -> Response:
        """One item, with everything that was kept of it."""
        item = QuarantineDetail.model_validate(await self._quarantine.get(quarantine_id))
        return json_answer(request, item, _DETAIL)

    async def replay(self, body: ReplayRequest) -> Asked:
        """Have items tried again: what can be stored now leaves the quarantine, the rest stays."""
        if body.quarantine_ids is None:
            return _asked(await self._quarantine.replay_all())
        return _asked(await self._quarantine.replay(body.quarantine_ids))

    async def replay_one(self, quarantine_id: ItemId) -> Asked:
        """Have one item tried again."""
        return _asked(await self._quarantine.replay([quarantine_id]))


def _asked(asked: int) -> Asked:
    return Asked(message="Ingest tries them; what it can store leaves the quarantine.", asked=asked)
