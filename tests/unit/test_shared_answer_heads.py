"""What is told of the head of an answer that can't be used, and what is read of it, as tables."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from shared.contracts.messages import LONGEST_RETRY_AFTER_S
from shared.outbound.answer_heads import coding, meaning, retry_after_s

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    "values",
    [[], [""], ["identity"], ["Identity"], ["utf-8"], ["UTF-8"], ["none"], ["binary"], ["8bit"], ["identity, utf-8"]],
)
def test_what_changes_no_byte_is_no_coding(values: list[str]) -> None:
    """Some clients name the encoding of characters there, or say that there is none."""
    assert coding(values) is None


@pytest.mark.parametrize(
    ("values", "name"),
    [
        *((["gzip"], "gzip"), (["GZIP"], "gzip"), ([" x-gzip "], "x-gzip"), (["br"], "br"), (["Deflate"], "deflate")),
        *((["compress"], "compress"), (["zstd"], "zstd"), (["identity, gzip"], "gzip"), (["utf-8,br"], "br")),
        *((["identity", "gzip"], "gzip"), (["gzip, br"], "gzip")),
    ],
)
def test_a_coding_is_named(values: list[str], name: str) -> None:
    """In whatever case, alone or in a list, in one header or in several."""
    assert coding(values) == name


@pytest.mark.parametrize("status", [300, 301, 302, 303, 307, 308])
def test_a_redirect_is_told(status: int) -> None:
    """Those that lead elsewhere, and no other."""
    assert meaning(status) == "redirects are not followed"


@pytest.mark.parametrize("status", [101, 202, 204, 205, 206, 304, 305])
def test_what_is_no_redirect_and_no_answer_is_told_as_what_it_is(status: int) -> None:
    """A sentence for each, of which none speaks of redirects."""
    assert meaning(status)
    assert "redirect" not in meaning(status)


@pytest.mark.parametrize("status", [0, 201, 203, 299, 306, 399, 400, 404, 418, 429, 500, 503, 599, 999])
def test_the_others_speak_for_themselves(status: int) -> None:
    """Also those that HTTP does not have."""
    assert meaning(status) == ""


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        *(("120", 120.0), (" 7 ", 7.0), ("0", 0.0), ("3600", 3_600.0), ("3601", LONGEST_RETRY_AFTER_S)),
        *(("9" * 18, LONGEST_RETRY_AFTER_S), ("9" * 5_000, 0.0), ("-5", 0.0), ("1.5", 0.0), ("1e3", 0.0), ("", 0.0)),
        *(("soon", 0.0), ("\u0661\u0662", 0.0), ("120, 60", 0.0)),
        *(("Sat, 31 Jan 2026 12:02:00 GMT", 120.0), ("Saturday, 31-Jan-26 12:02:00 GMT", 120.0)),
        *(("Sat Jan 31 12:02:00 2026", 120.0), ("Sat, 31 Jan 2026 11:00:00 GMT", 0.0)),
        *(("Sun, 31 Jan 9999 12:00:00 GMT", LONGEST_RETRY_AFTER_S), ("Mon, 01 Jan 0001 00:00:00 GMT", 0.0)),
        *(("Fri, 31 Dec 9999 23:59:59 -1400", 0.0), ("Sat, 99 Jan 2026 12:02:00 GMT", 0.0)),
    ],
)
def test_when_to_come_back(value: str, seconds: float) -> None:
    """As seconds or as a moment, up to a bound; what is wrong or past counts as nothing."""
    assert retry_after_s(429, value, now=NOON) == seconds
    assert retry_after_s(503, value, now=NOON) == seconds


def test_the_moment_is_of_the_clients_clock() -> None:
    """Its answer says what that shows, however wrong it is; a date that can't be read is none."""
    until = "Sat, 31 Jan 2026 12:02:00 GMT"
    assert retry_after_s(429, until, date="Sat, 31 Jan 2026 12:01:00 GMT", now=NOON) == 60.0
    assert retry_after_s(429, until, date="today", now=NOON) == 120.0


@pytest.mark.parametrize("status", [200, 302, 400, 404, 500, 502])
def test_only_who_is_busy_says_when(status: int) -> None:
    """A page that is moved or missing is no client that asks for time."""
    assert retry_after_s(status, "120") == 0.0


def test_without_a_word_there_is_nothing_to_wait_for() -> None:
    """As most answers are."""
    assert retry_after_s(429, None) == 0.0
