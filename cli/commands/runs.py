"""Sync runs: listing them, looking at one, ending one."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Annotated
from uuid import UUID

import typer
from rich.text import Text

from cli.commands.status import failures
from cli.errors import INTERRUPTED
from cli.following import follow
from cli.output import Output, state
from cli.progress import RunBar, outcome
from cli.registry import PULL_SYNC, Json, Registry
from cli.session import AsJson, session_of
from cli.words import counted, duration, number, percent, shown, when

PATH = f"{PULL_SYNC}/runs"
FAILURES_SHOWN = 20

RunId = Annotated[UUID, typer.Argument(metavar="ID", help="As the list has it.")]


def runs(
    context: typer.Context,
    *,
    limit: Annotated[int, typer.Option(min=1, max=1_000, help="Most runs.")] = 20,
    before: Annotated[UUID | None, typer.Option(help="Only runs that started before this one.")] = None,
    as_json: AsJson = False,
) -> None:
    """List sync runs, the latest first."""
    session = session_of(context)
    with session.registry() as registry:
        params = {"limit": limit, "before": str(before) if before else None}
        found, goes_on = next(registry.pages(PATH, params))
    if as_json:
        session.output.json(found)
        return
    now = datetime.now(UTC)
    rows = (
        (
            shown(run["run_id"]),
            shown(run["kind"]),
            state(run["state"]),
            when(run["created_at"], now),
            duration(run["elapsed_s"]),
            f"{number(run['settled'])}/{number(run['requested'])}",
            number(run["failed"]),
            number(run["stored"]),
        )
        for run in found
    )
    columns = ("run", "kind", "state", "started", "#took", "#settled", "#failed", "#stored")
    session.output.table(columns, rows, empty="There were no runs within the last seven days.")
    if goes_on:
        session.output.note(f"More: pullsync runs --before {found[-1]['run_id']}")


def run(
    context: typer.Context,
    run_id: RunId,
    *,
    following: Annotated[
        bool, typer.Option("--follow", help="Until it is finished; status 1 if a client failed.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show how far a run is, who failed and why."""
    session = session_of(context)
    with session.registry() as registry:
        if following:
            follow_to_end(registry, session.output, str(run_id), cancels=False)
        found = registry.get(f"{PATH}/{run_id}")
    report(session.output, found, as_json=as_json)
    if following and not went_well(found):
        raise typer.Exit(1)


def cancel(context: typer.Context, run_id: RunId, *, as_json: AsJson = False) -> None:
    """End a run: clients that it waits for are not pulled for it. What is stored stays stored."""
    session = session_of(context)
    with session.registry() as registry:
        found = registry.post(f"{PATH}/{run_id}/cancel")
    if as_json:
        session.output.json(found)
    else:
        session.output.say(f"The run is {found['state']}: {outcome(found)}")


def follow_to_end(registry: Registry, output: Output, run_id: str, *, cancels: bool) -> None:
    """Return when the run is finished. After Ctrl-C it goes on, or is cancelled, and the program ends.

    Raises:
        typer.Exit: it was interrupted.
    """
    try:
        with RunBar(output, "pulling") as bar:
            for progress in follow(registry, run_id, on_lost=bar.lost):
                bar.show(progress)
    except KeyboardInterrupt:
        if cancels:
            output.note(f"Cancelled: {outcome(registry.post(f'{PATH}/{run_id}/cancel'))}")
            output.note(f"To look at it: pullsync run {run_id}")
        else:
            output.note(f"The run goes on. To look at it: pullsync run {run_id} --follow")
            output.note(f"To end it: pullsync cancel {run_id}")
        raise typer.Exit(INTERRUPTED) from None


def went_well(found: Json) -> bool:
    """Whether every client of a run settled without a failure."""
    return bool(found["state"] != "cancelled" and not found["failed"])


def report(output: Output, found: Json, *, as_json: bool) -> None:
    """A run with its first failures."""
    if as_json:
        output.json(found)
        return
    output.facts(_facts(found))
    for failure in found["failures"][:FAILURES_SHOWN]:
        output.render(Text.assemble(("  failed  ", "yellow"), shown(failure)))
    more = found["failed"] - min(len(found["failures"]), FAILURES_SHOWN)
    if more > 0:
        output.note(f"  and {counted(more, 'other')}: pullsync run {found['run_id']} --json")


def _facts(found: Json) -> Iterator[tuple[str, Text | str]]:
    yield "run", shown(found["run_id"])
    yield "kind", shown(found["kind"])
    yield "state", state(found["state"])
    yield "started", when(found["created_at"], datetime.now(UTC))
    if found["since"]:
        yield "captures since", shown(found["since"])
    if found["state"] == "running":
        share = found["settled"] / found["requested"] if found["requested"] else None
        left = f", about {duration(found['time_left_s'])} left" if found["time_left_s"] else ""
        yield "progress", f"{number(found['settled'])} of {number(found['requested'])} ({percent(share)}){left}"
        yield "so far", outcome(found)
    else:
        yield "outcome", outcome(found)
    if found["failed_by_reason"]:
        yield "failures", failures(found["failed_by_reason"])
