"""Parses a client's answer: its envelope and the items in it, as they came. No I/O, and no rule about captures.

The bytes are foreign: whatever they are, the result is an answer or an `UnreadableAnswerError`.
"""

from __future__ import annotations

import json
import re
from typing import Annotated, Any, Final, Generic, TypeVar

from pydantic import FailFast, Field, TypeAdapter, ValidationError

from shared.client_protocol import WireModel

_LONGEST_INT: Final = 4_300
"""Digits. Both parsers make an int of no more; a longer number becomes a float, which no field of a capture takes."""
_MOST_OBJECTS: Final = 500_000
_MOST_VALUES: Final = 1_000_000
"""Objects and lists, and commas, of which captures have one for each 19 bytes at most: 16 MiB of them have fewer.

An empty object takes three bytes of the answer and hundreds of the strict parser's memory, a field with a name of its
own six and microseconds: what has more is not parsed at all.
"""
_DEEPEST: Final = 300
"""Levels. Python takes more, and a capture may have 200 at most: what is cut here is in an item that is none."""
_UP_TO_A_BRACKET: Final = re.compile(
    rb"""
    (?: [^"\[\]{}]++ | " (?: [^"\\]++ | \\.?+ )*+ (?: " | \Z ) )*+  # what has no bracket, and strings, whole or not
    ( [\[{] | [\]}] | \Z )
    """,
    re.DOTALL | re.VERBOSE,
)
"""It matches from wherever it is asked, so that bytes of whatever kind are passed once."""

ItemT = TypeVar("ItemT")
AnswerT = TypeVar("AnswerT", bound="Answer[Any]")


class UnreadableAnswerError(Exception):
    """The answer as a whole is not what was asked for; the text is one sentence."""


class Answer(WireModel, Generic[ItemT]):
    """What is read of every answer with captures. What else the protocol has in it is not needed: it may be wrong."""

    user_id: str
    captures: Annotated[list[ItemT], FailFast()]


class PendingAnswer(Answer[ItemT], Generic[ItemT]):
    """Of `sync-data`."""

    total_pending: Annotated[int, Field(ge=0)] | None = None


class CompleteAnswer(Answer[ItemT], Generic[ItemT]):
    """Of `all-captures`."""

    total_captures: Annotated[int, Field(ge=0)]
    """Whether the answer is a part is known from it alone, so it must be there."""


def parse_answer(body: bytes, *, whole: TypeAdapter[AnswerT], envelope: TypeAdapter[AnswerT]) -> AnswerT:
    """The answer, by `whole` when every item in it is a capture, else by `envelope`, with its items as they are.

    What is nested too deeply to be anything is null; it costs the item that it is in, and no other.

    Raises:
        UnreadableAnswerError: it is no JSON, not of the envelope's shape, or of more pieces than captures can have.
    """
    _check_pieces(body)
    try:
        return whole.validate_json(body)
    except ValidationError:
        return _parse_loosely(body, envelope)


def _parse_loosely(body: bytes, envelope: TypeAdapter[AnswerT]) -> AnswerT:
    """By a parser that takes what the strict one refuses as a whole."""
    try:
        return envelope.validate_python(json.loads(_flattened(body).decode(), parse_int=_bounded_int), strict=False)
    except UnicodeDecodeError as error:
        text = "the answer is not UTF-8"
        raise UnreadableAnswerError(text) from error
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the body"
        text = f"the answer is not of the protocol's shape: {where}: {first['msg']}"
        raise UnreadableAnswerError(text) from error
    except ValueError as error:
        text = f"the answer is not JSON: {error}"
        raise UnreadableAnswerError(text) from error


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
