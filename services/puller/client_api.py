"""What the puller asks of a client."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Final

from services.puller.reading import Page, UnreadableAnswerError, read_page
from shared.client_protocol import PAGE_CAPTURES, SYNC_DATA_PATH, iso_millis
from shared.messages import PullTarget, Reason
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
        try:
            if len(body) > _READ_ASIDE_BYTES:
                page = await asyncio.to_thread(read_page, body, owner=target.user_id)
            else:
                page = read_page(body, owner=target.user_id)
        except UnreadableAnswerError as error:
            raise ClientCallError(Reason.BAD_PAYLOAD, str(error)) from error
        if page.user_id != target.user_id:
            raise ClientCallError(Reason.WRONG_USER, f"the client answers for another user, {page.user_id[:50]!r}")
        return page
