"""Grafana's dashboard asks for what there is, in a language that Prometheus takes, and fits the page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from dev.dashboard import grafana
from dev.docs import ROOT
from tests.promtool import promtool
from tests.unit.exposed_metrics import asked_for, known

FOLDER: Final = ROOT / "deploy" / "monitoring" / "grafana"
DASHBOARD: Final[dict[str, Any]] = json.loads((FOLDER / "dashboards" / "pullsync.json").read_text(encoding="utf-8"))
PANELS: Final[list[dict[str, Any]]] = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]


def test_the_top_says_whether_it_is_well() -> None:
    """Alerts, what is stored, how old, what waits, what fails, and what lies there for an operator."""
    [row, *panels] = DASHBOARD["panels"]
    assert (row["type"], row["title"]) == ("row", "Is it well?")
    assert [panel["type"] for panel in panels[:6]] == ["stat"] * 6
    assert panels[0]["title"] == "Alerts"
    assert "ALERTS" in panels[0]["targets"][0]["expr"]


def test_rows_follow_the_way_of_a_capture() -> None:
    """Numbered, between what is asked first and what it takes."""
    rows = [panel["title"] for panel in DASHBOARD["panels"] if panel["type"] == "row"]
    assert [title[:2] for title in rows if title[0].isdigit()] == ["1.", "2.", "3."]
    assert rows[0] == "Is it well?"


def test_expressions_are_promql(tmp_path: Path) -> None:
    """Each of them as a rule that promtool takes."""
    rules = [{"record": f"panel:{number}", "expr": text} for number, text in enumerate(grafana.expressions())]
    path = tmp_path / "panels.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}), encoding="utf-8")
    assert len(rules) > 50
    promtool("check", "rules", path)


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: str(panel["title"]))
def test_a_panel_asks_for_metrics_that_exist(panel: dict[str, Any]) -> None:
    """Else it would be empty for ever."""
    for target in panel["targets"]:
        asked = asked_for(target["expr"])
        assert asked
        assert asked - known() == set()


def test_what_is_shown_of_each_service_is_shown_somewhere() -> None:
    """No metric of ours is collected for nobody, but for those that are for more than a glance."""
    shown = {name for panel in PANELS for target in panel["targets"] for name in asked_for(target["expr"])}
    ours = {name for name in known() if name.startswith("pullsync_") and not name.endswith(("_sum", "_count"))}
    assert ours - shown == {
        "pullsync_client_captures",
        "pullsync_client_database_usable",
        "pullsync_client_registered",
        "pullsync_message_publish_seconds_bucket",
        "pullsync_scheduler_interval_seconds",
    }


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: str(panel["title"]))
def test_a_panel_says_what_it_shows(panel: dict[str, Any]) -> None:
    """In words, from the one data source; a picture of several lines names each."""
    assert panel["description"].endswith(".")
    assert (
        {target["datasource"]["uid"] for target in panel["targets"]} == {panel["datasource"]["uid"]} == {"prometheus"}
    )
    assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])
    if len(panel["targets"]) > 1:
        assert all(target["legendFormat"] for target in panel["targets"])


def test_panels_lie_side_by_side() -> None:
    """Within the page, none over another, each with a number and a title of its own."""
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        grid = panel["gridPos"]
        cells = {
            (x, y) for x in range(grid["x"], grid["x"] + grid["w"]) for y in range(grid["y"], grid["y"] + grid["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells
    assert {x for x, _ in taken} == set(range(24))
    for key in ("id", "title"):
        values = [panel[key] for panel in DASHBOARD["panels"]]
        assert len(set(values)) == len(values)


def test_grafana_finds_its_data_and_the_dashboard() -> None:
    """By the files from which it is provisioned, at the places where docker compose puts them."""
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))["services"]
    [source] = yaml.safe_load((FOLDER / "provisioning" / "datasources" / "prometheus.yml").read_text())["datasources"]
    [provider] = yaml.safe_load((FOLDER / "provisioning" / "dashboards" / "pullsync.yml").read_text())["providers"]
    assert (source["type"], source["uid"], source["isDefault"]) == ("prometheus", "prometheus", True)
    assert source["url"] == "http://prometheus:9090"
    mounted = dict(mount.split(":")[:2] for mount in services["grafana"]["volumes"])
    assert mounted["./deploy/monitoring/grafana/provisioning"] == "/etc/grafana/provisioning"
    assert mounted["./deploy/monitoring/grafana/dashboards"] == provider["options"]["path"]
    home = services["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert home == f"{provider['options']['path']}/pullsync.json"
