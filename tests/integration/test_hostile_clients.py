"""Every way to answer badly, through the puller's own parts: each ends in its reason, at its own cost."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID, uuid4

import pytest

from services.puller.client_api import ClientApi
from services.puller.consumers import RequestedPulls
from services.puller.loop import Pulls
from services.puller.publisher import BatchPublisher
from services.puller.pull import Puller
from shared.contracts.messages import CaptureBatch, Message, Outcome, PullRequested, PullSettled, PullTarget, Reason
from shared.outbound.client_http import ClientHttp, OutboundPolicy
from shared.rabbitmq.broker import Publisher
from shared.rabbitmq.settlements import Settlements
from tests.raw_server import (
    OK,
    Answer,
    endless_body,
    endless_headers,
    endless_hints,
    reset_after,
    served,
    trickle,
    wait_for_ever,
)
from tests.waiting import eventually

OWNER: Final = "user_1"
HEALTHY: Final = 50
BODY_LIMIT_BYTES: Final = 4 * 1024 * 1024
GOOD: Final[dict[str, Any]] = {
    "capture_id": "good",
    "pokemon_id": 25,
    "pokemon_name": "pikachu",
    "action": "capture",
    "timestamp": "2026-01-31T12:00:00.000Z",
    "user_id": OWNER,
    "synced": False,
}

Page = tuple[tuple[str, ...], tuple[str | None, ...]]
"""The ids of its captures, and those of what could not be read."""
Expected = Reason | Page | None
"""How a pull ends; None for nothing pending."""

READ: Final[Page] = (("good",), ())


def with_item(field: str, text: bytes, capture_id: str | None = "bad") -> tuple[Answer, Page]:
    """An item that is no capture beside one: kept under this id, and the other read."""
    item = json.dumps({**GOOD, "capture_id": "bad", field: "@"}).encode().replace(b'"@"', text)
    return http(envelope(item + b", " + json.dumps(GOOD).encode())), (("good",), (capture_id,))


def envelope(items: bytes, rest: bytes = b"") -> bytes:
    """An answer of `sync-data`."""
    return b'{"user_id": "user_1", "captures": [' + items + b"]" + rest + b"}"


def http(body: bytes, *, head: bytes = OK + b"content-type: application/json\r\n") -> bytes:
    """A whole answer."""
    return head + b"content-length: %d\r\n\r\n" % len(body) + body


def chunked(*chunks: bytes) -> bytes:
    """An answer in chunks, without their end."""
    head = OK + b"transfer-encoding: chunked\r\n\r\n"
    return head + b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks)


ITEM: Final = json.dumps(GOOD).encode()
BODY: Final = envelope(ITEM)
DEEP: Final = b"[" * 10_000 + b"]" * 10_000

ENDLESS: Final[dict[str, tuple[Answer, Expected]]] = {
    "accepts and never answers": (wait_for_ever, Reason.TIMEOUT),
    "slow headers": (trickle(OK + b"x: ", b"y"), Reason.TIMEOUT),
    "slow body": (trickle(OK + b"content-length: 100000\r\n\r\n", b" "), Reason.TIMEOUT),
    "endless chunks of one byte": (trickle(OK + b"transfer-encoding: chunked\r\n\r\n", b"1\r\n \r\n"), Reason.TIMEOUT),
    "endless hints": (endless_hints, Reason.BAD_PAYLOAD),
    "stalled in a large body": (trickle(chunked(b" " * 300_000), b""), Reason.TIMEOUT),
}

HTTP: Final[dict[str, tuple[Answer, Expected]]] = {
    **ENDLESS,
    "endless body": (endless_body, Reason.TOO_LARGE),
    "endless headers": (endless_headers, Reason.BAD_PAYLOAD),
    "header of 100 KB": (OK + b"x: " + b"x" * 100_000 + b"\r\n\r\n", Reason.BAD_PAYLOAD),
    "50,000 headers": (OK + b"x: y\r\n" * 50_000 + b"\r\n", Reason.BAD_PAYLOAD),
    "over the cap by its length": (OK + b"content-length: %d\r\n\r\n" % (BODY_LIMIT_BYTES + 1), Reason.TOO_LARGE),
    "a terabyte by its length": (OK + b"content-length: %d\r\n\r\n" % 2**40, Reason.TOO_LARGE),
    "bomb": (http(gzip.compress(BODY + b" " * 10**7), head=OK + b"content-encoding: gzip\r\n"), Reason.BAD_PAYLOAD),
    "HTTP/1.0 without length": (b"HTTP/1.0 200 OK\r\n\r\n" + BODY, READ),
    "garbage after the body": (http(BODY) + b"HTTP/1.1 500 \xff\r\n\r\n\x00garbage", READ),
    "length too small": (OK + b"content-length: 9\r\n\r\n" + BODY, Reason.BAD_PAYLOAD),
    "length too large": (OK + b"content-length: 9999\r\n\r\n" + BODY, Reason.CONNECT),
    "two lengths": (OK + b"content-length: 1\r\n" + http(BODY, head=b""), Reason.BAD_PAYLOAD),
    "chunks without an end": (chunked(BODY), Reason.CONNECT),
    "bad chunk": (chunked(BODY) + b"zz\r\n", Reason.BAD_PAYLOAD),
    "101": (b"HTTP/1.1 101 Go\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n", Reason.HTTP_STATUS),
    "204": (b"HTTP/1.1 204 None\r\n\r\n", Reason.HTTP_STATUS),
    "404": (http(BODY, head=b"HTTP/1.1 404 No\r\n"), Reason.HTTP_STATUS),
    "500": (http(BODY, head=b"HTTP/1.1 500 Oops\r\n"), Reason.HTTP_STATUS),
    "redirect to itself": (http(BODY, head=b"HTTP/1.1 307 Go\r\nlocation: /\r\n"), Reason.HTTP_STATUS),
    "redirect to metadata": (
        http(BODY, head=b"HTTP/1.1 302 Go\r\nlocation: http://169.254.169.254/\r\n"),
        Reason.HTTP_STATUS,
    ),
    "closed at once": (b"", Reason.CONNECT),
    "reset before the headers": (reset_after(b""), Reason.CONNECT),
    "reset within the headers": (reset_after(OK + b"x: "), Reason.CONNECT),
    "reset within the body": (reset_after(http(BODY)[:-9]), Reason.CONNECT),
    "TLS alert": (b"\x15\x03\x01\x00\x02\x02\x46", Reason.BAD_PAYLOAD),
    "garbage": (b"\x00\xff garbage\r\n\r\n", Reason.BAD_PAYLOAD),
    "wrong content type": (http(BODY, head=OK + b"content-type: text/html; charset=utf-16\r\n"), READ),
}

JSON: Final[dict[str, tuple[Answer, Expected]]] = {
    "empty body": (http(b""), Reason.BAD_PAYLOAD),
    "a web page": (http(b"<!doctype html>", head=OK + b"content-type: text/html\r\n"), Reason.BAD_PAYLOAD),
    "invalid UTF-8": (http(envelope(b'"\xff"')), Reason.BAD_PAYLOAD),
    "byte order mark": (http(b"\xef\xbb\xbf" + BODY), READ),
    "UTF-16": (http(BODY.decode().encode("utf-16")), Reason.BAD_PAYLOAD),
    "wrong shape": (http(b"[]"), Reason.BAD_PAYLOAD),
    "captures an object": (http(b'{"user_id": "user_1", "captures": {}}'), Reason.BAD_PAYLOAD),
    "captures missing": (http(b'{"user_id": "user_1"}'), Reason.BAD_PAYLOAD),
    "nested 10,000 deep": (http(DEEP), Reason.BAD_PAYLOAD),
    "nested 10,000 deep, an item": (http(envelope(DEEP + b"," + ITEM)), (("good",), (None,))),
    "nested 10,000 deep, beside": (http(envelope(ITEM, b', "more": ' + DEEP)), READ),
    "500,001 items": (http(envelope(b",".join([b"{}"] * 500_001))), Reason.BAD_PAYLOAD),
    "1,000,002 items": (http(envelope(b",".join([b"1"] * 1_000_002))), Reason.BAD_PAYLOAD),
    "300,000 fields": (
        http(envelope(b"{%s}," % b",".join(b'"%x":1' % n for n in range(300_000)) + ITEM)),
        (("good",), (None,)),
    ),
    "one string of 4 MB": (http(envelope(b'"%s",' % (b"x" * 4_000_000) + ITEM)), (("good",), (None,))),
    "duplicate keys": (http(b'{"user_id": "user_2", "captures": 1, ' + BODY[1:]), READ),
    "another user's answer": (http(BODY.replace(b"user_1", b"user_2")), Reason.WRONG_USER),
    "another user's answer, nothing": (http(b'{"user_id": "user_2", "captures": []}'), Reason.WRONG_USER),
    "nothing": (http(envelope(b"", b', "total_pending": 5')), None),
    "pending negative": (http(envelope(ITEM, b', "total_pending": -1')), READ),
    "pending as text": (http(envelope(ITEM, b', "total_pending": "many"')), READ),
    "pending huge": (http(envelope(ITEM, b', "total_pending": 1' + b"0" * 300)), READ),
}

ITEMS: Final[dict[str, tuple[Answer, Expected]]] = {
    "number out of range": with_item("pokemon_id", b"2147483648"),
    "number of 5,000 digits": with_item("pokemon_id", b"9" * 5_000),
    "NaN": with_item("pokemon_id", b"NaN"),
    "infinite": with_item("pokemon_id", b"1e999"),
    "id of 1 MB": with_item("capture_id", b'"%s"' % (b"x" * 1_000_000), None),
    "id with NUL": with_item("capture_id", b'"a\\u0000b"', "a\0b"),
    "name with NUL": with_item("pokemon_name", b'"\\u0000"'),
    "lone surrogate in the id": with_item("capture_id", b'"\\ud800"', None),
    "lone surrogate in the name": (with_item("pokemon_name", b'"\\udfff"')[0], (("bad", "good"), ())),
    "year 0": with_item("timestamp", b'"0000-01-01T00:00:00Z"'),
    "time NaN": with_item("timestamp", b"NaN"),
    "another user's capture": with_item("user_id", b'"user_2"'),
    "a clock years ahead": (http(BODY.replace(b"2026-01-31", b"9999-12-31")), READ),
    "a clock years behind": (http(BODY.replace(b"2026-01-31", b"0001-01-01")), READ),
}

MATRIX: Final = {**HTTP, **JSON, **ITEMS}


class Recorded(Publisher):
    """Keeps how each pull ended."""

    def __init__(self) -> None:
        self.ends: dict[UUID, Expected] = {}
        self.errors: list[str] = []
        self.pending: list[int] = []

    async def publish(self, message: Message, *, routing_key: str) -> None:
        """Keep it."""
        assert routing_key
        if isinstance(message, PullSettled):
            for outcome in message.outcomes:
                assert outcome.outcome is (Outcome.FAILED if outcome.reason else Outcome.NOTHING)
                self._end(outcome.pull_id, outcome.reason, outcome.pending)
                self.errors.append(outcome.error or "")
        assert isinstance(message, (PullSettled, CaptureBatch))
        for pull in message.pulls if isinstance(message, CaptureBatch) else ():
            captures = tuple(capture.capture_id for capture in pull.captures)
            self._end(pull.pull_id, (captures, tuple(item.capture_id for item in pull.unreadable)), pull.pending)

    def _end(self, pull_id: UUID, end: Expected, pending: int) -> None:
        assert pull_id not in self.ends, "a pull ends once"
        self.ends[pull_id] = end
        self.pending.append(pending)


class Pulling:
    """The puller's parts, and what they published."""

    def __init__(self, client_http: ClientHttp) -> None:
        self.http = client_http
        self.published = Recorded()
        puller = Puller(
            client_api=ClientApi(http=client_http),
            batches=BatchPublisher(publisher=self.published),
            settlements=Settlements(publisher=self.published),
        )
        self._requested = RequestedPulls(pulls=Pulls(puller=puller, concurrency=500))

    async def pull(self, urls: Sequence[str]) -> list[Expected]:
        """Pull these clients at once; how each ended."""
        targets = [
            PullTarget(
                pull_id=uuid4(),
                user_id=OWNER,
                client_url=url,
                lease_expires_at=datetime.now(UTC) + timedelta(hours=1),
            )
            for url in urls
        ]
        for begin in range(0, len(targets), 100):
            await self._requested.handle(PullRequested(targets=tuple(targets[begin : begin + 100])))
        return [self.published.ends[target.pull_id] for target in targets]


@asynccontextmanager
async def pulling(timeout_s: float) -> AsyncIterator[Pulling]:
    """Of clients on this machine only."""
    policy = OutboundPolicy(frozenset({"loopback"}))
    async with ClientHttp(policy=policy, timeout_s=timeout_s, body_limit_bytes=BODY_LIMIT_BYTES) as client_http:
        yield Pulling(client_http)


async def test_each_ends_in_its_reason() -> None:
    """All of them at once, with fifty healthy clients, which are pulled all the same; nothing is held afterwards."""
    async with AsyncExitStack() as stack:
        hostile = [await stack.enter_async_context(served(answer)) for answer, _ in MATRIX.values()]
        healthy = await stack.enter_async_context(served(http(BODY)))
        puller = await stack.enter_async_context(pulling(timeout_s=10.0))
        ends, others = await asyncio.gather(puller.pull(hostile), puller.pull([healthy] * HEALTHY))
    found = dict(zip(MATRIX, ends, strict=True))
    assert {name: end for name, end in found.items() if end != MATRIX[name][1]} == {}
    assert others == [READ] * HEALTHY
    assert (puller.http.memory.bytes_held, puller.http.memory.large_held) == (0, 0)
    assert max(puller.published.pending) < 2**48


async def test_a_record_does_not_read_out_what_answers() -> None:
    """A client may read its record: where its name leads to another server later, no byte of that one is in it."""
    async with served(b"-ERR unknown command, secret=hunter2\r\n\r\n") as other, pulling(timeout_s=10.0) as puller:
        assert await puller.pull([other]) == [Reason.BAD_PAYLOAD]
    assert puller.published.errors == ["the answer is not HTTP"]


async def test_the_healthy_do_not_wait_for_the_endless() -> None:
    """Ten of each that never ends, with all the time in the world: fifty healthy clients are pulled meanwhile."""
    async with AsyncExitStack() as stack:
        hostile = [await stack.enter_async_context(served(answer)) for answer, _ in ENDLESS.values()]
        healthy = await stack.enter_async_context(served(http(BODY)))
        puller = await stack.enter_async_context(pulling(timeout_s=250.0))
        endless = asyncio.create_task(puller.pull(hostile * 10))

        async def under_way() -> bool:
            return puller.http.memory.large_held > 0

        await eventually(under_way)
        assert await puller.pull([healthy] * HEALTHY) == [READ] * HEALTHY
        assert not endless.done()
        endless.cancel()
        await asyncio.gather(endless, return_exceptions=True)


async def test_an_answer_before_the_request() -> None:
    """It may be taken or not; it ends, and the next one is pulled."""
    async with served(http(BODY), before_the_request=True) as hasty, served(http(BODY)) as healthy, pulling(2.0) as it:
        first, second = await it.pull([hasty, healthy])
    assert first in (READ, Reason.CONNECT, Reason.BAD_PAYLOAD)
    assert second == READ


@pytest.mark.parametrize("host", ["169.254.169.254", "[::ffff:169.254.169.254]", "0.0.0.0", "[::]", "10.0.0.1"])
async def test_a_forbidden_address_is_not_called(host: str) -> None:
    """Whatever answers there."""
    async with pulling(2.0) as it:
        assert await it.pull([f"http://{host}:80"]) == [Reason.FORBIDDEN_ADDRESS]
