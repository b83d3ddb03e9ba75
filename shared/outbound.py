"""The only way that a service calls a client. A `client_url` is someone's word, so the edge is hostile.

The policy is asked at connect time, about the resolved address; redirects are not followed, no proxy is used, and
bytes and time are capped for each answer, and bytes for all of them together. Every failure has a reason out of a
fixed set.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import lru_cache
from http import HTTPStatus
from io import BytesIO
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any, Final, Literal, Self

import aiohttp
import msgspec

from shared.answer_memory import AnswerMemory, AnswerShare, CallTime
from shared.messages import Reason
from shared.name_lookup import NameLookup
from shared.tokens import authorization

Network = Literal["public", "private", "loopback"]

_KERNEL_BYTES: Final = 256 * 1024
"""What the system may take in of an answer that is not read: without it up to 32 MiB, which count as memory too."""
_ERROR_CHARS: Final = 200
_KNOWN_ADDRESSES: Final = 16_384
"""Of which it is kept whether they may be called."""
_HEADERS: Final = {"accept": "application/json", "accept-encoding": "identity", "user-agent": "PullSync"}
_JSON: Final = {"content-type": "application/json"}
_NONE: Final = aiohttp.ClientTimeout(total=None, sock_connect=None)

_NEVER: Final = tuple(
    ip_network(network)
    for network in (
        # Metadata services of clouds that are not link-local.
        "fd00:ec2::254/128",
        "100.100.100.200/32",
        "192.0.0.192/32",
        "168.63.129.16/32",
        # Documentation, which this Python may not know yet.
        "3fff::/20",
    )
)


class ClientCallError(Exception):
    """A client could not be called, or its answer not be used."""

    def __init__(self, reason: Reason, text: str) -> None:
        """`text` is one sentence for an operator; foreign text in it is cut."""
        super().__init__(text[:_ERROR_CHARS])
        self.reason = reason


@dataclass(frozen=True, slots=True)
class OutboundPolicy:
    """Which addresses may be called. Link-local (and so the cloud's metadata), multicast and unspecified ones never."""

    networks: frozenset[Network]

    @lru_cache(maxsize=_KNOWN_ADDRESSES)  # noqa: B019 - there is one policy for each process
    def permits(self, address: str) -> bool:
        """Whether a connection to this resolved IP address may be opened."""
        ip = _embedded(ip_address(address.split("%", 1)[0]))
        if ip.is_link_local or ip.is_multicast or ip.is_unspecified or (ip.is_reserved and not ip.is_loopback):
            return False
        if any(ip in network for network in _NEVER):
            return False
        return _network_of(ip) in self.networks

    def open_socket(self, addr_info: aiohttp.AddrInfoType) -> socket.socket:
        """A socket for the connector, made only for a permitted address.

        Raises:
            PermissionError: the address may not be called.
        """
        family, kind, protocol, _, address = addr_info
        if not self.permits(str(address[0])):
            raise PermissionError(errno.EACCES, f"the address {address[0]} may not be called")
        made = socket.socket(family, kind, protocol)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _KERNEL_BYTES)
        return made


def _embedded(ip: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """The IPv4 address inside an IPv6 one (mapped, 6to4, Teredo, NAT64), since that is what is reached."""
    if isinstance(ip, IPv4Address):
        return ip
    if ip.ipv4_mapped or ip.sixtofour:
        return ip.ipv4_mapped or ip.sixtofour or ip
    if ip.teredo:
        return ip.teredo[1]
    nat64 = int(ip) >> 32 == 0x0064_FF9B << 64
    return IPv4Address(int(ip) & 0xFFFF_FFFF) if nat64 else ip


def _network_of(ip: IPv4Address | IPv6Address) -> Network:
    if ip.is_loopback:
        return "loopback"
    site_local = isinstance(ip, IPv6Address) and ip.is_site_local
    return "public" if ip.is_global and not site_local else "private"


class ClientHttp:
    """HTTP to clients, as an async context manager. Many calls at once; the caller bounds how many.

    Each call in flight holds `SMALL_BYTES` of its answer at most, and a few the whole of it, up to the limit: see
    `shared.answer_memory`, which also says how long a large answer may take. Connections are not kept: a client is
    called again after seconds at the earliest, and thousands of idle sockets cost more than they save.
    """

    def __init__(self, *, policy: OutboundPolicy, timeout_s: float, body_limit_bytes: int) -> None:
        self._policy = policy
        self._timeout_s = timeout_s
        self._body_limit_bytes = body_limit_bytes
        self.memory = AnswerMemory(timeout_s=timeout_s)
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        connector = aiohttp.TCPConnector(
            limit=0,
            force_close=True,
            socket_factory=self._policy.open_socket,
            resolver=NameLookup(timeout_s=self._timeout_s),
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            headers=_HEADERS,
            timeout=_NONE,  # each call has its own time, around all of it
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            await self._session.close()

    @asynccontextmanager
    async def get(
        self, url: str, params: Mapping[str, str | int] | None = None, *, token: str | None = None
    ) -> AsyncIterator[bytes]:
        """The body of a 200 answer to GET. Leave the context when it, and what was read of it, is no longer needed.

        Raises:
            ClientCallError: on entering, with its reason, in at most the timeout (seconds, from request to the last
                byte); where others with large answers were first, in at most twice that.
        """
        call = CallTime(self._timeout_s)
        with self.memory.share(call) as share:
            yield await self._call("GET", url, call, share, params=params, headers=authorization(token))

    async def post(self, url: str, body: Mapping[str, Any], *, token: str | None = None) -> bytes:
        """The body of a 200 answer to POST of `body` as JSON. Raises as `get` does."""
        call = CallTime(self._timeout_s)
        with self.memory.share(call) as share:
            headers = _JSON | authorization(token)
            return await self._call("POST", url, call, share, data=msgspec.json.encode(body), headers=headers)

    async def _call(self, method: str, url: str, call: CallTime, share: AnswerShare, **request: Any) -> bytes:
        assert self._session is not None, "it is used as a context manager"  # noqa: S101 - ours
        try:
            async with call.timeout, self._session.request(method, url, allow_redirects=False, **request) as response:
                _check_head(response)
                return await self._read(response, share)
        except TimeoutError as error:
            raise ClientCallError(Reason.TIMEOUT, call.late) from error
        except (aiohttp.ClientError, OSError) as error:
            raise _connection_error(error) from error
        except ValueError as error:  # what the HTTP parsers raise on bytes that are no HTTP
            raise ClientCallError(Reason.BAD_PAYLOAD, f"the answer is not HTTP: {error}") from error

    async def _read(self, response: aiohttp.ClientResponse, share: AnswerShare) -> bytes:
        """The body, as long as it stays below the cap."""
        body = BytesIO()  # whose `getvalue` is no copy
        try:
            self._check_size(response.content_length or 0)
            async for chunk in response.content.iter_any():
                self._check_size(body.tell() + len(chunk))
                await share.grow(len(chunk))
                body.write(chunk)
        finally:
            share.end_reading()
        return body.getvalue()

    def _check_size(self, size: int) -> None:
        if size > self._body_limit_bytes:
            text = f"the answer is larger than {self._body_limit_bytes} bytes"
            raise ClientCallError(Reason.TOO_LARGE, text)


def _check_head(response: aiohttp.ClientResponse) -> None:
    if response.status != HTTPStatus.OK:
        text = f"answered {response.status} to {response.method} {response.url.path}"
        raise ClientCallError(Reason.HTTP_STATUS, text)
    if response.headers.get("content-encoding", "identity") != "identity":
        raise ClientCallError(Reason.BAD_PAYLOAD, "the answer is compressed, which was not asked for")


def _connection_error(error: Exception) -> ClientCallError:
    """The reason behind an error of the HTTP stack, which wraps the socket's own."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno == errno.EACCES:
            return ClientCallError(Reason.FORBIDDEN_ADDRESS, str(cause.strerror or cause))
        if isinstance(cause, TimeoutError):
            return ClientCallError(Reason.TIMEOUT, "its name could not be looked up, or not be connected to, in time")
        cause = cause.__cause__
    if isinstance(error, aiohttp.ClientResponseError) or isinstance(error.__cause__, aiohttp.ClientResponseError):
        return ClientCallError(Reason.BAD_PAYLOAD, f"the answer is not HTTP: {error}")
    return ClientCallError(Reason.CONNECT, f"{error}" or type(error).__name__)
