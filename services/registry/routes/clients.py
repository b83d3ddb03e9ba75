"""Registering clients, looking at them, changing how they are pulled."""

from __future__ import annotations

from typing import Annotated, Final

import structlog
from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import ConfigDict, Field

from services.registry.access import Access, Standing, terms_of
from services.registry.api.models import ApiModel
from services.registry.api.paging import LONGEST_ID, After, link_to, page_after
from services.registry.api.rate_limits import Limits, tell
from services.registry.clients import Clients, Selection, possible
from services.registry.clients import Registered as ClientRegistered
from services.registry.dispatcher import Dispatcher
from services.registry.domain import LONGEST_INTERVAL_S, SHORTEST_INTERVAL_S, ClientRecord, Known, NewClient
from services.registry.nudges import Nudges
from services.registry.probe import ClientProbe
from shared.contracts.times import UtcDatetime
from shared.tokens import bearer

PREFIX: Final = "/api/v1/pull-sync"
LIST_PATH: Final = f"{PREFIX}/registered-clients"
PAGE: Final = 1_000

_UNTOLD: Final = (
    "Its tokens are told to the client itself: when it registers with a `registration_key` of which its health shows "
    "the SHA-256 (docs/client-protocol.md)."
)

log = structlog.get_logger()

Limit = Annotated[int, Query(ge=1, le=10_000, description="Most clients in one answer.")]
State = Annotated[Selection | None, Query(description="Only clients in this state.")]
Search = Annotated[str, Query(max_length=LONGEST_ID, description="Only clients whose user id begins with this.")]
UserId = Annotated[
    str,
    Path(max_length=LONGEST_ID, description="Whose client; percent-encoded where it has other than plain characters."),
]


class Said(ApiModel):
    """One sentence."""

    message: str


class Registered(Said):
    """A client that is registered."""

    pull_token: str | None = None
    """What pullers show to this client, in `Authorization: Bearer`: without it, it gives nothing away. It is null where
    clients have no tokens, and left out for who is not told it."""
    client_token: str | None = None
    """What this client shows to the registry from now on. Null, or left out, as the other."""


class ClientChange(ApiModel):
    """How a client is pulled; what is left out stays as it is."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"sync_interval_s": 300}]})

    sync_interval_s: Annotated[int, Field(ge=SHORTEST_INTERVAL_S, le=LONGEST_INTERVAL_S, strict=True)] | None = None
    """Seconds between two pulls of this client; null for the scheduler's."""
    paused: Annotated[bool, Field(strict=True)] = False
    """Whether it is left alone, by the timer, by runs and by nudges."""


class Nudge(ApiModel):
    """What comes of a nudge."""

    message: str
    due_at: UtcDatetime
    """When the client is pulled."""


class ClientRoutes:
    """`/api/v1/pull-sync`: register, unregister, list, look, change, nudge."""

    def __init__(
        self,
        *,
        clients: Clients,
        nudges: Nudges,
        dispatcher: Dispatcher,
        probe: ClientProbe,
        access: Access,
        limits: Limits,
    ) -> None:
        self._clients = clients
        self._limits = limits
        self._access = access
        self._nudges = nudges
        self._dispatcher = dispatcher
        self._probe = probe

    def router(self) -> APIRouter:
        """To be included by the app."""
        router = APIRouter(prefix=PREFIX, tags=["clients"])
        router.post("/register-client", response_model_exclude_unset=True)(self.register)
        router.delete("/unregister-client/{user_id:path}")(self.unregister)
        router.get("/registered-clients")(self.list)
        router.get("/clients/{user_id:path}")(self.get)
        router.patch("/clients/{user_id:path}")(self.change)
        router.post("/nudge/{user_id:path}", status_code=202)(self.nudge)
        return router

    async def register(self, request: Request, client: NewClient) -> Registered:
        """Register a client, after asking it whether it is there. It is pulled within a second or two."""
        token = bearer(request.headers.getlist("authorization"))

        def standing(known: Known | None) -> Standing:
            return self._access.require_registration(token, client.user_id, client.client_url, known)

        standing(await self._clients.known(client.user_id))  # nobody is called for one who may not register
        await self._limits.count(request)
        is_client = await self._probe.check(
            client.client_url, user_id=client.user_id, registration_key=client.registration_key
        )
        registered = await self._clients.register(client, terms=lambda known: terms_of(standing(known), is_client))
        log.info("client_registered", user_id=client.user_id, client_url=client.client_url, is_new=registered.is_new)
        answer = Registered(message=f"Client {client.user_id} is registered at {client.client_url}.")
        return answer.model_copy(update=self._tokens(client, registered))

    def _tokens(self, client: NewClient, registered: ClientRegistered) -> dict[str, str | None]:
        """What the answer has of them beside its message."""
        tokens = self._access.derived_tokens
        if tokens is None:
            return {"pull_token": None, "client_token": None}
        if registered.terms.tells:
            return {
                "pull_token": tokens.for_pulls(client.user_id, registered.generation, client.client_url),
                "client_token": tokens.for_client(client.user_id, registered.generation),
            }
        if registered.terms.changes:
            return {"message": f"Client {client.user_id} is registered at {client.client_url}. {_UNTOLD}"}
        return {}

    async def unregister(self, user_id: UserId) -> Said:
        """Forget a client. Captures that it still holds are pulled no more, until it registers again."""
        await self._clients.unregister(possible(user_id))
        log.info("client_unregistered", user_id=user_id)
        return Said(message=f"Client {user_id} is no longer registered.")

    async def get(self, user_id: UserId) -> ClientRecord:
        """All that is known of one client."""
        return await self._clients.get(possible(user_id))

    async def list(
        self,
        request: Request,
        response: Response,
        limit: Limit = PAGE,
        after: After = "",
        state: State = None,
        search: Search = "",
    ) -> list[ClientRecord]:
        """Registered clients by user id, a page at a time; `Link: <...>; rel="next"` leads to the next page."""
        page = await self._clients.page(
            after=possible(after), limit=limit + 1, selection=state, search=possible(search)
        )
        if len(page) > limit:
            last = page[limit - 1].user_id
            following = page_after(request, LIST_PATH, limit=limit, after=last, state=state, search=search or None)
            response.headers["link"] = link_to(following)
        return page[:limit]

    async def change(self, user_id: UserId, change: ClientChange) -> ClientRecord:
        """Give a client an interval of its own, pause it, or resume it. Answers all that is known of it."""
        user_id = possible(user_id)
        if "sync_interval_s" in change.model_fields_set:
            await self._clients.set_interval(user_id, change.sync_interval_s)
        if "paused" in change.model_fields_set:
            await (self._clients.pause(user_id) if change.paused else self._clients.resume(user_id))
        changed = change.model_dump(exclude_unset=True)
        log.info("client_changed", user_id=user_id, **changed)
        return await self._clients.get(user_id)

    async def nudge(self, request: Request, user_id: UserId) -> Nudge:
        """Make a client due now: it has captures, and need not wait for its slot.

        Beyond a burst, a nudge within the spacing (`PULL_SYNC_NUDGE_SPACING`) is served at its end; while that pull is
        booked, others are answered 429: it begins later than they came, so nothing is missed.
        """
        nudged = await self._nudges.nudge(possible(user_id))
        log.debug("client_nudged", user_id=user_id, due_in_s=nudged.due_in_s)
        tell(request, (nudged.quota,))
        self._dispatcher.wake(in_s=nudged.due_in_s)
        when = "now" if nudged.due_in_s == 0 else f"in {nudged.due_in_s:.1f} s"
        return Nudge(message=f"Client {user_id} is due {when}.", due_at=nudged.due_at)
