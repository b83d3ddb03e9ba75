"""Which metrics there are: what alert rules and dashboard may ask for. A name that is not here would be silence."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

_TABLES: Final = Path(__file__).parents[2] / "docs" / "metrics.md"
_ROW: Final = re.compile(r"^\| `(pullsync_\w+)`(?: †)? \| (\w+) \|", re.MULTILINE)


def _ours() -> dict[str, set[str]]:
    found: dict[str, set[str]] = {"gauge": set(), "counter": set(), "histogram": set()}
    for name, kind in _ROW.findall(_TABLES.read_text(encoding="utf-8")):
        found[kind].add(name)
    return found


OURS: Final = _ours()
"""Of our services, by type; tests/integration/test_metrics.py holds that document to what they expose."""

OF_EACH_PROCESS: Final = {
    "process_cpu_seconds_total",
    "process_open_fds",
    "process_resident_memory_bytes",
    "process_start_time_seconds",
}
"""By prometheus_client."""

RABBITMQ: Final = {
    "rabbitmq_alarms_file_descriptor_limit",
    "rabbitmq_alarms_free_disk_space_watermark",
    "rabbitmq_alarms_memory_used_watermark",
    "rabbitmq_detailed_queue_consumers",
    "rabbitmq_detailed_queue_messages",
    "rabbitmq_detailed_queue_messages_bytes",
    "rabbitmq_detailed_queue_messages_ready",
    "rabbitmq_detailed_queue_messages_unacked",
    "rabbitmq_disk_space_available_bytes",
    "rabbitmq_disk_space_available_limit_bytes",
    "rabbitmq_process_resident_memory_bytes",
    "rabbitmq_resident_memory_limit_bytes",
}
"""Of its own plugin; tests/integration/test_prometheus.py asks a real node for each."""

POSTGRES: Final = {
    "pg_database_size_bytes",
    "pg_settings_max_connections",
    "pg_settings_max_wal_size_bytes",
    "pg_stat_archiver_failed_count",
    "pg_stat_database_numbackends",
    "pg_stat_database_xact_commit",
    "pg_stat_database_xact_rollback",
    "pg_up",
    "pg_wal_size_bytes",
}
"""Of postgres_exporter 0.20; none of its collectors must be turned on for them."""

PROMETHEUS: Final = {"ALERTS", "up"}
"""Its own."""

_NAME: Final = re.compile(r"\b(?:(?:pullsync|rabbitmq|pg|process|python|erlang)_\w+|ALERTS|up)\b")
_STRING: Final = re.compile(r'"[^"]*"')


def known() -> set[str]:
    """Every name that can be asked for."""
    histograms = {f"{name}_{part}" for name in OURS["histogram"] for part in ("bucket", "sum", "count")}
    return OURS["gauge"] | OURS["counter"] | histograms | OF_EACH_PROCESS | RABBITMQ | POSTGRES | PROMETHEUS


def asked_for(expression: str) -> set[str]:
    """The names of metrics in an expression of PromQL."""
    return set(_NAME.findall(_STRING.sub('""', expression)))
