"""All commands, put together."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli.commands import (
    captures,
    clients,
    dead_letters,
    doctor,
    quarantine,
    ranking,
    runs,
    scheduler,
    status,
    sync,
)
from cli.session import Session
from shared.version import VERSION

_LOOK, _PULL, _REPAIR = "Look", "Pull", "Repair"

_EPILOG = (
    "Settings: PULLSYNC_URL (http://localhost:8000), PULLSYNC_TOKEN, PULLSYNC_CA_FILE, from the environment or a file "
    ".env. Exit status: 0 fine, 1 it failed, 2 usage, 3 registry not reached, 4 not allowed. See docs/cli.md."
)


def build_app() -> typer.Typer:
    """The program, which reads no setting before a command asks for one."""
    app = typer.Typer(
        name="pullsync",
        help="Look after PullSync: clients, runs, schedule, and what went wrong.",
        epilog=_EPILOG,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_begin)
    app.command("status", rich_help_panel=_LOOK)(status.status)
    app.command("clients", rich_help_panel=_LOOK)(clients.clients)
    app.command("client", rich_help_panel=_LOOK)(clients.client)
    app.command("capture", rich_help_panel=_LOOK)(captures.capture)
    app.command("ranking", rich_help_panel=_LOOK)(ranking.ranking)
    app.command("doctor", rich_help_panel=_LOOK)(doctor.doctor)
    app.command("sync", rich_help_panel=_PULL)(sync.sync)
    app.command("runs", rich_help_panel=_PULL)(runs.runs)
    app.command("run", rich_help_panel=_PULL)(runs.run)
    app.command("cancel", rich_help_panel=_PULL)(runs.cancel)
    app.command("pause", rich_help_panel=_PULL)(clients.pause)
    app.command("resume", rich_help_panel=_PULL)(clients.resume)
    app.command("unregister", rich_help_panel=_PULL)(clients.unregister)
    app.add_typer(scheduler.build(), rich_help_panel=_PULL)
    app.add_typer(quarantine.build(), rich_help_panel=_REPAIR)
    app.add_typer(dead_letters.build(), rich_help_panel=_REPAIR)
    return app


def _tell_version(wanted: bool) -> None:  # noqa: FBT001 - typer calls it
    if wanted:
        typer.echo(f"pullsync {VERSION}")
        raise typer.Exit


def _begin(
    context: typer.Context,
    *,
    url: Annotated[str | None, typer.Option("--url", help="The registry, instead of PULLSYNC_URL.")] = None,
    token_file: Annotated[
        Path | None, typer.Option("--token-file", help="A file with the token, instead of PULLSYNC_TOKEN.")
    ] = None,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", is_eager=True, callback=_tell_version)
    ] = False,
) -> None:
    del version
    context.obj = Session(url=url, token_file=token_file)
