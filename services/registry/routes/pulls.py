"""A client's history of pulls."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import quote
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response

from services.registry.api.paging import link_to, page_after
from services.registry.api.raw_paths import RawPathRoute
from services.registry.clients import Clients, possible
from services.registry.pulls import PullRecord, Pulls
from services.registry.routes.clients import PREFIX, UserId

Limit = Annotated[int, Query(ge=1, le=1_000, description="Most pulls in one answer.")]
Before = Annotated[UUID | None, Query(description="Only pulls that began before this one.")]


class PullRoutes:
    """`/api/v1/pull-sync/clients/{user_id}/pulls`; to be included before those of clients, whose ids hold slashes."""

    def __init__(self, *, pulls: Pulls, clients: Clients) -> None:
        self._pulls = pulls
        self._clients = clients

    def router(self) -> APIRouter:
        """To be included by the app."""
        router = APIRouter(prefix=PREFIX, tags=["clients"], route_class=RawPathRoute)
        router.get("/clients/{user_id:path}/pulls")(self.pulls)
        return router

    async def pulls(
        self, request: Request, response: Response, user_id: UserId, limit: Limit = 50, before: Before = None
    ) -> list[PullRecord]:
        """What became of a client's pulls, the latest first, a page at a time. Those that found nothing are not kept.

        The others are for some days (`PULL_SYNC_HISTORY_DAYS`), even when the client is unregistered.
        """
        page = await self._pulls.page(possible(user_id), before=before, limit=limit + 1)
        if not page and not await self._pulls.has_any(user_id):
            await self._clients.get(user_id)  # which refuses unknown ones
        if len(page) > limit:
            path = f"{PREFIX}/clients/{quote(user_id, safe='')}/pulls"
            response.headers["link"] = link_to(page_after(request, path, limit=limit, before=page[limit - 1].pull_id))
        return page[:limit]
