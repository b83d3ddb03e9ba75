"""Answers that are small and cost much: each is given up after little of it was parsed. What is counted is work."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

import pytest
from aiohttp.client_proto import ResponseHandler

from shared.contracts.messages import Reason
from shared.outbound import bounded_answers
from shared.outbound.bounded_answers import (
    CHUNK_BYTES,
    MOST_AROUND,
    MOST_CHUNKS,
    MOST_HEAD_BYTES,
    MOST_INTERIM,
    BoundedAnswers,
    ChunkBound,
)
from shared.outbound.client_http import ClientCallError, ClientHttp, OutboundPolicy
from tests.raw_server import GOOD, OK, Answer, served

BODY_LIMIT_BYTES: Final = 16 * 1024 * 1024
READ_BYTES: Final = 256 * 1024
"""What a transport hands over at once, at most."""
CHUNKED: Final = OK + b"transfer-encoding: chunked\r\n\r\n"
HINT: Final = b"HTTP/1.1 103 Early Hints\r\nlink: </style.css>\r\n\r\n"


class Watched(BoundedAnswers):
    """Keeps each connection."""

    made: list[BoundedAnswers]

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self.made.append(self)


@pytest.fixture
def connections(monkeypatch: pytest.MonkeyPatch) -> list[BoundedAnswers]:
    """Those that are made."""
    Watched.made = []
    monkeypatch.setattr(bounded_answers, "BoundedAnswers", Watched)
    return Watched.made


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How much aiohttp was given at once, each time."""
    sizes: list[int] = []
    parse = ResponseHandler.data_received

    def watched(self: ResponseHandler, data: bytes) -> None:
        sizes.append(len(data))
        parse(self, data)

    monkeypatch.setattr(ResponseHandler, "data_received", watched)
    return sizes


def for_ever(head: bytes, piece: bytes) -> Callable[[asyncio.StreamWriter], Any]:
    """The same again and again, as fast as it is taken."""

    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(head)
        while True:
            writer.write(piece * (READ_BYTES // len(piece)))
            await writer.drain()

    return answer


def client_http() -> ClientHttp:
    """With time for what has no end."""
    return ClientHttp(policy=OutboundPolicy(frozenset({"loopback"})), timeout_s=60.0, body_limit_bytes=BODY_LIMIT_BYTES)


async def called(answer: Answer) -> bytes:
    """The body of this answer."""
    async with served(answer) as url, client_http() as http, http.get(url) as body:
        return body


FLOODS: Final[dict[str, tuple[Answer, str, int]]] = {
    "interim answers": (for_ever(b"", b"HTTP/1.1 100\r\n\r\n"), "interim answers", 4 * 1024),
    "hints": (for_ever(b"", HINT), "interim answers", 4 * 1024),
    "a head of many lines": (
        for_ever(OK, b"".join(b"x-%d: %s\r\n" % (each, b"x" * 4_000) for each in range(16))),
        "head of the answer",
        MOST_HEAD_BYTES + 1024,
    ),
    "chunks of one byte": (for_ever(CHUNKED, b"1\r\n \r\n"), "chunks", 6 * MOST_CHUNKS + READ_BYTES),
    "chunks of ten bytes": (for_ever(CHUNKED, b"a\r\n" + b" " * 10 + b"\r\n"), "chunks", 17 * MOST_CHUNKS + READ_BYTES),
    "an endless extension of a chunk": (for_ever(CHUNKED + b"1;", b"x"), "around the body", MOST_AROUND + READ_BYTES),
    "extensions of chunks": (
        for_ever(CHUNKED, b"1;" + b"x" * 1_000 + b"\r\n \r\n"),
        "around the body",
        MOST_AROUND + READ_BYTES,
    ),
}


@pytest.mark.parametrize(("answer", "text", "most_bytes"), FLOODS.values(), ids=FLOODS)
async def test_a_flood_is_given_up(
    answer: Answer, text: str, most_bytes: int, connections: list[BoundedAnswers], parsed: list[int]
) -> None:
    """In a sentence, when little of it was parsed, and never much at once."""
    with pytest.raises(ClientCallError) as caught:
        await called(answer)
    assert (caught.value.reason, text in str(caught.value)) == (Reason.BAD_PAYLOAD, True), str(caught.value)
    [connection] = connections
    assert connection.parsed_bytes <= most_bytes
    assert connection.transport is None
    assert max(parsed) <= 16 * 1024


async def test_before_the_answer_a_kilobyte_is_parsed_at_once(parsed: list[int]) -> None:
    """64 of the shortest heads, each of which is an object of Python."""
    with pytest.raises(ClientCallError):
        await called(b"HTTP/1.1 100\r\n\r\n" * 100_000)
    assert parsed == [1024]


async def test_answers_behind_the_answer_are_not_parsed(connections: list[BoundedAnswers]) -> None:
    """The first is the answer, and ends the connection."""
    assert await called(GOOD * 100_000) == b"{}"
    assert connections[0].parsed_bytes <= 64 * 1024


async def test_some_interim_answers_are_passed_over() -> None:
    """As HTTP has it."""
    assert await called(HINT * MOST_INTERIM + GOOD) == b"{}"
    with pytest.raises(ClientCallError, match="interim"):
        await called(HINT * (MOST_INTERIM + 1) + GOOD)


def in_chunks(body: bytes, size: int) -> bytes:
    """The answer with that body, each chunk of that size."""
    parts = [body[begin : begin + size] for begin in range(0, len(body), size)]
    return CHUNKED + b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


@pytest.mark.parametrize(
    ("size", "count"), [(1, MOST_CHUNKS), (7, MOST_CHUNKS), (CHUNK_BYTES, 50_000), (4_096, 4_000), (1_000_000, 16)]
)
async def test_a_body_in_chunks_is_read(size: int, count: int, parsed: list[int]) -> None:
    """Token by token up to some length, and in chunks of a capture up to any."""
    body = bytes(range(256)) * (size * count // 256)
    assert await called(in_chunks(body, size)) == body
    assert max(parsed) <= 16 * 1024


@pytest.mark.parametrize("head", [OK + b"\r\n", OK + b"content-length: %d\r\n\r\n" % BODY_LIMIT_BYTES])
async def test_a_body_up_to_the_limit_is_read(head: bytes) -> None:
    """Whatever comes while the reader has enough is kept in order."""
    body = bytes(range(256)) * (BODY_LIMIT_BYTES // 256)
    assert await called(head + body) == body


async def test_others_have_their_turn_between_chunks() -> None:
    """By itself the reader does not wait while there are chunks in hand."""
    turns = 0

    async def take_turns() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    taking = asyncio.create_task(take_turns())
    chunks = ChunkBound()
    for _ in range(MOST_CHUNKS):
        await chunks.add(1, ended=True)
    taking.cancel()
    assert turns >= MOST_CHUNKS // 1_024
