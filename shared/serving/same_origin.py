"""Lets no web page use a browser against a service that asks nobody for a token: ASGI middleware, without I/O.

A browser sends a page's requests to this machine and its network as if its user had made them. What it says of the
page can't be forged by that: `Sec-Fetch-Site`, and `Origin` where it sends only that. Whoever sends neither is no page
(curl, pullers, apps), and served as ever. Against DNS rebinding, names of an attacker that lead here and make his page
one of ours, `Host` must be a name that is known to be ours. `X-Forwarded-Host` is believed of nobody: a proxy passes
`Host` on.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from functools import lru_cache
from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Receive, Scope, Send

_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_OWN: Final = frozenset({b"same-origin", b"none"})
"""`none` is what the user himself asked for, by the address bar or a bookmark."""
_READ: Final = frozenset({b"host", b"origin", b"sec-fetch-site"})
_KNOWN_HOSTS: Final = 1_024
ALL: Final = "*"


class SameOrigin:
    """Refuses requests of pages that are neither ours nor named, and such to names that are not ours."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        origins: Collection[str],
        hosts: Collection[str] | None,
        guarded: str = "",
        foreign_page: Callable[[], ASGIApp],
        foreign_host: Callable[[], ASGIApp],
    ) -> None:
        """`origins` may call, `*` for all; `hosts` None is for any, loopback and IP addresses are ours without a name.

        Below the path `guarded`, if there is one, pages may not read either, not even what they could not see. The last
        two make the answers.
        """
        self._app = app
        self._origins = frozenset(origin.lower().encode("latin-1") for origin in origins)
        self._all = ALL in origins
        self._hosts = None if hosts is None else frozenset(host.lower().rstrip(".") for host in hosts)
        self._guarded = guarded
        self._foreign_page = foreign_page
        self._foreign_host = foreign_host
        self._is_ours = lru_cache(maxsize=_KNOWN_HOSTS)(self._names_us)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve the request, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        said: dict[bytes, bytes] = {name: value for name, value in scope["headers"] if name in _READ}
        if not self._is_ours(said.get(b"host", b"")):
            await self._foreign_host()(scope, receive, send)
        elif self._is_watched(scope) and not self._may_call(said):
            await self._foreign_page()(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _is_watched(self, scope: Scope) -> bool:
        if scope["method"] not in _SAFE:
            return True
        return bool(self._guarded) and scope["path"].startswith(self._guarded) and scope["method"] != "OPTIONS"

    def _may_call(self, said: Mapping[bytes, bytes]) -> bool:
        """As Go's `http.CrossOriginProtection` decides it; without the scheme, which a proxy may have changed."""
        origin = said.get(b"origin")
        if self._all or (origin is not None and origin.lower() in self._origins):
            return True
        site = said.get(b"sec-fetch-site")
        if site is not None:
            return site in _OWN
        return origin is None or _authority(origin) == said.get(b"host", b"").lower()

    def _names_us(self, host: bytes) -> bool:
        if self._hosts is None or not host:  # each browser sends one
            return True
        name = _name(host)
        return name in self._hosts or name == "localhost" or name.endswith(".localhost") or _is_address(name)


def _authority(origin: bytes) -> bytes | None:
    """`example.org:8443` of `https://example.org:8443`; None for `null`, and what is no origin."""
    _, separator, authority = origin.partition(b"://")
    return authority.lower() if separator else None


def _name(host: bytes) -> str:
    """Without the port, in small letters; empty for what is no host."""
    try:
        return (urlsplit(f"//{host.decode('ascii')}").hostname or "").rstrip(".")
    except ValueError:
        return ""


def _is_address(name: str) -> bool:
    """An address in `Host` is where the connection went, and no DNS had a say in that."""
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
