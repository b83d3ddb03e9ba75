"""The second step of a capture: batches wait in RabbitMQ."""

from __future__ import annotations

from typing import Final

from dev.dashboard.panels import Panel, Query, Row, quantiles, rate

_WORK: Final = '{queue=~"(puller|ingest|registry)[.][a-z-]+"}'
"""Neither dead letters nor delays, which nobody consumes."""

MESSAGES: Final = Row(
    title="2. Batches wait in RabbitMQ",
    height=8,
    lines=(
        (
            Panel(
                title="Messages that wait",
                description="Ready in each queue. They come and go; that they become ever more is wrong.",
                queries=(Query(f"max by (queue) (rabbitmq_detailed_queue_messages_ready{_WORK})", "{{queue}}"),),
            ),
            Panel(
                title="Messages under way",
                description="Delivered and not acknowledged yet; `held` are those that wait for an outage to end.",
                queries=(
                    Query(f"max by (queue) (rabbitmq_detailed_queue_messages_unacked{_WORK})", "{{queue}}"),
                    Query("sum by (message) (pullsync_messages_held)", "held: {{message}}"),
                ),
            ),
            Panel(
                title="Consumers",
                description="Of each queue that has work; 0 is wrong.",
                queries=(Query(f"max by (queue) (rabbitmq_detailed_queue_consumers{_WORK})", "{{queue}}"),),
            ),
        ),
        (
            Panel(
                title="Published",
                description="Messages each second, and what became of them.",
                queries=(rate("pullsync_messages_published_total", "message, result", "{{message}} {{result}}"),),
                unit="ops",
            ),
            Panel(
                title="Consumed",
                description="Messages each second, and what became of them. Only `handled` is well.",
                queries=(rate("pullsync_messages_consumed_total", "message, result", "{{message}} {{result}}"),),
                unit="ops",
            ),
            Panel(
                title="Time to consume a message",
                description="From delivery to what became of it; 99% are quicker.",
                queries=quantiles("pullsync_message_consume_seconds", "message, le")[1:],
                unit="s",
            ),
        ),
        (
            Panel(
                title="Captures in a batch",
                description="Of all pullers.",
                queries=quantiles("pullsync_batch_captures"),
            ),
            Panel(
                title="Pulls in a batch",
                description="Of all pullers.",
                queries=quantiles("pullsync_batch_pulls"),
            ),
            Panel(
                title="Dead letters",
                description="In each queue. They wait for an operator.",
                queries=(
                    Query(
                        'max by (queue) (rabbitmq_detailed_queue_messages{queue=~".+[.]dead"})',
                        "{{queue}}",
                    ),
                ),
            ),
        ),
    ),
)
