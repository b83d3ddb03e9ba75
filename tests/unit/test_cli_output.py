"""Where output goes and how: colour and boxes for people, plain lines and JSON for programs."""

from __future__ import annotations

import io
import json
import os
import pty
from collections.abc import Callable

import pytest

from cli.output import Output, state
from cli.words import shown

EVIL = "\x1b]0;owned\x07\x1b[31m[bold]x[/bold]\u202e\r\nnext\x7f"


def plain(write: Callable[[Output], None]) -> tuple[str, str]:
    """What is written to two files that are no terminals."""
    out, err = io.StringIO(), io.StringIO()
    write(Output(out=out, err=err))
    return out.getvalue(), err.getvalue()


def on_terminal(write: Callable[[Output], None]) -> str:
    """What a terminal is sent on stdout."""
    controller, terminal = pty.openpty()
    with os.fdopen(terminal, "w", encoding="utf-8") as out:
        write(Output(out=out, err=io.StringIO()))
        out.flush()
        received = os.read(controller, 100_000).decode()
    os.close(controller)
    return received


def table(output: Output) -> None:
    """One with a colour, and a long cell."""
    output.table(
        ("user", "#stored", "what"), [(shown("u1"), "12", shown("y" * 300)), (state("failing"), "3", "z")], empty="none"
    )


def test_a_table_without_a_terminal_is_plain_lines() -> None:
    """Whole, aligned, without colour, lines or blanks at the ends."""
    out, err = plain(table)
    lines = out.splitlines()
    assert err == ""
    assert "\x1b" not in out
    assert [line.split()[0] for line in lines] == ["user", "u1", "failing"]
    assert lines[1].endswith("  " + "y" * 300)
    assert all(line == line.rstrip() for line in lines)
    assert lines[0].index("stored") + len("stored") == lines[1].index("12") + 2


def test_a_table_on_a_terminal_has_colour(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unless NO_COLOR asks for none."""
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert "\x1b[33mfailing" in on_terminal(table)
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[33m" not in on_terminal(table)


def test_nothing_is_said_on_stderr() -> None:
    """So that a script gets an empty answer."""
    assert plain(lambda output: output.table(("user",), [], empty="There are none.")) == ("", "There are none.\n")


@pytest.mark.parametrize(
    "write",
    [
        lambda output: output.say(EVIL),
        lambda output: output.facts([(EVIL, EVIL)]),
        lambda output: output.block(EVIL),
        lambda output: output.table((EVIL,), [(EVIL,)], empty=EVIL),
        lambda output: output.json({"name": EVIL}),
    ],
)
def test_foreign_text_is_never_obeyed(write: Callable[[Output], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """By no way to say something, to a terminal or not."""
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("NO_COLOR", "1")
    written, _ = plain(write)
    assert "\x1b" not in written
    assert "[bold]x[/bold]" in written
    shown_there = on_terminal(write)
    assert not {"\x1b]", "\x1b[31m", "\x07", "\u202e", "\x7f"} & set(shown_there)
    assert "\x1b]" not in shown_there
    assert "\x1b[31m" not in shown_there


def test_json_is_the_data() -> None:
    """Whatever characters are in it, and no other bytes than ASCII's printable ones and line ends."""
    data = {"name": EVIL, "ö": [1, 2.5, None, True, 10**30], "\ud800": ""}
    written, _ = plain(lambda output: output.json(data))
    assert json.loads(written) == data
    assert written.isascii()
    assert written.replace("\n", "").isprintable()


def test_an_error_is_told_on_stderr() -> None:
    """Each line by itself."""
    assert plain(lambda output: output.error("It failed.\nDo this.")) == ("", "Error: It failed.\nDo this.\n")
