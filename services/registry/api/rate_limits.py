"""Refuses who asks too often for what is dear, before anything of the request is read; tells the others what is left.

Which operations these are stands here; in the document they have a 429 for it. Nudges have a spacing of their own.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Final

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.registry.api.problems import answer, quota_headers
from services.registry.errors import TooManyRequestsError
from services.registry.rate_limits import RateLimiter

_PREFIX: Final = "/api/v1/pull-sync"
REGISTRATION_PATHS: Final = (f"{_PREFIX}/register-client",)
SYNC_PATHS: Final = tuple(
    f"{_PREFIX}/{name}" for name in ("sync-all", "sync-recent", "sync-all-background", "sync-complete-state")
)

_COUNTERS: Final = 4_096
_SUBSCRIBER_BITS: Final = 64
"""Of an IPv6 address: what one subscriber has at the least, to choose addresses in at will."""


class RateLimits:
    """For POST to some paths, by the caller's address."""

    def __init__(self, app: ASGIApp, *, limiters: Mapping[str, RateLimiter]) -> None:
        """`limiters` by path."""
        self._app = app
        self._limiters = limiters

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve the request, or refuse it."""
        limited = scope["type"] == "http" and scope["method"] == "POST"
        limiter = self._limiters.get(scope["path"]) if limited else None
        if limiter is None:
            await self._app(scope, receive, send)
            return
        try:
            quotas = await limiter.take(counter_of(scope))
        except TooManyRequestsError as error:
            await answer(error)(scope, receive, send)
        else:
            await self._app(scope, receive, partial(_send, quota_headers(quotas), send))


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


async def _send(headers: Mapping[str, str], send: Send, message: Message) -> None:
    if message["type"] == "http.response.start":
        MutableHeaders(scope=message).update(headers)
    await send(message)
