"""Where all output goes: data on stdout, remarks on stderr. To a terminal with colour and boxes, else plain lines.

Whatever the registry answers may hold what strangers wrote, so every text goes through `cli.words.shown`: no terminal
sequence and no markup of rich's comes through.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from typing import IO, Any, Final

from rich import box
from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from cli.words import shown

WIDE: Final = 100_000
"""Columns of what is no terminal: nothing is cut or folded there."""
STATES: Final = {
    "active": "green",
    "failing": "yellow",
    "inactive": "red",
    "paused": "cyan",
    "running": "cyan",
    "finished": "green",
    "cancelled": "yellow",
    "stopped": "red",
    "ok": "green",
    "warning": "yellow",
    "problem": "bold red",
    "skipped": "dim",
}


class Output:
    """What a command says."""

    def __init__(self, *, out: IO[str] | None = None, err: IO[str] | None = None) -> None:
        self.out = _console(out or sys.stdout)
        self.err = _console(err or sys.stderr)

    def json(self, data: Any) -> None:
        """The API's data as they are, in ASCII only, which no terminal takes for anything else."""
        text = json.dumps(data, indent=2, ensure_ascii=True).replace("\x7f", "\\u007f")
        self.out.file.write(f"{text}\n")

    def say(self, text: str, style: str = "") -> None:
        """One line on stdout."""
        self._print(self.out, shown(text, style=style) if text else Text())

    def note(self, text: str, style: str = "dim") -> None:
        """Lines on stderr, which do not get between a script and the data."""
        for line in text.splitlines():
            self._print(self.err, shown(line, style=style))

    def error(self, text: str) -> None:
        """What went wrong, in one or two lines."""
        first, *rest = text.splitlines()
        self._print(self.err, Text.assemble(("Error: ", "bold red"), shown(first)))
        for line in rest:
            self._print(self.err, shown(line))

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[Text | str]], *, empty: str) -> None:
        """Rows below their headings; `empty` when there are none. A heading that begins with `#` is of numbers."""
        rows = list(rows)
        if not rows:
            self.note(empty)
            return
        is_terminal = self.out.is_terminal
        table = Table(
            box=box.SIMPLE_HEAD if is_terminal else None, pad_edge=False, header_style="bold", show_edge=False
        )
        for column in columns:
            right = column.startswith("#")
            table.add_column(shown(column.removeprefix("#")), justify="right" if right else "left", overflow="fold")
        for row in rows:
            table.add_row(*(cell if isinstance(cell, Text) else shown(cell) for cell in row))
        self._print(self.out, table)

    def facts(self, pairs: Iterable[tuple[str, Text | str]]) -> None:
        """Names and values, one a line."""
        grid = Table.grid(padding=(0, 2))
        grid.add_column(style="bold", no_wrap=True)
        grid.add_column(overflow="fold")
        for name, value in pairs:
            grid.add_row(shown(name), value if isinstance(value, Text) else shown(value))
        self._print(self.out, grid)

    def block(self, text: str) -> None:
        """Foreign text of many lines, indented."""
        lines = [shown(line) if line else Text() for line in text.splitlines()]
        for line in lines:
            self._print(self.out, Padding(line, (0, 0, 0, 2), expand=False))

    def render(self, what: RenderableType) -> None:
        """On stdout, whatever rich can show; its texts went through `shown`."""
        self._print(self.out, what)

    @staticmethod
    def _print(console: Console, what: RenderableType) -> None:
        if console.is_terminal:
            console.print(what)
            return
        with console.capture() as captured:
            console.print(what)
        console.file.writelines(f"{line.rstrip()}\n" for line in captured.get().splitlines())


def state(name: str) -> Text:
    """A state, in its colour."""
    return shown(name, style=STATES.get(name, ""))


def _console(file: IO[str]) -> Console:
    is_terminal = hasattr(file, "isatty") and file.isatty()
    return Console(
        file=file,
        emoji=False,
        markup=False,
        highlight=False,
        force_terminal=is_terminal,
        width=None if is_terminal else WIDE,
        color_system="auto" if is_terminal else None,
    )
