"""Looking at clients; pausing and resuming them."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Annotated, Literal

import typer
from rich.text import Text

from cli.output import Output, state
from cli.registry import PULL_SYNC, Json, Params, segment
from cli.session import AsJson, session_of
from cli.words import counted, duration, number, shown, trouble, when

LARGEST_PAGE = 1_000

User = Annotated[str, typer.Argument(metavar="USER", help="Whose client.")]
ClientState = Literal["active", "failing", "inactive", "paused"]


def clients(
    context: typer.Context,
    *,
    only: Annotated[ClientState | None, typer.Option("--state", help="Only clients in this state.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="Most clients.")] = 50,
    after: Annotated[str, typer.Option(help="Only user ids behind this one.")] = "",
    everything: Annotated[bool, typer.Option("--all", help="All of them, page after page.")] = False,
    as_json: AsJson = False,
) -> None:
    """List clients by user id."""
    session = session_of(context)
    params: Params = {"limit": LARGEST_PAGE if everything else limit, "after": after, "state": only}
    found: list[Json] = []
    goes_on = False
    with session.registry() as registry:
        for page, goes_on in registry.pages(f"{PULL_SYNC}/registered-clients", params):  # noqa: B007 - of the last
            found += page
            if not everything:
                break
    if as_json:
        session.output.json(found)
        return
    _table(session.output, found)
    if goes_on:
        session.output.note(f"More: pullsync clients --after {shlex.quote(found[-1]['user_id'])}, or --all")


def _table(output: Output, found: list[Json]) -> None:
    now = datetime.now(UTC)
    rows = (
        (
            shown(client["user_id"]),
            state(client["state"]),
            when(client["last_success_at"], now),
            number(client["pending"]),
            number(client["stored"]),
            shown(client["client_url"]),
            _trouble(client, at_most=60),
        )
        for client in found
    )
    columns = ("user", "state", "last success", "#pending", "#stored", "address", "trouble")
    output.table(columns, rows, empty="There are no such clients.")


def _trouble(client: Json, *, at_most: int | None = None) -> Text:
    return shown(trouble(client["last_reason"], client["last_error"]), at_most=at_most, style="yellow")


def client(
    context: typer.Context,
    user: User,
    *,
    history: Annotated[
        bool, typer.Option("--history", help="What became of its pulls, the latest first, instead.")
    ] = False,
    limit: Annotated[int, typer.Option(min=1, max=1_000, help="With --history: most pulls.")] = 20,
    as_json: AsJson = False,
) -> None:
    """Show all that is known of one client, or the history of its pulls."""
    session = session_of(context)
    path = f"{PULL_SYNC}/clients/{segment(user)}"
    with session.registry() as registry:
        found = registry.get(f"{path}/pulls", {"limit": limit}) if history else registry.get(path)
    if as_json:
        session.output.json(found)
        return
    if history:
        _history(session.output, found)
        return
    session.output.facts(_facts(found))
    if found["state"] in {"failing", "inactive"}:
        session.output.note(f"What to do about it: pullsync doctor --user {shlex.quote(user)}")


def _facts(found: Json) -> Iterator[tuple[str, Text | str]]:
    now = datetime.now(UTC)
    yield "user", shown(found["user_id"])
    yield "state", state(found["state"])
    yield "address", shown(found["client_url"])
    yield "kind", shown(found["client_type"])
    yield "capabilities", shown(", ".join(found["capabilities"]))
    yield "registered", when(found["registered_at"], now)
    yield "last pull", _last_pull(found, now)
    yield "last success", when(found["last_success_at"], now)
    if found["failures"]:
        yield "failures in a row", number(found["failures"])
    if found["last_reason"]:
        yield "last trouble", _trouble(found)
    if found["inactive_since"]:
        yield "inactive since", when(found["inactive_since"], now)
    yield "next pull", _next_pull(found, now)
    if found["sync_interval_s"]:
        yield "own interval", duration(found["sync_interval_s"])
    yield "captures", f"{number(found['stored'])} stored, {number(found['pending'])} pending"


def _history(output: Output, found: list[Json]) -> None:
    now = datetime.now(UTC)
    rows = (
        (
            when(pull["settled_at"], now),
            shown(pull["outcome"], style="yellow" if pull["outcome"] == "failed" else ""),
            duration(pull["duration_s"]),
            number(pull["stored"]),
            number(pull["duplicates"]),
            number(pull["quarantined"]),
            number(pull["pending"]),
            shown(trouble(pull["reason"], pull["error"]), at_most=80, style="yellow"),
        )
        for pull in found
    )
    columns = ("settled", "outcome", "#took", "#stored", "#again", "#quarantined", "#pending", "trouble")
    output.table(columns, rows, empty="No pull of the last days stored something or failed.")


def _last_pull(found: Json, now: datetime) -> str:
    took = f", took {duration(found['last_duration_s'])}" if found["last_duration_s"] is not None else ""
    return f"{when(found['last_pull_at'], now)}{took}"


def _next_pull(found: Json, now: datetime) -> Text:
    if found["state"] == "paused":
        return shown("none while it is paused")
    return shown("under way" if found["in_flight"] else when(found["next_pull_at"], now))


def pause(context: typer.Context, user: User, *, as_json: AsJson = False) -> None:
    """Leave a client alone, until it is resumed."""
    _change(context, user, paused=True, as_json=as_json, said="is paused: neither timer nor runs nor nudges pull it.")


def resume(context: typer.Context, user: User, *, as_json: AsJson = False) -> None:
    """Pull a client again that was paused."""
    _change(context, user, paused=False, as_json=as_json, said="is pulled again.")


def unregister(context: typer.Context, user: User, *, as_json: AsJson = False) -> None:
    """Forget a client. One that lives registers again by itself, and is told tokens anew."""
    session = session_of(context)
    with session.registry() as registry:
        found = registry.delete(f"{PULL_SYNC}/unregister-client/{segment(user)}")
    if as_json:
        session.output.json(found)
    else:
        session.output.say(f"Client {user} is forgotten; what it still holds is pulled when it registers again.")


def _change(context: typer.Context, user: str, *, paused: bool, as_json: bool, said: str) -> None:
    session = session_of(context)
    with session.registry() as registry:
        found = registry.patch(f"{PULL_SYNC}/clients/{segment(user)}", body={"paused": paused})
    if as_json:
        session.output.json(found)
    else:
        session.output.say(f"Client {user} {said}")


def counted_clients(count: int) -> str:
    """`3 clients`."""
    return counted(count, "client")
