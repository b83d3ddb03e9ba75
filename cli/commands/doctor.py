"""Looking for what is wrong, and saying what to do about it."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import typer

from cli.doctor.facts import MIB, Facts, Here, Thresholds
from cli.doctor.findings import Finding, problem, worst
from cli.doctor.showing import as_data, show
from cli.errors import UsageError
from cli.session import AsJson, Session, session_of


def doctor(
    context: typer.Context,
    *,
    user: Annotated[str | None, typer.Option("--user", metavar="USER", help="Look at this client in depth.")] = None,
    client_url: Annotated[
        str | None,
        typer.Option("--client-url", metavar="URL", help="With --user: where it is, when the registry does not know."),
    ] = None,
    least_free_mib: Annotated[
        int, typer.Option("--least-free-mib", min=0, metavar="MIB", help="A disk with less free space is a problem.")
    ] = 1024,
    as_json: AsJson = False,
) -> None:
    """Check settings, connections, versions, tables, queues, clocks, disk and clients; say what to do.

    Exit status 1 when there is a problem; warnings are none.
    """
    if client_url is not None and user is None:
        message = "--client-url goes with --user."
        raise UsageError(message)
    session = session_of(context)
    with session.output.err.status("Looking ..."):
        facts, findings = _examine(session, Thresholds(least_free_bytes=least_free_mib * MIB), user, client_url)
    if as_json:
        from cli.doctor.looking import utc_now  # noqa: PLC0415 - as below

        session.output.json(as_data(facts, findings, utc_now()))
    else:
        show(session.output, findings)
    if worst(findings) == "problem":
        raise typer.Exit(1)


def _examine(
    session: Session, thresholds: Thresholds, user: str | None, client_url: str | None
) -> tuple[Facts, list[Finding]]:
    # Late, since they bring the libraries of all services, which no other command needs.
    from cli.doctor.here import look, token_of_the_registry  # noqa: PLC0415 - as above
    from cli.doctor.looking import Looking  # noqa: PLC0415 - as above
    from cli.doctor.rules import judge  # noqa: PLC0415 - as above

    try:
        settings = session.settings
    except UsageError as error:
        facts = Facts(url="", is_local=True, has_token=False, registry=None, here=Here())
        advice = "Nothing else can be looked at before that: see docs/cli.md."
        return facts, [problem("settings", line, advice) for line in str(error).splitlines()]
    with session.registry(otherwise=token_of_the_registry(settings.pullsync_url)) as registry:
        facts = Looking(registry, thresholds=thresholds).facts(user=user, client_url=client_url)
    facts = replace(facts, here=look(settings))
    return facts, judge(facts)
