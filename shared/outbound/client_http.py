"""The only way that a service calls a client. A `client_url` is someone's word, so the edge is hostile.

The policy (`shared.outbound.policy`) is asked at connect time, about the resolved address, which is then connected to
without another look-up; redirects are not followed, no proxy is used, certificates are verified, and bytes and time are
capped for each answer (those around the body in `shared.outbound.bounded_answers`), and bytes for all of them together.
Every failure has a reason out of a fixed set.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from http import HTTPStatus
from io import BytesIO
from pathlib import Path
from typing import Any, Final, Self

import aiohttp
import msgspec
from yarl import URL

from shared import tls
from shared.contracts.messages import LONGEST_RETRY_AFTER_S, Reason
from shared.outbound.answer_heads import coding, meaning, retry_after_s
from shared.outbound.answer_memory import AnswerMemory, AnswerShare, CallTime
from shared.outbound.bounded_answers import ChunkBound, UnboundedAnswerError, bound_answers
from shared.outbound.errors import ClientCallError, connection_error, not_http
from shared.outbound.name_lookup import NameLookup
from shared.outbound.own_sockets import OwnSockets, own_lack
from shared.outbound.policy import ForbiddenUrlError, Network, OutboundPolicy
from shared.tokens import authorization

__all__ = ["ClientCallError", "ClientHttp", "Network", "OutboundPolicy"]

_HEADERS: Final = {"accept": "application/json", "accept-encoding": "identity", "user-agent": "PullSync"}
_JSON: Final = {"content-type": "application/json"}
_NONE: Final = aiohttp.ClientTimeout(total=None, sock_connect=None)


class ClientHttp:
    """HTTP to clients, as an async context manager. Many calls at once; the caller bounds how many.

    Each call in flight holds `SMALL_BYTES` of its answer at most, and a few the whole of it, up to the limit: see
    `shared.outbound.answer_memory`, which also says how long a large answer may take. Connections are not kept: a
    client is called again after seconds at the earliest, and thousands of idle sockets cost more than they save.
    """

    def __init__(
        self, *, policy: OutboundPolicy, timeout_s: float, body_limit_bytes: int, ca_file: Path | None = None
    ) -> None:
        """`ca_file` has the certificates of private authorities, which are believed beside the system's.

        Raises:
            OSError: it can't be read.
        """
        self._policy = policy
        self._timeout_s = timeout_s
        self._body_limit_bytes = body_limit_bytes
        self._trust = tls.for_clients(ca_file)
        self.memory = AnswerMemory(timeout_s=timeout_s)
        self.sockets = OwnSockets()
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        connector = aiohttp.TCPConnector(
            limit=0,
            force_close=True,
            socket_factory=self._policy.open_socket,
            ssl=self._trust,
            resolver=NameLookup(timeout_s=self._timeout_s),
        )
        bound_answers(connector)
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
            OwnLackError: on entering; it was not called, for want of something here.
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
        target = self._checked(url)
        try:
            async with (
                call.timeout,
                self._session.request(method, target, allow_redirects=False, **request) as response,
            ):
                self.sockets.called()
                _check_head(response)
                return await self._read(response, share)
        except TimeoutError as error:
            raise ClientCallError(Reason.TIMEOUT, call.late) from error
        except UnboundedAnswerError as error:
            raise ClientCallError(Reason.BAD_PAYLOAD, str(error)) from error
        except (aiohttp.ClientError, OSError) as error:
            lack = own_lack(error)
            raise (connection_error(error) if lack is None else self.sockets.lacking(lack)) from error
        except ValueError as error:  # what the HTTP parsers raise on bytes that are no HTTP
            raise not_http(error) from error

    def _checked(self, url: str) -> URL:
        """The URL as it is going to be called: it is checked as the parser has it that reads it for the connection."""
        try:
            target = URL(url)
            self._policy.check(target)
        except ForbiddenUrlError as error:
            raise ClientCallError(Reason.FORBIDDEN_ADDRESS, str(error)) from error
        except ValueError as error:
            raise ClientCallError(Reason.CONNECT, f"its URL can't be read: {error}") from error
        return target

    async def _read(self, response: aiohttp.ClientResponse, share: AnswerShare) -> bytes:
        """The body, as long as it stays below the cap."""
        body, chunks = BytesIO(), ChunkBound()  # `getvalue` is no copy
        try:
            self._check_size(response.content_length or 0)
            async for chunk, ended in response.content.iter_chunks():
                await chunks.add(len(chunk), ended=ended)
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
    headers = response.headers
    if response.status != HTTPStatus.OK:
        text = f"answered {response.status} to {response.method} {response.url.path}"
        again_s = retry_after_s(response.status, headers.get("retry-after"), date=headers.get("date"))
        if again_s:
            more = "more than " if again_s >= LONGEST_RETRY_AFTER_S else ""
            text += f" and asks for {more}{again_s:.0f} s"
        elif said := meaning(response.status):
            text += f"; {said}"
        raise ClientCallError(Reason.HTTP_STATUS, text, retry_after_s=again_s)
    if found := coding(headers.getall("content-encoding", ())):
        raise ClientCallError(Reason.BAD_PAYLOAD, f"the answer is compressed ({found}), which was not asked for")
