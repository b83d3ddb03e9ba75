"""Every alert is raised by what it is for and by nothing else, asks for what there is, and says what to do."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from shared.contracts.topology import BINDINGS, WORK_QUEUES
from tests.promtool import promtool
from tests.unit.exposed_metrics import asked_for, known

ROOT: Final = Path(__file__).resolve().parents[2]
RULES: Final = ROOT / "deploy" / "monitoring" / "alerts.yml"
CASES: Final = Path(__file__).parent / "alerts"
GROUPS: Final = {group["name"]: group["rules"] for group in yaml.safe_load(RULES.read_text("utf-8"))["groups"]}
ALERTS: Final[dict[str, dict[str, Any]]] = {rule["alert"]: rule for rules in GROUPS.values() for rule in rules}

every_alert = pytest.mark.parametrize("name", ALERTS)


def runbook() -> str:
    """What docs/monitoring.md says."""
    return (ROOT / "docs" / "monitoring.md").read_text(encoding="utf-8")


def section(name: str) -> str:
    """What it says of an alert, up to the next heading; empty if nothing."""
    found = re.search(rf"^### {name}\n(.*?)(?=^##|\Z)", runbook(), re.MULTILINE | re.DOTALL)
    return found[1] if found else ""


def queues_in(expression: str) -> list[re.Pattern[str]]:
    """The patterns by which an expression chooses queues."""
    return [re.compile(pattern) for pattern in re.findall(r'queue=~?"([^"]+)"', expression)]


def test_prometheus_takes_the_rules() -> None:
    """As promtool has it."""
    promtool("check", "rules", "--lint-fatal", RULES)


@pytest.mark.parametrize("group", GROUPS)
def test_alerts_are_raised_when_they_should_be(group: str) -> None:
    """And not when they should not: each case of the group's file, with the texts that people will read."""
    promtool("test", "rules", CASES / f"{group}.yml")


@pytest.mark.parametrize("group", GROUPS)
def test_each_alert_has_cases_of_both_kinds(group: str) -> None:
    """One that raises it, and one that nearly does."""
    cases = yaml.safe_load((CASES / f"{group}.yml").read_text(encoding="utf-8"))["tests"]
    raised = {test["alertname"]: set[bool]() for case in cases for test in case["alert_rule_test"]}
    for case in cases:
        [test] = case["alert_rule_test"]
        raised[test["alertname"]].add(bool(test["exp_alerts"]))
        words = "fires" if test["exp_alerts"] else "does not fire"
        assert case["name"].startswith(f"{test['alertname']} {words} ")
    assert raised == {rule["alert"]: {True, False} for rule in GROUPS[group]}


def test_no_case_is_left_over() -> None:
    """Of a group that is no more."""
    assert {path.stem for path in CASES.glob("*.yml")} == set(GROUPS)


@every_alert
def test_an_alert_says_what_is_wrong_and_what_to_do(name: str) -> None:
    """How urgent it is, since when, with the value, and where it is explained with commands to type."""
    rule = ALERTS[name]
    annotations = rule["annotations"]
    assert set(rule) == {"alert", "expr", "for", "labels", "annotations"}
    assert rule["labels"] in ({"severity": "critical"}, {"severity": "warning"})
    assert set(annotations) == {"summary", "description", "runbook"}
    assert annotations["summary"].endswith(".")
    assert "{{" not in annotations["summary"]
    assert "$value" in annotations["description"] or "$labels" in annotations["description"]
    assert annotations["runbook"] == f"docs/monitoring.md#{name.lower()}"
    told = section(name)
    assert "**Means**" in told
    assert "**Do**" in told
    assert f"\n*{rule['labels']['severity']}, after {rule['for']}.* {annotations['summary']}\n" in told
    assert "```bash\n" in told


def test_nothing_is_explained_that_is_no_alert() -> None:
    """An alert that went away leaves no runbook behind."""
    assert re.findall(r"^### ([A-Z]\w+)$", runbook(), re.MULTILINE) == list(ALERTS)


@every_alert
def test_an_alert_asks_for_metrics_that_exist(name: str) -> None:
    """Else it would never be raised, and nobody would know."""
    asked = asked_for(ALERTS[name]["expr"])
    assert asked
    assert asked - known() == set()


@pytest.mark.parametrize("name", ["QueueNotConsumed", "QueueGrows"])
def test_queues_of_work_are_watched(name: str) -> None:
    """Each of them, and neither dead letters nor delays, which nobody consumes."""
    [pattern] = queues_in(ALERTS[name]["expr"])
    names = {queue.name for _, queue in BINDINGS}
    assert {queue for queue in names if pattern.fullmatch(queue)} == {queue.name for queue in WORK_QUEUES}


def test_the_limits_of_queues_are_those_that_they_have() -> None:
    """Each queue by one of the rule's patterns, over the size that it is declared with."""
    parts = re.findall(r'queue=~?"([^"]+)"\s*\} / \((\d+) \* 1024 \* 1024\)', ALERTS["QueueNearlyFull"]["expr"])
    for _, queue in BINDINGS:
        limits = [int(mib) for pattern, mib in parts if re.fullmatch(pattern, queue.name)]
        assert limits == [(queue.arguments or {})["x-max-length-bytes"] // 1024**2], queue.name
