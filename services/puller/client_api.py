"""What the puller asks of a client."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from functools import partial
from typing import Final

from services.puller.complete_reading import read_complete_page
from services.puller.observer import PullObserver
from services.puller.reading import Page, UnreadableAnswerError, read_page
from shared.contracts.client_protocol import ALL_CAPTURES_PATH, PAGE_CAPTURES, SYNC_DATA_PATH
from shared.contracts.messages import CAPTURES_PER_PULL, CompletePull, PullTarget, Reason
from shared.contracts.times import EARLIEST, in_utc, iso_millis
from shared.daemon_thread import in_daemon_thread
from shared.outbound.client_http import ClientCallError, ClientHttp
from shared.tokens import DerivedTokens

_READ_ASIDE_BYTES: Final = 64 * 1024
"""A larger answer is read in a thread, so that it does not hold up the others."""


class ClientApi:
    """One method for each endpoint that is used. A page is to be left when it is handed over.

    Large answers are read one after the other: a second thread would be no faster, and cost the memory once more, which
    may be forty times the answer's size.
    """

    def __init__(
        self, *, http: ClientHttp, derived_tokens: DerivedTokens | None = None, observer: PullObserver | None = None
    ) -> None:
        """Without `derived_tokens` clients are asked without a token."""
        self._http = http
        self._observer = observer or PullObserver()
        self._derived_tokens = derived_tokens
        self._one_reads = asyncio.Semaphore(1)

    @asynccontextmanager
    async def sync_data(self, target: PullTarget, *, since: datetime | None) -> AsyncIterator[Page]:
        """What the client has pending.

        Raises:
            ClientCallError: on entering; it could not be had, with its reason.
            OwnLackError: on entering; we lack something to ask for it.
        """
        query = f"limit={PAGE_CAPTURES}"
        if since is not None and in_utc(since) > EARLIEST:  # else it is all: clients have times before it
            query += f"&since={iso_millis(since)}"
        async with self._http.get(f"{target.client_url}{SYNC_DATA_PATH}?{query}", token=self._token(target)) as body:
            yield await self._read(body, partial(read_page, owner=target.user_id), target)

    @asynccontextmanager
    async def all_captures(self, target: PullTarget, complete: CompletePull) -> AsyncIterator[Page]:
        """A page of everything that the client has, acknowledged or not: what comes after `target.after`.

        Raises:
            ClientCallError: on entering; it could not be had, with its reason.
            OwnLackError: on entering; we lack something to ask for it.
        """
        params: dict[str, str | int] = {"limit": CAPTURES_PER_PULL}
        if target.after is not None:
            params["after"] = target.after
        read = partial(read_complete_page, owner=target.user_id, after=target.after, complete=complete)
        url = f"{target.client_url}{ALL_CAPTURES_PATH}"
        async with self._http.get(url, params=params, token=self._token(target)) as body:
            yield await self._read(body, read, target)

    def _token(self, target: PullTarget) -> str | None:
        tokens = self._derived_tokens
        return tokens.for_pulls(target.user_id, target.token_generation, target.client_url) if tokens else None

    async def _read(self, body: bytes, read: Callable[[bytes], Page], target: PullTarget) -> Page:
        self._observer.answered(len(body))
        try:
            if len(body) > _READ_ASIDE_BYTES:
                page = await self._read_aside(partial(read, body))
            else:
                page = read(body)
        except UnreadableAnswerError as error:
            raise ClientCallError(Reason.BAD_PAYLOAD, str(error)) from error
        if page.user_id != target.user_id:
            raise ClientCallError(Reason.WRONG_USER, f"the client answers for another user, {page.user_id[:50]!r}")
        return page

    async def _read_aside(self, read: Callable[[], Page]) -> Page:
        try:
            return await in_daemon_thread(read, room=self._one_reads)
        except OSError as error:
            raise self._http.sockets.lacking(error) from error
