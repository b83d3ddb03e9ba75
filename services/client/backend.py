"""What all that talks to the registry has in common: how long to wait after a failure, and how one is told."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from random import Random

    import httpx

BACKOFF_CAP_S: Final = 30.0
_BACKOFF_BASE_S: Final = 0.5
_DETAIL_CHARS: Final = 300


def backoff_s(failures: int, random: Random) -> float:
    """Seconds to wait after so many failures in a row: doubling up to a cap, of which a random half to all."""
    ceiling = min(BACKOFF_CAP_S, _BACKOFF_BASE_S * 2.0 ** min(failures, 30))
    return ceiling * random.uniform(0.5, 1.0)


def refusal(response: httpx.Response) -> str:
    """The status and the registry's own words, cut when long."""
    detail = member(response, "detail") or response.text
    return f"HTTP {response.status_code}: {detail[:_DETAIL_CHARS]}"


def failure(error: Exception) -> str:
    """The error's kind, and its text when it has one."""
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def retry_after_s(response: httpx.Response, *, default_s: float, most_s: float) -> float:
    """What `Retry-After` asks for, up to `most_s`; a moment instead of seconds, or nonsense, counts as the default."""
    try:
        asked_s = float(response.headers.get("retry-after", default_s))
    except ValueError:
        return default_s
    return min(max(0.0, asked_s), most_s)


def member(response: httpx.Response, name: str) -> str | None:
    """That member of the answer's JSON object; None when there is none, or when it is no text."""
    try:
        document = response.json()
    except ValueError:
        return None
    value = document.get(name) if isinstance(document, dict) else None
    return value if isinstance(value, str) else None
