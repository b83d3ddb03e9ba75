"""Whether the registry answers, to us, and as the version that we know."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from cli.doctor.facts import Access, Clock, Facts
from cli.doctor.findings import Finding, ok, problem, skipped, warning
from cli.words import duration
from shared.version import VERSION

_SHOW_ONE: Final = "Put an operator's token into PULLSYNC_TOKEN, or name its file: pullsync --token-file FILE doctor."
_REFUSED: Final[dict[Access, tuple[str, str]]] = {
    "wanted": ("The registry wants a token, and none is set.", _SHOW_ONE),
    "refused": ("The registry does not know this token.", f"It may have been changed.\n{_SHOW_ONE}"),
    "forbidden": ("The token may not look.", f"It takes one with the scope read (docs/security.md).\n{_SHOW_ONE}"),
}


def reached(facts: Facts) -> Iterator[Finding]:
    """Everything else needs it."""
    if facts.registry is None:
        yield problem(
            "registry",
            facts.unreachable or "It is not reached.",
            "Look whether it runs: docker compose ps registry; docker compose logs registry. It does not listen before "
            "its tables are made, for which it waits for PostgreSQL.\n"
            f"PULLSYNC_URL says where it is; now: {facts.url}",
        )
    else:
        took = duration(facts.registry.took_s)
        yield ok("registry", f"{facts.url} answers within {took}, version {facts.registry.version}.")


def access(facts: Facts) -> Iterator[Finding]:
    """Whether we may look, and whether the token travels safely."""
    if facts.registry is None:
        return
    if facts.access != "allowed":
        found, advice = _REFUSED[facts.access]
        yield problem("token", found, advice)
    elif facts.has_token and facts.url.startswith("http:") and not facts.is_local:
        yield warning(
            "token",
            "It travels unencrypted.",
            "Reach the registry by https:// (docs/deploy.md), or from its own machine.",
        )
    elif facts.has_token:
        yield ok("token", "The registry takes it.")


def version(facts: Facts) -> Iterator[Finding]:
    """What we know of the API is that of our own version."""
    if facts.registry is not None and facts.registry.version != VERSION:
        yield warning(
            "versions",
            f"The registry is {facts.registry.version}, this program is {VERSION}.",
            "Use the program of the registry's version, such as the one in its container: "
            "docker compose exec registry pullsync doctor",
        )


def settings(facts: Facts) -> Iterator[Finding]:
    """Of the registry, as far as they can be wrong and valid."""
    found = facts.of_diagnosis("settings")
    if found is None:
        return
    is_fine = True
    if found["is_anonymous"] and not facts.is_local:
        is_fine = False
        yield warning(
            "settings",
            "The registry can be reached from other machines, and everybody who reaches it is an operator.",
            "Set OPERATOR_TOKENS and the other tokens (docs/security.md).",
        )
    if found["lease_s"] < 2 * found["timeout_s"]:
        is_fine = False
        yield warning(
            "settings",
            f"A pull is taken for lost after {found['lease_s']} s, while a client may take {found['timeout_s']:g} s.",
            "Set PULL_SYNC_LEASE to well above PULL_SYNC_TIMEOUT, or slow clients are pulled twice.",
        )
    if is_fine:
        yield ok("settings", "The registry's are plausible.")


def clocks(facts: Facts) -> Iterator[Finding]:
    """Recent captures are found by time, and certificates are valid for a time."""
    here = facts.registry.clock if facts.registry else None
    if here is not None:
        yield _clock(facts, "clock", "registry's", "this machine's", here)
    database = facts.of_diagnosis("database")
    if database is not None:
        clock = Clock(offset_s=database["clock_offset_s"], uncertainty_s=database["clock_uncertainty_s"])
        yield _clock(facts, "database clock", "database's", "registry's", clock)


def _clock(facts: Facts, check: str, whose: str, against: str, clock: Clock) -> Finding:
    off_s = max(0.0, abs(clock.offset_s) - clock.uncertainty_s)
    if off_s < facts.thresholds.clock_warning_s:
        return ok(check, f"The {whose} and {against} agree.")
    direction = "ahead of" if clock.offset_s > 0 else "behind"
    found = f"The {whose} clock is {duration(abs(clock.offset_s))} {direction} {against}."
    advice = "Let NTP keep the clocks of all machines: timedatectl; chronyc tracking."
    return (problem if off_s >= facts.thresholds.clock_problem_s else warning)(check, found, advice)


def not_looked(facts: Facts, check: str) -> Finding | None:
    """Why a check of the diagnosis was left out, when the reason was not told already."""
    if facts.diagnosis is None or facts.diagnosis.error is None:
        return None
    return skipped(check, facts.diagnosis.error, "A registry of this version has GET /api/v1/admin/diagnosis.")
