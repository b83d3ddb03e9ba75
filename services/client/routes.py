"""The client protocol over HTTP. Decodes, calls the store, encodes; no rule and no SQL here."""

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Final

import structlog
from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import BaseModel, BeforeValidator, Field, TypeAdapter, ValidationError
from pydantic_core import PydanticCustomError
from starlette.background import BackgroundTask

from services.client.bodies import as_asked_ids, as_capture_ids, as_new_capture, read_object
from services.client.errors import Refusal
from services.client.pull_access import PullAccess
from services.client.states import States
from services.client.store import CaptureStore, Page
from shared.contracts.client_protocol import (
    ACKNOWLEDGE_PATH,
    ADD_CAPTURE_PATH,
    ALL_CAPTURES_PATH,
    CAPTURE_STATES_PATH,
    STATS_PATH,
    SYNC_DATA_PATH,
    Acknowledge,
    Acknowledged,
    AddCapture,
    AllCaptures,
    AskStates,
    Capture,
    CaptureStates,
    Stats,
    SyncData,
)
from shared.contracts.times import EARLIEST, UtcDatetime, UtcDatetimeOrDay
from shared.serving.head import asks_for_head_only

log = structlog.get_logger()

LARGEST_PAGE: Final = 10_000
CAPTURE_BODY_BYTES: Final = 1024 * 1024
ACKNOWLEDGE_BODY_BYTES: Final = 16 * 1024 * 1024
"""More than for a capture: without paging, one acknowledgement answers all that was pending, which has no limit."""

_REFUSALS: Final[dict[int | str, dict[str, Any]]] = {
    "4XX": {"model": Refusal, "description": "Refused; nothing was changed."},
    503: {"model": Refusal, "description": "The database can't be used."},
}


_SINCE: Final[TypeAdapter[datetime]] = TypeAdapter(UtcDatetimeOrDay)


def read_since(value: object) -> datetime | None:
    """An ISO 8601 time; nothing when empty, or before all times; an offset's `+` may have become a space in the URL."""
    if not isinstance(value, str) or not value:
        return None
    text = value.replace(" ", "+") if "T" in value else value
    try:
        since = _SINCE.validate_python(text)
    except ValidationError as error:
        expected = "an ISO 8601 time such as 2026-01-31T12:00:00.000Z is expected"
        raise PydanticCustomError("since", expected) from error  # noqa: EM101 - a kind, the message is beside it
    return None if since <= EARLIEST else since


Since = Annotated[UtcDatetime | None, BeforeValidator(read_since), Query()]
Limit = Annotated[
    Annotated[int, Field(ge=1, le=LARGEST_PAGE)] | None, BeforeValidator(lambda value: value or None), Query()
]
After = Annotated[str, Query()]


class ClientRoutes:
    """What "Served by the client" says in the protocol, and how far captures have come."""

    def __init__(
        self,
        *,
        store: CaptureStore,
        states: States,
        user_id: str,
        client_url: str,
        clock: Callable[[], datetime],
        on_capture: Callable[[], None],
        pull_access: PullAccess,
    ) -> None:
        self._store = store
        self._states = states
        self._user_id = user_id
        self._client_url = client_url
        self._clock = clock
        self._on_capture = on_capture
        self._pull_access = pull_access

    def router(self) -> APIRouter:
        """To be included by the app."""
        router = APIRouter(responses=_REFUSALS)
        pulls = [Depends(self._pull_access.check)]
        router.add_api_route(SYNC_DATA_PATH, self.sync_data, responses=_answers(SyncData[Capture]), dependencies=pulls)
        router.add_api_route(
            ACKNOWLEDGE_PATH,
            self.acknowledge,
            methods=["POST"],
            openapi_extra=_with_body(Acknowledge),
            dependencies=pulls,
        )
        router.add_api_route(STATS_PATH, self.stats)
        router.add_api_route(ADD_CAPTURE_PATH, self.add_capture, methods=["POST"], openapi_extra=_with_body(AddCapture))
        router.add_api_route(ALL_CAPTURES_PATH, self.all_captures, responses=_answers(AllCaptures), dependencies=pulls)
        router.add_api_route(
            CAPTURE_STATES_PATH,
            self.capture_states,
            methods=["POST"],
            responses=_answers(CaptureStates),
            openapi_extra=_with_body(AskStates),
        )
        return router

    async def sync_data(self, request: Request, since: Since = None, limit: Limit = None) -> Response:
        """The captures that are not yet acknowledged, oldest first; they are on record as pulled from then on."""
        pulled_at = self._clock()
        page = await self._store.pending(since=since, limit=limit)
        log.debug("pulled", user_id=self._user_id, captures=len(page.captures), pending=page.total)
        answer = self._captures(page, total_as="total_pending")
        if page.unpulled and not asks_for_head_only(request):
            answer.background = BackgroundTask(self._states.note_pulled, page.unpulled, pulled_at)
        return answer

    async def all_captures(self, after: After = "", limit: Limit = None) -> Response:
        """All captures, acknowledged or not, oldest first; or, when either parameter is given, a page of them by id."""
        if after or limit is not None:
            page = await self._store.everything_by_id(after=after, limit=limit)
        else:
            page = await self._store.everything()
        return self._captures(page, total_as="total_captures")

    async def acknowledge(self, request: Request) -> Acknowledged:
        """The captures with these ids are stored elsewhere."""
        capture_ids = as_capture_ids(await read_object(request, limit_bytes=ACKNOWLEDGE_BODY_BYTES))
        await self._store.acknowledge(capture_ids)
        log.info("captures_acknowledged", user_id=self._user_id, captures=len(capture_ids))
        return Acknowledged(message=f"{len(capture_ids)} captures acknowledged", count=len(capture_ids))

    async def stats(self) -> Stats:
        """Totals."""
        counts = await self._store.counts()
        return Stats(
            total_captures=counts.total,
            pending_sync=counts.pending,
            synced_captures=counts.total - counts.pending,
            last_sync=None if counts.last_sync is None else datetime.fromisoformat(counts.last_sync),
            client_id=self._user_id,
        )

    async def add_capture(self, request: Request) -> Response:
        """Keep a capture; when this answers 200, it is on the disk."""
        new = as_new_capture(await read_object(request, limit_bytes=CAPTURE_BODY_BYTES))
        added = await self._store.add(new)
        if added.duplicated:
            message = json.dumps("The same capture is here already")
            return _json_response({"message": message, "capture": added.capture, "duplicated": "true"})
        log.info("capture_added", user_id=self._user_id)
        self._on_capture()
        return _json_response({"message": json.dumps("Capture added"), "capture": added.capture})

    async def capture_states(self, request: Request) -> Response:
        """How far the captures with these ids have come: those that are here, in the order asked, each once."""
        capture_ids = as_asked_ids(await read_object(request, limit_bytes=CAPTURE_BODY_BYTES))
        return _json_response({"captures": _json_list(await self._states.of(capture_ids))})

    def _captures(self, page: Page, *, total_as: str) -> Response:
        return _json_response(
            {
                "user_id": json.dumps(self._user_id),
                "client_url": json.dumps(self._client_url),
                "captures": _json_list(page.captures),
                "last_sync": json.dumps(page.last_sync),
                total_as: str(page.total),
            }
        )


def _answers(model: type) -> dict[int | str, dict[str, Any]]:
    """For the API's document, since the captures come as texts."""
    return {200: {"model": model}}


def _with_body(kind: type[BaseModel]) -> dict[str, Any]:
    """For the document: what the body holds, which the route reads by itself."""
    content = {"application/json": {"schema": kind.model_json_schema()}}
    return {"requestBody": {"required": True, "content": content}}


def _json_list(items: Sequence[str]) -> str:
    return f"[{','.join(items)}]"


def _json_response(members: Mapping[str, str]) -> Response:
    """An object of members that are JSON already: captures come so from the store, and are not parsed for nothing."""
    body = ",".join(f'"{name}":{value}' for name, value in members.items())
    return Response(f"{{{body}}}", media_type="application/json")
