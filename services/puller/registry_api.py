"""What the puller asks of the registry: claims; and what it tells: that it is alive."""

from __future__ import annotations

from typing import Any, Final

import httpx
import structlog

from services.puller.leases import ClaimNumber, Held
from shared.contracts.claims import CLAIM_LIMIT, CLAIMS_PATH, HEARTBEAT_PATH, Claims
from shared.contracts.encoding import UnreadableMessageError, decoded
from shared.contracts.messages import PullTarget
from shared.observing.logs import Seldom

_KEYS_EVERY_S: Final = 600.0
_REFUSED: Final = (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN)

log = structlog.get_logger()


class RegistryAwayError(Exception):
    """The registry did not hand out claims; asking again may help."""


class RefusedError(RegistryAwayError):
    """It will not, as long as the settings are as they are."""


class RegistryApi:
    """HTTP to the registry."""

    def __init__(self, *, http: httpx.AsyncClient, backend_url: str, key_fingerprint: str | None) -> None:
        """`key_fingerprint` is that of the key by which we make clients' tokens; None when we make none."""
        self._http = http
        self._backend_url = backend_url
        self._key_fingerprint = key_fingerprint
        self._seldom = Seldom(every_s=_KEYS_EVERY_S)
        self._is_refused = False

    async def accepts_us(self) -> bool:
        """Whether the registry did not refuse our token when it was asked last."""
        return not self._is_refused

    async def claim(self, limit: int, *, ahead_s: float, claim: ClaimNumber) -> tuple[PullTarget, ...]:
        """Leases on clients that are due, or will be within `ahead_s` seconds, at most `limit`.

        Raises:
            RegistryAwayError: there was no answer, or not the right one. Leases that it may have given out are taken
                back with the next claim.
            RefusedError: it does not take our token.
        """
        holder = {"holder_id": str(claim.holder_id), "number": claim.number, "answered": claim.answered}
        body = {"limit": min(limit, CLAIM_LIMIT), "ahead_s": ahead_s, "holder": holder}
        answer = await self._post(CLAIMS_PATH, body)
        try:
            claims = decoded(Claims, answer)
        except UnreadableMessageError as error:
            message = f"{self._backend_url}{CLAIMS_PATH} does not answer as a registry does"
            raise RegistryAwayError(message) from error
        if claims.key_fingerprint is not None:
            self._compare_keys(claims.key_fingerprint)
        return claims.targets

    async def heartbeat(self, held: Held, *, leaves: bool = False) -> None:
        """Tell that we are alive, or that we end now, and what we hold. May be repeated.

        Raises:
            RegistryAwayError: there was no answer, or a refusal; a registry of the version before knows no heartbeats.
        """
        body = {
            "holder_id": str(held.holder_id),
            "answered": held.answered,
            "in_hand": [str(pull_id) for pull_id in held.in_hand],
            "given_back": [str(pull_id) for pull_id in held.given_back],
            "leaves": leaves,
        }
        await self._post(HEARTBEAT_PATH, body)

    async def _post(self, path: str, body: dict[str, Any]) -> bytes:
        try:
            response = await self._http.post(f"{self._backend_url}{path}", json=body)
            self._is_refused = response.status_code in _REFUSED
            if self._is_refused:
                message = f"it refuses our token ({response.status_code}): set SERVICE_TOKENS as the registry has it"
                raise RefusedError(message)
            response.raise_for_status()
        except httpx.HTTPError as error:
            raise RegistryAwayError(str(error) or type(error).__name__) from error
        return response.content

    def _compare_keys(self, of_registry: str) -> None:
        """Tell when clients will refuse us: else each of them would fail, and none would tell why."""
        if of_registry != self._key_fingerprint and self._seldom.may_tell("keys"):
            problem = "have another first key than the registry's" if self._key_fingerprint else "are not set here"
            remedy = "set them as the registry has them"
            log.error("clients_will_refuse", problem=f"PULL_TOKEN_KEYS {problem}", remedy=remedy)
