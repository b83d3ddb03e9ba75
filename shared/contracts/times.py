"""Moments as all of us read and write them: ISO 8601, in UTC, between two ends. No I/O.

Python, PostgreSQL and asyncpg each have ends of time of their own, and behave oddly there: asyncpg writes Python's
first and last moment as infinities, and none of them can be told in every zone. So each time is bounded where it comes
in, a day away from these ends.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BeforeValidator, GetCoreSchemaHandler, PlainSerializer, WithJsonSchema
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

EARLIEST: Final = datetime(1, 1, 2, tzinfo=UTC)
"""What is before it, as a time that nobody set in Go or .NET, counts as this."""
LATEST: Final = datetime(9999, 12, 30, 23, 59, 59, 999_999, tzinfo=UTC)
"""What is after it counts as this."""
FIRST_YEAR: Final = EARLIEST.year
LAST_YEAR: Final = LATEST.year
"""A time in UTC of a year between these two is between the ends."""

_EXPECTED: Final = "must be a time in ISO 8601, such as 2026-01-31T12:00:00Z"
_DAY: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_TIME: Final = re.compile(_DAY.pattern + r"[Tt _][0-9]{2}:")


def in_utc(value: datetime) -> datetime:
    """The same moment in UTC, within the ends of time; one without a zone is taken as UTC, as the protocol says."""
    if value.tzinfo is None:
        value = value.replace(tzinfo=UTC)
    if FIRST_YEAR < value.year < LAST_YEAR:  # as nearly all are
        return value.astimezone(UTC)
    try:
        return min(max(value.astimezone(UTC), EARLIEST), LATEST)
    except OverflowError:  # in the first or last year, with an offset that leads beyond it
        return EARLIEST if value.year == FIRST_YEAR else LATEST


def iso_millis(value: datetime) -> str:
    """`2026-01-31T12:00:00.000Z`, the form that the original clients write and read."""
    return in_utc(value).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _time_only(value: object) -> object:
    if isinstance(value, datetime) or (isinstance(value, str) and _TIME.match(value)):
        return value
    raise PydanticCustomError("time", _EXPECTED)  # noqa: EM101 - a kind, the message is beside it


class _IsoText:
    """Only texts that begin as a time does: a number may be seconds or milliseconds, a text of digits that or a day.

    pydantic takes both for Unix time. With JSON it does all of this by itself, since captures come by the thousand.
    """

    def __get_pydantic_core_schema__(self, _source: Any, _handler: GetCoreSchemaHandler) -> CoreSchema:
        read = core_schema.datetime_schema(strict=False)
        text = core_schema.custom_error_schema(
            core_schema.str_schema(pattern=f"^{_TIME.pattern}", strict=True),
            custom_error_type="time",
            custom_error_message=_EXPECTED,
        )
        return core_schema.json_or_python_schema(
            json_schema=core_schema.chain_schema([text, read]),
            python_schema=core_schema.no_info_before_validator_function(_time_only, read),
        )


def _from_day(value: object) -> object:
    """A day alone is its beginning."""
    return f"{value}T00:00:00Z" if isinstance(value, str) and _DAY.fullmatch(value) else value


UtcDatetime = Annotated[
    datetime,
    _IsoText(),
    AfterValidator(in_utc),
    PlainSerializer(iso_millis, when_used="json"),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]
UtcDatetimeOrDay = Annotated[UtcDatetime, BeforeValidator(_from_day)]
"""For what people ask for."""
