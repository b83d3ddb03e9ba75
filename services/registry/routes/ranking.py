"""The ranking: which Pokémon is held by most users, and who holds most.

All answers have a strong `ETag` and honour `If-None-Match`; `Link: <...>; rel="next"` leads to the next page.
"""

from __future__ import annotations

from typing import Annotated, Any, Final
from urllib.parse import quote

from fastapi import APIRouter, Query, Request, Response
from pydantic import TypeAdapter

from services.registry.api.answers import json_answer
from services.registry.api.models import ApiModel
from services.registry.api.paging import page_after
from services.registry.api.raw_paths import RawPathRoute
from services.registry.captures import FIRST_PLACE, Captures, Place
from services.registry.clients import Clients, possible
from services.registry.routes.clients import PREFIX as PULL_SYNC
from services.registry.routes.clients import UserId
from shared.contracts.client_protocol import ID_CHARS
from shared.contracts.times import UtcDatetime

PREFIX: Final = "/api/v1/ranking"
LONGEST_RANKING: Final = 1_500
LARGEST_NUMBER: Final = 2**31 - 1

Limit = Annotated[int, Query(ge=1, le=LONGEST_RANKING, description="Most entries.")]
AfterNumber = Annotated[int, Query(ge=0, le=LARGEST_NUMBER, description="Only Pokémon with a higher number.")]
AfterHolder = Annotated[
    str | None,
    Query(
        max_length=ID_CHARS + 10,
        pattern=rf"^[0-9]{{1,9}}:[^\x00]{{1,{ID_CHARS}}}$",
        description="Only users behind this place: holdings, a colon, and the user id.",
    ),
]


class RankingEntry(ApiModel):
    """The original's shape: `favorite_count` is the number of users who hold the Pokémon."""

    pokemon_id: int
    pokemon_name: str
    """The species' name; for an unknown number what a client said, with what can't be seen as escapes."""
    favorite_count: int
    id: int
    last_updated: UtcDatetime


class RankingStats(ApiModel):
    """Totals."""

    total_pokemon: int
    """Pokémon that somebody holds."""
    total_favorites: int
    """Holdings, over all users and Pokémon."""
    total_captures: int
    """Captures stored, removals included."""
    last_updated: UtcDatetime | None


class HolderEntry(ApiModel):
    """A user who holds something."""

    user_id: str
    holdings: int
    """Pokémon that he holds."""
    last_updated: UtcDatetime
    """When that number last changed."""


class HoldingEntry(ApiModel):
    """A Pokémon that a user holds."""

    pokemon_id: int
    pokemon_name: str
    held_since: UtcDatetime
    """The time of the latest capture of it."""


_RANKING: Final = TypeAdapter(list[RankingEntry])
_STATS: Final = TypeAdapter(RankingStats)
_HOLDERS: Final = TypeAdapter(list[HolderEntry])
_HOLDINGS: Final = TypeAdapter(list[HoldingEntry])
_UNCHANGED: Final[dict[int | str, dict[str, Any]]] = {304: {"description": "As `If-None-Match` has it."}}


class RankingRoutes:
    """`/api/v1/ranking`."""

    def __init__(self, *, captures: Captures) -> None:
        self._captures = captures

    def router(self) -> APIRouter:
        """To be included by the app."""
        router = APIRouter(prefix=PREFIX, tags=["ranking"], responses=_UNCHANGED)
        router.get("", response_model=list[RankingEntry])(self.ranking)
        router.get("/", response_model=list[RankingEntry], include_in_schema=False)(self.ranking)
        router.get("/stats", response_model=RankingStats)(self.stats)
        router.get("/users", response_model=list[HolderEntry])(self.users)
        router.get("/users/{user_id:path}", response_model=list[HoldingEntry])(self.user)
        return router

    async def ranking(self, request: Request, limit: Limit = 10) -> Response:
        """Most held first; on a tie the lower number."""
        return await _ranking(request, self._captures, limit)

    async def entries(self, limit: int) -> list[RankingEntry]:
        """So many of the ranking, as it is told."""
        return await _entries(self._captures, limit)

    async def stats(self, request: Request) -> Response:
        """Totals over all users."""
        totals = await self._captures.totals()
        stats = RankingStats(
            total_pokemon=totals.ranked,
            total_favorites=totals.holdings,
            total_captures=totals.events,
            last_updated=totals.updated_at,
        )
        return json_answer(request, stats, _STATS)

    async def users(self, request: Request, limit: Limit = 100, after: AfterHolder = None) -> Response:
        """Users who hold most first; on a tie by user id."""
        page = await self._captures.top_holders(after=_place(after), limit=limit + 1)
        entries = [
            HolderEntry(user_id=holder.user_id, holdings=holder.holdings, last_updated=holder.updated_at)
            for holder in page[:limit]
        ]
        following = None
        if len(page) > limit:
            last = f"{entries[-1].holdings}:{entries[-1].user_id}"
            following = page_after(request, f"{PREFIX}/users", limit=limit, after=last)
        return json_answer(request, entries, _HOLDERS, following=following)

    async def user(self, request: Request, user_id: UserId, limit: Limit = 100, after: AfterNumber = 0) -> Response:
        """What one user holds, by number; an empty list for a user who is known and holds nothing."""
        page = await self._captures.holdings(user_id, after=after, limit=limit + 1)
        entries = [
            HoldingEntry(pokemon_id=held.pokemon_id, pokemon_name=held.pokemon_name, held_since=held.held_since)
            for held in page[:limit]
        ]
        following = None
        if len(page) > limit:
            path = f"{PREFIX}/users/{quote(user_id, safe='')}"
            following = page_after(request, path, limit=limit, after=entries[-1].pokemon_id)
        return json_answer(request, entries, _HOLDINGS, following=following)


class ClientRankingRoutes:
    """The ranking, for a client by its own token; to be included before those of clients, whose ids hold slashes."""

    def __init__(self, *, captures: Captures, clients: Clients) -> None:
        self._captures = captures
        self._clients = clients

    def router(self) -> APIRouter:
        """To be included by the app."""
        router = APIRouter(prefix=PULL_SYNC, tags=["ranking"], responses=_UNCHANGED, route_class=RawPathRoute)
        router.get("/clients/{user_id:path}/ranking", response_model=list[RankingEntry])(self.for_client)
        return router

    async def for_client(self, request: Request, user_id: UserId, limit: Limit = 10) -> Response:
        """The ranking, for a client that is registered; the same as for operators."""
        await self._clients.get(possible(user_id))  # which refuses unknown ones
        return await _ranking(request, self._captures, limit)


async def _ranking(request: Request, captures: Captures, limit: int) -> Response:
    return json_answer(request, await _entries(captures, limit), _RANKING)


async def _entries(captures: Captures, limit: int) -> list[RankingEntry]:
    return [
        RankingEntry(
            pokemon_id=ranked.pokemon_id,
            pokemon_name=ranked.pokemon_name,
            favorite_count=ranked.holders,
            id=ranked.pokemon_id,
            last_updated=ranked.updated_at,
        )
        for ranked in await captures.ranking(limit)
    ]


def _place(cursor: str | None) -> Place:
    if cursor is None:
        return FIRST_PLACE
    holdings, _, user_id = cursor.partition(":")
    return int(holdings), user_id
