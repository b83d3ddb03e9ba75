"""Each rule of `pullsync doctor`, over facts as the API's own examples have them: well, and with one fault each."""

from __future__ import annotations

import re
from copy import deepcopy
from dataclasses import replace
from typing import Any, Final, cast

import httpx
import pytest

from cli.doctor.facts import Answered, ClientFacts, ClientProbe, Clock, Facts, Here, Look, Thresholds
from cli.doctor.findings import Finding, worst
from cli.doctor.looking import clock
from cli.doctor.remedies import remedy
from cli.doctor.rules import RULES, judge, servers
from cli.doctor.showing import as_data, summary
from cli.words import moment
from services.registry.api import examples
from shared.contracts.messages import Reason
from shared.contracts.topology import WORK_QUEUES
from shared.postgres.illness import Illness
from shared.version import VERSION

MIB: Final = 1024 * 1024
RECENT: Final = cast("dict[str, Any]", examples.METRICS["recent"])
Path = tuple[str | int, ...]


def numbers() -> dict[str, Any]:
    """Of a scheduler that runs, and of pulls that go well."""
    recent = {**RECENT, "failed_by_reason": {}, "success_rate": 1.0}
    return {**examples.METRICS, "recent": recent, "running": True, "sync_interval": 30, "cleanup_interval": 3600}


def diagnosis() -> dict[str, Any]:
    """With every work queue read by somebody."""
    found: dict[str, Any] = deepcopy(cast("Any", examples.DIAGNOSIS))
    queue = {"exists": True, "messages": 0}
    found["broker"]["queues"] = [
        each
        for work in WORK_QUEUES
        for each in (
            {**queue, "queue": work.name, "kind": "work", "consumers": 1},
            {**queue, "queue": f"{work.name}.dead", "kind": "dead", "consumers": 0},
        )
    ]
    return found


def tables(quarantined: int = 0) -> Look:
    """What `database-status` answers."""
    return Look(answer={"status": "healthy", "tables": {"clients": 1, "quarantine": quarantined}})


def well(**changes: Any) -> Facts:
    """Facts of a stack in which nothing is wrong, but for the changes."""
    facts = Facts(
        url="http://localhost:8000",
        is_local=True,
        has_token=False,
        registry=Answered(version=VERSION, took_s=0.01, clock=Clock(offset_s=0.1, uncertainty_s=0.5)),
        scheduler=Look(answer=numbers()),
        diagnosis=Look(answer=diagnosis()),
        tables=tables(),
    )
    return replace(facts, **changes)


def diagnosed(path: Path, value: object) -> Facts:
    """The same with another value somewhere in the diagnosis."""
    return well(diagnosis=Look(answer=changed(diagnosis(), path, value)))


def counted(path: Path, value: object) -> Facts:
    """The same with another number of the scheduler's status."""
    return well(scheduler=Look(answer=changed(numbers(), path, value)))


def changed(data: dict[str, Any], path: Path, value: object) -> dict[str, Any]:
    """With one value replaced."""
    part: Any = data
    for key in path[:-1]:
        part = part[key]
    part[path[-1]] = value
    return data


def at_client(probe: ClientProbe | None = None, **record: object) -> Facts:
    """With a look at user_1's client."""
    found = Look(answer={**examples.CLIENT, **record})
    return well(client=ClientFacts(user_id="user_1", record=found, probe=probe))


def here(**looks: Any) -> Facts:
    """With a look at what is set here."""
    return well(here=Here(**looks))


def queue(name: str, **values: object) -> Facts:
    """With other values of one queue."""
    found = diagnosis()
    [place] = [index for index, each in enumerate(found["broker"]["queues"]) if each["queue"] == name]
    found["broker"]["queues"][place] |= values
    return well(diagnosis=Look(answer=found))


IDLE: Final = {
    **numbers(),
    "lag_s": 0.0,
    "in_flight": 0,
    "recent": {**RECENT, "pulls": 0, "failed_by_reason": {}, "success_rate": None},
}
DATABASE_HERE: Final = {
    "version": "18.1",
    "took_s": 0.01,
    "is_read_only": False,
    "schemas": [{"schema": "registry", "service": "registry", "revision": "4", "expected": "4", "standing": "current"}],
}
HERE_WELL: Final = Here(
    database=Look(answer=DATABASE_HERE),
    broker=Look(answer={"product": "RabbitMQ", "version": "4.2.1"}),
    management=Look(answer=[{"name": "rabbit@a", "running": True, "disk_free": 10**10}]),
    services={"puller": Look(answer={"broker": True, "registry": True, "sockets": True})},
)
CERTAIN: Final = Clock(offset_s=100.0, uncertainty_s=1.0)
NODE: Final = {"name": "rabbit@a", "running": True}
SAYS: Final = {"status": "healthy", "client_id": "user_1"}
AT: Final = examples.URL

FAULTS: Final[dict[str, tuple[Facts, str, str, str, str]]] = {
    # name: facts, check, state, a part of what is found, a part of the advice
    "no registry": (
        well(registry=None, unreachable="The registry is not reached: Connection refused."),
        "registry",
        "problem",
        "Connection refused",
        "docker compose logs registry",
    ),
    "no token": (well(access="wanted"), "token", "problem", "wants a token", "PULLSYNC_TOKEN"),
    "wrong token": (well(access="refused", has_token=True), "token", "problem", "does not know", "--token-file"),
    "narrow token": (well(access="forbidden", has_token=True), "token", "problem", "may not look", "scope read"),
    "token without TLS": (
        well(has_token=True, is_local=False, url="http://elsewhere:8000"),
        "token",
        "warning",
        "unencrypted",
        "https://",
    ),
    "another version": (
        well(registry=Answered(version="9.9", took_s=0, clock=None)),
        "versions",
        "warning",
        "9.9",
        "docker compose exec",
    ),
    "open to everybody": (
        replace(diagnosed(("settings", "is_anonymous"), True), is_local=False),
        "settings",
        "warning",
        "is an operator",
        "OPERATOR_TOKENS",
    ),
    "short leases": (diagnosed(("settings", "lease_s"), 20), "settings", "warning", "20 s", "PULL_SYNC_LEASE"),
    "no diagnosis": (
        well(diagnosis=Look(error="No such path.")),
        "database",
        "skipped",
        "No such path",
        "/api/v1/admin/diagnosis",
    ),
    "database away": (
        diagnosed(("database", "problem"), "away"),
        "database",
        "problem",
        "does not reach",
        "docker compose logs postgres",
    ),
    "database refuses": (diagnosed(("database", "problem"), "refused"), "database", "problem", "let", "DATABASE_URL"),
    "database slow": (diagnosed(("database", "problem"), "slow"), "database", "problem", "three", "pg_stat_activity"),
    "no tables": (
        diagnosed(("database", "problem"), "unprepared"),
        "database",
        "problem",
        "tables",
        "restart registry",
    ),
    "PostgreSQL is ill, and can't even be asked": (
        well(
            diagnosis=Look(
                answer=changed(
                    changed(diagnosis(), ("database", "problem"), "away"), ("database", "illness"), "io_error"
                )
            )
        ),
        "database",
        "problem",
        "its own files",
        "dmesg",
    ),
    "standby": (diagnosed(("database", "is_standby"), True), "database", "problem", "standby", "primary"),
    **{
        f"PostgreSQL is ill: {illness}": (
            diagnosed(("database", "illness"), illness),
            "database",
            "problem",
            found,
            advice,
        )
        for illness, found, advice in (
            ("read_only", "read-only", "default_transaction_read_only"),
            ("disk_full", "disk is full", "Make room"),
            ("io_error", "its own files", "dmesg"),
            ("damaged", "damaged", "REINDEX"),
            ("internal_error", "internal error", "docker compose logs postgres"),
            ("not_allowed", "may not", "GRANT"),
            ("tables_missing", "tables", "restart registry"),
            ("of a newer registry", "does not know", "log"),
        )
    },
    "old PostgreSQL": (
        diagnosed(("database", "version_number"), 140_010),
        "database",
        "warning",
        "older than 15",
        "Upgrade",
    ),
    "connections": (
        diagnosed(("database", "connections"), 195),
        "database",
        "warning",
        "195 of 200",
        "max_connections",
    ),
    "migration missing": (
        diagnosed(("database", "tables", "standing"), "behind"),
        "migrations",
        "problem",
        "its code wants 0004",
        "restart registry",
    ),
    "migration too new": (
        diagnosed(("database", "tables", "standing"), "ahead"),
        "migrations",
        "warning",
        "newer than its code",
        "finish the upgrade",
    ),
    "views missing": (
        diagnosed(("database", "tables", "missing_views"), ["published_totals"]),
        "migrations",
        "problem",
        "published_totals",
        "restart ingest",
    ),
    "views not read": (
        diagnosed(("database", "tables", "captures_problem"), "refused"),
        "migrations",
        "problem",
        "does not let it in for that",
        "CAPTURES_DATABASE_URL",
    ),
    "broker away": (
        diagnosed(("broker", "problem"), "away"),
        "broker",
        "problem",
        "does not reach",
        "docker compose logs rabbitmq",
    ),
    "broker refuses": (diagnosed(("broker", "problem"), "refused"), "broker", "problem", "let", "RABBITMQ_URL"),
    "broker slow": (
        diagnosed(("broker", "problem"), "slow"),
        "broker",
        "problem",
        "not answer",
        "rabbitmq-diagnostics",
    ),
    "alarm": (diagnosed(("broker", "takes_messages"), False), "broker", "problem", "alarm", "check_local_alarms"),
    "old RabbitMQ": (diagnosed(("broker", "version"), "3.9.29"), "broker", "warning", "older than 3.10", "Upgrade"),
    "queue missing": (
        queue("ingest.replays", exists=False),
        "broker",
        "problem",
        "ingest.replays",
        "definitions",
    ),
    "no ingest": (
        queue("ingest.capture-batches", consumers=0, messages=7),
        "ingest at work",
        "problem",
        "Nobody reads ingest.capture-batches; 7 messages wait",
        "docker compose logs ingest",
    ),
    "no puller": (
        queue("puller.pull-requested", consumers=0),
        "puller at work",
        "problem",
        "Nobody reads puller.pull-requested.",
        "docker compose ps puller",
    ),
    "backlog": (
        queue("ingest.capture-batches", messages=10_001),
        "queues",
        "warning",
        "10,001 messages wait in ingest.capture-batches",
        "--scale ingest=3",
    ),
    "dead letter": (
        queue("ingest.capture-batches.dead", messages=1),
        "dead letters",
        "problem",
        "1 message of ingest.capture-batches",
        "pullsync dead-letters replay ingest.capture-batches --all",
    ),
    "registry's clock": (
        well(registry=Answered(version=VERSION, took_s=0, clock=CERTAIN)),
        "clock",
        "problem",
        "100 s ahead of this machine's",
        "NTP",
    ),
    "registry's clock, a little": (
        well(registry=Answered(version=VERSION, took_s=0, clock=Clock(offset_s=-5, uncertainty_s=1))),
        "clock",
        "warning",
        "5 s behind this machine's",
        "NTP",
    ),
    "database's clock": (
        diagnosed(("database", "clock_offset_s"), -3600.0),
        "database clock",
        "problem",
        "1 h behind registry's",
        "NTP",
    ),
    "disk full": (diagnosed(("disk", "free_bytes"), 100 * MIB), "disk", "problem", "100 MiB", "docker system df"),
    "disk low": (diagnosed(("disk", "free_bytes"), 2048 * MIB), "disk", "warning", "2.0 GiB", "docker system df"),
    "disk low by another measure": (
        well(thresholds=Thresholds(least_free_bytes=2**60)),
        "disk",
        "problem",
        "are free",
        "room",
    ),
    "scheduler stopped": (counted(("running",), False), "scheduler", "problem", "stopped", "pullsync scheduler start"),
    "late": (counted(("lag_s",), 100.0), "scheduler", "warning", "100 s late", "--scale puller=3"),
    "very late": (counted(("lag_s",), 1000.0), "scheduler", "problem", "17 min late", "docker compose logs puller"),
    "nobody pulled": (
        well(scheduler=Look(answer=IDLE)),
        "scheduler",
        "problem",
        "none was in the last 5 min",
        "times_corrected",
    ),
    "scheduler unknown": (
        well(scheduler=Look(error="The database is not available.")),
        "scheduler",
        "skipped",
        "not available",
        "database",
    ),
    "no clients": (counted(("registered_clients",), 0), "clients", "warning", "No client", "register-client"),
    "some fail": (
        well(scheduler=Look(answer={**numbers(), "registered_clients": 10, "failing_clients": 1})),
        "clients",
        "warning",
        "Of 10 clients 1 failing",
        "pullsync doctor --user USER",
    ),
    "some are paused": (
        well(scheduler=Look(answer={**numbers(), "registered_clients": 10, "paused_clients": 2})),
        "clients",
        "ok",
        "10 clients registered, 2 of them paused",
        "",
    ),
    "most fail": (counted(("failing_clients",), 1), "clients", "problem", "1 failing", "--state failing"),
    "most are inactive": (counted(("inactive_clients",), 1), "clients", "problem", "1 inactive", "--state inactive"),
    "pulls fail": (
        counted(
            ("recent",),
            {**RECENT, "success_rate": 0.2, "failed_by_reason": {"tls": 7, "timeout": 1}},
        ),
        "pulls",
        "problem",
        "20 % of the last 5 min went well; failures: tls 7, timeout 1",
        "PULL_SYNC_CA_FILE",
    ),
    "a pull failed": (
        counted(("recent",), {**RECENT, "success_rate": 0.9}),
        "pulls",
        "warning",
        "90 %",
        "PULL_SYNC_TIMEOUT",
    ),
    "quarantine": (well(tables=tables(3)), "quarantine", "warning", "3 captures", "pullsync quarantine list"),
    "bad setting here": (
        here(settings_problems=("setting REGISTRY_PORT: Input should be a valid integer; found 'x'",)),
        "settings here",
        "problem",
        "Setting REGISTRY_PORT: Input should be a valid integer; found 'x'.",
        ".env.example",
    ),
    "no database here": (well(), "database from here", "skipped", "DATABASE_URL is not set", "docker compose exec"),
    "no broker here": (well(), "broker from here", "skipped", "RABBITMQ_URL is not set", "docker compose exec"),
    "no management here": (well(), "RabbitMQ nodes", "skipped", "is not set", "http://pullsync_monitoring"),
    "database unreached here": (
        here(database=Look(error="Refused.")),
        "database from here",
        "warning",
        "Refused. The registry has no trouble with it.",
        "DATABASE_URL",
    ),
    "database read-only here": (
        here(database=Look(answer={**DATABASE_HERE, "is_read_only": True})),
        "database from here",
        "problem",
        "read-only",
        "default_transaction_read_only",
    ),
    "database unreached everywhere": (
        replace(diagnosed(("database", "problem"), "away"), here=Here(database=Look(error="Refused."))),
        "database from here",
        "problem",
        "Refused.",
        "DATABASE_URL",
    ),
    "broker unreached here": (
        here(broker=Look(error="Refused.")),
        "broker from here",
        "warning",
        "Refused.",
        "RABBITMQ_URL",
    ),
    "ingest's migration missing": (
        here(
            database=Look(
                answer={
                    "version": "18",
                    "took_s": 0,
                    "is_read_only": False,
                    "schemas": [
                        {
                            "schema": "captures",
                            "service": "ingest",
                            "revision": "1",
                            "expected": "2",
                            "standing": "behind",
                        }
                    ],
                }
            )
        ),
        "database from here",
        "problem",
        "captures is at 1, and the code here wants 2",
        "restart ingest",
    ),
    "a puller without descriptors": (
        here(services={"puller": Look(answer={"broker": True, "registry": True, "sockets": False})}),
        "puller here",
        "problem",
        "not ready: sockets",
        "ulimit -n",
    ),
    "an ingest without RabbitMQ": (
        here(services={"ingest": Look(answer={"database": True, "broker": False, "sockets": True})}),
        "ingest here",
        "problem",
        "not ready: broker",
        "RabbitMQ is away",
    ),
    "a puller elsewhere": (
        here(services={"puller": Look(error="It does not answer.")}),
        "puller here",
        "skipped",
        "does not answer",
        "docker compose exec",
    ),
    "management unreached": (
        here(management=Look(error="It answered 401.")),
        "RabbitMQ nodes",
        "warning",
        "401",
        "RABBITMQ_MANAGEMENT_URL",
    ),
    "node down": (
        here(management=Look(answer=[{**NODE, "running": False}])),
        "RabbitMQ nodes",
        "problem",
        "rabbit@a does not run",
        "Start it",
    ),
    "out of memory": (
        here(management=Look(answer=[{**NODE, "mem_alarm": True}])),
        "RabbitMQ nodes",
        "problem",
        "out of memory",
        "memory_breakdown",
    ),
    "RabbitMQ's disk": (
        here(
            management=Look(
                answer=[{**NODE, "disk_free_alarm": True, "disk_free": 5 * MIB, "disk_free_limit": 50 * MIB}]
            )
        ),
        "RabbitMQ nodes",
        "problem",
        "5.0 MiB free on its disk (limit 50 MiB)",
        "room",
    ),
    "partition": (
        here(management=Look(answer=[{**NODE, "partitions": ["rabbit@b"]}])),
        "RabbitMQ nodes",
        "problem",
        "lost sight",
        "cluster_status",
    ),
    "not registered": (
        well(client=ClientFacts(user_id="user_1", record=Look(), probe=None)),
        "client user_1",
        "problem",
        "not registered",
        "curl -X POST http://localhost:8000/api/v1/pull-sync/register-client",
    ),
    "paused": (at_client(state="paused"), "client user_1", "warning", "paused", "pullsync resume user_1"),
    "failing": (
        at_client(
            state="failing", failures=3, last_reason="http_status", last_error="answered 401", client_url="http://c"
        ),
        "client user_1",
        "problem",
        "failed 3 times in a row, last by http_status: answered 401. Last success: now.",
        "pull token",
    ),
    "failing on localhost": (
        at_client(state="inactive", failures=1, last_reason="connect", last_error="not connected"),
        "client user_1",
        "problem",
        "not connected",
        "the puller's own machine",
    ),
    "not pulled yet": (at_client(last_pull_at=None), "client user_1", "warning", "not pulled yet", "scheduler"),
    "nothing known of it": (
        well(client=ClientFacts(user_id="user_1", record=Look(error="The database is away."), probe=None)),
        "client user_1",
        "skipped",
        "The database is away.",
        "database",
    ),
    "client down": (
        at_client(
            ClientProbe(client_url=AT, says=None, reason="connect", error="not connected"),
            state="failing",
            failures=1,
            last_reason="connect",
            last_error="not connected",
        ),
        "client user_1 from here",
        "problem",
        f"{AT} does not answer: connect: not connected.",
        "the client itself",
    ),
    "client out of sight": (
        at_client(ClientProbe(client_url=AT, says=None, reason="connect", error="not connected")),
        "client user_1 from here",
        "ok",
        "The puller reaches it all the same.",
        "",
    ),
    "another's client": (
        at_client(ClientProbe(client_url=AT, says={**SAYS, "client_id": "user_2"})),
        "client user_1 from here",
        "problem",
        "another user: user_2",
        "CLIENT_USER_ID",
    ),
    "network in the way": (
        at_client(ClientProbe(client_url=AT, says=SAYS), state="failing", failures=1, last_reason="timeout"),
        "client user_1 from here",
        "warning",
        "answers here, and pulls fail",
        "PULL_SYNC_NETWORKS",
    ),
    "client that answers": (
        at_client(ClientProbe(client_url=AT, says=SAYS)),
        "client user_1 from here",
        "ok",
        f"{AT} answers.",
        "",
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_found_with_what_to_do(name: str) -> None:
    """By one finding; all other findings of what is looked at by itself are as they were."""
    facts, check, state, found, advice = FAULTS[name]
    [finding] = [finding for finding in judge(facts) if finding.check == check]
    assert finding.state == state, finding
    assert found in finding.found
    assert advice in (finding.advice or "")
    assert (finding.advice is None) is (state == "ok")


def test_nothing_is_found_where_all_is_well() -> None:
    """With everything that can be looked at."""
    facts = replace(at_client(ClientProbe(client_url=AT, says=SAYS)), here=HERE_WELL)
    findings = judge(facts)
    assert [finding for finding in findings if finding.state != "ok"] == []
    checks = [finding.check for finding in findings]
    assert len(set(checks)) == len(checks) >= 20
    assert summary(findings).plain == "All is well."


@pytest.mark.parametrize(
    "numbers", [{"active_clients": 0}, {"in_flight": 1}, {"lag_s": 1.0}, {"sync_interval": 86_400, "active_clients": 1}]
)
def test_that_nobody_was_pulled_is_no_problem_by_itself(numbers: dict[str, Any]) -> None:
    """Where nobody is to be, a pull has just begun, or the interval is long."""
    found = {finding.check: finding for finding in judge(well(scheduler=Look(answer=IDLE | numbers)))}
    assert found["scheduler"].state == "ok"


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_each_rule_finds_something_somewhere(rule: Any) -> None:
    """None is there in vain."""
    assert any(finding.state != "ok" for facts, *_ in FAULTS.values() for finding in rule(facts))


def test_each_sentence_is_one() -> None:
    """Of a finding, beginning with a capital letter or a name, with a full stop; advice names no placeholder."""
    findings = [finding for facts, *_ in FAULTS.values() for finding in judge(facts)]
    assert all(finding.found.endswith(".") and "\n" not in finding.found for finding in findings)
    assert not [finding for finding in findings if re.search(r"\{\w*\}|None", f"{finding.found}{finding.advice or ''}")]


def test_without_a_registry_only_what_is_here_is_told() -> None:
    """And nothing of the registry's, which nobody knows."""
    facts = well(registry=None, unreachable="It is away.", scheduler=None, diagnosis=None, tables=None)
    assert {finding.check for finding in judge(facts)} == {
        "registry",
        "database from here",
        "broker from here",
        "RabbitMQ nodes",
    }


@pytest.mark.parametrize("reason", Reason)
def test_each_reason_has_a_remedy(reason: Reason) -> None:
    """Of its own; one that is newer than this program has one, too."""
    assert len({remedy(each) for each in Reason}) == len(Reason)
    assert remedy(reason) != remedy("sunspots")


def test_a_foreign_name_can_not_become_a_command() -> None:
    """What is to be copied into a shell is quoted."""
    name = "x; rm -rf ~ #$(id)"
    facts = well(
        client=ClientFacts(
            user_id=name, record=Look(answer={**examples.CLIENT, "user_id": name, "state": "paused"}), probe=None
        )
    )
    [finding] = [finding for finding in judge(facts) if finding.check == f"client {name}"]
    assert finding.advice == "Resume it: pullsync resume 'x; rm -rf ~ #$(id)'"


@pytest.mark.parametrize(
    ("seconds", "at_least", "at_most"), [(0, -1.1, 1.1), (3600, 3598.9, 3601.1), (-3600, -3601, -3598)]
)
def test_a_clock_is_read_from_the_date(seconds: int, at_least: float, at_most: float) -> None:
    """In the middle of the round trip, give or take the second that the header leaves open."""
    before = moment("2026-01-31T12:00:00Z")
    assert before is not None
    told = {0: "12:00:00", 3600: "13:00:00", -3600: "11:00:00"}[seconds]
    answer = httpx.Response(200, headers={"date": f"Sat, 31 Jan 2026 {told} GMT"})
    found = clock(answer, before=before, took_s=0.2)
    assert found is not None
    assert at_least < found.offset_s < at_most
    assert found.uncertainty_s == pytest.approx(1.1)
    assert clock(httpx.Response(200), before=before, took_s=0) is None
    assert clock(httpx.Response(200, headers={"date": "soon"}), before=before, took_s=0) is None


def test_the_worst_counts() -> None:
    """Of all findings; what was skipped is no trouble."""
    states = ["skipped", "ok", "warning", "problem"]
    for place, state in enumerate(states):
        findings = [Finding(check="c", state=each, found="f") for each in states[: place + 1]]  # type: ignore[arg-type] # they are
        assert worst(findings) == state
    assert summary([Finding(check="c", state="problem", found="f")] * 2).plain == "2 problems."


def test_json_has_everything() -> None:
    """Under names that stay."""
    now = moment("2026-01-31T12:00:00Z")
    assert now is not None
    data = as_data(well(), judge(well()), now)
    assert set(data) == {"url", "version", "registry_version", "checked_at", "result", "findings"}
    assert (data["checked_at"], data["result"]) == ("2026-01-31T12:00:00Z", "ok")
    assert all(set(finding) == {"check", "state", "found", "advice"} for finding in data["findings"])


def test_every_illness_has_an_advice() -> None:
    """Also one that is added later."""
    for illness in Illness:
        [finding] = servers.database(diagnosed(("database", "illness"), illness))
        assert (finding.state, "does not know" in finding.found) == ("problem", False)
