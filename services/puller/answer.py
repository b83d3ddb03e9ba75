"""Parses a client's answer: its envelope and the items in it, as they came. No I/O, and no rule about captures.

The bytes are foreign: whatever they are, the result is an answer or an `UnreadableAnswerError`. No call of a parser
gets more than an item, or what is around all of them: one that makes an object of a whole large answer takes seconds,
and no other thread of Python runs meanwhile.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final, Generic, TypeVar

import msgspec
from pydantic import BeforeValidator, FailFast, Field, TypeAdapter, ValidationError

from services.puller.plain_reading import parse_plain_answer
from shared.contracts.capture_reading import cut_item, read_item
from shared.contracts.client_answers import UnreadableTextError, json_text
from shared.contracts.client_protocol import Capture, WireModel
from shared.contracts.lenient_fields import whole_number
from shared.contracts.messages import PulledCapture, UnreadableItem

_LONGEST_INT: Final = 4_300
"""Digits. Both parsers make an int of no more; a longer number becomes a float, which no field of a capture takes."""
_MOST_OBJECTS: Final = 500_000
_MOST_VALUES: Final = 1_000_000
"""Objects and lists, and commas, of which captures have one for each 19 bytes at most: 16 MiB of them have fewer.

An empty object takes three bytes of the answer and hundreds of the strict parser's memory, a field with a name of its
own six and microseconds: what has more is not parsed at all.
"""
ITEM_BYTES: Final = 64 * 1024
"""A larger item is not parsed, and no capture unless it is plain. An answer up to here is parsed in one piece."""
_MOST_AROUND: Final = 10_000
"""Commas around the items, of which the protocol has six."""
_ITEM_LEVEL: Final = 3
_DEEPEST: Final = 300
"""Levels. Python takes more, and a capture may have 200 at most: what is cut here is in an item that is none."""
_UP_TO_A_BRACKET: Final = re.compile(
    rb"""
    (?: [^"\[\]{}]++ | " (?: [^"\\]++ | \\.?+ )*+ (?: " | \Z ) ){0,1000}+  # what has no bracket, and strings
    ( [\[{] | [\]}] | )
    """,
    re.DOTALL | re.VERBOSE,
)
"""It matches from wherever it is asked, so that bytes of whatever kind are passed once; and ends after some strings, so
that other threads have their turn."""

_CAPTURE: Final = TypeAdapter(Capture)

ItemT = TypeVar("ItemT")
AnswerT = TypeVar("AnswerT", bound="Answer[Any]")
HasNone = Callable[[Mapping[str, Any]], bool]


class UnreadableAnswerError(Exception):
    """The answer as a whole is not what was asked for; the text is one sentence."""


def _number(value: object) -> object:
    """A whole number, whatever its type; what is none, the yes and no of pydantic included, is refused.

    Raises:
        ValueError: it is none.
    """
    number = whole_number(value)
    if isinstance(number, bool) or not isinstance(number, int):
        message = "a whole number is expected"
        raise ValueError(message)  # noqa: TRY004 - pydantic makes its error of it
    return number


def _count_or_none(value: object) -> int | None:
    try:
        number = _number(value)
    except ValueError:
        return None
    return number if isinstance(number, int) and number >= 0 else None


class Answer(WireModel, Generic[ItemT]):
    """What is read of every answer with captures. What else the protocol has in it is not needed: it may be wrong."""

    user_id: str
    captures: Annotated[list[ItemT], FailFast()]


class PendingAnswer(Answer[ItemT], Generic[ItemT]):
    """Of `sync-data`."""

    total_pending: Annotated[int | None, BeforeValidator(_count_or_none)] = None
    """None when what is said is no count: it is information, and costs no capture."""


class CompleteAnswer(Answer[ItemT], Generic[ItemT]):
    """Of `all-captures`."""

    total_captures: Annotated[int, Field(ge=0), BeforeValidator(_number)]
    """Whether the answer is a part is known from it alone, so it must be there, and right."""


def says_nothing_pending(answer: Mapping[str, Any]) -> bool:
    """Whether an answer of `sync-data` without a list of captures has none: Go writes an empty list as null.

    It must not say that something is pending. Where `captures` is missing, or empty in another way, it must say that
    nothing is.
    """
    total = whole_number(answer.get("total_pending"))
    if "captures" in answer and answer["captures"] is None:
        return total is None or (type(total) in {int, float} and total <= 0)
    return type(total) is int and total == 0 and not answer.get("captures")


def says_has_nothing(answer: Mapping[str, Any]) -> bool:
    """The same for `all-captures`, where it may delete what is stored: so both members must be there, and agree."""
    total = whole_number(answer.get("total_captures"))
    return type(total) is int and total == 0 and "captures" in answer and answer["captures"] is None


@dataclass(frozen=True, slots=True)
class ItemText:
    """An item of a large answer, not yet parsed."""

    text: bytes

    def opened(self, owner: str) -> PulledCapture | UnreadableItem | Capture | Any:
        """What it is, parsed.

        Raises:
            UnreadableAnswerError: it is no JSON, so that the answer is none.
        """
        if len(self.text) > ITEM_BYTES:
            plain = parse_plain_answer(b'{"user_id":"","captures":[%s]}' % self.text, owner=owner)
            return plain.captures[0] if plain else cut_item(self.text, f"it is larger than {ITEM_BYTES} bytes")
        try:
            return _CAPTURE.validate_json(self.text)
        except ValidationError:
            return _loaded(self.text)


def opened(item: ItemText | Any, owner: str) -> PulledCapture | UnreadableItem | Capture | Any:
    """An item of an answer by the client of `owner`, parsed. Raises as `ItemText` does."""
    return item.opened(owner) if isinstance(item, ItemText) else item


def read_opened(item: PulledCapture | UnreadableItem | Capture | Any, owner: str) -> PulledCapture | UnreadableItem:
    """The capture of `owner` that a parsed item is; or what it is instead, and why."""
    return item if isinstance(item, (PulledCapture, UnreadableItem)) else read_item(item, owner)


def parse_answer(
    body: bytes, *, whole: TypeAdapter[AnswerT], envelope: TypeAdapter[AnswerT], has_none: HasNone
) -> AnswerT:
    """The answer, by `whole` when every item in it is a capture, else by `envelope`, with its items as they are.

    Those of a large answer are to be `opened`, one by one; a heavy one costs no other.
    What is nested too deeply to be anything is null; it costs the item that it is in, and no other.
    `has_none` tells of an answer without a list of captures whether that is an empty one.

    Raises:
        UnreadableAnswerError: it is no JSON, not of the envelope's shape, or of more pieces than captures can have.
    """
    try:
        body = json_text(body)
    except UnreadableTextError as error:
        text = f"the answer {error}"
        raise UnreadableAnswerError(text) from error
    _check_pieces(body)
    if len(body) > ITEM_BYTES:
        return _parse_in_parts(body, envelope, has_none)
    try:
        return whole.validate_json(body)
    except ValidationError:
        return _parse_loosely(body, envelope, has_none)


def _parse_in_parts(body: bytes, envelope: TypeAdapter[AnswerT], has_none: HasNone) -> AnswerT:
    """The answer with each item, unless it is a mere word or number, as its text."""
    around, items = _taken_apart(body)
    if around.count(b",") > len(items) + _MOST_AROUND:
        around = _needed(around)
    if around.count(b",") > len(items) + _MOST_AROUND:
        text = f"the answer has more than {_MOST_AROUND} values around its captures"
        raise UnreadableAnswerError(text)
    answer = _parse_loosely(around, envelope, has_none)
    captures = [ItemText(items[item[0]]) if isinstance(item, list) else item for item in answer.captures]
    return answer.model_copy(update={"captures": captures})


def _parse_loosely(body: bytes, envelope: TypeAdapter[AnswerT], has_none: HasNone) -> AnswerT:
    """By a parser that takes what the strict one refuses as a whole."""
    value = _loaded(body)
    if isinstance(value, dict) and not isinstance(value.get("captures"), list) and has_none(value):
        value["captures"] = []
    try:
        return envelope.validate_python(value, strict=False)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the body"
        text = f"the answer is not of the protocol's shape: {where}: {first['msg']}"
        raise UnreadableAnswerError(text) from error


def _loaded(text: bytes) -> Any:
    """The JSON value, with null for what is too deep.

    Raises:
        UnreadableAnswerError: it is none.
    """
    try:
        return json.loads(_flattened(text).decode(), parse_int=_bounded_int)
    except UnicodeDecodeError as error:
        problem = "the answer is not UTF-8"
        raise UnreadableAnswerError(problem) from error
    except ValueError as error:
        problem = f"the answer is not JSON: {error}"
        raise UnreadableAnswerError(problem) from error


def _check_pieces(body: bytes) -> None:
    """Count what costs memory and time, in milliseconds; what is in strings counts too.

    Raises:
        UnreadableAnswerError: there is too much of it.
    """
    if body.count(b"{") + body.count(b"[") > _MOST_OBJECTS:
        text = f"the answer has more than {_MOST_OBJECTS} objects"
        raise UnreadableAnswerError(text)
    if body.count(b",") > _MOST_VALUES:
        text = f"the answer has more than {_MOST_VALUES} values"
        raise UnreadableAnswerError(text)


def _bounded_int(digits: str) -> int | float:
    return int(digits) if len(digits.removeprefix("-")) <= _LONGEST_INT else float(digits)


def _flattened(body: bytes) -> bytes:
    """The same JSON, but for values below the deepest level, which are null."""
    if body.count(b"[") + body.count(b"{") <= _DEEPEST:
        return body
    kept: list[bytes] = []
    begin = depth = 0
    for match in _UP_TO_A_BRACKET.finditer(body):
        if match[1] in (b"[", b"{"):
            depth += 1
            if depth == _DEEPEST + 1:
                kept += [body[begin : match.start(1)], b"null"]
                begin = len(body)
        elif match[1]:
            if depth == _DEEPEST + 1:
                begin = match.end()
            depth -= 1
    return b"".join([*kept, body[begin:]])


def _taken_apart(body: bytes) -> tuple[bytes, list[bytes]]:
    """The answer with a list of one number for each object or list where items are; and their texts, by that number."""
    kept: list[bytes] = []
    items: list[bytes] = []
    begin = depth = 0
    for match in _UP_TO_A_BRACKET.finditer(body):
        if match[1] in (b"[", b"{"):
            depth += 1
            if depth == _ITEM_LEVEL:
                kept.append(body[begin : match.start(1)])
                begin = match.start(1)
        elif match[1]:
            if depth == _ITEM_LEVEL:
                kept.append(b"[%d]" % len(items))
                items.append(body[begin : match.end()])
                begin = match.end()
            depth -= 1
    if depth < _ITEM_LEVEL:  # or it ends within an item, and is no JSON
        kept.append(body[begin:])
    return b"".join(kept), items


class _Needed(msgspec.Struct):
    """What is read of an answer."""

    user_id: msgspec.Raw = msgspec.Raw()
    captures: msgspec.Raw = msgspec.Raw()
    total_pending: msgspec.Raw = msgspec.Raw()
    total_captures: msgspec.Raw = msgspec.Raw()


def _needed(around: bytes) -> bytes:
    """The same answer without what is not needed of it; as it is when that can't be told."""
    try:
        found = msgspec.structs.asdict(msgspec.json.decode(around, type=_Needed))
    except (msgspec.DecodeError, RecursionError, ValueError):
        return around
    members = (b'"%s":%s' % (name.encode(), bytes(value)) for name, value in found.items() if bytes(value))
    return b"{%s}" % b",".join(members)
