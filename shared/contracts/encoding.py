"""Our own messages as JSON, there and back. What clients send is read elsewhere, with more patience."""

from __future__ import annotations

import json
from functools import cache
from typing import Any, Final, TypeVar

import msgspec

StructT = TypeVar("StructT", bound=msgspec.Struct)

_ENCODER: Final = msgspec.json.Encoder()


class UnreadableMessageError(Exception):
    """The bytes are not the message that they should be, and never will be; the text says in one sentence why."""


def encoded(message: msgspec.Struct) -> bytes:
    """The message, or a part of one, as JSON; half a surrogate pair, which foreign text may hold, becomes `?`."""
    try:
        return _ENCODER.encode(message)
    except UnicodeEncodeError:
        return json.dumps(msgspec.to_builtins(message), ensure_ascii=False).encode(errors="replace")


def decoded(kind: type[StructT], body: bytes | str) -> StructT:
    """The message in `body`. Keys that `kind` does not have are passed over, and what they hold is not looked at.

    Raises:
        UnreadableMessageError: it is no JSON, not of the shape of `kind`, or beyond one of its limits.
    """
    try:
        message: StructT = _decoder(kind).decode(body)
    except RecursionError as error:
        text = "it is nested too deeply"
        raise UnreadableMessageError(text) from error
    except UnicodeError as error:
        text = "it is not UTF-8"
        raise UnreadableMessageError(text) from error
    except msgspec.DecodeError as error:
        raise UnreadableMessageError(str(error)) from error
    return message


@cache
def _decoder(kind: type[msgspec.Struct]) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(kind)
