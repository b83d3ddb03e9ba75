"""Whose captures are looked for before they are stored."""

from __future__ import annotations

from services.ingest.doubts import DOUBT_S, Doubts


class Clock:
    """Seconds that pass when told."""

    now_s = 0.0

    def __call__(self) -> float:
        """As `time.monotonic`."""
        return self.now_s


def test_a_doubt_ends_an_hour_after_its_last_reason() -> None:
    """New captures in between do not end it: a client that repeats one now and then costs others a try an hour."""
    clock = Clock()
    doubts = Doubts(now_s=clock)
    doubts.add(["ash"])
    clock.now_s = DOUBT_S - 1
    assert "ash" in doubts
    doubts.add(["ash"])
    clock.now_s = 2 * DOUBT_S - 2
    assert "ash" in doubts
    clock.now_s = 2 * DOUBT_S
    assert "ash" not in doubts


def test_the_oldest_doubts_make_room() -> None:
    """They are bounded, and one that has a new reason is not old."""
    doubts = Doubts(now_s=Clock(), most=2)
    doubts.add(["ash", "misty", "ash", "brock"])
    assert [user for user in ("ash", "misty", "brock") if user in doubts] == ["ash", "brock"]
