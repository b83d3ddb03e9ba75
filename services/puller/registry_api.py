"""What the puller asks of the registry: claims."""

from __future__ import annotations

import httpx

from shared.claims import CLAIM_LIMIT, CLAIMS_PATH, Claims
from shared.encoding import UnreadableMessageError, decoded
from shared.messages import PullTarget


class RegistryAwayError(Exception):
    """The registry did not hand out claims; asking again may help."""


class RegistryApi:
    """HTTP to the registry."""

    def __init__(self, *, http: httpx.AsyncClient, backend_url: str) -> None:
        self._http = http
        self._url = f"{backend_url}{CLAIMS_PATH}"

    async def claim(self, limit: int, *, ahead_s: float) -> tuple[PullTarget, ...]:
        """Leases on clients that are due, or will be within `ahead_s` seconds, at most `limit`.

        Raises:
            RegistryAwayError: there was no answer, or not the right one. Leases that it may have given out end alone.
        """
        try:
            response = await self._http.post(self._url, json={"limit": min(limit, CLAIM_LIMIT), "ahead_s": ahead_s})
            response.raise_for_status()
            return decoded(Claims, response.content).targets
        except httpx.HTTPError as error:
            raise RegistryAwayError(str(error) or type(error).__name__) from error
        except UnreadableMessageError as error:
            message = f"{self._url} does not answer as a registry does"
            raise RegistryAwayError(message) from error
