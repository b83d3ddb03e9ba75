"""What the settings of this environment lead to, beside the registry: the servers themselves, from here."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from cli.doctor.facts import Facts, Look
from cli.doctor.findings import Finding, ok, problem, skipped, warning
from cli.doctor.rules.servers import READ_ONLY
from cli.words import duration, size

_WHERE: Final = "Or run it where the services' settings are: docker compose exec registry pullsync doctor"


def settings(facts: Facts) -> Iterator[Finding]:
    """Those that the services would not start with."""
    for line in facts.here.settings_problems:
        yield problem(
            "settings here",
            f"{line[0].upper()}{line[1:]}.",
            "A service that is started here ends with the same line; .env.example tells what is meant.",
        )


def database(facts: Facts) -> Iterator[Finding]:
    """PostgreSQL, by DATABASE_URL."""
    look = facts.here.database
    if look is None:
        yield skipped("database from here", "DATABASE_URL is not set here.", f"Set it. {_WHERE}")
    elif look.error is not None:
        yield _unreached(facts, "database from here", look.error, part="database", setting="DATABASE_URL")
    else:
        yield from _schemas(look.answer)


def _schemas(found: Any) -> Iterator[Finding]:
    check = "database from here"
    wrong = [schema for schema in found["schemas"] if schema["standing"] != "current"]
    for schema in wrong:
        newer = schema["standing"] == "ahead"
        yield problem(
            check,
            f"The schema {schema['schema']} is at {schema['revision'] or 'no revision'}, and the code here wants "
            f"{schema['expected']}.",
            "The code here is older than what runs: update it."
            if newer
            else f"Its service migrates when it starts: restart {schema['service']}.",
        )
    if found["is_read_only"]:
        yield problem(check, *READ_ONLY)
    elif not wrong:
        whose = ", ".join(f"{schema['schema']} at {schema['revision']}" for schema in found["schemas"]) or "no schema"
        yield ok(check, f"PostgreSQL {found['version']} answers within {duration(found['took_s'])}; {whose}.")


def broker(facts: Facts) -> Iterator[Finding]:
    """RabbitMQ, by RABBITMQ_URL."""
    look = facts.here.broker
    if look is None:
        yield skipped("broker from here", "RABBITMQ_URL is not set here.", f"Set it. {_WHERE}")
    elif look.error is not None:
        yield _unreached(facts, "broker from here", look.error, part="broker", setting="RABBITMQ_URL")
    else:
        yield ok("broker from here", f"{look.answer['product']} {look.answer['version']} answers.")


def _unreached(facts: Facts, check: str, error: str, *, part: str, setting: str) -> Finding:
    """A problem of this place only, when the registry has none with it."""
    advice = f"{setting} of this environment says where it is; see its user and password, too."
    if facts.of_diagnosis(part) is not None:
        return warning(check, f"{error} The registry has no trouble with it.", advice)
    return problem(check, error, advice)


_MISSING: Final = {
    "database": "PostgreSQL does not answer it: see database above.",
    "broker": "RabbitMQ is away, or its consumers are: see broker above.",
    "registry": "The registry refuses its token: set SERVICE_TOKENS as the registry has it.",
    "sockets": "It has nothing left to call clients with; its log says what (own_sockets_lacking). Mostly open files: "
    "raise their limit (ulimit -n), or lower PULL_SYNC_CONCURRENCY.",
}


def services(facts: Facts) -> Iterator[Finding]:
    """Puller and ingest of this machine, by their own word."""
    for name, look in facts.here.services.items():
        check = f"{name} here"
        if look.error is not None:
            yield skipped(
                check, look.error, "Run it where the service runs: docker compose exec SERVICE pullsync doctor"
            )
            continue
        failing = [each for each, holds in look.answer.items() if not holds]
        if failing:
            advice = "\n".join(_MISSING.get(each, "Its log says more.") for each in failing)
            yield problem(check, f"It is not ready: {', '.join(failing)}.", advice)
        else:
            yield ok(check, "It is ready.")


def management(facts: Facts) -> Iterator[Finding]:
    """RabbitMQ's nodes, by RABBITMQ_MANAGEMENT_URL."""
    look: Look | None = facts.here.management
    check = "RabbitMQ nodes"
    if look is None:
        yield skipped(
            check,
            "RABBITMQ_MANAGEMENT_URL is not set here.",
            "Set it, such as http://pullsync_monitoring:PASSWORD@localhost:15672",
        )
    elif look.error is not None:
        yield warning(check, look.error, "RABBITMQ_MANAGEMENT_URL says where the management API is, and as whom.")
    else:
        wrong = [finding for node in look.answer for finding in _node(check, node)]
        yield from wrong
        if not wrong:
            free = min((node["disk_free"] for node in look.answer if _is_number(node.get("disk_free"))), default=0)
            yield ok(check, f"{len(look.answer)} running, no alarm, {size(free)} free.")


def _node(check: str, node: Any) -> Iterator[Finding]:
    name = node.get("name", "?")
    if not node.get("running"):
        yield problem(check, f"{name} does not run.", "Start it; what it has is kept.")
    if node.get("mem_alarm"):
        yield problem(
            check,
            f"{name} is out of memory, and takes no messages.",
            "Give it more, or find what fills it: rabbitmq-diagnostics memory_breakdown",
        )
    if node.get("disk_free_alarm"):
        limit = f" (limit {size(node['disk_free_limit'])})" if _is_number(node.get("disk_free_limit")) else ""
        free = size(node["disk_free"]) if _is_number(node.get("disk_free")) else "too little"
        yield problem(
            check, f"{name} has {free} free on its disk{limit}, and takes no messages.", "Make room on its disk."
        )
    if node.get("partitions"):
        yield problem(
            check,
            f"{name} has lost sight of others of its cluster.",
            "See rabbitmqctl cluster_status, and the network.",
        )


def _is_number(value: object) -> bool:
    return isinstance(value, int | float)
