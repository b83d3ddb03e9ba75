"""What each decoder of foreign bytes promises, whatever the bytes are: one function of bytes for each.

The tests call these with bytes of their own, and the fuzzer with bytes that it finds. A function tells whether the
bytes were taken for what its decoder reads, so that it can be seen that some are. It raises when a promise is broken.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
import struct
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing, suppress
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, Literal
from unittest.mock import patch
from urllib.parse import urlsplit
from uuid import UUID

from aio_pika.message import IncomingMessage
from aiormq.abc import DeliveredMessage
from pamqp.commands import Basic
from pamqp.header import ContentHeader
from pydantic import TypeAdapter, ValidationError
from pydantic_core import PydanticCustomError
from starlette.requests import Request
from starlette.types import Message as AsgiMessage
from yarl import URL

from services.client.bodies import as_asked_ids, as_capture_ids, as_new_capture, read_object
from services.client.errors import RequestError
from services.client.legacy_import import read_legacy_file
from services.client.registration import REGISTERED
from services.client.routes import CAPTURE_BODY_BYTES, read_since
from services.ingest.replay import read_again
from services.ingest.store import Quarantined
from services.puller import reading
from services.puller.answer import ITEM_BYTES, PendingAnswer, UnreadableAnswerError, parse_answer, says_nothing_pending
from services.puller.complete_reading import read_complete_page
from services.puller.plain_reading import parse_plain_answer
from services.puller.reading import Page, read_page
from services.registry.dead_letters.reading import WholeDeadLetter, described_whole, identity
from services.registry.domain import NewClient, checked_client_url
from shared.contracts.capture_reading import RAW_CHARS, read_item
from shared.contracts.claims import Claims
from shared.contracts.client_answers import UnreadableTextError, read_health
from shared.contracts.client_protocol import (
    HEALTH_PATH,
    AddCapture,
    Capture,
    Metadata,
    registration_key_digest,
)
from shared.contracts.encoding import UnreadableMessageError, decoded, encoded
from shared.contracts.messages import CaptureBatch, CompletePull, Message, Part, Pull, PulledCapture, UnreadableItem
from shared.contracts.times import EARLIEST, LATEST, iso_millis
from shared.errors import StartupError
from shared.tokens import bearer, is_one_of, is_sendable

Target = Callable[[bytes], bool]

OWNER: Final = "user_1"
_NOW: Final = datetime(2026, 1, 31, 12, tzinfo=UTC)
_ASKED: Final = CompletePull(asked_at=_NOW, delete_unknown=False)
_KINDS: Final[tuple[type[Message | Part], ...]] = (*Message.__subclasses__(), Claims, PulledCapture)
"""All that `decoded` is asked for: what comes through queues, from the registry, and out of the quarantine."""

_WHOLE: Final[TypeAdapter[PendingAnswer[Any]]] = TypeAdapter(PendingAnswer[Capture])
_NOTHING: Final[TypeAdapter[PendingAnswer[Any]]] = TypeAdapter(PendingAnswer[Literal["what is no capture"]])
"""Takes no item, so that each is read by itself."""
_ENVELOPE: Final[TypeAdapter[PendingAnswer[Any]]] = TypeAdapter(PendingAnswer[Any])
_METADATA: Final = TypeAdapter(Metadata)
_DEAD_LETTER: Final = TypeAdapter(WholeDeadLetter)


def pending(body: bytes) -> bool:
    """An answer of `sync-data` is a page that passes the queue as it is, or one sentence; be it large or small."""
    try:
        page = read_page(body, owner=OWNER)
    except UnreadableAnswerError as error:
        return _refused(error)
    _check_page(page)
    if len(body) <= ITEM_BYTES:
        large = read_page(body + b" " * ITEM_BYTES, owner=OWNER)
        assert (large.captures, large.pending) == (page.captures, page.pending)
    return True


def plain(body: bytes) -> bool:
    """What is read in one pass is what the patient reader reads."""
    if parse_plain_answer(body, owner=OWNER) is None:
        return False
    page = read_page(body, owner=OWNER)
    with patch.object(reading, "parse_plain_answer", lambda *_, **__: None):
        assert page == read_page(body, owner=OWNER)
    return True


def answer(body: bytes) -> bool:
    """A capture is the same, whether all in the answer are captures or something else stands beside it."""
    try:
        together = parse_answer(body, whole=_WHOLE, envelope=_ENVELOPE, has_none=says_nothing_pending)
    except UnreadableAnswerError as error:
        return _refused(error)
    alone = parse_answer(body, whole=_NOTHING, envelope=_ENVELOPE, has_none=says_nothing_pending)
    assert (alone.user_id, alone.total_pending) == (together.user_id, together.total_pending)
    assert _comparable(alone.captures) == _comparable(together.captures)
    return True


def _comparable(items: Iterable[Any]) -> list[object]:
    """What is read of them; of what is none, all but the text that is kept, which may have lost unknown keys."""
    found = (read_item(item, OWNER) for item in items)
    return [read if isinstance(read, PulledCapture) else (read.capture_id, read.problem) for read in found]


def complete(data: bytes) -> bool:
    """A page of everything has its ids once and in order, and the page after any of them has those that follow it.

    In the first line is the id that it comes after, none when that is empty; then comes the answer.
    """
    first, _, body = data.partition(b"\n")
    after = first.decode(errors="ignore") or None
    try:
        page = read_complete_page(body, owner=OWNER, after=after, complete=_ASKED)
    except UnreadableAnswerError as error:
        return _refused(error)
    _check_page(page)
    ids = _ids_in_order(page, after)
    for place, capture_id in enumerate(ids[:3]):
        assert _ids_after(capture_id, body) == ids[place + 1 :]
    return True


def _ids_after(after: str, body: bytes) -> list[str]:
    """Those of the page after this one; none where the client, which sends parts, would have sent another part."""
    try:
        return _ids_in_order(read_complete_page(body, owner=OWNER, after=after, complete=_ASKED), after)
    except UnreadableAnswerError:
        return []


def _ids_in_order(page: Page, after: str | None) -> list[str]:
    """Of what a capture can have as an id: those that stand for a place among the others."""
    assert page.complete is not None
    assert page.complete.after == after
    held = {read.capture_id for read in page.captures} | {read.capture_id for read in page.unreadable}
    assert set(page.complete.unacknowledged) <= held
    ids = [read.capture_id for read in page.captures]
    assert ids == sorted(set(ids)), "each once, in order"
    assert after is None or not ids or ids[0] > after
    assert page.complete.until is None or not ids or ids[-1] <= page.complete.until
    return ids


def item(data: bytes) -> bool:
    """Any JSON value is a capture or goes to quarantine, from where it is read again to the same end."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return False
    read = read_item(value, OWNER)
    _check_read([read], [])
    if isinstance(read, PulledCapture):
        return True
    assert len(read.raw) <= RAW_CHARS
    assert read.raw.isascii()
    assert "\x00" not in read.problem
    kept = Quarantined(
        quarantine_id=1, user_id=OWNER, problem=read.problem, raw=read.raw, pull_id=UUID(int=1), quarantined_at=_NOW
    )
    again = read_again(kept)
    assert again.capture is None
    assert again.problem == read.problem or len(read.raw) in {0, RAW_CHARS}
    return False


def message(body: bytes) -> bool:
    """A message is read and comes back as it was sent, or is refused in one sentence; by each kind of message."""
    taken = [_is_message(kind, body) for kind in _KINDS]  # by each of them, also after the first that takes it
    return any(taken)


def _is_message(kind: type[Message | Part], body: bytes) -> bool:
    try:
        read = decoded(kind, body)
    except UnreadableMessageError as error:
        return _refused(error)
    assert decoded(kind, encoded(read)) == read
    return True


def request_body(data: bytes) -> bool:
    """A body that an app or a backend sends to the client is what is expected, or refused in one sentence."""
    return asyncio.run(_is_request(data))


async def _is_request(data: bytes) -> bool:
    middle = len(data) // 2
    parts: list[AsgiMessage] = [
        {"type": "http.request", "body": data[:middle], "more_body": True},
        {"type": "http.request", "body": data[middle:], "more_body": False},
    ]

    async def receive() -> AsgiMessage:
        return parts.pop(0)

    try:
        body = await read_object(Request({"type": "http", "headers": []}, receive), limit_bytes=CAPTURE_BODY_BYTES)
    except RequestError as error:
        return _refused(error)
    return any([_takes(as_new_capture, body), _takes(as_capture_ids, body), _takes(as_asked_ids, body)])


def _takes(read: Callable[[dict[str, object]], AddCapture | list[str]], body: dict[str, object]) -> bool:
    """Whether it is read; a refusal can be told, and name, id and time be stored."""
    try:
        found = read(body)
    except RequestError as error:
        return _refused(error)
    if isinstance(found, AddCapture):
        found.pokemon_name.encode()
        (found.capture_id or "").encode()
        assert found.timestamp is None or (found.capture_id and iso_millis(found.timestamp))
    return True


def legacy_file(content: bytes) -> bool:
    """The original client's file is read in full, or the start ends with one sentence; SQLite serves what was read."""
    with TemporaryDirectory() as folder:
        path = Path(folder, "client-sync-data.json")
        path.write_bytes(content)
        try:
            data = read_legacy_file(path)
        except StartupError as error:
            return _refused(error)
    assert data is not None
    with closing(sqlite3.connect(":memory:")) as database:
        for foreign in data.captures:
            [[metadata]] = database.execute("SELECT json(?)", [foreign.metadata])
            _METADATA.validate_json(metadata)
            foreign.capture.capture_id.encode()
            foreign.capture.pokemon_name.encode()
    return True


def client_url(data: bytes) -> bool:
    """What is registered is called where it seems to be: at that host and port, with no login and no query."""
    try:
        url = checked_client_url(data.decode(errors="surrogateescape"))
    except ValueError as error:
        return _refused(error)
    assert checked_client_url(url) == url
    assert url.isprintable()
    seen = urlsplit(url)
    with suppress(ValueError):  # then it can't be called at all
        called = URL(f"{url}{HEALTH_PATH}")
        assert (called.scheme, called.explicit_port) == (seen.scheme, seen.port)
        assert (called.user, called.password) == (None, None)
        assert (called.query_string, called.fragment) == ("", "")
        if seen.hostname and seen.hostname.isascii():
            assert _host(called.raw_host or "") == _host(seen.hostname)
    return True


def health(body: bytes) -> bool:
    """A client's health is what the protocol says, or is refused; it can be compared, whatever is in it."""
    try:
        read = read_health(body)
    except UnreadableTextError as error:
        return _refused(error)
    assert read.registration_key_sha256 != registration_key_digest("any key that nobody has shown it")
    return True


def registration(body: bytes) -> bool:
    """What is registered can be stored by Postgres and sent by HTTP, but for a NUL, which is looked for by itself."""
    try:
        client = NewClient.model_validate_json(body)
    except ValidationError:
        return False
    for text in (client.user_id, client.client_url, client.client_type, *client.capabilities):
        assert "\x00" not in text
        text.encode()
    return True


def registered(body: bytes) -> bool:
    """A token that a registry tells can be stood in a header."""
    try:
        told = REGISTERED.validate_json(body)
    except ValidationError:
        return False
    tokens = [told.get("pull_token"), told.get("client_token")]
    assert all(is_sendable(token) for token in tokens if token is not None)
    return True


def token(data: bytes) -> bool:
    """The token of a header is compared as it is, and is what was sent after the scheme."""
    found = bearer([data.decode("latin-1")])
    if found is None:
        return False
    assert found == found.strip()
    assert is_one_of(found, [found])
    assert not is_one_of(found, [f"{found}-"])
    return True


def since(data: bytes) -> bool:
    """A moment in a URL is one in UTC, or is refused with what is expected."""
    try:
        moment = read_since(data.decode(errors="replace"))
    except PydanticCustomError as error:
        return _refused(error)
    if moment is not None:
        assert moment.utcoffset() == timedelta(0)
        iso_millis(moment)
    return moment is not None


def _host(name: str) -> object:
    """An address may be written in several ways."""
    try:
        return ip_address(name)
    except ValueError:
        return name.lower()


def dead_letter(data: bytes) -> bool:
    """Whatever lies in a dead-letter queue can be shown.

    First come two bytes with the length of AMQP's content header, then this from its flags on, then the body.
    """
    size = int.from_bytes(data[:2], "big")
    header = ContentHeader()
    try:
        header.unmarshal(bytes(12) + data[2 : 2 + size])
        letter = IncomingMessage(_delivered(header, data[2 + size :]), no_ack=True)
    except (ValueError, ArithmeticError, RecursionError, TypeError, struct.error):
        return False  # that is no message: the AMQP library, or RabbitMQ, ends the connection over it
    shown = described_whole(letter)
    text = _DEAD_LETTER.dump_json(shown)
    assert json.loads(text)["id"] == identity(letter)
    return True


def _delivered(header: ContentHeader, body: bytes) -> DeliveredMessage:
    """As it comes from RabbitMQ."""
    channel: Any = None  # which is asked only when the message is settled
    return DeliveredMessage(delivery=Basic.Deliver(delivery_tag=1), header=header, body=body, channel=channel)


def _refused(error: Exception) -> bool:
    """A refusal is one sentence that can be logged and sent; it is False."""
    text = str(error)
    assert text
    assert "\n" not in text
    text.encode()
    return False


def _check_page(page: Page) -> None:
    _check_read(page.captures, page.unreadable, page)
    assert page.pending >= 0


def _check_read(
    captures: Iterable[PulledCapture | UnreadableItem], unreadable: Iterable[UnreadableItem], page: Page | None = None
) -> None:
    """It passes the queue to ingest as it is, and Postgres takes its metadata."""
    found = (*captures, *unreadable)
    pull = Pull(
        pull_id=UUID(int=1),
        user_id=OWNER,
        client_url="http://localhost:3001",
        pulled_at=_NOW,
        duration_s=0.0,
        pending=page.pending if page else 0,
        more_pending=page.more_pending if page else False,
        captures=tuple(read for read in found if isinstance(read, PulledCapture)),
        unreadable=tuple(read for read in found if isinstance(read, UnreadableItem)),
        complete=page.complete if page else None,
    )
    assert decoded(CaptureBatch, encoded(CaptureBatch(pulls=(pull,)))).pulls == (pull,)
    for capture in pull.captures:
        assert capture.timestamp.tzinfo is UTC
        assert EARLIEST <= capture.timestamp <= LATEST
        if capture.metadata is not None:
            assert isinstance(json.loads(capture.metadata), dict)
            assert "\0" not in _all_texts(json.loads(capture.metadata))


def _all_texts(value: object) -> str:
    """Every text in a JSON value, together."""
    if isinstance(value, dict):
        return "".join(map(_all_texts, [*value, *value.values()]))
    return "".join(map(_all_texts, value)) if isinstance(value, list) else str(value)


TARGETS: Final[Mapping[str, Target]] = {
    target.__name__.replace("_", "-"): target
    for target in (
        pending,
        plain,
        answer,
        complete,
        item,
        message,
        request_body,
        legacy_file,
        client_url,
        dead_letter,
        health,
        registration,
        registered,
        token,
        since,
    )
}
"""By name; each has a folder of seeds of the same name in `tests/fuzz/corpus`."""
