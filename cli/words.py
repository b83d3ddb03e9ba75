"""Numbers, times and foreign texts as people read them. No I/O."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

from rich.text import Text

from shared.untrusted_text import visible

NOTHING: Final = "-"
_MINUTE: Final = 60
_HOUR: Final = 3_600
_DAY: Final = 86_400
_KIB: Final = 1024
_CUT: Final = "..."


def shown(value: object, *, at_most: int | None = None, style: str = "") -> Text:
    """Any value as one line of text without control characters, never read as markup; cut to `at_most` characters."""
    if value is None or value == "":
        return Text(NOTHING, style=style)
    text = "yes" if value is True else "no" if value is False else str(value)
    if at_most is not None and len(text) > at_most:
        text = text[: at_most - len(_CUT)] + _CUT
    return Text(visible(text), style=style)


def number(value: float) -> str:
    """`1,234`."""
    return f"{value:,}"


def counted(count: int, thing: str, things: str | None = None) -> str:
    """`1 client`, `1,234 clients`."""
    return f"{number(count)} {thing if count == 1 else things or f'{thing}s'}"


def percent(share: float | None) -> str:
    """`97.5 %`; never rounded up to all, or down to nothing."""
    if share is None:
        return NOTHING
    rounded = f"{100 * share:.1f}"
    if rounded == "100.0" and share < 1:
        rounded = "99.9"
    return f"{rounded.removesuffix('.0')} %"


def duration(seconds: float | None) -> str:
    """`12 ms`, `3.4 s`, `5 min`, `2 h 5 min`, `3 d 4 h`."""
    if seconds is None:
        return NOTHING
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 10:  # noqa: PLR2004 - from there on tenths are noise
        return f"{seconds:.1f}".removesuffix(".0") + " s"
    if seconds < 2 * _MINUTE:
        return f"{seconds:.0f} s"
    if seconds < _HOUR:
        return f"{seconds / _MINUTE:.0f} min"
    large, small, units = (_HOUR, _MINUTE, ("h", "min")) if seconds < _DAY else (_DAY, _HOUR, ("d", "h"))
    whole, rest = divmod(int(seconds), large)
    return f"{whole} {units[0]} {rest // small} {units[1]}" if rest >= small else f"{whole} {units[0]}"


def size(count: float) -> str:
    """`17 bytes`, `3.2 MiB`."""
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if count < _KIB:
            return f"{count:.0f} {unit}" if unit == "bytes" or count >= 10 else f"{count:.1f} {unit}"  # noqa: PLR2004 - two digits do
        count /= _KIB
    return f"{count:,.1f} TiB"


def trouble(reason: str | None, error: str | None) -> str:
    """Why a pull failed; nothing when it did not."""
    return f"{reason}: {error}" if reason and error else reason or error or ""


def moment(text: str | None) -> datetime | None:
    """A time of the API."""
    if not text:
        return None
    found = datetime.fromisoformat(text)
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def when(text: str | None, now: datetime) -> str:
    """`3 s ago`, `in 5 min`, `never`."""
    at = moment(text)
    if at is None:
        return "never"
    away = at - now
    if abs(away) < timedelta(seconds=1):
        return "now"
    return f"in {duration(away.total_seconds())}" if away > timedelta() else f"{duration(-away.total_seconds())} ago"
