"""The top of the dashboard: is it well?"""

from __future__ import annotations

from typing import Final

from dev.dashboard.panels import Panel, Query, Row

HEALTH: Final = Row(
    title="Is it well?",
    height=4,
    lines=(
        (
            Panel(
                title="Alerts",
                description="How many are firing. `What is wrong` names them, docs/monitoring.md says what to do.",
                queries=(Query('count(ALERTS{alertstate="firing"}) or vector(0)'),),
                kind="stat",
                red_from=1,
            ),
            Panel(
                title="Captures stored",
                description="New captures a second. Nothing is wrong with 0 while nobody has any.",
                queries=(Query('sum(rate(pullsync_captures_total{outcome="stored"}[$__rate_interval]))'),),
                kind="stat",
                unit="cps",
            ),
            Panel(
                title="Age when stored",
                description="Half of the captures are younger than this when they are stored: from end to end.",
                queries=(
                    Query("histogram_quantile(0.5, sum by (le) (rate(pullsync_capture_age_seconds_bucket[5m])))"),
                ),
                kind="stat",
                unit="s",
                red_from=900,
                if_nothing="none stored",
            ),
            Panel(
                title="Schedule lag",
                description="For how long the most overdue client has been waiting for its pull.",
                queries=(Query("max(pullsync_schedule_lag_seconds)"),),
                kind="stat",
                unit="s",
                red_from=60,
            ),
            Panel(
                title="Pulls that fail",
                description="Their share in the last 5 minutes. Devices that are off fail, too.",
                queries=(
                    Query(
                        'sum(rate(pullsync_pulls_total{outcome="failed"}[5m])) / sum(rate(pullsync_pulls_total[5m]))'
                    ),
                ),
                kind="stat",
                unit="percentunit",
                red_from=0.5,
                if_nothing="no pulls",
            ),
            Panel(
                title="Dead letters, quarantine",
                description="Messages and items that nobody could process, and that wait for an operator.",
                queries=(
                    Query('sum(max by (queue) (rabbitmq_detailed_queue_messages{queue=~".+[.]dead"}))', "dead letters"),
                    Query("max(pullsync_quarantined_items)", "quarantine"),
                ),
                kind="stat",
                red_from=1,
            ),
        ),
        (
            Panel(
                title="What is wrong",
                description="The alerts that are firing.",
                queries=(Query('ALERTS{alertstate="firing"}'),),
                kind="table",
                if_nothing="nothing",
            ),
            Panel(
                title="Replicas that answer",
                description="Of each service, and of what is watched beside them.",
                queries=(Query("sum by (job) (up)", "{{job}}"),),
            ),
            Panel(
                title="Not ready",
                description="Replicas without RabbitMQ or PostgreSQL, and the timer when it is stopped.",
                queries=(
                    Query("count by (job) (pullsync_broker_ready == 0)", "{{job}}: RabbitMQ"),
                    Query("count by (job) (pullsync_database_up == 0)", "{{job}}: PostgreSQL"),
                    Query("count by (job) (pullsync_database_writable == 0)", "{{job}}: PostgreSQL takes no writes"),
                    Query("count(max(pullsync_scheduler_running) == 0)", "the timer is stopped"),
                ),
                red_from=1,
                if_nothing="all are ready",
            ),
        ),
    ),
)
