"""The harness in short: everything is killed and cut for some seconds, and nothing is lost; and it can fail."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]
SHORT = ("--seconds", "20", "--users", "60", "--processes", "2", "--references", "2", "--rate", "20", "--settle", "100")
SABOTAGED = (
    *("--seconds", "12", "--users", "40", "--processes", "1", "--references", "1", "--rate", "20", "--settle", "30"),
    *("--only", "KILL_INGEST"),
)


def chaos(*options: str) -> subprocess.CompletedProcess[str]:
    """A round with these options, and what it printed."""
    command = [sys.executable, "-m", "tests.chaos", *options]
    return subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False)  # noqa: S603 - ours


@pytest.mark.timeout(280)
def test_a_short_round_breaks_no_invariant() -> None:
    """The long form is `make chaos`."""
    done = chaos("--seed", "7", *SHORT)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "every invariant holds" in done.stdout


@pytest.mark.timeout(280)
@pytest.mark.parametrize(
    ("sabotage", "number", "invariant"),
    [
        ("store-later", "lost", "every accepted capture is stored"),
        ("store-twice", "doubled", "a capture is stored once"),
    ],
)
def test_the_harness_can_fail(sabotage: str, number: str, invariant: str) -> None:
    """An ingest that tells before it stores loses captures; one that forgets what it stored doubles them."""
    done = chaos("--seed", "7", "--sabotage", sabotage, *SABOTAGED)
    assert done.returncode == 1, done.stdout + done.stderr
    found = re.search(rf"^{number} +(\d+)", done.stdout, re.MULTILINE)
    assert found, done.stdout + done.stderr
    assert int(found[1]) > 0, done.stdout
    assert f"- {invariant}: " in done.stdout
    assert "the story of " in done.stdout
    assert "with seed 7" in done.stdout
