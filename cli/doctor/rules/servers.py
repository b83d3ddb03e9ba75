"""PostgreSQL, RabbitMQ and the disk, as the registry sees them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from cli.doctor.facts import Facts, Json
from cli.doctor.findings import Finding, ok, problem, warning
from cli.doctor.rules.registry import not_looked
from cli.words import counted, number, size

OLDEST_POSTGRES: Final = 150_000
OLDEST_RABBITMQ: Final = (3, 10)
_CONNECTIONS_SHARE: Final = 0.9
_AMPLE: Final = 5
"""Times the least free space, below which there is a warning."""

_DATABASE_PROBLEMS: Final = {
    "away": (
        "The registry does not reach it.",
        (
            "Look whether it runs: docker compose ps postgres; docker compose logs postgres. DATABASE_URL of the "
            "registry says where it is. The registry comes back by itself."
        ),
    ),
    "refused": (
        "It does not let the registry in.",
        "User and password of DATABASE_URL must be those of the role pullsync_registry; its log has the reason.",
    ),
    "slow": (
        "It does not answer within three seconds.",
        (
            "Look at its load, its disk, and who waits for whom: SELECT * FROM pg_stat_activity "
            "WHERE wait_event_type = 'Lock';"
        ),
    ),
    "unprepared": (
        "The registry's tables are not those that it expects.",
        (
            "The registry makes them when it starts: docker compose restart registry. After a restore, see that the "
            "whole backup was restored."
        ),
    ),
}
READ_ONLY: Final = (
    "It is read-only: nothing can be written.",
    (
        "Let DATABASE_URL lead to the primary. If it does, somebody has set it: ALTER SYSTEM RESET "
        "default_transaction_read_only (or ALTER DATABASE, ALTER ROLE), then SELECT pg_reload_conf()."
    ),
)
_ILLNESSES: Final = {
    "read_only": READ_ONLY,
    "disk_full": (
        "Its disk is full: nothing can be written.",
        "Make room on PostgreSQL's disk, and never delete its files: docker system df. All goes on by itself then.",
    ),
    "io_error": (
        "It can't read or write its own files.",
        (
            "Its log names the file: docker compose logs postgres. See its disk (dmesg), whether that is mounted "
            "read-only, and whose the files are. Back up what can be read before it is restarted."
        ),
    ),
    "damaged": (
        "Some of its data are damaged.",
        (
            "Its log names the table or index: docker compose logs postgres. See its disk. REINDEX makes an index "
            "anew; a table comes back from a backup (docs/backup.md)."
        ),
    ),
    "internal_error": (
        "It reports an internal error.",
        "Its log has the statement: docker compose logs postgres. See its disk, and its newer minor versions.",
    ),
    "not_allowed": (
        "The registry's role may not do what it needs.",
        (
            "Its log names the table: docker compose logs registry. The role pullsync_registry must own it: "
            "ALTER TABLE ... OWNER TO pullsync_registry, or GRANT what was revoked."
        ),
    ),
    "tables_missing": _DATABASE_PROBLEMS["unprepared"],
}
_UNKNOWN_ILLNESS: Final = ("It is ill in a way that this program does not know.", "Its log has the reason.")
_BROKER_PROBLEMS: Final = {
    "away": (
        "The registry does not reach it.",
        (
            "Look whether it runs: docker compose ps rabbitmq; docker compose logs rabbitmq. RABBITMQ_URL of the "
            "registry says where it is. Messages that it has are kept, and the services come back by themselves."
        ),
    ),
    "refused": (
        "It does not let the registry in.",
        (
            "User, password and virtual host of RABBITMQ_URL must be those of its definitions; its log has the reason. "
            "docker compose restart rabbitmq imports the definitions anew."
        ),
    ),
    "slow": (
        "It takes connections and does not answer.",
        "Look at its load and its log: rabbitmq-diagnostics status; docker compose logs rabbitmq.",
    ),
}


def _reported(facts: Facts, part: str) -> Json | None:
    """With or without a problem."""
    return dict(facts.diagnosis.answer[part]) if facts.diagnosis and facts.diagnosis.answer else None


def database(facts: Facts) -> Iterator[Finding]:
    """Whether it can be used, and will be tomorrow."""
    found = _reported(facts, "database")
    if found is None:
        if missing := not_looked(facts, "database"):
            yield missing
        return
    illness = None if found["is_standby"] else found.get("illness")  # an older registry does not tell
    if illness:
        yield problem("database", *_ILLNESSES.get(illness, _UNKNOWN_ILLNESS))
        return
    if found["problem"]:
        yield problem("database", *_DATABASE_PROBLEMS[found["problem"]])
        return
    used = f"{found['connections']} of {found['max_connections']} connections"
    if found["is_standby"]:
        yield problem(
            "database",
            "It is a standby: nothing can be written.",
            "Let DATABASE_URL lead to the primary, or promote it.",
        )
    elif found["version_number"] < OLDEST_POSTGRES:
        yield warning("database", f"PostgreSQL {found['version']} is older than 15.", "Upgrade it to 15 or newer.")
    elif found["connections"] > _CONNECTIONS_SHARE * found["max_connections"]:
        yield warning(
            "database",
            f"{used} are in use.",
            "Raise max_connections, or run fewer registries and ingests: each has a pool of its own.",
        )
    else:
        yield ok("database", f"PostgreSQL {found['version']} answers; {used} in use.")


def migrations(facts: Facts) -> Iterator[Finding]:
    """The registry's tables, and the views that ingest has made for it."""
    found = facts.of_diagnosis("database")
    if found is None:
        return
    tables = found["tables"]
    if tables["standing"] in {"behind", "none"}:
        yield problem(
            "migrations",
            f"The registry's tables are at {tables['revision'] or 'no revision'}, its code wants {tables['expected']}.",
            "The registry migrates when it starts: docker compose restart registry. After a restore of an older backup "
            "that is all that is missing.",
        )
    elif tables["standing"] == "ahead":
        yield warning(
            "migrations",
            f"The registry's tables are at {tables['revision']}, which is newer than its code ({tables['expected']}).",
            "An older registry works on a newer one's tables: finish the upgrade (docs/upgrade.md).",
        )
    if tables["missing_views"]:
        yield problem(
            "migrations",
            f"The registry can't read what ingest publishes: {', '.join(tables['missing_views'])}.",
            "Ingest makes it when it starts: docker compose restart ingest. If it is there, CAPTURES_DATABASE_URL has "
            "another role than pullsync_captures_reader, to which it is granted.",
        )
    if tables["captures_problem"]:
        yield problem(
            "migrations",
            "The registry can't read what ingest publishes: PostgreSQL does not let it in for that.",
            "Repeat deploy/postgres/init.sh, which makes the role pullsync_captures_reader and sets its password, or "
            "see CAPTURES_DATABASE_URL of the registry.",
        )
    if tables["standing"] == "current" and not tables["missing_views"] and not tables["captures_problem"]:
        yield ok(
            "migrations", f"All are applied: the registry's to {tables['revision']}, and ingest's views are there."
        )


def broker(facts: Facts) -> Iterator[Finding]:
    """Whether it can be used."""
    found = _reported(facts, "broker")
    if found is None:
        if missing := not_looked(facts, "broker"):
            yield missing
        return
    if found["problem"]:
        yield problem("broker", *_BROKER_PROBLEMS[found["problem"]])
        return
    missing_queues = [queue["queue"] for queue in found["queues"] if not queue["exists"]]
    if missing_queues:
        yield problem(
            "broker",
            f"Queues are missing: {', '.join(missing_queues)}.",
            "Import the definitions: docker compose restart rabbitmq, or deploy/rabbitmq/definitions.sh.",
        )
    if found["takes_messages"] is False:
        yield problem(
            "broker",
            "It takes no messages: an alarm for memory or disk, most likely.",
            "rabbitmq-diagnostics check_local_alarms; give it memory, or free its disk. Clients keep their captures "
            "meanwhile.",
        )
    elif _older(found["version"], OLDEST_RABBITMQ):
        yield warning("broker", f"RabbitMQ {found['version']} is older than 3.10.", "Upgrade it.")
    elif not missing_queues:
        unsure = " Whether an alarm is on was not told." if found["takes_messages"] is None else ""
        yield ok("broker", f"{found['product']} {found['version']} takes messages.{unsure}")


def _older(version: str | None, oldest: tuple[int, int]) -> bool:
    parts = (version or "").split(".")
    return len(parts) > 1 and all(part.isdigit() for part in parts[:2]) and (int(parts[0]), int(parts[1])) < oldest


def _queues(facts: Facts, kind: str) -> list[Json] | None:
    found = facts.of_diagnosis("broker")
    return [queue for queue in found["queues"] if queue["kind"] == kind and queue["exists"]] if found else None


def consumers(facts: Facts) -> Iterator[Finding]:
    """Each service by the queues that it reads, which are named after it."""
    queues = _queues(facts, "work")
    for service in sorted({queue["queue"].partition(".")[0] for queue in queues or ()}):
        own = [queue for queue in queues or () if queue["queue"].startswith(f"{service}.")]
        idle = [queue for queue in own if not queue["consumers"]]
        check = f"{service} at work"
        if idle:
            waiting = sum(queue["messages"] for queue in idle)
            held = f"; {counted(waiting, 'message')} wait" if waiting else ""
            yield problem(
                check,
                f"Nobody reads {', '.join(queue['queue'] for queue in idle)}{held}.",
                f"Look whether {service} runs: docker compose ps {service}; docker compose logs {service}. "
                "What waits is kept until it is back.",
            )
        else:
            fewest = min(queue["consumers"] for queue in own)
            yield ok(check, f"{counted(fewest, 'process', 'processes')} at work on {counted(len(own), 'queue')}.")


def backlog(facts: Facts) -> Iterator[Finding]:
    """Of queues that are read, and grow all the same."""
    queues = [queue for queue in _queues(facts, "work") or () if queue["consumers"]]
    long = [queue for queue in queues if queue["messages"] > facts.thresholds.backlog]
    for queue in long:
        service = queue["queue"].partition(".")[0]
        yield warning(
            "queues",
            f"{number(queue['messages'])} messages wait in {queue['queue']}.",
            f"If that grows, run more of {service}: docker compose up -d --scale {service}=3 (docs/scaling.md).",
        )
    if queues and not long:
        waiting = sum(queue["messages"] for queue in queues)
        yield ok("queues", f"{counted(waiting, 'message')} waiting.")


def dead_letters(facts: Facts) -> Iterator[Finding]:
    """There are none as long as all is well."""
    queues = _queues(facts, "dead")
    if queues is None:
        return
    for queue in (queue for queue in queues if queue["messages"]):
        work = queue["queue"].removesuffix(".dead")
        yield problem(
            "dead letters",
            f"{counted(queue['messages'], 'message')} of {work} could not be handled.",
            f"See why: pullsync dead-letters list {work}\n"
            f"When the cause is gone, have them tried again: pullsync dead-letters replay {work} --all",
        )
    if not any(queue["messages"] for queue in queues):
        yield ok("dead letters", "There are none.")


def disk(facts: Facts) -> Iterator[Finding]:
    """Of the registry's machine; where the servers have others, monitoring watches those."""
    found = facts.of_diagnosis("disk")
    if found is None:
        return
    least, free = facts.thresholds.least_free_bytes, found["free_bytes"]
    said = f"{size(free)} of {size(found['total_bytes'])} are free on the registry's machine."
    advice = (
        "Make room there before PostgreSQL and RabbitMQ stop, if they are on the same disk: docker system df; "
        "du -xh --max-depth=2 / | sort -h | tail"
    )
    if free < least:
        yield problem("disk", said, advice)
    elif free < _AMPLE * least:
        yield warning("disk", said, advice)
    else:
        yield ok("disk", said)
