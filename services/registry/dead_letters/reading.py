"""What a dead letter says of itself, for an operator. No I/O, and no faith: anybody may put anything into the queue."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from codecs import getincrementaldecoder
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final, Literal

from aio_pika.abc import AbstractIncomingMessage
from pydantic import BaseModel, ConfigDict
from pydantic_core import from_json, to_jsonable_python

from shared.contracts.times import UtcDatetime
from shared.contracts.topology import DELIVERY_LIMIT

PREVIEW_CHARS: Final = 200
BODY_SHOWN_BYTES: Final = 1024 * 1024
"""Most of a body that is answered."""
_ID_CHARS: Final = 32
_BYTES_PER_CHAR: Final = 4
_TOO_DEEP: Final = "(nested too deeply to be shown)"

_STORIES: Final = {
    "rejected": "was refused at once, because it could not be read",
    "delivery_limit": f"was tried {DELIVERY_LIMIT + 1} times, and failed each time",
    "expired": "waited until it expired",
    "maxlen": "found the queue full",
}


class DeadLetterCount(BaseModel):
    """A work queue, and how many of its messages died."""

    model_config = ConfigDict(frozen=True)

    queue: str
    dead_letter_queue: str
    messages: int | None
    """Null while somebody looks at them or replays them: ask again."""


class Death(BaseModel):
    """Why and when a message died, by RabbitMQ's header `x-death`."""

    model_config = ConfigDict(frozen=True)

    reason: str
    """`rejected`, `delivery_limit`, `expired` or `maxlen`."""
    queue: str
    exchange: str
    routing_keys: list[str]
    count: int
    """How often it died of that there, since it was last published."""
    died_at: UtcDatetime | None


class DeadLetter(BaseModel):
    """A dead letter without its body."""

    model_config = ConfigDict(frozen=True)

    id: str
    """A digest of the body, type, message id and correlation id: the same at each look, and after each death."""
    summary: str
    message_type: str | None
    message_id: str | None
    correlation_id: str | None
    app_id: str | None
    """The service that published it."""
    content_type: str | None
    size_bytes: int
    published_at: UtcDatetime | None
    death: Death | None
    """The last one; None when somebody put it into the dead-letter queue himself."""
    times_delivered: int | None
    """Before it died; None where RabbitMQ does not tell."""
    preview: str
    """The first characters of the body; bytes that are no text as backslash escapes."""


class WholeDeadLetter(DeadLetter):
    """A dead letter with its body."""

    deaths: list[Death]
    """The last one first."""
    headers: dict[str, Any]
    body: Any
    body_format: Literal["json", "text", "base64"]
    body_is_cut: bool
    """Whether this is only its beginning, which is never read as JSON."""


def identity(message: AbstractIncomingMessage) -> str:
    """The id under which a message is found again. Equal messages share it: whichever is taken, it makes no difference.

    A foreign message need not have a message id; where it has one, that need not be unique, nor fit into a path.
    """
    digest = hashlib.sha256()
    for part in (message.type, message.message_id, message.correlation_id):
        digest.update(repr(part).encode())
        digest.update(b"\n")
    digest.update(message.body)
    return digest.hexdigest()[:_ID_CHARS]


def described(message: AbstractIncomingMessage) -> DeadLetter:
    """The message without its body; never raises."""
    death = next(iter(deaths(message.headers)), None)
    return DeadLetter(
        id=identity(message),
        summary=_summary(message, death),
        message_type=message.type,
        message_id=message.message_id,
        correlation_id=message.correlation_id,
        app_id=message.app_id,
        content_type=message.content_type,
        size_bytes=len(message.body),
        published_at=message.timestamp,
        death=death,
        times_delivered=DELIVERY_LIMIT + 1 if death is not None and death.reason == "delivery_limit" else None,
        preview=message.body[: PREVIEW_CHARS * _BYTES_PER_CHAR].decode(errors="backslashreplace")[:PREVIEW_CHARS],
    )


def described_whole(message: AbstractIncomingMessage) -> WholeDeadLetter:
    """The message with its body, or the first MiB of that; never raises."""
    body, body_format = _readable(message.body[:BODY_SHOWN_BYTES], is_whole=len(message.body) <= BODY_SHOWN_BYTES)
    return WholeDeadLetter(
        **dict(described(message)),
        deaths=deaths(message.headers),
        headers={name: _shown(value) for name, value in message.headers.items()},
        body=body,
        body_format=body_format,
        body_is_cut=len(message.body) > BODY_SHOWN_BYTES,
    )


def _shown(header: Any) -> Any:
    """A header as JSON, at the depth that it has in the answer, or a word in its place when that is too deep."""
    try:
        (shown,) = to_jsonable_python([[header]], bytes_mode="base64", inf_nan_mode="strings", fallback=repr)
    except ValueError:
        return _TOO_DEEP
    return shown[0]


def deaths(headers: Mapping[str, Any]) -> list[Death]:
    """What can be read of `x-death`, which may be anything when a stranger has put the message there."""
    entries = headers.get("x-death")
    if not isinstance(entries, Sequence) or isinstance(entries, str | bytes):
        return []
    return [_death(entry) for entry in entries if isinstance(entry, Mapping) and isinstance(entry.get("reason"), str)]


def _death(entry: Mapping[str, Any]) -> Death:
    count, died_at, keys = entry.get("count"), entry.get("time"), entry.get("routing-keys")
    return Death(
        reason=str(entry["reason"]),
        queue=str(entry.get("queue")),
        exchange=str(entry.get("exchange")),
        routing_keys=[str(key) for key in keys] if isinstance(keys, list) else [],
        count=count if isinstance(count, int) else 1,
        died_at=died_at if isinstance(died_at, datetime) else None,
    )


def _summary(message: AbstractIncomingMessage, death: Death | None) -> str:
    kind = message.type or "Message of no type"
    sender = f" from {message.app_id}" if message.app_id else ""
    what = f"{kind}{sender} ({len(message.body)} bytes)"
    if death is None:
        return f"{what} was put here by hand."
    story = _STORIES.get(death.reason, f"died ({death.reason})")
    when = f" at {death.died_at:%Y-%m-%d %H:%M:%S} UTC" if death.died_at else ""
    return f"{what} {story}, in {death.queue}{when}."


def _readable(body: bytes, *, is_whole: bool) -> tuple[Any, Literal["json", "text", "base64"]]:
    if is_whole:
        try:
            return from_json(body, allow_inf_nan=False), "json"
        except ValueError:
            pass  # then it is text, or not even that
    try:
        # Not strict at the end, where a character may have been cut in two.
        return getincrementaldecoder("utf-8")().decode(body, final=is_whole), "text"
    except UnicodeDecodeError:
        return b64encode(body).decode(), "base64"
