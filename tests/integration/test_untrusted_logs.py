"""What clients wrote, in the logs of a real process: on a terminal, and as JSON lines for a collector."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any, Final

import pytest

from shared.untrusted_text import visible

ROOT: Final = Path(__file__).parents[2]
FORGED: Final = "2026-01-31T12:00:00Z [error    ] all_is_lost"

LOGGING: Final = """
import json, logging, sys
import structlog
from shared.observing.logs import configure_logging

configure_logging("test", "info")
log = structlog.get_logger()
for text in json.loads(sys.argv[1]):
    log.info("pull_failed", user_id=text, error=f"it says {text}", nested={"names": [text]}, failure=ValueError(text))
    log.info("short", value=text.replace(" ", ""))
    logging.getLogger("a.library").warning("it met %s", text)
    try:
        raise ValueError(text)
    except ValueError:
        log.exception("died")
    print(sys.argv[2], file=sys.stderr)
"""
HARMLESS: Final = "ash"
BETWEEN: Final = "=" * 40
ENTRIES: Final = ("pull_failed", "short", "it met", "died")

ATTACKS: Final = {
    "line": f"ash\n{FORGED}",
    "carriage return": f"ash\r{FORGED}",
    "both": f"ash\r\n{FORGED}",
    "vertical tab, form feed": f"ash\v{FORGED}\f{FORGED}",
    "next line": f"ash\x85{FORGED}",
    "line separator": f"ash\u2028{FORGED}\u2029{FORGED}",
    "file separator": f"ash\x1c{FORGED}\x1d{FORGED}\x1e{FORGED}",
    "NUL": "ash\x00misty",
    "backspace": "ash\b\b\bmisty",
    "delete": "ash\x7fmisty",
    "bell": "\a",
    "clear the screen": "\x1b[2J\x1b[H",
    "colour": "\x1b[31mred\x1b[0m",
    "title": "\x1b]0;owned\x07",
    "hyperlink": "\x1b]8;;http://evil.example\x1b\\here\x1b]8;;\x1b\\",
    "clipboard": "\x1b]52;c;ZWNobw==\x07",
    "answer back": "\x1b[6n\x1bP$q\x1b\\",
    "one-byte escape": "\x9b2J\x9d0;owned\x9c",
    "bidirectional override": "ash\u202eytsim\u202c",
    "bidirectional isolate": "ash\u2066misty\u2069",
    "marks": "\u200e\u200f\u061c",
    "zero width": "a\u200bs\ufeffh",
    "tags": "ash\U000e0041",
    "half a surrogate pair": "ash\ud800",
    "key and value": "ash level=critical event=all_is_lost",
    "JSON": 'ash", "event": "all_is_lost", "x": "',
}

attacks = pytest.mark.parametrize("text", ATTACKS.values(), ids=ATTACKS)


@cache
def logged() -> dict[str, str]:
    """What a process logs of each text when nobody watches."""
    done = subprocess.run(command(), env=environment(), capture_output=True, check=True)  # noqa: S603 - it is ours
    return by_text(done.stderr.decode())


@cache
def shown() -> dict[str, str]:
    """What a process writes of each text to a terminal, with the terminal's line ends as they are."""
    master, slave = pty.openpty()
    with subprocess.Popen(command(), env=environment(), stderr=slave) as process:  # noqa: S603 - it is ours
        os.close(slave)
        output = b""
        try:
            while part := os.read(master, 65_536):
                output += part
        except OSError:
            pass  # how Linux tells that the other side is closed
        finally:
            os.close(master)
    assert process.returncode == 0
    return by_text(output.decode().replace("\r\n", "\n"))


def command() -> list[str]:
    """A process that logs a harmless text, and then all of the others."""
    return [sys.executable, "-c", LOGGING, json.dumps([HARMLESS, *ATTACKS.values()]), BETWEEN]


def environment() -> dict[str, str]:
    """Of a process that imports from the checkout."""
    return {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "TERM": "xterm-256color", "LANG": "C.UTF-8"}


def by_text(output: str) -> dict[str, str]:
    """The part of the output that is about each text."""
    parts = output.removesuffix(f"{BETWEEN}\n").split(f"{BETWEEN}\n")
    return dict(zip((HARMLESS, *ATTACKS.values()), parts, strict=True))


def uncoloured(line: str) -> str:
    """Without the colours that the renderer puts around a name or a value."""
    return re.sub(r"\x1b\[\d+m", "", line)


@attacks
def test_text_makes_no_line_and_no_control_character_as_json(text: str) -> None:
    """Each entry is one line of printable ASCII, and its values are what they were."""
    output = logged()[text]
    assert all(" " <= character <= "~" for character in output.replace("\n", ""))
    entries: list[dict[str, Any]] = [json.loads(line) for line in output.removesuffix("\n").split("\n")]
    assert [entry["event"].partition("it met")[1] or entry["event"] for entry in entries] == list(ENTRIES)
    assert entries[0]["user_id"] == text
    assert entries[0]["level"] == "info"
    assert entries[2]["event"] == f"it met {text}"
    assert text in entries[3]["exception"]


@attacks
def test_text_makes_no_line_and_no_control_character_on_a_terminal(text: str) -> None:
    """Each entry is one line, but for the trace, whose lines can't be taken for entries."""
    benign, output = shown()[HARMLESS], shown()[text]
    lines = output.removesuffix("\n").split("\n")
    entries = [line for line in lines if not line.startswith("  | ")]
    assert [name for name in ENTRIES if any(name in line for line in entries)] == list(ENTRIES)
    assert len(entries) == len(ENTRIES)
    assert len(lines) - len(entries) == benign.count("\n  | ") + text.count("\n")
    assert output.count("\x1b") == benign.count("\x1b")
    for line in map(uncoloured, lines):
        assert visible(line) == line
    assert not any(re.match(r"\S* *\[error +\] *all_is_lost", uncoloured(line)) for line in lines)
    assert visible(text.rpartition("\n")[2]).strip() in uncoloured(lines[-1])
