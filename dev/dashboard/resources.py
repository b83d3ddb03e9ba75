"""The rest of the dashboard: the HTTP API, and what all of it takes."""

from __future__ import annotations

from typing import Final

from dev.dashboard.panels import Panel, Query, Row

API: Final = Row(
    title="The registry's HTTP API",
    height=8,
    lines=(
        (
            Panel(
                title="Requests",
                description="Each second, by the first digit of the status.",
                queries=(
                    Query(
                        'sum by (class) (label_replace(rate(pullsync_http_requests_total{job="registry"}'
                        '[$__rate_interval]), "class", "${1}xx", "status", "(.).."))',
                        "{{class}}",
                    ),
                ),
                unit="reqps",
                stacking="normal",
            ),
            Panel(
                title="Slowest routes",
                description="99% of their answers are quicker.",
                queries=(
                    Query(
                        "topk(5, histogram_quantile(0.99, sum by (route, le) "
                        '(rate(pullsync_http_request_seconds_bucket{job="registry"}[$__rate_interval]))))',
                        "{{route}}",
                    ),
                ),
                unit="s",
            ),
        ),
    ),
)


RESOURCES: Final = Row(
    title="What it takes",
    height=8,
    lines=(
        (
            Panel(
                title="Processors",
                description="How many each replica uses; Python uses one at most.",
                queries=(
                    Query(
                        'rate(process_cpu_seconds_total{job=~"registry|puller|ingest"}[$__rate_interval])',
                        "{{job}} {{instance}}",
                    ),
                ),
            ),
            Panel(
                title="Memory",
                description="Of each replica.",
                queries=(
                    Query(
                        'process_resident_memory_bytes{job=~"registry|puller|ingest"}',
                        "{{job}} {{instance}}",
                    ),
                ),
                unit="bytes",
            ),
            Panel(
                title="Open files",
                description="Of each replica, its connections included.",
                queries=(Query('process_open_fds{job=~"registry|puller|ingest"}', "{{job}} {{instance}}"),),
            ),
        ),
        (
            Panel(
                title="Connections to PostgreSQL",
                description="Of each service that are in use, and the most that it has; of the server in all.",
                queries=(
                    Query('sum by (job) (pullsync_database_connections{state="used"})', "{{job}} used"),
                    Query("sum by (job) (pullsync_database_connections_max)", "{{job}} at most"),
                    Query("sum(pg_stat_database_numbackends)", "server, all"),
                    Query("max(pg_settings_max_connections)", "server, at most"),
                ),
            ),
            Panel(
                title="Statements that PostgreSQL failed",
                description="Because it is ill, within five minutes; by what is wrong with it.",
                queries=(
                    Query("sum by (job, kind) (increase(pullsync_database_errors_total[5m])) > 0", "{{job}}: {{kind}}"),
                ),
                red_from=1,
                if_nothing="none",
            ),
            Panel(
                title="Transactions in PostgreSQL",
                description="Each second.",
                queries=(
                    Query('sum(rate(pg_stat_database_xact_commit{datname="pullsync"}[$__rate_interval]))', "committed"),
                    Query(
                        'sum(rate(pg_stat_database_xact_rollback{datname="pullsync"}[$__rate_interval]))', "rolled back"
                    ),
                ),
                unit="ops",
            ),
            Panel(
                title="Size of PostgreSQL's data",
                description="The database, and the write-ahead log.",
                queries=(
                    Query('sum(pg_database_size_bytes{datname="pullsync"})', "database"),
                    Query("max(pg_wal_size_bytes)", "write-ahead log"),
                ),
                unit="bytes",
            ),
        ),
        (
            Panel(
                title="RabbitMQ's memory",
                description="At the limit it takes no more messages.",
                queries=(
                    Query("rabbitmq_process_resident_memory_bytes", "{{instance}}"),
                    Query("rabbitmq_resident_memory_limit_bytes", "{{instance}} limit"),
                ),
                unit="bytes",
            ),
            Panel(
                title="Free disk",
                description="Where RabbitMQ's data are; with docker compose those of PostgreSQL, too.",
                queries=(
                    Query("rabbitmq_disk_space_available_bytes", "{{instance}}"),
                    Query("rabbitmq_disk_space_available_limit_bytes", "{{instance}} limit"),
                ),
                unit="bytes",
            ),
            Panel(
                title="Versions",
                description="Of each replica.",
                queries=(Query("count by (service, version) (pullsync_build_info)", "{{service}} {{version}}"),),
            ),
        ),
    ),
)
