"""Reads one item of a client's captures: what is a capture, and what goes into quarantine. No I/O.

The puller reads what clients answer by it, and ingest what it has in quarantine, so that both agree.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final

import msgspec
from pydantic import TypeAdapter, ValidationError
from pydantic_core import to_json

from shared.contracts.client_protocol import ACKNOWLEDGE_BODY_BYTES, Capture, LenientCapture
from shared.contracts.messages import PulledCapture, UnreadableItem

RAW_CHARS: Final = 16 * 1024
"""How much of an unreadable item is kept."""
METADATA_BYTES: Final = 8 * 1024

_CAPTURE: Final[TypeAdapter[Capture]] = TypeAdapter(LenientCapture)
_NUL: Final = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
"""In JSON: behind an even number of backslashes, or the backslash is escaped, and these are six characters."""
_HALF: Final = re.compile("[\ud800-\udfff]")
_IN_ONE_LINE: Final = bytes(32 if byte < 32 or byte == 127 else byte for byte in range(256))  # noqa: PLR2004 - ASCII


class _Named(msgspec.Struct):
    """What else an item has is passed over."""

    capture_id: str | None = None


def read_item(item: Capture | Any, owner: str) -> PulledCapture | UnreadableItem:
    """The capture of `owner` that `item` is, a parsed one or any JSON value; or what it is instead, and why."""
    if not isinstance(item, Capture):
        try:
            text = json.dumps(item)
        except RecursionError:
            return UnreadableItem(capture_id=None, problem="it is nested too deeply", raw="")
        try:
            item = _CAPTURE.validate_json(_whole_characters(item, text))
        except ValueError as error:
            return UnreadableItem(capture_id=_acknowledgeable_id(item), problem=_problem(error), raw=text[:RAW_CHARS])
    if item.user_id is not None and item.user_id != owner:
        return _unreadable(item, f"it belongs to another user, {item.user_id!r}")
    try:
        metadata = _metadata(item)
    except ValueError as error:
        return _unreadable(item, str(error))
    return PulledCapture(
        capture_id=item.capture_id,
        pokemon_id=item.pokemon_id,
        pokemon_name=item.pokemon_name,
        action=item.action,
        timestamp=item.timestamp,
        removed=item.removed,
        metadata=metadata,
    )


def _whole_characters(item: Any, text: str) -> str:
    """The item's JSON with a mark for each half of a surrogate pair, which is no character and can't be stored.

    Raises:
        ValueError: one is in an id, which would become the id of something else.
    """
    if r"\ud" not in text:
        return text
    for name in ("capture_id", "user_id") if isinstance(item, dict) else ():
        if isinstance(item.get(name), str) and _HALF.search(item[name]):
            message = f"{name}: it has half of a surrogate pair, which is no character"
            raise ValueError(message)
    return _HALF.sub("\N{REPLACEMENT CHARACTER}", json.dumps(item, ensure_ascii=False))


def _metadata(capture: Capture) -> str | None:
    """What the client said beyond `removed`, as JSON that Postgres takes."""
    extra = capture.metadata.model_extra if capture.metadata else None
    if not extra:
        return None
    text = to_json(extra, inf_nan_mode="null")
    if len(text) > METADATA_BYTES:
        message = f"metadata: larger than {METADATA_BYTES} bytes"
        raise ValueError(message)
    if _NUL.search(text):
        message = "metadata: contains a NUL character"
        raise ValueError(message)
    return text.decode()


def cut_item(text: bytes, problem: str) -> UnreadableItem:
    """An item that is too large to be parsed: the beginning of its JSON is kept, and its id when it has one."""
    try:
        capture_id = msgspec.json.decode(text, type=_Named).capture_id
    except (msgspec.DecodeError, RecursionError, ValueError):
        capture_id = None
    raw = text[:RAW_CHARS].decode(errors="replace").encode("ascii", "backslashreplace").translate(_IN_ONE_LINE)
    return UnreadableItem(
        capture_id=_acknowledgeable_id({"capture_id": capture_id}), problem=problem, raw=raw.decode()[:RAW_CHARS]
    )


def _unreadable(item: Capture, problem: str) -> UnreadableItem:
    raw = item.model_dump(mode="json")
    return UnreadableItem(capture_id=_acknowledgeable_id(raw), problem=problem, raw=json.dumps(raw)[:RAW_CHARS])


def _acknowledgeable_id(item: Any) -> str | None:
    """The id under which the client can be told, if the item has one that can be sent."""
    capture_id = item.get("capture_id") if isinstance(item, dict) else None
    if not isinstance(capture_id, str):
        return None
    try:
        capture_id.encode()
    except UnicodeEncodeError:  # a lone surrogate
        return None
    return capture_id if len(json.dumps(capture_id)) <= ACKNOWLEDGE_BODY_BYTES else None


def _problem(error: ValueError) -> str:
    if not isinstance(error, ValidationError):
        return str(error)
    first = error.errors(include_input=False, include_url=False)[0]
    return f"{'.'.join(str(part) for part in first['loc']) or 'the item'}: {first['msg']}"[:500]
