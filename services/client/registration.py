"""Keeps this client known to the registry: registers it, and again when the registry has forgotten it.

The registry asks the client's health endpoint before it answers, so nothing here may run before the server listens.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Final, NotRequired
from urllib.parse import quote

import httpx
import structlog
from pydantic import StringConstraints, TypeAdapter, ValidationError
from typing_extensions import TypedDict

from services.client.backend import backoff_s, failure, member, refusal, retry_after_s
from services.client.errors import StoreUnavailableError
from services.client.pull_access import PullAccess, Tokens
from shared.tokens import authorization

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from shared.contracts.client_protocol import Registration

REGISTER_PATH: Final = "/api/v1/pull-sync/register-client"
RECORD_PATH: Final = "/api/v1/pull-sync/clients"
_REMIND_AFTER_S: Final = 600.0
_BLIND_S: Final = 1_800.0
"""A client that may not see its own record registers again after about so long."""
_REFUSED: Final = (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN)
_LONGEST_WAIT_S: Final = 3_600.0

log = structlog.get_logger()


_Token = Annotated[str, StringConstraints(pattern="^[!-~]+$", max_length=512)]


class _Answer(TypedDict):
    """What is read of the answer to a registration."""

    pull_token: NotRequired[_Token | None]
    client_token: NotRequired[_Token | None]


REGISTERED: Final = TypeAdapter(_Answer)


class Registrar:
    """One step registers, or asks whether that is still needed."""

    def __init__(
        self,
        *,
        http: httpx.AsyncClient,
        backend_url: str,
        registration: Registration,
        registration_token: str | None,
        pull_access: PullAccess,
        check_s: float,
        random: Random,
        monotonic: Callable[[], float],
    ) -> None:
        self._http = http
        self._register_url = backend_url + REGISTER_PATH
        self._record_url = f"{backend_url}{RECORD_PATH}/{quote(registration.user_id, safe='')}"
        self._registration = registration
        self._registration_token = registration_token
        self._pull_access = pull_access
        self._check_s = check_s
        self._random = random
        self._monotonic = monotonic
        self.registered = asyncio.Event()
        """Set while the registry knows this client, as far as the client knows."""
        self.woken = asyncio.Event()
        """Set when the next step should not wait."""
        self._has_registered = False
        self._registered_at = 0.0
        self._blind_s = _BLIND_S
        self._failures = 0
        self._told: tuple[str, float] | None = None

    def doubt(self) -> None:
        """Somebody heard that the registry does not know this client: let a step find out at once."""
        self.registered.clear()
        self.woken.set()

    def doubt_token(self) -> None:
        """Somebody came with another pull token: perhaps the registry has made one. It is asked now and then."""
        if self._has_registered and self._monotonic() - self._registered_at >= self._check_s:
            self._has_registered = False
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
            response = await self._http.get(self._record_url, headers=authorization(self._pull_access.for_registry))
        except httpx.HTTPError as error:
            log.debug("registration_check_failed", reason=failure(error))
            return True
        if response.status_code == httpx.codes.NOT_FOUND:
            log.info("forgotten_by_registry")
            return False
        if response.status_code in _REFUSED:
            # With a token of its own it is not known, or has another one by now; without it can't tell.
            has_own = self._pull_access.for_registry is not None
            return not has_own and self._monotonic() - self._registered_at < self._blind_s
        known_url = member(response, "client_url") if response.is_success else None
        if known_url is None or known_url.rstrip("/") == self._registration.client_url:
            return True
        log.warning("registered_with_another_url", registry_has=known_url, ours=self._registration.client_url)
        return False

    async def _register(self) -> float:
        self._has_registered = False
        self.registered.clear()
        try:
            response = await self._ask_to_register()
        except httpx.HTTPError as error:
            return self._failed(failure(error))
        if response.is_success:
            try:
                await self._keep_token(response)
            except StoreUnavailableError as error:
                return self._failed(failure(error))
            is_open = self._pull_access.is_open
            log.info("registered", registry=self._register_url, after_failures=self._failures, open_to_all=is_open)
            self._has_registered, self._failures, self._told = True, 0, None
            self._registered_at = self._monotonic()
            self._blind_s = _BLIND_S * self._random.uniform(0.5, 1.5)
            self.registered.set()
            return self._check_s
        pause_s = self._failed(refusal(response))
        if response.status_code == httpx.codes.TOO_MANY_REQUESTS:
            return self._wait_s(response)
        return self._check_s if response.is_client_error else pause_s

    async def _ask_to_register(self) -> httpx.Response:
        """As this client; or, when the registry does not know it as such, as anybody who may register."""
        tokens = [token for token in (self._pull_access.for_registry, self._registration_token) if token]
        for token in tokens[:-1]:
            response = await self._register_with(token)
            if response.status_code not in _REFUSED:
                return response
        return await self._register_with(tokens[-1] if tokens else None)

    async def _register_with(self, token: str | None) -> httpx.Response:
        body = self._registration.model_dump(exclude_none=True)
        return await self._http.post(self._register_url, json=body, headers=authorization(token))

    async def _keep_token(self, response: httpx.Response) -> None:
        """As the registry says; when it says nothing of tokens, what was before holds."""
        try:
            answer = REGISTERED.validate_json(response.content)
        except ValidationError:
            return
        for_pulls, for_registry = answer.get("pull_token"), answer.get("client_token")
        if for_pulls and for_registry:
            await self._pull_access.keep(Tokens(for_pulls=for_pulls, for_registry=for_registry))
        elif "pull_token" in answer:
            await self._pull_access.open()

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
