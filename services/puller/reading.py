"""Reads a client's answer: what is a capture, what is not, and how much of it one pull carries. No I/O.

The bytes are foreign: whatever they are, the result is a page or an `UnreadableAnswerError`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from pydantic import TypeAdapter, ValidationError
from pydantic_core import to_json

from shared.capture_reading import read_item
from shared.client_protocol import Capture, SyncData
from shared.messages import BYTES_PER_PULL, CAPTURES_PER_PULL, PulledCapture, UnreadableItem

_DIGITS_OF_NO_CAPTURE: Final = 20
_MOST_OBJECTS: Final = 500_000
"""More than any capture needs; an empty one costs 64 bytes of memory for three of the answer."""
_MOST_PENDING: Final = 10**12
"""What a client says beyond this is not believed."""

_WHOLE: Final = TypeAdapter(SyncData[Capture])
_ENVELOPE: Final = TypeAdapter(SyncData[Any])


class UnreadableAnswerError(Exception):
    """The answer as a whole is not what `sync-data` answers; the text is one sentence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """What one pull takes from a client's answer."""

    user_id: str
    captures: tuple[PulledCapture, ...]
    unreadable: tuple[UnreadableItem, ...]
    pending: int
    """What the client says that it holds, or what it sent, if that is more."""
    more_pending: bool


def read_page(body: bytes, *, owner: str) -> Page:
    """The page in `body`, for the client of `owner`; one bad item costs no other, unless nested too deeply to read.

    Raises:
        UnreadableAnswerError: it is no JSON, or not of the shape of `sync-data`.
    """
    try:
        data: SyncData[Capture] | SyncData[Any] = _WHOLE.validate_json(body)
    except ValidationError:
        data = _read_loosely(body)
    captures: list[PulledCapture] = []
    unreadable: list[UnreadableItem] = []
    room = BYTES_PER_PULL
    for item in data.captures[:CAPTURES_PER_PULL]:
        read = read_item(item, owner)
        room -= _weight(read)
        if room < 0 and (captures or unreadable):
            break
        if isinstance(read, PulledCapture):
            captures.append(read)
        else:
            unreadable.append(read)
    return _page(data, captures, unreadable)


def _page(data: SyncData[Any], captures: Sequence[PulledCapture], unreadable: Sequence[UnreadableItem]) -> Page:
    pending = min(max(data.total_pending or 0, len(data.captures)), _MOST_PENDING)
    taken = len(captures) + len(unreadable)
    return Page(
        user_id=data.user_id,
        captures=tuple(captures),
        unreadable=tuple(unreadable),
        pending=pending,
        more_pending=0 < taken < pending,
    )


def _read_loosely(body: bytes) -> SyncData[Any]:
    """The envelope with its items as they are, by a parser that takes what the strict one refuses as a whole."""
    if body.count(b"{") + body.count(b"[") > _MOST_OBJECTS:
        text = f"the answer has more than {_MOST_OBJECTS} objects"
        raise UnreadableAnswerError(text)
    try:
        data = json.loads(body.decode(), parse_int=_bounded_int)
        return _ENVELOPE.validate_python(data, strict=False)
    except UnicodeDecodeError as error:
        text = "the answer is not UTF-8"
        raise UnreadableAnswerError(text) from error
    except RecursionError as error:
        text = "the answer is nested too deeply"
        raise UnreadableAnswerError(text) from error
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the body"
        text = f"the answer is not of the protocol's shape: {where}: {first['msg']}"
        raise UnreadableAnswerError(text) from error
    except ValueError as error:
        text = f"the answer is not JSON: {error}"
        raise UnreadableAnswerError(text) from error


def _bounded_int(digits: str) -> int | float:
    """A number that could mean something; of thousands of digits Python makes no int, and no field takes the float."""
    return int(digits) if len(digits) <= _DIGITS_OF_NO_CAPTURE else float(digits)


def _weight(read: PulledCapture | UnreadableItem) -> int:
    """Its bytes in a message."""
    return len(to_json(read)) + 1
