"""A run's progress on a terminal: one bar that is drawn again and again, on stderr. Elsewhere nothing is drawn."""

from __future__ import annotations

from types import TracebackType
from typing import Final, Self

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskProgressColumn, TextColumn

from cli.errors import CliError
from cli.output import Output
from cli.registry import Json
from cli.words import counted, duration, number

_BAR_COLUMNS: Final = 24
"""So that all of it fits into 80."""


class RunBar:
    """As a context manager, around the time in which the run is followed."""

    def __init__(self, output: Output, title: str, *, total: int | None = None) -> None:
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=_BAR_COLUMNS),
            TaskProgressColumn(markup=False),
            MofNCompleteColumn(),
            TextColumn("{task.fields[said]}", markup=False, style="dim"),
            console=output.err,
            disable=not output.err.is_terminal,
            transient=True,
        )
        self._task = self._progress.add_task(title, total=total, said="")

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def show(self, run: Json) -> None:
        """How far the run is."""
        self._progress.update(self._task, total=run["requested"], completed=run["settled"], said=said_of(run))

    def advance(self, settled: int) -> None:
        """So many are done."""
        self._progress.update(self._task, completed=settled)

    def lost(self, _error: CliError) -> None:
        """The registry is not heard of, and asked again; the run goes on without us."""
        self._progress.update(self._task, said="connection lost, trying again")


def said_of(run: Json) -> str:
    """The numbers beside the bar."""
    parts = [f"{number(run['stored'])} stored"]
    if run["failed"]:
        parts.append(f"{number(run['failed'])} failed")
    if run["missing"]:
        parts.append(f"{number(run['missing'])} were missing")
    if run["time_left_s"]:
        parts.append(f"{duration(run['time_left_s'])} left")
    return ", ".join(parts)


def outcome(run: Json) -> str:
    """How a finished run went, in one sentence."""
    done = counted(run["settled"] - run["failed"], "client")
    parts = [f"{done} in {duration(run['elapsed_s'])}", f"{counted(run['stored'], 'capture')} stored"]
    if run["kind"] == "sync-complete-state":
        parts.append(f"{number(run['missing'])} were missing, {number(run['unknown'])} unknown to their clients")
        if run["deleted"]:
            parts.append(f"{number(run['deleted'])} deleted")
    if run["failed"]:
        parts.append(f"{counted(run['failed'], 'client')} failed")
    if run["cancelled"]:
        parts.append(f"cancelled before {counted(run['cancelled'], 'client')}")
    return ", ".join(parts) + "."
