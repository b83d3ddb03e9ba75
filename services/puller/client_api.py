"""What the puller asks of a client."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Final

from services.puller.complete_reading import read_complete_page
from services.puller.reading import Page, UnreadableAnswerError, read_page
from shared.client_protocol import ALL_CAPTURES_PATH, PAGE_CAPTURES, SYNC_DATA_PATH, iso_millis
from shared.messages import CAPTURES_PER_PULL, CompletePull, PullTarget, Reason
from shared.outbound import ClientCallError, ClientHttp

_READ_ASIDE_BYTES: Final = 256 * 1024
"""A larger answer is read in a thread, so that it does not hold up the others."""


class ClientApi:
    """One method for each endpoint that is used."""

    def __init__(self, *, http: ClientHttp) -> None:
        self._http = http

    async def sync_data(self, target: PullTarget, *, since: datetime | None) -> Page:
        """What the client has pending.

        Raises:
            ClientCallError: it could not be had, with its reason.
        """
        params: dict[str, str | int] = {"limit": PAGE_CAPTURES}
        if since is not None:
            params["since"] = iso_millis(since)
        body = await self._http.get(f"{target.client_url}{SYNC_DATA_PATH}", params=params)
        return await _read(body, partial(read_page, owner=target.user_id), target)

    async def all_captures(self, target: PullTarget, complete: CompletePull) -> Page:
        """A page of everything that the client has, acknowledged or not: what comes after `target.after`.

        Raises:
            ClientCallError: it could not be had, with its reason.
        """
        params: dict[str, str | int] = {"limit": CAPTURES_PER_PULL}
        if target.after is not None:
            params["after"] = target.after
        body = await self._http.get(f"{target.client_url}{ALL_CAPTURES_PATH}", params=params)
        read = partial(read_complete_page, owner=target.user_id, after=target.after, complete=complete)
        return await _read(body, read, target)


async def _read(body: bytes, read: Callable[[bytes], Page], target: PullTarget) -> Page:
    try:
        page = await asyncio.to_thread(read, body) if len(body) > _READ_ASIDE_BYTES else read(body)
    except UnreadableAnswerError as error:
        raise ClientCallError(Reason.BAD_PAYLOAD, str(error)) from error
    if page.user_id != target.user_id:
        raise ClientCallError(Reason.WRONG_USER, f"the client answers for another user, {page.user_id[:50]!r}")
    return page
