"""Pulling now: all clients as a run that is followed, or some by a nudge each."""

from __future__ import annotations

import shlex
import time
from contextlib import suppress
from typing import Annotated, Final

import typer

from cli.commands.clients import counted_clients
from cli.commands.runs import follow_to_end, report, went_well
from cli.errors import INTERRUPTED, FailedError, TooOftenError, UsageError
from cli.output import Output
from cli.progress import RunBar
from cli.registry import PULL_SYNC, Json, Registry, segment
from cli.session import AsJson, session_of
from cli.words import duration, number, trouble

_LOOK_EVERY_S: Final = 0.5

Users = Annotated[list[str] | None, typer.Argument(metavar="USER", help="Only these users' clients.")]


def sync(  # noqa: PLR0913 - each is an option
    context: typer.Context,
    users: Users = None,
    *,
    recent: Annotated[bool, typer.Option("--recent", help="Only captures of the last 15 minutes.")] = False,
    complete: Annotated[
        bool, typer.Option("--complete-state", help="Compare all that clients have; store what is missing.")
    ] = False,
    delete_unknown: Annotated[
        bool,
        typer.Option("--delete-unknown", help="With --complete-state: delete what clients no longer have. Asks first."),
    ] = False,
    sure: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    cancels: Annotated[bool, typer.Option("--cancel", help="Let Ctrl-C cancel the run.")] = False,
    background: Annotated[bool, typer.Option("--background", help="Begin it, and do not wait.")] = False,
    timeout_s: Annotated[
        float, typer.Option("--timeout", min=1, help="With USER: most seconds to wait for the pulls.")
    ] = 180,
    as_json: AsJson = False,
) -> None:
    """Pull now. Without USER, all clients, as a run that is followed; Ctrl-C lets it go on.

    Exit status 1 when a client failed, or the run was cancelled.
    """
    _check_usage(users, recent=recent, complete=complete, delete_unknown=delete_unknown, background=background)
    if delete_unknown and not sure:
        typer.confirm("Delete here what clients no longer have? Clients forget what is old!", abort=True, err=True)
    session = session_of(context)
    with session.registry() as registry:
        if users:
            found = Nudging(registry, session.output, timeout_s=timeout_s).pull(list(dict.fromkeys(users)))
            _tell_users(session.output, found, as_json=as_json)
            if any(client["failures"] for client in found):
                raise typer.Exit(1)
            return
        started = _start(registry, recent=recent, complete=complete, delete_unknown=delete_unknown)
        if background:
            _tell_started(session.output, started, as_json=as_json)
            return
        session.output.note(f"Run {started['run_id']}")
        follow_to_end(registry, session.output, started["run_id"], cancels=cancels)
        finished = registry.get(f"{PULL_SYNC}/runs/{started['run_id']}")
    report(session.output, finished, as_json=as_json)
    if not went_well(finished):
        raise typer.Exit(1)


def _check_usage(
    users: list[str] | None, *, recent: bool, complete: bool, delete_unknown: bool, background: bool
) -> None:
    if recent and complete:
        message = "--recent and --complete-state exclude each other."
    elif delete_unknown and not complete:
        message = "--delete-unknown goes with --complete-state only."
    elif users and (recent or complete or background):
        message = "With USER there is no other choice: each is pulled for all that is pending."
    else:
        return
    raise UsageError(message)


def _start(registry: Registry, *, recent: bool, complete: bool, delete_unknown: bool) -> Json:
    """Begin a run; an answer without waiting, which has the run's id in any case."""
    if complete:
        params = {"delete_unknown": "true" if delete_unknown else None}
        started = registry.post(f"{PULL_SYNC}/sync-complete-state", params=params)
    elif recent:
        started = registry.post(f"{PULL_SYNC}/sync-recent", params={"wait_s": 0})
    else:
        started = registry.post(f"{PULL_SYNC}/sync-all-background", body={})
    return dict(started)


def _tell_started(output: Output, started: Json, *, as_json: bool) -> None:
    if as_json:
        output.json(started)
    else:
        output.say(f"The run has begun. To look at it: pullsync run {started['run_id']} --follow")


def _tell_users(output: Output, found: list[Json], *, as_json: bool) -> None:
    if as_json:
        output.json(found)
        return
    for client in found:
        if client["failures"]:
            output.say(f"{client['user_id']}: {trouble(client['last_reason'], client['last_error'])}", style="yellow")
        else:
            stored, pending = number(client["stored"]), number(client["pending"])
            took = duration(client["last_duration_s"])
            output.say(f"{client['user_id']}: pulled in {took}; {stored} stored so far, {pending} pending")


class Nudging:
    """Pulls single clients: a nudge makes each due, and its record tells when it was pulled."""

    def __init__(self, registry: Registry, output: Output, *, timeout_s: float) -> None:
        self._registry = registry
        self._output = output
        self._timeout_s = timeout_s

    def pull(self, users: list[str]) -> list[Json]:
        """What is known of each afterwards, in the order given.

        Raises:
            FailedError: one was not pulled in time, is paused, or unknown.
            typer.Exit: it was interrupted; the pulls go on.
        """
        before = {user: self._client(user)["last_pull_at"] for user in users}
        for user in users:
            self._nudge(user)
        try:
            with RunBar(self._output, "pulling", total=len(users)) as bar:
                return self._wait(before, bar)
        except KeyboardInterrupt:
            self._output.note(f"The pulls go on. To look at one: pullsync client {shlex.quote(users[0])}")
            raise typer.Exit(INTERRUPTED) from None

    def _wait(self, before: dict[str, str | None], bar: RunBar) -> list[Json]:
        end = time.monotonic() + self._timeout_s
        found: dict[str, Json] = {}
        while True:
            for user in before.keys() - found.keys():
                client = self._client(user)
                if client["last_pull_at"] != before[user] and not client["in_flight"]:
                    found[user] = client
            bar.advance(len(found))
            if len(found) == len(before):
                return [found[user] for user in before]
            if time.monotonic() > end:
                raise self._too_late(len(before) - len(found))
            time.sleep(_LOOK_EVERY_S)

    def _too_late(self, missing: int) -> FailedError:
        return FailedError(
            f"{counted_clients(missing)} not pulled within {duration(self._timeout_s)}.\n"
            "They may be pulled yet. Does a puller run? To see what is wrong: pullsync doctor"
        )

    def _client(self, user: str) -> Json:
        return dict(self._registry.get(f"{PULL_SYNC}/clients/{segment(user)}"))

    def _nudge(self, user: str) -> None:
        with suppress(TooOftenError):  # then a pull is booked already, and begins later than now
            self._registry.post(f"{PULL_SYNC}/nudge/{segment(user)}")
