"""The harness in short: everything is killed and cut for some seconds, and nothing is lost; and it can fail."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]
SHORT = ("--seconds", "20", "--users", "60", "--processes", "2", "--references", "2", "--rate", "20", "--settle", "100")
SABOTAGED = (
    *("--seconds", "6", "--users", "40", "--processes", "1", "--references", "1", "--rate", "20", "--settle", "30"),
)
KILLED_INGEST = ("--seed", "3", "--only", "KILL_INGEST")
FULL_QUEUE = ("--seed", "14", "--only", "FULL_QUEUE")
"""With this seed the queue that is full is that of the batches, for 7 s."""
EARLY = "a client is told after the commit"
LOST = "every accepted capture is stored"


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
def test_an_acknowledgement_before_the_commit_is_found() -> None:
    """An ingest that tells client and RabbitMQ before it stores is found to do so, and loses captures when killed."""
    done = sabotaged("store-later", *KILLED_INGEST)
    assert counted("lost", done) > 0, done
    assert f"- {LOST}: " in done
    assert f"- {EARLY}: " in done


@pytest.mark.timeout(280)
def test_a_lack_of_deduplication_is_found() -> None:
    """An ingest that does not see what is stored already doubles captures, and counts them wrongly."""
    done = sabotaged("store-twice", *KILLED_INGEST)
    assert counted("doubled", done) > 0, done
    assert "- a capture is stored once: " in done


@pytest.mark.timeout(280)
def test_a_lack_of_publisher_confirms_is_found() -> None:
    """What RabbitMQ refuses is lost without confirms, once a client no longer keeps a capture until it is committed.

    As long as it does, nothing is lost without confirms, which then save no more than time: the lease ends, and the
    capture is pulled again. So here the puller tells clients when it has published: without confirms, with losses; and
    with confirms too early, but with none (`tell-when-published`, the same round but for the confirms).
    """
    done = sabotaged("publish-unconfirmed", *FULL_QUEUE)
    assert counted("lost", done) > 0, done
    assert f"- {LOST}: " in done
    done = sabotaged("tell-when-published", *FULL_QUEUE)
    assert counted("lost", done) == 0, done
    assert f"- {EARLY}: " in done


def sabotaged(sabotage: str, *options: str) -> str:
    """What a round prints that finds what is wrong with a service: the seed, and the story of a capture."""
    done = chaos("--sabotage", sabotage, *SABOTAGED, *options)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "BROKEN INVARIANTS with seed " in done.stdout, done.stdout + done.stderr
    assert "the story of " in done.stdout
    kept = re.search(r"^data and logs are kept: (.+)$", done.stdout, re.MULTILINE)
    assert kept, done.stdout
    shutil.rmtree(kept[1])  # it was found, as it must be
    return done.stdout


def counted(what: str, printed: str) -> int:
    """A number of the table."""
    found = re.search(rf"^{what} +(\d+)", printed, re.MULTILINE)
    assert found, printed
    return int(found[1])
