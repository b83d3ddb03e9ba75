"""The format of log lines, by terminal and setting, in a process of its own."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path
from uuid import UUID

import pytest

ROOT = Path(__file__).parents[2]
PULL = UUID(int=7)
PROGRAM = """
import sys
from uuid import UUID
import structlog
from shared.observing.logs import configure_logging
configure_logging("puller", "info", sys.argv[1])
structlog.get_logger().info("pulled", pull_id=UUID(int=7))
"""


def line(log_format: str, *, terminal: bool) -> str:
    """What the process logs."""
    command = [sys.executable, "-c", PROGRAM, log_format]
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "TERM": "xterm-256color"}
    if not terminal:
        return subprocess.run(command, env=env, capture_output=True, check=True).stderr.decode()  # noqa: S603 - ours
    master, slave = pty.openpty()
    subprocess.run(command, env=env, stderr=slave, check=True)  # noqa: S603 - ours
    output = os.read(master, 65_536).decode()
    os.close(slave)
    os.close(master)
    return output


@pytest.mark.parametrize(("log_format", "terminal"), [("auto", False), ("json", False), ("json", True)])
def test_lines_are_json(log_format: str, *, terminal: bool) -> None:
    """Where nobody reads them, or where it is asked for; an id is text, and the time is of the whole world."""
    entry = json.loads(line(log_format, terminal=terminal))
    assert entry.pop("timestamp").endswith("Z")
    assert entry == {"event": "pulled", "level": "info", "service": "puller", "pull_id": str(PULL)}


@pytest.mark.parametrize(("log_format", "terminal"), [("auto", True), ("text", True), ("text", False)])
def test_lines_are_text(log_format: str, *, terminal: bool) -> None:
    """On a terminal, or where it is asked for; colours are for a terminal only."""
    text = line(log_format, terminal=terminal)
    assert "pulled" in text
    assert str(PULL) in text
    assert not text.startswith("{")
    assert ("\x1b[" in text) is terminal
