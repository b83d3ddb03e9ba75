"""What ingest asks of a client: to forget what is stored."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from shared.client_protocol import ACKNOWLEDGE_BODY_BYTES, ACKNOWLEDGE_PATH
from shared.outbound import ClientHttp


class ClientApi:
    """One method for each endpoint that is used."""

    def __init__(self, *, http: ClientHttp) -> None:
        self._http = http

    async def acknowledge(self, client_url: str, capture_ids: Sequence[str]) -> None:
        """Tell the client that these captures are stored. May be repeated.

        Raises:
            ClientCallError: it did not take all of it; it may have taken a part.
        """
        for part in parts(capture_ids):
            await self._http.post(f"{client_url}{ACKNOWLEDGE_PATH}", {"capture_ids": part})


def parts(capture_ids: Sequence[str]) -> Iterator[list[str]]:
    """The ids in as many bodies as deployed clients need; an id that is larger than a body travels alone."""
    part: list[str] = []
    size = 0
    for capture_id in capture_ids:
        weight = len(json.dumps(capture_id)) + len(", ")
        if part and size + weight > ACKNOWLEDGE_BODY_BYTES:
            yield part
            part, size = [], 0
        part.append(capture_id)
        size += weight
    if part:
        yield part
