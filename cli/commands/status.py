"""The whole system at a glance."""

from __future__ import annotations

from collections.abc import Iterator

import typer
from rich.text import Text

from cli.output import state
from cli.registry import PULL_SYNC, Json
from cli.session import AsJson, session_of
from cli.words import counted, duration, number, percent, shown


def status(context: typer.Context, *, as_json: AsJson = False) -> None:
    """Clients by state, the schedule, how the last pulls went."""
    session = session_of(context)
    with session.registry() as registry:
        found = registry.get(f"{PULL_SYNC}/status", {"limit": 1})
    if as_json:
        session.output.json(found)
    else:
        session.output.facts(_facts(session.settings.pullsync_url, found))


def _facts(url: str, found: Json) -> Iterator[tuple[str, Text | str]]:
    scheduler, recent = found["scheduler"], found["recent"]
    yield "registry", url
    yield "scheduler", running(scheduler["running"], scheduler["sync_interval"], found["lag_s"])
    yield "clients", _clients(found)
    window = duration(recent["window_s"])
    if recent["pulls"]:
        yield (
            f"pulls, {window}",
            (
                f"{number(recent['pulls'])}, {percent(recent['success_rate'])} fine, half within "
                f"{duration(recent['duration_median_s'])}, 99 % within {duration(recent['duration_p99_s'])}"
            ),
        )
    else:
        yield f"pulls, {window}", "none"
    if recent["failed_by_reason"]:
        yield "failures", failures(recent["failed_by_reason"])
    yield "under way", counted(found["in_flight"], "pull")
    yield (
        "captures",
        (
            f"{number(found['stored_captures'])} stored, {number(recent['stored_captures'])} of them in the "
            f"last {window}; {number(found['pending_captures'])} pending on clients"
        ),
    )


def running(is_running: bool, interval_s: int, lag_s: float) -> Text:  # noqa: FBT001 - the API's word
    """The timer in a line."""
    if not is_running:
        return Text.assemble(state("stopped"), "; to start it: pullsync scheduler start")
    late = f", {duration(lag_s)} late" if lag_s >= 1 else ""
    return Text.assemble(state("running"), f", every {duration(interval_s)}{late}")


def _clients(found: Json) -> Text:
    line = Text(f"{number(found['registered_clients'])} registered")
    separator = ": "
    for name in ("active", "failing", "inactive", "paused"):
        count = found[f"{name}_clients"]
        if count:
            line.append(f"{separator}{number(count)} ").append_text(state(name))
            separator = ", "
    return line


def failures(by_reason: Json) -> Text:
    """Reasons, the most frequent first."""
    ordered = sorted(by_reason.items(), key=lambda item: -item[1])
    return shown(", ".join(f"{reason} {number(count)}" for reason, count in ordered), style="yellow")
