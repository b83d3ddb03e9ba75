"""Numbers, times and foreign texts as `pullsync` shows them."""

from __future__ import annotations

import unicodedata
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.words import counted, duration, percent, shown, size, when

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "-"),
        (0, "0 ms"),
        (0.0123, "12 ms"),
        (1, "1 s"),
        (3.44, "3.4 s"),
        (59.6, "60 s"),
        (119, "119 s"),
        (120, "2 min"),
        (3_600, "1 h"),
        (3_700, "1 h 1 min"),
        (86_400, "1 d"),
        (100_000, "1 d 3 h"),
    ],
)
def test_durations(seconds: float | None, text: str) -> None:
    """Two digits, or two units."""
    assert duration(seconds) == text


@given(st.floats(min_value=0, max_value=1e9))
def test_every_duration_can_be_shown(seconds: float) -> None:
    """In a few characters."""
    assert len(duration(seconds)) < 20


@pytest.mark.parametrize(
    ("share", "text"), [(None, "-"), (1, "100 %"), (0.9999, "99.9 %"), (0.975, "97.5 %"), (0.5, "50 %"), (0, "0 %")]
)
def test_all_is_only_said_of_all(share: float | None, text: str) -> None:
    """One failure in ten thousand is no 100 %."""
    assert percent(share) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 bytes"), (1023, "1023 bytes"), (1536, "1.5 KiB"), (20 * 1024**3, "20 GiB"), (2**41, "2.0 TiB")],
)
def test_sizes(count: int, text: str) -> None:
    """In binary units."""
    assert size(count) == text


@pytest.mark.parametrize(
    ("time", "text"),
    [
        (None, "never"),
        ("2026-01-31T12:00:00.000Z", "now"),
        ("2026-01-31T11:59:30.000Z", "30 s ago"),
        ("2026-01-31T12:05:00.000Z", "in 5 min"),
        ("2026-01-31T10:00:00", "2 h ago"),
    ],
)
def test_times_are_told_from_now(time: str | None, text: str) -> None:
    """Past and future; the API's times are UTC."""
    assert when(time, NOW) == text


def test_one_and_many() -> None:
    """Words follow their number."""
    assert [counted(1, "client"), counted(1234, "client"), counted(2, "process", "processes")] == [
        "1 client",
        "1,234 clients",
        "2 processes",
    ]


@given(st.text())
def test_nothing_foreign_controls_a_terminal(text: str) -> None:
    """No escape sequence, no line break, no change of direction comes through, and markup stays text."""
    plain = shown(text).plain
    assert not [character for character in plain if unicodedata.category(character)[0] == "C"]
    assert len(plain.splitlines()) == 1
    assert not shown(text).spans


def test_markup_is_text() -> None:
    """What rich would take for a colour or a link."""
    assert shown("[red]x[/red] [link=http://evil]").plain == "[red]x[/red] [link=http://evil]"


def test_long_texts_are_cut() -> None:
    """With a sign that there was more."""
    assert shown("x" * 50, at_most=10).plain == "xxxxxxx..."
    assert shown("x" * 10, at_most=10).plain == "x" * 10


def test_the_time_zone_of_now_does_not_matter() -> None:
    """A difference is one."""
    assert when((NOW - timedelta(hours=3)).isoformat(), NOW) == "3 h ago"
