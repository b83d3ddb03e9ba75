"""Grafana's dashboard: `deploy/monitoring/grafana/dashboards/pullsync.json`, which `make docs` writes.

From top to bottom: is it well, the way of a capture, what that takes. What is asked stands in the modules beside this
one; here it is laid out in rows as Grafana wants it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from dev.dashboard.health import HEALTH
from dev.dashboard.messages import MESSAGES
from dev.dashboard.panels import Panel, Row
from dev.dashboard.pulls import PULLS
from dev.dashboard.resources import API, RESOURCES
from dev.dashboard.storing import STORING

Json = dict[str, Any]

ROWS: Final = (HEALTH, PULLS, MESSAGES, STORING, API, RESOURCES)
"""From top to bottom."""
_WIDTH: Final = 24
_SOURCE: Final = {"type": "prometheus", "uid": "prometheus"}


def document() -> Json:
    """The dashboard, for any Grafana whose Prometheus has the uid `prometheus`."""
    return {
        "uid": "pullsync",
        "title": "PullSync",
        "description": "Is it well, the way of a capture, and what it takes. docs/monitoring.md tells more.",
        "tags": ["pullsync"],
        "schemaVersion": 39,
        "editable": False,
        "graphTooltip": 1,  # one cross-hair through all panels
        "refresh": "15s",
        "time": {"from": "now-1h", "to": "now"},
        "timezone": "browser",
        "annotations": {"list": [_alerts_annotation()]},
        "templating": {"list": []},
        "links": [],
        "panels": list(_laid_out(ROWS)),
    }


def expressions() -> list[str]:
    """What the panels and annotations ask, as Prometheus is asked, with the shortest range in place of Grafana's."""
    asked = [query.expression for row in ROWS for panel in row.panels for query in panel.queries]
    return [text.replace("$__rate_interval", "1m") for text in (*asked, _alerts_annotation()["expr"])]


def _laid_out(rows: Sequence[Row]) -> Iterator[Json]:
    """Each row below the one before, its panels side by side, as wide as they are in number."""
    top, number = 0, 0
    for row in rows:
        number += 1
        yield {
            "id": number,
            "type": "row",
            "title": row.title,
            "collapsed": False,
            "panels": [],
            "gridPos": _place(top),
        }
        top += 1
        for line in row.lines:
            width, height = _WIDTH // len(line), row.height
            for place, panel in enumerate(line):
                number += 1
                grid = {"x": place * width, "y": top, "w": width, "h": height}
                yield {"id": number, "gridPos": grid, **_panel(panel)}
            top += row.height


def _place(top: int) -> Json:
    return {"x": 0, "y": top, "w": _WIDTH, "h": 1}


def _panel(panel: Panel) -> Json:
    defaults: Json = {"unit": panel.unit, "min": 0, "noValue": panel.if_nothing, "thresholds": _thresholds(panel)}
    if panel.kind == "timeseries":
        defaults["color"] = {"mode": "palette-classic"}
        defaults["custom"] = {"lineWidth": 1, "fillOpacity": 10, "stacking": {"mode": panel.stacking}}
    else:
        defaults["color"] = {"mode": "thresholds"}
    return {
        "type": panel.kind,
        "title": panel.title,
        "description": panel.description,
        "datasource": _SOURCE,
        "targets": [_target(panel, place) for place in range(len(panel.queries))],
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": _OPTIONS[panel.kind],
        "transformations": [_WITHOUT_NOISE] if panel.kind == "table" else [],
    }


def _thresholds(panel: Panel) -> Json:
    if panel.red_from is None:
        steps: list[Json] = [{"color": "blue", "value": None}]
    else:
        steps = [{"color": "green", "value": None}, {"color": "red", "value": panel.red_from}]
    return {"mode": "absolute", "steps": steps}


def _target(panel: Panel, place: int) -> Json:
    query = panel.queries[place]
    at_once = panel.kind != "timeseries"
    return {
        "refId": chr(ord("A") + place),
        "datasource": _SOURCE,
        "editorMode": "code",
        "expr": query.expression,
        "legendFormat": query.legend,
        "instant": at_once,
        "range": not at_once,
        "format": "table" if panel.kind == "table" else "time_series",
    }


def _alerts_annotation() -> Json:
    """Marks when an alert was firing."""
    return {
        "name": "Alerts",
        "datasource": _SOURCE,
        "enable": True,
        "iconColor": "red",
        "expr": 'ALERTS{alertstate="firing"}',
        "step": "60s",
        "titleFormat": "{{alertname}}",
        "textFormat": "{{severity}}",
    }


_OPTIONS: Final[dict[str, Json]] = {
    "stat": {
        "colorMode": "background",
        "graphMode": "none",
        "textMode": "auto",
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
    },
    "timeseries": {
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
        "tooltip": {"mode": "multi", "sort": "desc"},
    },
    "table": {"showHeader": True},
}
_WITHOUT_NOISE: Final[Json] = {
    "id": "organize",
    "options": {"excludeByName": dict.fromkeys(("Time", "Value", "__name__", "alertstate"), True)},
}
"""Columns that are the same in each line of a table of alerts."""
