"""What is wrong with the head of a client's answer, in a sentence, and when the client may be asked again. No I/O.

No sentence repeats what the other side sent, but for a number and the name of a coding out of a fixed set.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Final

from shared.contracts.messages import LONGEST_RETRY_AFTER_S

_CODINGS: Final = frozenset(
    {
        *("aes128gcm", "br", "compress", "dcb", "dcz", "deflate", "exi", "gzip", "pack200-gzip", "zstd"),
        *("x-compress", "x-gzip", "x-deflate", "x-br", "x-zstd", "bzip2", "x-bzip2", "lz4", "lzma", "snappy", "xz"),
    }
)
"""Those that change the bytes: the registered ones, and some that are seen. What else stands there, as the name of an
encoding of characters, changes none."""

_MEANS: Final[dict[int, str]] = {
    HTTPStatus.SWITCHING_PROTOCOLS: "it wants to speak another protocol, which was not asked for",
    HTTPStatus.ACCEPTED: "it is not done yet, and only a 200 has the answer",
    HTTPStatus.NO_CONTENT: "there is no content, though JSON was asked for",
    HTTPStatus.RESET_CONTENT: "there is no content, though JSON was asked for",
    HTTPStatus.PARTIAL_CONTENT: "it is a part, though the whole was asked for",
    HTTPStatus.NOT_MODIFIED: "it says that nothing was modified, which was not asked",
    HTTPStatus.USE_PROXY: "it wants to be asked through a proxy, and none is used",
}
_REDIRECTS: Final = frozenset({300, 301, 302, 303, 307, 308})
_RETRY_AFTER: Final = frozenset({HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE})
_SECONDS: Final = re.compile("[0-9]{1,18}")


def meaning(status: int) -> str:
    """What a status other than 200 says beyond its number; nothing for most."""
    if status in _REDIRECTS:
        return "redirects are not followed"
    return _MEANS.get(status, "")


def coding(values: Iterable[str]) -> str | None:
    """The coding by which the body is not what it says, out of all `Content-Encoding` headers; None when it is."""
    named = (each.strip().lower() for value in values for each in value.split(","))
    return next((each for each in named if each in _CODINGS), None)


def retry_after_s(status: int, value: str | None, *, date: str | None = None, now: datetime | None = None) -> float:
    """Seconds until the client wants to be asked again, up to a bound; 0 when it does not say so, or can't be read.

    `value` is its `Retry-After`, which may be a moment of its clock: `date`, of the same answer, tells what that shows.
    """
    if status not in _RETRY_AFTER or value is None:
        return 0.0
    value = value.strip()
    if _SECONDS.fullmatch(value):
        return min(float(value), LONGEST_RETRY_AFTER_S)
    until, since = _moment(value), _moment(date or "") or now or datetime.now(UTC)
    return min(max(0.0, (until - since).total_seconds()), LONGEST_RETRY_AFTER_S) if until else 0.0


def _moment(value: str) -> datetime | None:
    try:
        found = parsedate_to_datetime(value)
        return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except (ValueError, OverflowError, TypeError, IndexError):
        return None
