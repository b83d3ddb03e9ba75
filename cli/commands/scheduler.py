"""The timer."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from cli.commands.status import running
from cli.registry import PULL_SYNC
from cli.session import AsJson, session_of
from cli.words import duration, when

_PATH = f"{PULL_SYNC}/scheduler"


def build() -> typer.Typer:
    """`pullsync scheduler ...`."""
    app = typer.Typer(name="scheduler", help="The timer that pulls each client.", no_args_is_help=True)
    app.command("status")(status)
    app.command("start")(start)
    app.command("stop")(stop)
    app.command("set-interval")(set_interval)
    return app


def status(context: typer.Context, *, as_json: AsJson = False) -> None:
    """Whether it runs, how often, how late it is."""
    session = session_of(context)
    with session.registry() as registry:
        found = registry.get(f"{_PATH}/status")
    if as_json:
        session.output.json(found)
        return
    session.output.facts(
        (
            ("scheduler", running(found["running"], found["sync_interval"], found["lag_s"])),
            ("cleanup", f"every {duration(found['cleanup_interval'])}, last {_ago(found['last_cleanup'])}"),
        )
    )


def _ago(text: str | None) -> str:
    return when(text, datetime.now(UTC))


def start(context: typer.Context, *, as_json: AsJson = False) -> None:
    """Let it pull."""
    _say(context, "start", as_json=as_json)


def stop(context: typer.Context, *, as_json: AsJson = False) -> None:
    """Stop it; sync on demand still works."""
    _say(context, "stop", as_json=as_json)


def set_interval(
    context: typer.Context,
    seconds: Annotated[
        int, typer.Argument(metavar="SECONDS", min=5, max=86_400, help="Between two pulls of a client.")
    ],
    *,
    as_json: AsJson = False,
) -> None:
    """Pull each client every so many seconds."""
    _say(context, "set-interval", as_json=as_json, interval=seconds)


def _say(context: typer.Context, command: str, *, as_json: bool, interval: int | None = None) -> None:
    session = session_of(context)
    with session.registry() as registry:
        found = registry.post(f"{_PATH}/{command}", params={"interval": interval})
    if as_json:
        session.output.json(found)
    else:
        session.output.say(found["message"])
