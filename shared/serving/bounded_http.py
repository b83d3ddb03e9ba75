"""uvicorn's HTTP, with a bound for whatever a peer decides: bytes, headers, time, connections.

uvicorn on h11 bounds the bytes of what is not complete yet: a head, the line before a chunk, trailers. It bounds
neither the number of headers nor any time: who sends a byte now and then, or takes none of an answer, holds a
connection for as long as he likes, and there is no end of connections either. On httptools it bounds nothing at all,
so h11 is chosen here, which costs about 0.1 ms of CPU more for a request (docs/adr/0014).

What is refused is answered before the connection ends, where HTTP allows it: while nothing of another answer was sent.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any, ClassVar, Final

import h11
import structlog
from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from shared.observing.logs import Seldom
from shared.serving.connection_places import NoPlaceError, Places

HEAD_BYTES: Final = 16 * 1024
"""Request line and headers. Our own longest path, a user id of 255 characters with each byte escaped, is 3 KiB."""
HEADERS: Final = 100
HEAD_S: Final = 10.0
"""From the connection, or from the last answer, to the end of the head."""
BODY_S: Final = 30.0
"""From there to the end of the body; a service that reads bodies gives up earlier, with a better answer."""
ANSWER_S: Final = 30.0
"""In which a peer must take `ANSWER_BYTES` of an answer that waits for him."""
ANSWER_BYTES: Final = 64 * 1024

_LINGER_S: Final = 2.0
_LOGGER: Final = "uvicorn.error.connection"
_TELL_EVERY_S: Final = 30.0

log = structlog.get_logger()


def bounded_http(
    *, connections: int, connections_per_address: int, proxies: Sequence[str] = ()
) -> type[asyncio.Protocol]:
    """The protocol class for uvicorn's `http`, for so many connections at once, of which so many from one address.

    Who comes when there is no room gets the place of one that is idle, or is told 503: the rule is in
    `shared.serving.connection_places`.
    """

    class Bounded(BoundedHttp):
        """With the bounds of this server."""

        places = Places(most=connections, most_per_address=connections_per_address, proxies=proxies)
        told = Seldom(every_s=_TELL_EVERY_S)

    # uvicorn's own warnings come for each bad request, so whoever sends them would fill the disk.
    logging.getLogger(_LOGGER).setLevel(logging.ERROR)
    return Bounded


class BoundedHttp(H11Protocol):
    """One connection."""

    places: ClassVar[Places[BoundedHttp]]
    told: ClassVar[Seldom]

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.logger = logging.getLogger(_LOGGER)
        self.conn = self._parser = _Parser(h11.SERVER, HEAD_BYTES)
        self._awaited: tuple[int, object] | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._unread: asyncio.TimerHandle | None = None
        self._refused = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn has it
        """A peer came."""
        super().connection_made(transport)
        try:
            going = self.places.take(self, self.client[0] if self.client else "")
        except NoPlaceError as error:
            self._go(str(error))
            return
        if going is not None:
            going.make_room()
        self._watch()

    def make_room(self) -> None:
        """Another has this one's place."""
        if self._refused or self.transport.get_write_buffer_size():
            self.connections.discard(self)
            self.transport.abort()
        elif self._parser.trailing_data[0]:
            self._go("The request did not arrive before others needed the place; try again.")
        else:
            self.connections.discard(self)
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """The peer went, or was sent away."""
        for timer in (self._deadline, self._unread):
            if timer is not None:
                timer.cancel()
        self._unset_keepalive_if_required()
        self.places.leave(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Something came; after a refusal it is thrown away."""
        if not self._refused:
            super().data_received(data)

    def handle_events(self) -> None:
        """Read what came, and see what is awaited then."""
        super().handle_events()
        if not self._refused:
            self._watch()

    def send_400_response(self, msg: str) -> None:
        """Called by uvicorn when the parser raised."""
        del msg
        self._refuse(*self._parser.refusal)

    def on_response_complete(self) -> None:
        """Called by uvicorn; the rest of a body that was not read is of no use any more."""
        super().on_response_complete()
        if self._parser.their_state is h11.SEND_BODY and not self.transport.is_closing():
            self._set_deadline(_LINGER_S)

    def shutdown(self) -> None:
        """Called by uvicorn when the server stops."""
        if self._refused:
            self.transport.abort()
        else:
            super().shutdown()

    def pause_writing(self) -> None:
        """More of an answer waits for the peer than the transport likes."""
        super().pause_writing()
        self._expect_reading()

    def resume_writing(self) -> None:
        """He has taken it."""
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None
        super().resume_writing()

    def _watch(self) -> None:
        """Set the deadline for what is awaited, unless it is still the same part of the same request."""
        awaited = (self._parser.requests, self._parser.their_state)
        if awaited == self._awaited:
            return
        self._awaited = awaited
        if self._parser.their_state is h11.IDLE:
            self.places.is_idle(self)
        else:
            self.places.is_busy(self)
        self._set_deadline({h11.IDLE: HEAD_S, h11.SEND_BODY: BODY_S}.get(self._parser.their_state))

    def _set_deadline(self, seconds: float | None) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = None if seconds is None else self.loop.call_later(seconds, self._give_up, seconds)

    def _give_up(self, seconds: float) -> None:
        if self._parser.their_state is h11.IDLE and not self._parser.trailing_data[0]:
            self.transport.close()  # nothing was asked
        else:
            self._refuse(HTTPStatus.REQUEST_TIMEOUT, f"The request did not arrive within {seconds:g} s.")

    def _go(self, sentence: str) -> None:
        """At once, and with a word: if it lingered, those that must go would be as many as they like."""
        self.connections.discard(self)
        self._refuse(HTTPStatus.SERVICE_UNAVAILABLE, sentence)
        self.transport.close()

    def _expect_reading(self) -> None:
        waiting = self.transport.get_write_buffer_size()
        self._unread = self.loop.call_later(ANSWER_S, self._check_reading, waiting)

    def _check_reading(self, waiting: int) -> None:
        if waiting - self.transport.get_write_buffer_size() < ANSWER_BYTES:
            self.transport.abort()
        else:
            self._expect_reading()

    def _refuse(self, status: HTTPStatus, sentence: str) -> None:
        """Answer if nothing was answered yet, and end the connection.

        To close on a sender who is still writing resets the connection, and the answer may be lost with it. So for a
        moment all that still comes is thrown away.
        """
        self._refused = True
        self._parser.send_failed()  # for uvicorn: h11 has nothing to send any more
        self._unset_keepalive_if_required()
        self._set_deadline(None)
        if self.told.may_tell(status.name):
            log.warning("request_refused", status=status.value, reason=sentence)
        if self._end_request():
            self.transport.abort()
            return
        self.transport.write(_answer(status, sentence))
        if not self.transport.can_write_eof():  # with TLS
            self.transport.close()
            return
        self.transport.write_eof()
        self.flow.resume_reading()
        self._deadline = self.loop.call_later(_LINGER_S, self.transport.abort)

    def _end_request(self) -> bool:
        """Tell the app, if it serves a request, that its peer is gone; whether it has begun to answer."""
        if not self._parser.requests:
            return False
        if self.cycle.response_complete:
            return self._awaited == (self._parser.requests, h11.SEND_BODY)  # it was an answer to this request
        self.cycle.disconnected = True
        self.cycle.message_event.set()
        return self.cycle.response_started


class _Parser(h11.Connection):
    """h11's, with the head bounded however it was cut into packets, which h11 alone does only for an incomplete one."""

    requests = 0
    """That were good so far."""
    refusal = (HTTPStatus.BAD_REQUEST, "This is not HTTP/1.1.")
    """What is wrong, once the parser has raised."""

    def next_event(self) -> type[h11.NEED_DATA | h11.PAUSED] | h11.Event:
        """What came next.

        Raises:
            h11.RemoteProtocolError: nothing that could be served.
        """
        try:
            event = super().next_event()
            if isinstance(event, h11.Request):
                _check_head(event)
                self.requests += 1
        except h11.RemoteProtocolError as error:
            if error.error_status_hint == HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE:
                self.refusal = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, _TOO_LARGE
            elif str(error) == _TWO_LENGTHS:
                self.refusal = HTTPStatus.BAD_REQUEST, _TWO_LENGTHS
            raise
        return event


_TOO_LARGE: Final = (
    f"Request line and headers have more than {HEAD_BYTES} bytes or {HEADERS} headers; send fewer and shorter ones."
)
_TWO_LENGTHS: Final = (
    "Transfer-Encoding can't be used in HTTP/1.0, nor beside Content-Length; send one length of the body only."
)
"""Proxies and servers differ about which of them counts, and so about where the next request begins (RFC 9112, 6.1)."""


def _check_head(request: h11.Request) -> None:
    if not request.http_version.startswith(b"1."):  # h11 takes any, also what HTTP/2 begins with
        message = "another HTTP"
        raise h11.RemoteProtocolError(message)
    names = {name for name, _ in request.headers}
    if b"transfer-encoding" in names and (b"content-length" in names or request.http_version == b"1.0"):
        raise h11.RemoteProtocolError(_TWO_LENGTHS)
    size = len(request.method) + len(request.target) + sum(len(name) + len(value) for name, value in request.headers)
    if size > HEAD_BYTES or len(request.headers) > HEADERS:
        raise h11.RemoteProtocolError(_TOO_LARGE, HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)


def _answer(status: HTTPStatus, sentence: str) -> bytes:
    """A problem of RFC 9457, with `error` for callers of the client, who look there."""
    problem = {"type": "about:blank", "title": status.phrase, "status": status, "detail": sentence, "error": sentence}
    body = json.dumps(problem).encode()
    head = (
        f"HTTP/1.1 {status} {status.phrase}\r\ncontent-type: application/problem+json\r\n"
        "x-content-type-options: nosniff\r\n"
        f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
    )
    return head.encode() + body
