"""What is common to reading clients' answers: their text, and their health. No I/O. The bytes are foreign."""

from __future__ import annotations

import json
from codecs import BOM_UTF8
from typing import Annotated, Any, Final

from pydantic import ValidationError

from shared.contracts.client_protocol import WireModel
from shared.contracts.lenient_fields import NullIfEmptyText

_UNITS: Final = 4
"""Bytes by which UTF-16 and UTF-32 show."""


class UnreadableTextError(ValueError):
    """An answer is not the JSON that it should be; the text says why, as the end of a sentence."""


def json_text(body: bytes) -> bytes:
    """The answer without a byte order mark, in UTF-8 unless it is something else than JSON.

    Raises:
        UnreadableTextError: it is in another encoding, or there is nothing.
    """
    if not body:
        text = "is empty"
        raise UnreadableTextError(text)
    if body.startswith(BOM_UTF8):
        return body.removeprefix(BOM_UTF8)
    encoding = json.detect_encoding(body[:_UNITS])
    if encoding != "utf-8":
        text = f"seems to be in {encoding[:6].upper()}, and JSON is sent in UTF-8"
        raise UnreadableTextError(text)
    return body


class HealthSaid(WireModel):
    """What is read of a client's health. What else the protocol has in it is information: it may be wrong."""

    status: str
    client_id: Annotated[str | None, NullIfEmptyText] = None
    registration_key_sha256: Any = None


def read_health(body: bytes) -> HealthSaid:
    """The health in `body`.

    Raises:
        UnreadableTextError: it is none.
    """
    try:
        return HealthSaid.model_validate(json.loads(json_text(body).decode()))
    except UnreadableTextError:
        raise
    except UnicodeDecodeError as error:
        text = "is not UTF-8"
        raise UnreadableTextError(text) from error
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        text = f"is not of the protocol's shape: {'.'.join(map(str, first['loc'])) or 'the body'}: {first['msg']}"
        raise UnreadableTextError(text) from error
    except (ValueError, RecursionError) as error:
        text = "is not JSON"
        raise UnreadableTextError(text) from error
