"""Reads what a client has pending: what is a capture, what is not, and how much of it one pull carries. No I/O.

The bytes are foreign: whatever they are, the result is a page or an `UnreadableAnswerError`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from pydantic import TypeAdapter

from services.puller.answer import (
    PendingAnswer,
    UnreadableAnswerError,
    opened,
    parse_answer,
    read_opened,
    says_nothing_pending,
)
from services.puller.plain_reading import PlainAnswer, parse_plain_answer
from shared.contracts.client_protocol import Capture
from shared.contracts.encoding import encoded
from shared.contracts.messages import BYTES_PER_PULL, CAPTURES_PER_PULL, CompletePage, PulledCapture, UnreadableItem

__all__ = ["MOST_PENDING", "Page", "UnreadableAnswerError", "read_page", "weight"]

MOST_PENDING: Final = 10**12
"""What a client says beyond this is not believed."""

_GROWS: Final = 12
_ITEM_BYTES: Final = 1_024
"""More than an answer can grow on its way into a message: a character that is escaped twice, and what is said of an
item beside it."""

_WHOLE: Final[TypeAdapter[PendingAnswer[Any]]] = TypeAdapter(PendingAnswer[Capture])
_ENVELOPE: Final[TypeAdapter[PendingAnswer[Any]]] = TypeAdapter(PendingAnswer[Any])


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """What one pull takes from a client's answer."""

    user_id: str
    captures: tuple[PulledCapture, ...]
    unreadable: tuple[UnreadableItem, ...]
    pending: int
    """What the client says that it holds, or what it sent, if that is more."""
    more_pending: bool
    complete: CompletePage | None = None
    """Set when this is a page of everything, which is told by where it ends and not by `more_pending`."""


def read_page(body: bytes, *, owner: str) -> Page:
    """The page in `body`, an answer of `sync-data` by the client of `owner`; one bad item costs no other.

    Raises:
        UnreadableAnswerError: it is no JSON, or not of the shape of `sync-data`.
    """
    data = parse_plain_answer(body, owner=owner) or _parsed(body)
    captures: list[PulledCapture] = []
    unreadable: list[UnreadableItem] = []
    room = BYTES_PER_PULL
    light = _GROWS * len(body) + _ITEM_BYTES * len(data.captures) < room  # most are, and are not weighed
    for item in data.captures[:CAPTURES_PER_PULL]:
        read = read_opened(opened(item, owner), owner)
        room -= 0 if light else weight(read)
        if room < 0 and (captures or unreadable):
            break
        if isinstance(read, PulledCapture):
            captures.append(read)
        else:
            unreadable.append(read)
    return _page(data, captures, unreadable)


def _parsed(body: bytes) -> PendingAnswer[Any]:
    return parse_answer(body, whole=_WHOLE, envelope=_ENVELOPE, has_none=says_nothing_pending)


def _page(
    data: PendingAnswer[Any] | PlainAnswer, captures: Sequence[PulledCapture], unreadable: Sequence[UnreadableItem]
) -> Page:
    pending = min(max(data.total_pending or 0, len(data.captures)), MOST_PENDING)
    taken = len(captures) + len(unreadable)
    return Page(
        user_id=data.user_id,
        captures=tuple(captures),
        unreadable=tuple(unreadable),
        pending=pending,
        more_pending=0 < taken < pending,
    )


def weight(read: PulledCapture | UnreadableItem) -> int:
    """Its bytes in a message."""
    return len(encoded(read)) + 1
