"""Messages that could not be handled."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Annotated

import typer

from cli.errors import UsageError
from cli.output import Output
from cli.registry import ADMIN, Json, segment
from cli.session import AsJson, session_of
from cli.words import number, shown, size, when

_PATH = f"{ADMIN}/dead-letters"

Queue = Annotated[str, typer.Argument(metavar="QUEUE", help="The work queue, such as ingest.capture-batches.")]


def build() -> typer.Typer:
    """`pullsync dead-letters ...`."""
    app = typer.Typer(name="dead-letters", help="Messages that could not be handled.", no_args_is_help=True)
    app.command("list")(list_letters)
    app.command("show")(show)
    app.command("replay")(replay)
    return app


def list_letters(
    context: typer.Context,
    queue: Annotated[str | None, typer.Argument(metavar="QUEUE", help="Which; else how many each has.")] = None,
    *,
    limit: Annotated[int, typer.Option(min=1, max=100, help="Most messages.")] = 20,
    as_json: AsJson = False,
) -> None:
    """How many of each queue's messages died; or the oldest of one queue. Looking changes nothing."""
    session = session_of(context)
    with session.registry() as registry:
        found = registry.get(f"{_PATH}/{segment(queue)}", {"limit": limit}) if queue else registry.get(_PATH)
    if as_json:
        session.output.json(found)
    elif queue:
        _letters(session.output, found)
    else:
        _counts(session.output, found)


def _counts(output: Output, found: list[Json]) -> None:
    rows = ((shown(each["queue"]), _messages(each["messages"])) for each in found)
    output.table(("queue", "#dead letters"), rows, empty="There are no queues.")


def _messages(count: int | None) -> str:
    return "(somebody looks)" if count is None else number(count)


def _letters(output: Output, found: list[Json]) -> None:
    now = datetime.now(UTC)
    rows = (
        (
            shown(each["id"]),
            when((each["death"] or {}).get("died_at"), now),
            size(each["size_bytes"]),
            shown(each["summary"], at_most=160),
        )
        for each in found
    )
    output.table(("id", "died", "#size", "what"), rows, empty="There are no dead letters.")


def show(
    context: typer.Context,
    queue: Queue,
    letter: Annotated[str, typer.Argument(metavar="ID", help="As the list has it.")],
    *,
    as_json: AsJson = False,
) -> None:
    """Show one message with its body."""
    session = session_of(context)
    with session.registry() as registry:
        found = registry.get(f"{_PATH}/{segment(queue)}/{segment(letter)}")
    if as_json:
        session.output.json(found)
        return
    now = datetime.now(UTC)
    session.output.facts(
        (
            ("id", shown(found["id"])),
            ("what", shown(found["summary"])),
            ("published", when(found["published_at"], now)),
            ("died", when((found["death"] or {}).get("died_at"), now)),
            ("size", size(found["size_bytes"])),
            ("correlation", shown(found["correlation_id"])),
            ("body", "cut: the first MiB" if found["body_is_cut"] else ""),
        )
    )
    body = found["body"]
    is_text = found["body_format"] != "json"
    session.output.block(body if is_text else json.dumps(body, indent=2, ensure_ascii=False))


def replay(
    context: typer.Context,
    queue: Queue,
    letter: Annotated[str | None, typer.Argument(metavar="ID", help="Which message, as the list has it.")] = None,
    *,
    everything: Annotated[bool, typer.Option("--all", help="All that are there now.")] = False,
    limit: Annotated[int | None, typer.Option(min=1, help="With --all: most messages, the oldest first.")] = None,
    as_json: AsJson = False,
) -> None:
    """Give messages to their queue again; one that fails again comes back."""
    if everything == bool(letter):
        message = "Say which: the ID of one of the list, or --all."
        raise UsageError(message)
    session = session_of(context)
    path = f"{_PATH}/{segment(queue)}" + (f"/{segment(letter)}" if letter else "")
    with session.registry() as registry:
        found = registry.post(f"{path}/replay", params={"limit": None if letter else limit})
    if as_json:
        session.output.json(found)
    else:
        session.output.say(found["message"])
