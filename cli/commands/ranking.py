"""What came of it: who and what is held most."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from cli.errors import UsageError
from cli.registry import RANKING, segment
from cli.session import AsJson, session_of
from cli.words import number, shown, when


def ranking(
    context: typer.Context,
    *,
    limit: Annotated[int, typer.Option(min=1, max=1_500, help="Most entries.")] = 10,
    users: Annotated[bool, typer.Option("--users", help="Users who hold most, instead of Pokémon.")] = False,
    user: Annotated[str | None, typer.Option("--user", metavar="USER", help="What this user holds.")] = None,
    as_json: AsJson = False,
) -> None:
    """Pokémon that most users hold, users who hold most, or what one user holds."""
    if users and user is not None:
        message = "--users and --user exclude each other."
        raise UsageError(message)
    path = RANKING
    if users or user is not None:
        path += "/users" if user is None else f"/users/{segment(user)}"
    session = session_of(context)
    with session.registry() as registry:
        found = registry.get(path, {"limit": limit})
    if as_json:
        session.output.json(found)
        return
    now = datetime.now(UTC)
    if users:
        holders = (
            (shown(each["user_id"]), number(each["holdings"]), when(each["last_updated"], now)) for each in found
        )
        session.output.table(("user", "#holds", "changed"), holders, empty="Nobody holds anything yet.")
    elif user is not None:
        held = ((str(each["pokemon_id"]), shown(each["pokemon_name"]), when(each["held_since"], now)) for each in found)
        session.output.table(("#number", "pokemon", "since"), held, empty="This user holds nothing.")
    else:
        places = (
            (str(place), str(each["pokemon_id"]), shown(each["pokemon_name"]), number(each["favorite_count"]))
            for place, each in enumerate(found, start=1)
        )
        session.output.table(("#place", "#number", "pokemon", "#users"), places, empty="Nobody holds anything yet.")
