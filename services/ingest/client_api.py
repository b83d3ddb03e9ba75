"""What ingest asks of a client: to forget what is stored."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from shared.contracts.client_protocol import ACKNOWLEDGE_BODY_BYTES, ACKNOWLEDGE_PATH
from shared.contracts.messages import Acknowledgement
from shared.outbound.client_http import ClientHttp
from shared.tokens import DerivedTokens


class ClientApi:
    """One method for each endpoint that is used."""

    def __init__(self, *, http: ClientHttp, derived_tokens: DerivedTokens | None = None) -> None:
        """Without `derived_tokens` clients are called without a token."""
        self._http = http
        self._derived_tokens = derived_tokens

    async def acknowledge(self, told: Acknowledgement) -> None:
        """Tell the client that its captures are stored. May be repeated.

        Raises:
            ClientCallError: it did not take all of it; it may have taken a part.
        """
        tokens = self._derived_tokens
        token = tokens.for_pulls(told.user_id, told.token_generation, told.client_url) if tokens else None
        for part in parts(told.capture_ids):
            await self._http.post(f"{told.client_url}{ACKNOWLEDGE_PATH}", {"capture_ids": part}, token=token)


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
