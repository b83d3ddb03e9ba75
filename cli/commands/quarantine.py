"""Captures that could not be read or stored."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from cli.errors import UsageError
from cli.registry import ADMIN, Json
from cli.session import AsJson, session_of
from cli.words import counted, number, shown, when

_PATH = f"{ADMIN}/quarantine"
_LARGEST_PAGE = 1_000


def build() -> typer.Typer:
    """`pullsync quarantine ...`."""
    app = typer.Typer(name="quarantine", help="Captures that could not be read or stored.", no_args_is_help=True)
    app.command("list")(list_items)
    app.command("show")(show)
    app.command("replay")(replay)
    return app


def list_items(
    context: typer.Context,
    *,
    user: Annotated[str | None, typer.Option("--user", metavar="USER", help="Only of this user's client.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=_LARGEST_PAGE, help="Most items.")] = 50,
    after: Annotated[int, typer.Option(min=0, help="Only items with a higher number.")] = 0,
    everything: Annotated[bool, typer.Option("--all", help="All of them, page after page.")] = False,
    as_json: AsJson = False,
) -> None:
    """List what is in quarantine, the oldest first."""
    session = session_of(context)
    params = {"limit": _LARGEST_PAGE if everything else limit, "after": after, "user_id": user}
    found: list[Json] = []
    goes_on = False
    with session.registry() as registry:
        for page, goes_on in registry.pages(_PATH, params):  # noqa: B007 - of the last
            found += page
            if not everything:
                break
    if as_json:
        session.output.json(found)
        return
    now = datetime.now(UTC)
    rows = (
        (
            str(item["quarantine_id"]),
            shown(item["user_id"]),
            shown(item["capture_id"], at_most=40),
            when(item["quarantined_at"], now),
            shown(item["problem"], at_most=100),
        )
        for item in found
    )
    session.output.table(("#number", "user", "capture", "since", "problem"), rows, empty="The quarantine is empty.")
    if goes_on:
        session.output.note(f"More: pullsync quarantine list --after {found[-1]['quarantine_id']}, or --all")


def show(
    context: typer.Context,
    number_: Annotated[int, typer.Argument(metavar="NUMBER", min=1, help="As the list has it.")],
    *,
    as_json: AsJson = False,
) -> None:
    """Show one item, with all that was kept of it."""
    session = session_of(context)
    with session.registry() as registry:
        found = registry.get(f"{_PATH}/{number_}")
    if as_json:
        session.output.json(found)
        return
    now = datetime.now(UTC)
    session.output.facts(
        (
            ("number", str(found["quarantine_id"])),
            ("user", shown(found["user_id"])),
            ("capture", shown(found["capture_id"])),
            ("problem", shown(found["problem"], style="yellow")),
            ("since", when(found["quarantined_at"], now)),
            ("pull", shown(found["pull_id"])),
            ("replays", f"{number(found['replays'])}, last {when(found['last_replay_at'], now)}"),
            ("last problem", shown(found["last_problem"])),
            ("as it came", ""),
        )
    )
    session.output.block(found["raw"])


def replay(
    context: typer.Context,
    numbers: Annotated[list[int] | None, typer.Argument(metavar="NUMBER", min=1, help="Which items.")] = None,
    *,
    everything: Annotated[bool, typer.Option("--all", help="All that are there now.")] = False,
    as_json: AsJson = False,
) -> None:
    """Have items tried again: what can be stored now leaves the quarantine."""
    if everything == bool(numbers):
        message = "Say which: numbers of the list, or --all."
        raise UsageError(message)
    body = {"all": True} if everything else {"quarantine_ids": numbers}
    session = session_of(context)
    with session.registry() as registry:
        found = registry.post(f"{_PATH}/replay", body=body)
    if as_json:
        session.output.json(found)
    else:
        session.output.say(f"Asked for {counted(found['asked'], 'item')}. {found['message']}")
