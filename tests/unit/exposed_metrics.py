"""Which metrics there are: what alert rules and dashboard may ask for. A name that is not here would be silence."""

from __future__ import annotations

import re
from typing import Final

OURS: Final = {
    "gauge": {
        "pullsync_broker_ready",
        "pullsync_build_info",
        "pullsync_captures_pending",
        "pullsync_client_captures",
        "pullsync_client_registered",
        "pullsync_clients",
        "pullsync_database_connections",
        "pullsync_database_connections_max",
        "pullsync_database_up",
        "pullsync_messages_held",
        "pullsync_pulls_in_flight",
        "pullsync_pulls_limit",
        "pullsync_pulls_under_way",
        "pullsync_quarantined_items",
        "pullsync_schedule_lag_seconds",
        "pullsync_scheduler_running",
        "pullsync_sync_runs_unfinished",
        "pullsync_writer_waiting_rows",
    },
    "counter": {
        "pullsync_acknowledgements_total",
        "pullsync_captures_total",
        "pullsync_claims_total",
        "pullsync_commits_total",
        "pullsync_http_requests_total",
        "pullsync_messages_consumed_total",
        "pullsync_messages_published_total",
        "pullsync_pulls_settled_total",
        "pullsync_pulls_total",
    },
    "histogram": {
        "pullsync_batch_captures",
        "pullsync_batch_pulls",
        "pullsync_capture_age_seconds",
        "pullsync_claim_seconds",
        "pullsync_commit_rows",
        "pullsync_commit_seconds",
        "pullsync_http_request_seconds",
        "pullsync_message_consume_seconds",
        "pullsync_message_publish_seconds",
        "pullsync_pull_answer_bytes",
        "pullsync_pull_captures",
        "pullsync_pull_lateness_seconds",
        "pullsync_pull_seconds",
        "pullsync_store_delay_seconds",
    },
}
"""Of our services, by type."""

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
