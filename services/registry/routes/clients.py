"""Registering clients, and looking at them."""

from __future__ import annotations

from typing import Annotated, Any, Final

import structlog
from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel

from services.registry.clients import Clients
from services.registry.domain import ClientRecord, NewClient
from services.registry.errors import UnknownClientError
from services.registry.probe import ClientProbe
from services.registry.schedule import Schedule

PAGE: Final = 1_000

log = structlog.get_logger()

Limit = Annotated[int, Query(ge=1, le=10_000, description="Most clients in one answer.")]
After = Annotated[str, Query(max_length=255, description="Only clients whose user id comes after this one.")]


class Said(BaseModel):
    """One sentence."""

    message: str


class Status(BaseModel):
    """The whole system at a glance."""

    registered_clients: int
    clients: list[ClientRecord]
    """The first of them; the rest by `registered-clients`."""
    pending_captures: int
    failing_clients: int
    in_flight: int
    lag_s: float
    """How late the most overdue client is, in seconds."""
    scheduler: dict[str, Any]


class ClientRoutes:
    """`/api/v1/pull-sync`: register, unregister, list, look."""

    def __init__(self, *, clients: Clients, schedule: Schedule, probe: ClientProbe) -> None:
        self._clients = clients
        self._schedule = schedule
        self._probe = probe

    def router(self) -> APIRouter:
        """To be included by the app."""
        router = APIRouter(prefix="/api/v1/pull-sync", tags=["clients"])
        router.post("/register-client")(self.register)
        router.delete("/unregister-client/{user_id:path}")(self.unregister)
        router.get("/registered-clients")(self.list)
        router.get("/clients/{user_id:path}")(self.get)
        router.get("/status")(self.status)
        return router

    async def register(self, client: NewClient) -> Said:
        """Register a client, after asking it whether it is there. It is pulled within a second or two."""
        await self._probe.check(client.client_url, user_id=client.user_id)
        is_new = await self._clients.register(client)
        log.info("client_registered", user_id=client.user_id, client_url=client.client_url, is_new=is_new)
        return Said(message=f"Client {client.user_id} is registered at {client.client_url}.")

    async def unregister(self, user_id: str) -> Said:
        """Forget a client. Captures that it still holds are pulled no more, until it registers again."""
        await self._clients.unregister(_possible(user_id))
        log.info("client_unregistered", user_id=user_id)
        return Said(message=f"Client {user_id} is no longer registered.")

    async def get(self, user_id: str) -> ClientRecord:
        """All that is known of one client."""
        return await self._clients.get(_possible(user_id))

    async def list(
        self, request: Request, response: Response, limit: Limit = PAGE, after: After = ""
    ) -> list[ClientRecord]:
        """Registered clients by user id, a page at a time; `Link: <...>; rel="next"` leads to the next page."""
        page = await self._clients.page(after=_possible(after), limit=limit)
        if len(page) == limit:
            following = request.url.include_query_params(limit=limit, after=page[-1].user_id)
            response.headers["link"] = f'<{following.path}?{following.query}>; rel="next"'
        return page

    async def status(self, limit: Limit = PAGE) -> Status:
        """Clients, what they still hold, and how late the schedule is."""
        totals = await self._clients.totals()
        scheduler = await self._schedule.get()
        return Status(
            registered_clients=totals.registered,
            clients=await self._clients.page(after="", limit=limit),
            pending_captures=totals.pending,
            failing_clients=totals.failing,
            in_flight=totals.in_flight,
            lag_s=round(totals.lag_s, 3),
            scheduler={"running": scheduler.running, "sync_interval": scheduler.sync_interval_s},
        )


def _possible(user_id: str) -> str:
    """The id, if a registered one can be like that.

    Raises:
        UnknownClientError: it has characters that PostgreSQL can't even look for.
    """
    if "\x00" in user_id or any("\ud800" <= character <= "\udfff" for character in user_id):
        raise UnknownClientError(user_id)
    return user_id
