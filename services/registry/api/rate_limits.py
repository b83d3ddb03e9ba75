"""Refuses who asks too often for what is dear, and tells the others what is left.

Counted is what the guard let through: who has no right to anything can't use up what others may do from the same
address. Wrong tokens of clients, for which the database is asked, have a counter of their own. Which operations are
limited stands here; in the document they have a 429 for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Final

from fastapi import Request
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.registry.api.problems import answer, quota_headers
from services.registry.errors import Quota, TooManyRequestsError
from services.registry.rate_limiter import RateLimiter

_PREFIX: Final = "/api/v1/pull-sync"
REGISTRATION_PATH: Final = f"{_PREFIX}/register-client"
SYNC_PATHS: Final = tuple(
    f"{_PREFIX}/{name}" for name in ("sync-all", "sync-recent", "sync-all-background", "sync-complete-state")
)
NUDGE_PATH: Final = f"{_PREFIX}/nudge/"
"""What follows is a user."""

_QUOTAS: Final = "pullsync.quotas"
_COUNTERS: Final = 4_096
_SUBSCRIBER_BITS: Final = 64
"""Of an IPv6 address: what one subscriber has at the least, to choose addresses in at will."""
_REMEMBERED: Final = 16_384
_UNAUTHENTICATED: Final = 401


class Limits:
    """How often each kind of request may be made by one address."""

    def __init__(
        self, *, registrations: RateLimiter, syncs: RateLimiter, nudges: RateLimiter, wrong_tokens: RateLimiter
    ) -> None:
        self._by_path: Mapping[str, RateLimiter] = {
            REGISTRATION_PATH: registrations,
            **dict.fromkeys(SYNC_PATHS, syncs),
        }
        self._nudges = nudges
        self._wrong_tokens = wrong_tokens
        self._right: dict[int, None] = {}

    def of(self, scope: Scope) -> RateLimiter | None:
        """That of the request; None when it is not limited."""
        if scope["method"] != "POST":
            return None
        path: str = scope["path"]
        return self._nudges if path.startswith(NUDGE_PATH) else self._by_path.get(path)

    async def count(self, request: Request) -> None:
        """Count a request that is going to be served.

        Raises:
            TooManyRequestsError: there were too many.
        """
        limiter = self.of(request.scope)
        if limiter is not None:
            tell(request, await limiter.take(counter_of(request.scope)))

    async def count_guarded(self, request: Request) -> None:
        """The same, after the guard; but for a registration, which counts itself when its body said for whom it is."""
        if request.scope["path"] != REGISTRATION_PATH:
            await self.count(request)

    async def require_trust(self, scope: Scope, token: str) -> None:
        """Return when the database may be asked for a client's token: for one that was right lately, always.

        Raises:
            TooManyRequestsError: too many wrong ones came from that address.
        """
        if hash(token) not in self._right:
            await self._wrong_tokens.require_room(counter_of(scope))

    async def count_wrong(self, scope: Scope) -> None:
        """Count a token of a client that was not right."""
        with suppress(TooManyRequestsError):  # it is refused as wrong all the same
            await self._wrong_tokens.take(counter_of(scope))

    def remember(self, token: str) -> None:
        """That it was right."""
        if hash(token) not in self._right:
            if len(self._right) >= _REMEMBERED:
                del self._right[next(iter(self._right))]
            self._right[hash(token)] = None


class RateLimits:
    """ASGI middleware around the operations that are limited, for what has to be done before and after these."""

    def __init__(self, app: ASGIApp, *, limits: Limits) -> None:
        self._app = app
        self._limits = limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve the request; or refuse it, before its body is read, when no more of its kind is going to be served."""
        limiter = self._limits.of(scope) if scope["type"] == "http" else None
        if limiter is None:
            await self._app(scope, receive, send)
            return
        try:
            await limiter.require_room(counter_of(scope))
        except TooManyRequestsError as error:
            await answer(error)(scope, receive, send)
        else:
            scope[_QUOTAS] = []
            await self._app(scope, receive, partial(self._send, scope, send))

    async def _send(self, scope: Scope, send: Send, message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            if "ratelimit" not in headers:
                headers.update(quota_headers(scope[_QUOTAS]))
            if message["status"] == _UNAUTHENTICATED and scope["path"] == REGISTRATION_PATH:
                await self._limits.count_wrong(scope)
        await send(message)


def tell(request: Request, quotas: tuple[Quota, ...]) -> None:
    """Have the answer say what is left."""
    request.scope[_QUOTAS].extend(quotas)


def counter_of(scope: Scope) -> str:
    """Which counter the caller's address has.

    There is a fixed number of them, so that memory and time do not grow with the addresses that call. Two addresses may
    share one, and nobody outside can tell which.
    """
    host: str = (scope.get("client") or ("",))[0]
    try:
        subscriber = _subscriber(host)
    except ValueError:  # a proxy that we believe may call its callers as it likes
        subscriber = host
    return str(hash(subscriber) % _COUNTERS)


def _subscriber(host: str) -> str:
    address = ip_address(host.partition("%")[0])
    if not isinstance(address, IPv6Address):
        return str(address)
    if address.ipv4_mapped:
        return str(address.ipv4_mapped)
    return str(ip_network((address, _SUBSCRIBER_BITS), strict=False))
