"""Request bodies: how much of one is read, and what it must hold. Each refusal is one sentence for its sender."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Final, NoReturn

from pydantic import ValidationError

from services.client.errors import RequestError
from shared.contracts.client_protocol import MOST_STATES, AddCapture

if TYPE_CHECKING:
    from fastapi import Request
    from pydantic_core import ErrorDetails

_BODY_TIMEOUT_S: Final = 10.0
_SHOWN_CHARS: Final = 40
MOST_IDS: Final = 1_000_000
"""In one acknowledgement: more than there is room for as long as ids are like the original's."""
_EXPECTED: Final = {
    "pokemon_id": "an integer from 1 to 2147483647",
    "pokemon_name": "Unicode text of at most 255 characters without NUL",
    "action": '"capture" or "favorite"',
    "removed": "true or false",
    "capture_id": "Unicode text of 1 to 255 characters without control characters",
    "timestamp": "an ISO 8601 time such as 2026-01-31T12:00:00.000Z",
}
_TIME_ALONE: Final = (
    "timestamp is given without capture_id, but they are expected together: sent twice, it would be two captures."
)


async def read_object(request: Request, *, limit_bytes: int) -> dict[str, object]:
    """The body as a JSON object, never holding more of it than the limit.

    Raises:
        RequestError: 413 above the limit, 408 when it takes too long, 400 when it is no JSON object.
    """
    body = await _read_body(request, limit_bytes)
    try:
        value = json.loads(body, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise RequestError(400, f"The body is not valid JSON: {_fault(error)}. A JSON object is expected.") from error
    if not isinstance(value, dict):
        raise RequestError(400, f"The body is {_show(value)}, but a JSON object is expected.")
    return value


def as_new_capture(body: dict[str, object]) -> AddCapture:
    """The body of `add-capture`.

    Raises:
        RequestError: 400, a field is missing or wrong.
    """
    try:
        return AddCapture.model_validate(body)
    except ValidationError as error:
        raise RequestError(400, _sentence(error.errors(include_url=False)[0])) from error


def as_capture_ids(body: dict[str, object]) -> list[str]:
    """The body of `acknowledge`.

    Raises:
        RequestError: 400, there is no list of strings, or it is too long.
    """
    return _ids(body, MOST_IDS)


def as_asked_ids(body: dict[str, object]) -> list[str]:
    """The body of `capture-states`.

    Raises:
        RequestError: 400, there is no list of strings, or it is too long.
    """
    return _ids(body, MOST_STATES)


def _ids(body: dict[str, object], most: int) -> list[str]:
    if "capture_ids" not in body:
        raise RequestError(400, "capture_ids is missing; a list of strings is expected.")
    given = body["capture_ids"]
    if not isinstance(given, list):
        raise RequestError(400, f"capture_ids is {_show(given)}, but a list of strings is expected.")
    if len(given) > most:
        raise RequestError(400, f"capture_ids has {len(given)} strings, but at most {most} are expected.")
    for item in given:
        if not isinstance(item, str):
            raise RequestError(400, f"capture_ids contains {_show(item)}, but a list of strings is expected.")
    return given


async def _read_body(request: Request, limit_bytes: int) -> bytes:
    too_large = f"The body is too large; at most {limit_bytes} bytes are expected."
    announced = request.headers.get("content-length", "0")  # a number, or the server would not have let it through
    if int(announced) > limit_bytes:
        raise RequestError(413, too_large, unread=True)
    try:
        async with asyncio.timeout(_BODY_TIMEOUT_S):
            return await _receive_body(request, limit_bytes, too_large)
    except TimeoutError as error:
        raise RequestError(408, f"The body did not arrive within {_BODY_TIMEOUT_S:.0f} s.", unread=True) from error


async def _receive_body(request: Request, limit_bytes: int, too_large: str) -> bytes:
    """By hand, since Starlette's own stream does not tell whether a part was the last."""
    body = bytearray()
    more = True
    while more:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise RequestError(400, "The connection ended before the body did.")
        body += message.get("body", b"")
        more = message.get("more_body", False)
        if len(body) > limit_bytes:
            raise RequestError(413, too_large, unread=more)
    return bytes(body)


def _fault(error: ValueError | RecursionError) -> str:
    """Where the body is wrong, and nothing of what Python says to its programmers."""
    match error:
        case json.JSONDecodeError():
            return f"it can't be read from line {error.lineno}, column {error.colno} on"
        case UnicodeDecodeError():
            return "it is not UTF-8"
        case RecursionError():
            return "it is nested too deep"
        case _ConstantError():
            return "NaN and Infinity are no numbers of JSON"
    return "a number in it has too many digits"


def _sentence(problem: ErrorDetails) -> str:
    if not problem["loc"]:
        return _TIME_ALONE  # the one rule about the whole
    field = str(problem["loc"][0])
    if problem["type"] == "missing":
        return f"{field} is missing; {_EXPECTED[field]} is expected."
    return f"{field} is {_show(problem['input'])}, but {_EXPECTED[field]} is expected."


def _show(value: object) -> str:
    """A scalar as JSON in ASCII, cut when long; of the rest only its kind, since it may be nested without end."""
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return "a list"
    text = json.dumps(value)
    return text if len(text) <= _SHOWN_CHARS else f"{text[:_SHOWN_CHARS]}... ({len(text)} characters)"


class _ConstantError(ValueError):
    """A word that Python takes for a number."""


def _refuse_constant(_name: str) -> NoReturn:
    raise _ConstantError
