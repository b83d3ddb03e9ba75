"""Keeps this client known to the registry: registers it, and again when the registry has forgotten it.

The registry asks the client's health endpoint before it answers, so nothing here may run before the server listens.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

import httpx
import structlog

from services.client.backend import backoff_s, failure, member, refusal, retry_after_s

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from shared.client_protocol import Registration

REGISTER_PATH: Final = "/api/v1/pull-sync/register-client"
RECORD_PATH: Final = "/api/v1/pull-sync/clients"
_REMIND_AFTER_S: Final = 600.0
_LONGEST_WAIT_S: Final = 3_600.0

log = structlog.get_logger()


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
        self.registered = asyncio.Event()
        """Set while the registry knows this client, as far as the client knows."""
        self.woken = asyncio.Event()
        """Set when the next step should not wait."""
        self._has_registered = False
        self._failures = 0
        self._told: tuple[str, float] | None = None

    def doubt(self) -> None:
        """Somebody heard that the registry does not know this client: let a step find out at once."""
        self.registered.clear()
        self.woken.set()

    async def step(self) -> float:
        """Do what is due now; gives the seconds until the next step, unless `woken` is set."""
        if self._has_registered and await self._is_known():
            self.registered.set()
            return self._check_s
        return await self._register()

    async def _is_known(self) -> bool:
        """Whether the registry still has this client; in doubt yes, and the next step asks again."""
        try:
            response = await self._http.get(self._record_url)
        except httpx.HTTPError as error:
            log.debug("registration_check_failed", reason=failure(error))
            return True
        if response.status_code == httpx.codes.NOT_FOUND:
            log.info("forgotten_by_registry")
            return False
        known_url = member(response, "client_url") if response.is_success else None
        if known_url is None or known_url.rstrip("/") == self._registration.client_url:
            return True
        log.warning("registered_with_another_url", registry_has=known_url, ours=self._registration.client_url)
        return False

    async def _register(self) -> float:
        self._has_registered = False
        self.registered.clear()
        try:
            response = await self._http.post(self._register_url, json=self._registration.model_dump())
        except httpx.HTTPError as error:
            return self._failed(failure(error))
        if response.is_success:
            log.info("registered", registry=self._register_url, after_failures=self._failures)
            self._has_registered, self._failures, self._told = True, 0, None
            self.registered.set()
            return self._check_s
        pause_s = self._failed(refusal(response))
        if response.status_code == httpx.codes.TOO_MANY_REQUESTS:
            return self._wait_s(response)
        return self._check_s if response.is_client_error else pause_s

    def _wait_s(self, response: httpx.Response) -> float:
        """As long as the registry asks for, and up to half as long again: others behind this address wait, too."""
        asked_s = retry_after_s(response, default_s=self._check_s, most_s=_LONGEST_WAIT_S)
        return asked_s * self._random.uniform(1.0, 1.5)

    def _failed(self, reason: str) -> float:
        """Tell the first failure, another one, and the same one only after a long while."""
        self._failures += 1
        now = self._monotonic()
        if self._told is None or self._told[0] != reason or now - self._told[1] >= _REMIND_AFTER_S:
            self._told = (reason, now)
            log.warning("not_registered", registry=self._register_url, reason=reason, failures=self._failures)
        return backoff_s(self._failures - 1, self._random)
