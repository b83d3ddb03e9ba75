"""The ranking: which Pokémon is held by most users."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter, Query
from pydantic import BaseModel

from services.registry.captures import Captures
from shared.client_protocol import UtcDatetime

LONGEST_RANKING: Final = 1_500

Limit = Annotated[int, Query(ge=1, le=LONGEST_RANKING, description="Most entries.")]


class RankingEntry(BaseModel):
    """The original's shape: `favorite_count` is the number of users who hold the Pokémon."""

    pokemon_id: int
    pokemon_name: str
    favorite_count: int
    id: int
    last_updated: UtcDatetime


class RankingStats(BaseModel):
    """Totals."""

    total_pokemon: int
    """Pokémon that somebody holds."""
    total_favorites: int
    """Holdings, over all users and Pokémon."""
    total_captures: int
    """Captures stored, removals included."""
    last_updated: UtcDatetime | None


class RankingRoutes:
    """`/api/v1/ranking`."""

    def __init__(self, *, captures: Captures) -> None:
        self._captures = captures

    def router(self) -> APIRouter:
        """To be included by the app."""
        router = APIRouter(prefix="/api/v1/ranking", tags=["ranking"])
        router.get("")(self.ranking)
        router.get("/", include_in_schema=False)(self.ranking)
        router.get("/stats")(self.stats)
        return router

    async def ranking(self, limit: Limit = 10) -> list[RankingEntry]:
        """Most held first; on a tie the lower number."""
        return [
            RankingEntry(
                pokemon_id=ranked.pokemon_id,
                pokemon_name=ranked.pokemon_name,
                favorite_count=ranked.holders,
                id=ranked.pokemon_id,
                last_updated=ranked.updated_at,
            )
            for ranked in await self._captures.ranking(limit)
        ]

    async def stats(self) -> RankingStats:
        """Totals over all users."""
        totals = await self._captures.totals()
        return RankingStats(
            total_pokemon=totals.ranked,
            total_favorites=totals.holdings,
            total_captures=totals.events,
            last_updated=totals.updated_at,
        )
