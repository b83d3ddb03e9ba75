"""Where a capture is."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.text import Text

from cli.commands.clients import User
from cli.registry import Json, segment
from cli.session import AsJson, session_of
from cli.words import duration, shown, trouble, when

PATH = "/api/v1/captures"

_SAFE = ("acknowledged", "stored", "on_its_way")


def capture(
    context: typer.Context,
    user: User,
    capture_id: Annotated[str, typer.Argument(metavar="CAPTURE", help="Its id, as the client has it.")],
    *,
    as_json: AsJson = False,
) -> None:
    """Where a capture is: made, pulled, stored and acknowledged, or what keeps it."""
    session = session_of(context)
    with session.registry() as registry:
        found = registry.get(f"{PATH}/{segment(user)}/{segment(capture_id)}")
    if as_json:
        session.output.json(found)
        return
    session.output.say(found["summary"], style="green" if found["state"] in _SAFE else "yellow")
    session.output.facts(_way(found))
    if found["client"] and found["client"]["state"] in {"failing", "inactive"}:
        session.output.note(f"What to do about its client: pullsync doctor --user {shlex.quote(user)}")


def _way(found: Json) -> Iterator[tuple[str, Text | str]]:
    now = datetime.now(UTC)
    yield "state", shown(found["state"].replace("_", " "))
    if found["pokemon_id"] is not None:
        removed = ", removed" if found["removed"] else ""
        yield "what", shown(f"{found['pokemon_name']} (#{found['pokemon_id']}), {found['action']}{removed}")
    for name in ("made", "pulled", "stored", "acknowledged"):
        if found[f"{name}_at"]:
            yield name, shown(f"{found[f'{name}_at']}, {when(found[f'{name}_at'], now)}")
    if found["acknowledgement"] and found["acknowledgement"] != "known":
        yield "client told", shown(found["acknowledgement"])
    if found["pull_id"]:
        yield "pull", shown(f"{found['pull_id']}{_pull(found['pull'])}")
    yield from _kept(found)


def _kept(found: Json) -> Iterator[tuple[str, Text | str]]:
    """What keeps it, where something does."""
    if found["quarantine"]:
        number = found["quarantine"]["quarantine_id"]
        yield "quarantine", shown(f"{found['quarantine']['problem']}; pullsync quarantine show {number}")
    if found["dead_letter"]:
        letter = found["dead_letter"]
        command = f"pullsync dead-letters show {shlex.quote(letter['queue'])} {shlex.quote(letter['id'])}"
        yield "dead letter", shown(command)
    if found["dead_letters_searched"] is False:
        yield "dead letters", "not all of them could be looked through"


def _pull(pull: Json | None) -> str:
    if pull is None:
        return ""
    said = trouble(pull["reason"], pull["error"])
    return f", {pull['outcome']}{f' ({said})' if said else ''}, took {duration(pull['duration_s'])}"
