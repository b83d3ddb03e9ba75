"""Whether clients register, the timer runs, and pulls go well."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from cli.doctor.facts import Facts, Json
from cli.doctor.findings import Finding, ok, problem, skipped, warning
from cli.doctor.remedies import remedy
from cli.words import counted, duration, number, percent

_LATE_S: Final = 30.0
_VERY_LATE_S: Final = 300.0
_MOST: Final = 0.5
REGISTER: Final = (
    "A client registers when it starts, if its BACKEND_URL leads to the registry; its log says whether it did. See "
    "that it answers: curl http://localhost:3001/api/client/health\n"
    "By hand: curl -X POST {url}/api/v1/pull-sync/register-client -H 'Content-Type: application/json' "
    '-d \'{{"client_url": "http://localhost:3001", "user_id": "user_1", "client_type": "web", "capabilities": []}}\''
)


def _numbers(facts: Facts) -> Json | None:
    return facts.scheduler.answer if facts.scheduler else None


def scheduler(facts: Facts) -> Iterator[Finding]:
    """Whether the timer runs, and keeps up."""
    found = _numbers(facts)
    if found is None:
        if facts.scheduler is not None and facts.scheduler.error:
            yield skipped("scheduler", facts.scheduler.error, "It is kept in the database.")
        return
    every, lag_s = duration(found["sync_interval"]), found["lag_s"]
    if not found["running"]:
        yield problem(
            "scheduler",
            "It is stopped: no client is pulled, unless somebody asks for it.",
            "Start it: pullsync scheduler start",
        )
    elif lag_s > max(_LATE_S, found["sync_interval"]):
        yield (problem if lag_s > max(_VERY_LATE_S, 5 * found["sync_interval"]) else warning)(
            "scheduler",
            f"It runs, every {every}, and the client that waits longest is {duration(lag_s)} late.",
            "Look whether pullers run and reach the registry: docker compose logs puller. If they are all busy, run "
            "more: docker compose up -d --scale puller=3; or pull less often: pullsync scheduler set-interval SECONDS",
        )
    elif _stands_still(found):
        yield problem(
            "scheduler",
            f"It runs, and of {counted(found['active_clients'], 'client')} to be pulled every {every} none was in the "
            f"last {duration(found['recent']['window_s'])}.",
            "Was the clock of the database wrong? Compare: docker compose exec postgres date. The registry corrects "
            "times that are too far ahead within a minute: docker compose logs registry | grep times_corrected",
        )
    else:
        yield ok("scheduler", f"It runs: each client is pulled every {every}.")


def _stands_still(found: Json) -> bool:
    """Whether nobody was pulled though several pulls were to come, nobody is due, and no pull is under way."""
    recent = found["recent"]
    is_idle = not recent["pulls"] and not found["in_flight"] and not found["lag_s"]
    return is_idle and found["active_clients"] * recent["window_s"] > 3 * found["sync_interval"]


def clients(facts: Facts) -> Iterator[Finding]:
    """Whether there are any, and how many of them are well."""
    found = _numbers(facts)
    if found is None:
        return
    registered, failing, inactive = (found[f"{name}_clients"] for name in ("registered", "failing", "inactive"))
    if not registered:
        yield warning("clients", "No client is registered.", REGISTER.format(url=facts.url))
        return
    if not failing and not inactive:
        paused = f", {number(found['paused_clients'])} of them paused" if found["paused_clients"] else ""
        yield ok("clients", f"{counted(registered, 'client')} registered{paused}.")
        return
    ill = [f"{number(count)} {name}" for count, name in ((failing, "failing"), (inactive, "inactive")) if count]
    yield (problem if failing + inactive > _MOST * registered else warning)(
        "clients",
        f"Of {counted(registered, 'client')} {' and '.join(ill)}.",
        f"See which: pullsync clients --state {'failing' if failing else 'inactive'}\n"
        "Look at one in depth: pullsync doctor --user USER",
    )


def pulls(facts: Facts) -> Iterator[Finding]:
    """How those of the last minutes went, and what to do by the most frequent reason."""
    found = _numbers(facts)
    if found is None:
        return
    recent = found["recent"]
    window = duration(recent["window_s"])
    if not recent["pulls"]:
        return  # no clients, a timer that stands still, or one that has just begun: others tell
    if not recent["failed_by_reason"]:
        yield ok("pulls", f"All {number(recent['pulls'])} of the last {window} went well.")
        return
    ordered = sorted(recent["failed_by_reason"].items(), key=lambda item: -item[1])
    reasons = ", ".join(f"{reason} {number(count)}" for reason, count in ordered)
    well = recent["success_rate"]
    yield (problem if well < 1 - _MOST else warning)(
        "pulls", f"{percent(well)} of the last {window} went well; failures: {reasons}.", remedy(ordered[0][0])
    )


def quarantine(facts: Facts) -> Iterator[Finding]:
    """What could not be read or stored."""
    if facts.tables is None or facts.tables.answer is None:
        return
    count = facts.tables.answer["tables"]["quarantine"]
    if count:
        yield warning(
            "quarantine",
            f"{counted(count, 'capture')} could not be read or stored.",
            "See why: pullsync quarantine list\n"
            "When the cause is gone, have them tried again: pullsync quarantine replay --all",
        )
    else:
        yield ok("quarantine", "It is empty.")
