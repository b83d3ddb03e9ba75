"""Keeps this client known to the registry: registers it, and again when the registry has forgotten it.

The registry asks the client's health endpoint before it answers, so nothing here may run before the server listens.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from urllib.parse import quote

import httpx
import structlog

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from shared.client_protocol import Registration

REGISTER_PATH: Final = "/api/v1/pull-sync/register-client"
RECORD_PATH: Final = "/api/v1/pull-sync/clients"
BACKOFF_CAP_S: Final = 30.0
_BACKOFF_BASE_S: Final = 0.5
_REMIND_AFTER_S: Final = 600.0
_DETAIL_CHARS: Final = 300

log = structlog.get_logger()


def backoff_s(failures: int, random: Random) -> float:
    """Seconds to wait after so many failures in a row: doubling up to a cap, of which a random half to all."""
    ceiling = min(BACKOFF_CAP_S, _BACKOFF_BASE_S * 2.0 ** min(failures, 30))
    return ceiling * random.uniform(0.5, 1.0)


class Registrar:
    """One step registers, or asks whether that is still needed."""

    def __init__(
        self,
        *,
        http: httpx.AsyncClient,
        backend_url: str,
        registration: Registration,
        check_s: float,
        random: Random,
        monotonic: Callable[[], float],
    ) -> None:
        self._http = http
        self._register_url = backend_url + REGISTER_PATH
        self._record_url = f"{backend_url}{RECORD_PATH}/{quote(registration.user_id, safe='')}"
        self._registration = registration
        self._check_s = check_s
        self._random = random
        self._monotonic = monotonic
        self._registered = False
        self._failures = 0
        self._told: tuple[str, float] | None = None

    async def step(self) -> float:
        """Do what is due now; gives the seconds until the next step."""
        if self._registered and await self._is_known():
            return self._check_s
        return await self._register()

    async def _is_known(self) -> bool:
        """Whether the registry still has this client; in doubt yes, and the next step asks again."""
        try:
            response = await self._http.get(self._record_url)
        except httpx.HTTPError as error:
            log.debug("registration_check_failed", reason=_name(error))
            return True
        if response.status_code == httpx.codes.NOT_FOUND:
            log.info("forgotten_by_registry")
            return False
        known_url = _member(response, "client_url") if response.is_success else None
        if known_url is None or known_url.rstrip("/") == self._registration.client_url:
            return True
        log.warning("registered_with_another_url", registry_has=known_url, ours=self._registration.client_url)
        return False

    async def _register(self) -> float:
        self._registered = False
        try:
            response = await self._http.post(self._register_url, json=self._registration.model_dump())
        except httpx.HTTPError as error:
            return self._failed(_name(error))
        if response.is_success:
            log.info("registered", registry=self._register_url, after_failures=self._failures)
            self._registered, self._failures, self._told = True, 0, None
            return self._check_s
        detail = _member(response, "detail") or response.text
        reason = f"HTTP {response.status_code}: {detail[:_DETAIL_CHARS]}"
        pause_s = self._failed(reason)
        return self._check_s if response.is_client_error else pause_s

    def _failed(self, reason: str) -> float:
        """Tell the first failure, another one, and the same one only after a long while."""
        self._failures += 1
        now = self._monotonic()
        if self._told is None or self._told[0] != reason or now - self._told[1] >= _REMIND_AFTER_S:
            self._told = (reason, now)
            log.warning("not_registered", registry=self._register_url, reason=reason, failures=self._failures)
        return backoff_s(self._failures - 1, self._random)


def _member(response: httpx.Response, name: str) -> str | None:
    try:
        document = response.json()
    except ValueError:
        return None
    value = document.get(name) if isinstance(document, dict) else None
    return value if isinstance(value, str) else None


def _name(error: httpx.HTTPError) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
