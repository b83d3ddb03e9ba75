"""Tells the registry that there is something to pull, so that it need not wait for this client's next slot.

A nudge has no content, and only makes a pull come sooner: without it the timer pulls all the same. So it is sent beside
the requests, never by them; a capture is accepted whatever becomes of its nudge.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

import httpx
import structlog

from services.client.backend import BACKOFF_CAP_S, backoff_s, failure, refusal, retry_after_s
from shared.tokens import authorization

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

NUDGE_PATH: Final = "/api/v1/pull-sync/nudge"
_TIMEOUT_S: Final = 5.0
_SPACING_S: Final = 1.0
"""The registry's default, for a 429 that does not say when to come again."""

log = structlog.get_logger()


class Nudger:
    """One step sends one nudge, and all captures that came before it share it.

    Whoever has a fresh capture sets `wanted`, and need not wait. A nudge that was not heard (no answer, or an error of
    the server's) stays wanted, and is sent again with backoff for as long as it takes: the registry may have given up
    on a client that was away for long, and look for it only rarely. One that was refused is not repeated, since it
    would be refused again; the timer pulls. Nothing is kept over a restart, which registers, and so makes due as well.
    """

    def __init__(
        self,
        *,
        http: httpx.AsyncClient,
        url: str,
        wanted: asyncio.Event,
        registered: asyncio.Event,
        on_unknown: Callable[[], None],
        token: Callable[[], str | None] = lambda: None,
        random: Random,
        timeout_s: float = _TIMEOUT_S,
    ) -> None:
        self._http = http
        self._url = url
        self._wanted = wanted
        self._registered = registered
        self._on_unknown = on_unknown
        self._token = token
        self._random = random
        self._timeout_s = timeout_s
        self._failures = 0

    async def step(self) -> float:
        """Nudge once, as soon as that is wanted and the client registered; gives the seconds to the next at the least.

        `on_unknown` is called when the registry does not know the client.
        """
        await self._wanted.wait()
        await self._registered.wait()
        self._wanted.clear()  # a capture from now on may be too late for the pull that this nudge leads to
        try:
            async with asyncio.timeout(self._timeout_s):
                response = await self._http.post(self._url, headers=authorization(self._token()))
        except (httpx.HTTPError, TimeoutError) as error:
            self._wanted.set()
            return self._failed(failure(error))
        if response.is_success or response.status_code == httpx.codes.TOO_MANY_REQUESTS:
            return self._heard(response)
        return self._refused(response)

    def _heard(self, response: httpx.Response) -> float:
        """The client is due now; or, at a 429, was to be pulled soon already, and all before then in that pull."""
        if self._failures:
            log.info("nudged_again", after_failures=self._failures)
        self._failures = 0
        return 0.0 if response.is_success else _wait_s(response)

    def _refused(self, response: httpx.Response) -> float:
        if not response.is_client_error:
            self._wanted.set()
        if response.status_code == httpx.codes.NOT_FOUND:
            self._on_unknown()  # a new registration makes the client due
        return self._failed(refusal(response))

    def _failed(self, reason: str) -> float:
        """Tell the first failure of a run; `_heard` tells its end."""
        self._failures += 1
        if self._failures == 1:
            log.warning("not_nudged", registry=self._url, reason=reason)
        return backoff_s(self._failures - 1, self._random)


def nudge_url(backend_url: str, user_id: str) -> str:
    """Where the registry takes nudges of this client."""
    return f"{backend_url}{NUDGE_PATH}/{quote(user_id, safe='')}"


def _wait_s(response: httpx.Response) -> float:
    """The registry's spacing."""
    return retry_after_s(response, default_s=_SPACING_S, most_s=BACKOFF_CAP_S)
