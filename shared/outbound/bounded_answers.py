"""aiohttp's reader of answers, with a bound for what it takes without end.

aiohttp bounds each line of a head and the number of headers, not how many interim answers (1xx) come before the answer,
and it parses all that one read brought at once: a quarter of a MiB of the shortest of them is 16,000 messages, which
holds up the event loop for a fifth of a second, again and again. Nor does it bound what is no body around a body:
chunks of one byte, extensions of chunks, answers that nobody asked for behind the one that was.
"""

from __future__ import annotations

import asyncio
import re
from functools import partial
from http import HTTPStatus
from typing import Any, Final

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.streams import EMPTY_PAYLOAD

MOST_INTERIM: Final = 5
"""Answers before the answer: hints, and that it is being worked on. We ask for none."""
MOST_HEAD_BYTES: Final = 32 * 1024
"""Of them and of the answer's own head together."""
MOST_AROUND: Final = 1024 * 1024
"""Bytes beyond twice the body's: more than any sender of chunks needs."""
MOST_CHUNKS: Final = 32 * 1024
CHUNK_BYTES: Final = 256
"""So many chunks may be of any size, as when each token of JSON is sent by itself; beyond them each is to have so many
bytes on average. A chunk costs about a microsecond, however small it is."""

_END_OF_HEAD: Final = re.compile(rb"\r\n\r\n(?!HTTP/)")
"""Behind which no other head comes."""
_STRADDLING: Final = 3
"""Bytes of that end which may be in the part before."""
_HEAD_SLICE: Final = 1024
_BODY_SLICE: Final = 16 * 1024
"""What is parsed at once: 64 of the shortest heads before the answer, 500 behind it, and then it is looked at."""


class UnboundedAnswerError(aiohttp.ClientPayloadError):
    """The answer is more than a body with what belongs to it; the text is one sentence."""


def bound_answers(connector: aiohttp.TCPConnector) -> None:
    """Have this connector read answers so; to be called within the event loop that it is used in."""
    made: type[ResponseHandler] = BoundedAnswers
    # aiohttp has no public way to choose it; `tests/integration/test_outbound_floods.py` sees whether it is used.
    connector._factory = partial(made, loop=asyncio.get_running_loop())  # noqa: SLF001


class BoundedAnswers(ResponseHandler):
    """One connection, for one answer."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self.wire_bytes = 0
        self.parsed_bytes = 0
        self._interim = 0
        self._answers = 0
        self._last = b""
        """Of a head that has not ended."""
        self._body: aiohttp.StreamReader | None = None
        self._has_length = False
        self._unparsed = b""
        """What came while the reader had enough."""

    def data_received(self, data: bytes) -> None:
        """Parse what came, as much as the reader takes, and give it up when it is no answer.

        aiohttp calls it with nothing when the reader takes more again.
        """
        self.wire_bytes += len(data)
        if not data:
            super().data_received(data)
        elif self._unparsed:
            data = self._unparsed + data
        data, begin = data or self._unparsed, 0
        while begin < len(data) and not self._reading_paused and self.transport is not None:
            part = data[begin : begin + _BODY_SLICE] if self._answers else self._of_head(data, begin)
            begin += len(part)
            self.parsed_bytes += len(part)
            super().data_received(part)
            self._check()
        self._unparsed = data[begin:] if self.transport is not None else b""

    def feed_data(self, data: Any, size: int = 0) -> None:
        """Called by aiohttp with each head that it has parsed; interim answers are only counted."""
        if 100 <= data[0].code < 200 and data[0].code != 101:  # noqa: PLR2004 - as HTTP has them
            self._interim += 1
            return
        self._answers += 1
        if self._answers == 1 and data[0].code == HTTPStatus.OK and data[1] is not EMPTY_PAYLOAD:
            self._body = data[1]
            self._has_length = "content-length" in data[0].headers
        super().feed_data(data, size)

    def _of_head(self, data: bytes, begin: int) -> bytes:
        """What is parsed next, up to the end of a head: what is wrong behind it would make aiohttp forget it."""
        part = data[begin : begin + _HEAD_SLICE]
        if end := _END_OF_HEAD.search(self._last + part):
            part = part[: end.end() - len(self._last)]
        self._last = (self._last + part)[-_STRADDLING:]
        return part

    def _check(self) -> None:
        if self._interim > MOST_INTERIM:
            self._refuse(f"the answer comes after more than {MOST_INTERIM} interim answers")
        elif not self._answers:
            if self.parsed_bytes > MOST_HEAD_BYTES:
                self._refuse(f"the head of the answer is larger than {MOST_HEAD_BYTES} bytes")
        elif self._answers > 1:
            self._refuse("there is more than one answer")
        elif self._body is not None and self.exception() is not None:
            self._payload = self._body  # aiohttp has let go of it, and would take it for good, or wait for its end
            end = "its Content-Length says" if self._has_length else "its last chunk says"
            self._refuse(f"the answer is longer than {end}" if self._body.is_eof() else "the body is not HTTP")
        elif self._payload is not None and self.wire_bytes > 2 * self._payload.total_bytes + MOST_AROUND:
            self._refuse(f"more than {MOST_AROUND} bytes were sent around the body")

    def _refuse(self, text: str) -> None:
        """Give up, before the loop has a turn."""
        error = UnboundedAnswerError(text)
        if self._payload is not None:
            self._payload.set_exception(error)
            self._payload = None  # or what aiohttp says when the connection ends would take the place of it
        self.set_exception(error)
        if self.transport is not None:
            self.transport.abort()
            self.transport = None


class ChunkBound:
    """Of one answer's chunks."""

    def __init__(self) -> None:
        self._chunks = 0
        self._bytes = 0

    async def add(self, size: int, *, ended: bool) -> None:
        """Count so many bytes, and the chunk that ended with them. Now and then it lets others run.

        Raises:
            UnboundedAnswerError: the chunks are too many and too small.
        """
        self._bytes += size
        self._chunks += ended
        if self._chunks > MOST_CHUNKS + self._bytes // CHUNK_BYTES:
            text = f"the answer comes in more than {MOST_CHUNKS} chunks, most of less than {CHUNK_BYTES} bytes"
            raise UnboundedAnswerError(text)
        if ended and not self._chunks % 1_024:
            await asyncio.sleep(0)  # aiohttp does not while there are chunks in hand
