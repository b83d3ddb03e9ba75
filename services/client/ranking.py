"""The ranking, as the registry has it, for pages that show it: they reach this client, and not always the registry.

Nothing of it is kept: while the registry can't be asked, there is no ranking.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Final
from urllib.parse import quote

import httpx
from fastapi import APIRouter, Query
from pydantic import TypeAdapter, ValidationError

from services.client.backend import failure, refusal
from services.client.errors import Refusal, RegistryAwayError
from shared.contracts.client_protocol import RANKING_PATH, Ranking, RankingEntry
from shared.tokens import authorization
from shared.untrusted_text import visible

CLIENTS_PATH: Final = "/api/v1/pull-sync/clients"
LONGEST: Final = 100
FRESH_S: Final = 2.0
_TIMEOUT_S: Final = 5.0
_ENTRIES: Final = TypeAdapter(list[RankingEntry])
_REFUSED: Final = (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN)

_REFUSALS: Final[dict[int | str, dict[str, Any]]] = {
    "4XX": {"model": Refusal, "description": "Refused."},
    503: {"model": Refusal, "description": "The registry can't be asked, or refuses."},
}

Limit = Annotated[int, Query(ge=1, le=LONGEST)]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Problem:
    """Why there is no ranking, and what to do, in a sentence."""

    sentence: str


class RegistryRanking:
    """Asks the registry for as much as anybody may want, and answers all with it for a while; failures, too.

    So the registry has one request of this client at a time, and the next one `FRESH_S` after its end at the earliest.
    """

    def __init__(
        self,
        *,
        http: httpx.AsyncClient,
        url: str,
        token: Callable[[], str | None],
        clock: Callable[[], datetime],
        monotonic: Callable[[], float],
        timeout_s: float = _TIMEOUT_S,
    ) -> None:
        self._http = http
        self._url = url
        self._token = token
        self._clock = clock
        self._monotonic = monotonic
        self._timeout_s = timeout_s
        self._turn = asyncio.Lock()
        self._known: Ranking | _Problem | None = None
        self._known_at = 0.0

    async def top(self, limit: int) -> Ranking:
        """The first so many, most held first.

        Raises:
            RegistryAwayError: the registry does not answer, or with something else.
        """
        async with self._turn:
            known = self._known
            if known is None or self._monotonic() - self._known_at >= FRESH_S:
                known = self._known = await self._ask()
                self._known_at = self._monotonic()
        if isinstance(known, _Problem):
            raise RegistryAwayError(known.sentence)
        return Ranking(ranking=known.ranking[:limit], as_of=known.as_of)

    async def _ask(self) -> Ranking | _Problem:
        as_of = self._clock()
        try:
            async with asyncio.timeout(self._timeout_s):
                headers = authorization(self._token())
                response = await self._http.get(self._url, params={"limit": LONGEST}, headers=headers)
        except TimeoutError:
            return _away(f"no answer within {self._timeout_s:g} s")
        except httpx.HTTPError as error:
            return _away(visible(failure(error)))
        if not response.is_success:
            return _refused(response)
        try:
            return Ranking(ranking=_ENTRIES.validate_json(response.content), as_of=as_of)
        except ValidationError:
            return _Problem(sentence="What answers at BACKEND_URL is no ranking: set it to the registry's own URL.")


def _away(reason: str) -> _Problem:
    return _Problem(
        sentence=f"The registry can't be asked for the ranking ({reason}): look whether it runs, and whether "
        "BACKEND_URL leads to it. What is captured stays here until it is back."
    )


def _refused(response: httpx.Response) -> _Problem:
    said = visible(refusal(response))
    if response.status_code == httpx.codes.NOT_FOUND:
        remedy = "wait until this client is registered, and update a registry that is older than it"
    elif response.status_code in _REFUSED:
        remedy = "this client registers again by itself; if that does not help, look at CLIENT_REGISTRATION_TOKEN"
    else:
        remedy = "try again in some seconds, and look at the registry's log if that does not help"
    return _Problem(sentence=f"The registry gives no ranking ({said}): {remedy}.")


def ranking_url(backend_url: str, user_id: str) -> str:
    """Where the registry shows it to this client."""
    return f"{backend_url}{CLIENTS_PATH}/{quote(user_id, safe='')}/ranking"


class RankingRoutes:
    """`/api/client/ranking`."""

    def __init__(self, *, ranking: RegistryRanking) -> None:
        self._ranking = ranking

    def router(self) -> APIRouter:
        """To be included by the app."""
        router = APIRouter(responses=_REFUSALS)
        router.get(RANKING_PATH)(self.ranking)
        return router

    async def ranking(self, limit: Limit = 10) -> Ranking:
        """Which Pokémon most users hold, as the registry said within the last seconds."""
        return await self._ranking.top(limit)
