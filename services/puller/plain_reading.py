"""Reads an answer of `sync-data` in one pass if it is plain, as nearly all are. No I/O.

An answer is plain when nothing in it is escaped, each item is a capture of its client, and no metadata say more than
`removed`. What is read is what `services.puller.answer` and `shared.contracts.capture_reading` would read, in a quarter
of the time; what is not plain is left to them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Final

import msgspec
from msgspec import Meta, Struct

from shared.contracts.client_protocol import ID_CHARS, Action
from shared.contracts.messages import PulledCapture
from shared.contracts.times import EARLIEST, LATEST, in_utc

_FINER: Final = re.compile(rb"\.[0-9]{7}")
"""A time with more digits than are kept: here they would be rounded, and elsewhere they are cut."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlainAnswer:
    """As `PendingAnswer`, with captures that need no more reading."""

    user_id: str
    captures: Sequence[PulledCapture]
    total_pending: int | None


class _Metadata(Struct, forbid_unknown_fields=True, gc=False):
    removed: bool = False


_Identifier = Annotated[str, Meta(min_length=1, max_length=ID_CHARS)]


class _Capture(Struct, gc=False):
    """As `shared.contracts.client_protocol.Capture`; what is not allowed there cannot be in a plain answer."""

    capture_id: _Identifier
    pokemon_id: Annotated[int, Meta(ge=1, le=2**31 - 1)]
    action: Action
    timestamp: datetime
    pokemon_name: Annotated[str, Meta(max_length=ID_CHARS)] = ""
    user_id: _Identifier | None = None
    synced: bool = False
    metadata: _Metadata | None = None


class _Answer(Struct):
    user_id: str
    captures: list[_Capture]
    total_pending: Annotated[int, Meta(ge=0)] | None = None


_DECODER: Final = msgspec.json.Decoder(_Answer)


def parse_plain_answer(body: bytes, *, owner: str) -> PlainAnswer | None:
    """The answer in `body` by the client of `owner`, or None when it is not plain, whatever else it is."""
    # JSON has control characters as escapes only, but for DEL; and not all text that is passed over is looked at.
    if b"\\" in body or b"\x7f" in body or not _is_utf8(body) or _FINER.search(body):
        return None
    try:
        answer = _DECODER.decode(body)
        captures = [
            PulledCapture(
                capture_id=item.capture_id,
                pokemon_id=item.pokemon_id,
                pokemon_name=item.pokemon_name,
                action=item.action,
                timestamp=at if (at := item.timestamp).tzinfo is UTC and EARLIEST <= at <= LATEST else in_utc(at),
                removed=item.metadata is not None and item.metadata.removed,
            )
            for item in answer.captures  # a call of a function for each takes a fifth of the time
        ]
    except (msgspec.DecodeError, RecursionError, ValueError):
        return None
    if any(item.user_id is not None and item.user_id != owner for item in answer.captures):
        return None
    return PlainAnswer(user_id=answer.user_id, captures=captures, total_pending=answer.total_pending)


def _is_utf8(body: bytes) -> bool:
    if body.isascii():
        return True
    try:
        body.decode()
    except UnicodeDecodeError:
        return False
    return True
