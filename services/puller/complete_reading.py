"""Reads a client's answer to `all-captures` into a page by capture id, whichever way the client sent it. No I/O.

Some clients know `limit` and `after` and send a part, in the order of the ids; others send everything, in any order.
What a page leaves out counts as gone at the client, so an answer that may have gaps is none.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby, islice, pairwise
from operator import itemgetter
from typing import Any, Final

import msgspec
from pydantic import TypeAdapter, ValidationError

from services.puller.answer import (
    CompleteAnswer,
    UnreadableAnswerError,
    opened,
    parse_answer,
    read_opened,
    says_has_nothing,
)
from services.puller.reading import MOST_PENDING, Page, weight
from shared.contracts.client_protocol import Capture, Identifier
from shared.contracts.messages import (
    BYTES_PER_PULL,
    CAPTURES_PER_PULL,
    CompletePage,
    CompletePull,
    PulledCapture,
    UnreadableItem,
)

_ODD: Final = 1_000
"""Most items without an id that a capture can have that are kept: no page can begin or end with them."""
_ODD_BYTES: Final = BYTES_PER_PULL // 4

_WHOLE: Final[TypeAdapter[CompleteAnswer[Any]]] = TypeAdapter(CompleteAnswer[Capture])
_ENVELOPE: Final[TypeAdapter[CompleteAnswer[Any]]] = TypeAdapter(CompleteAnswer[Any])
_ID: Final[TypeAdapter[str]] = TypeAdapter(Identifier)


def read_complete_page(body: bytes, *, owner: str, after: str | None, complete: CompletePull) -> Page:
    """The captures in `body` whose ids come after `after`, by the UTF-8 bytes of their ids, as many as a pull carries.

    Up to its end the page has every id that the client sent, each once (by its first item that is a capture, if there
    is one). It ends after `after`, or has no end. One bad item costs no other; those without an id that a capture can
    have are on the first page, the first thousand of them.

    Raises:
        UnreadableAnswerError: it is no JSON, not of the shape of `all-captures`, or a part that is no page.
    """
    data = parse_answer(body, whole=_WHOLE, envelope=_ENVELOPE, has_none=says_has_nothing)
    items = [(_id_of(item), item) for item in (opened(each, owner) for each in data.captures)]
    is_part = len(items) < data.total_captures
    if is_part:
        _check_part(items, after)
    page = _PageInTheMaking(owner=owner)
    if after is None:
        page.add_odd(item for capture_id, item in items if capture_id is None)
    ended = page.add(_by_id(items, after)) and not is_part
    return Page(
        user_id=data.user_id,
        captures=tuple(page.captures),
        unreadable=tuple(page.unreadable),
        pending=min(sum(not _is_synced(item) for _, item in items), MOST_PENDING),
        more_pending=False,
        complete=CompletePage(
            asked_at=complete.asked_at,
            delete_unknown=complete.delete_unknown,
            after=after,
            until=None if ended else page.last_id,
            unacknowledged=tuple(page.unacknowledged),
        ),
    )


@dataclass(slots=True, kw_only=True)
class _PageInTheMaking:
    """What was taken so far; it takes as much as a pull carries, and one id at least."""

    owner: str
    captures: list[PulledCapture] = field(default_factory=list)
    unreadable: list[UnreadableItem] = field(default_factory=list)
    unacknowledged: list[str] = field(default_factory=list)
    last_id: str | None = None
    _bytes: int = 0

    def add_odd(self, items: Iterable[Any]) -> None:
        """Take items whose place is nowhere, as many as leave room for others."""
        for item in islice(items, _ODD):
            read = read_opened(item, self.owner)
            told = [] if read.capture_id is None or _is_synced(item) else [read.capture_id]
            size = _size(read, told)
            if self._bytes + size > _ODD_BYTES:
                return
            self._take(read, told, size)

    def add(self, groups: Iterable[tuple[str, Sequence[Any]]]) -> bool:
        """Take ids with all their items, in order; whether there was room for all."""
        for capture_id, items in groups:
            read = self._read(items)
            told = [] if all(map(_is_synced, items)) else [capture_id]
            size = _size(read, told)
            if self.last_id is not None and not self._has_room(size):
                return False
            self._take(read, told, size)
            self.last_id = capture_id
        return True

    def _read(self, items: Sequence[Any]) -> PulledCapture | UnreadableItem:
        """A capture, if one of these items is one."""
        first = read_opened(items[0], self.owner)
        if isinstance(first, PulledCapture):
            return first
        others = (read_opened(item, self.owner) for item in items[1:])
        return next((read for read in others if isinstance(read, PulledCapture)), first)

    def _has_room(self, size: int) -> bool:
        taken = len(self.captures) + len(self.unreadable)
        return taken < CAPTURES_PER_PULL and self._bytes + size <= BYTES_PER_PULL

    def _take(self, read: PulledCapture | UnreadableItem, told: Sequence[str], size: int) -> None:
        self._bytes += size
        self.unacknowledged += told
        if isinstance(read, PulledCapture):
            self.captures.append(read)
        else:
            self.unreadable.append(read)


def _check_part(items: Sequence[tuple[str | None, Any]], after: str | None) -> None:
    """A client that knows the parameters sends what comes next, or nothing at the end. Others send everything.

    Raises:
        UnreadableAnswerError: it is neither: captures that the client has may be missing in between.
    """
    ids = [capture_id for capture_id, _ in items if capture_id is not None]
    if not items and after is not None:
        return
    if not ids:
        text = "the answer is a part without a single capture id"
        raise UnreadableAnswerError(text)
    if any(one > other for one, other in pairwise(ids)):
        text = "the answer is a part and not in the order of the capture ids"
        raise UnreadableAnswerError(text)
    if after is not None and ids[-1] <= after:
        text = "the answer is a part that was sent before: the client does not know `after`"
        raise UnreadableAnswerError(text)


def _by_id(items: Iterable[tuple[str | None, Any]], after: str | None) -> Iterator[tuple[str, list[Any]]]:
    """The items with an id after `after`, together by it, in its order: that of Python is that of UTF-8."""
    first = itemgetter(0)
    named = [(capture_id, item) for capture_id, item in items if capture_id is not None]
    coming = [pair for pair in named if after is None or pair[0] > after]
    for capture_id, group in groupby(sorted(coming, key=first), key=first):
        yield capture_id, [item for _, item in group]


def _size(read: PulledCapture | UnreadableItem, told: Iterable[str]) -> int:
    """The bytes in a message, of what was read and of the id once more."""
    return weight(read) + sum(len(msgspec.json.encode(capture_id)) + 1 for capture_id in told)


def _id_of(item: Any) -> str | None:
    """The item's id, if a capture can have it: others are stored nowhere, so there is nothing to compare them with."""
    if isinstance(item, Capture):
        return item.capture_id
    if isinstance(item, (PulledCapture, UnreadableItem)):
        capture_id: Any = item.capture_id
    else:
        capture_id = item.get("capture_id") if isinstance(item, dict) else None
    if not isinstance(capture_id, str):
        return None
    try:
        return _ID.validate_python(capture_id)
    except ValidationError:
        return None


def _is_synced(item: Any) -> bool:
    """Whether the client says that it was told of this one."""
    if isinstance(item, Capture):
        return item.synced
    return isinstance(item, dict) and item.get("synced") is True
