"""The first step of a capture: clients are pulled."""

from __future__ import annotations

from typing import Final

from dev.dashboard.panels import Panel, Query, Row, quantiles, rate

PULLS: Final = Row(
    title="1. Clients are pulled",
    height=8,
    lines=(
        (
            Panel(
                title="Clients",
                description="By their state.",
                queries=(Query("max by (state) (pullsync_clients)", "{{state}}"),),
                stacking="normal",
            ),
            Panel(
                title="Pulls",
                description="How they ended, each second.",
                queries=(rate("pullsync_pulls_total", "outcome", "{{outcome}}"),),
                unit="ops",
                stacking="normal",
            ),
            Panel(
                title="Pulls that failed",
                description="Why, each second. timeout and connect of most clients at once: our own network.",
                queries=(
                    rate("pullsync_pulls_total", "reason", "{{reason}}", '{outcome="failed"}'),
                    Query("sum(rate(pullsync_own_lacks_total[$__rate_interval])) > 0", "no sockets of our own"),
                ),
                unit="ops",
                stacking="normal",
                if_nothing="none",
            ),
        ),
        (
            Panel(
                title="Time of a pull",
                description="From asking a client to its whole answer, or to the failure.",
                queries=quantiles("pullsync_pull_seconds", "outcome, le"),
                unit="s",
            ),
            Panel(
                title="Lateness",
                description="How long after its slot a pull begins, and the most overdue client.",
                queries=(
                    *quantiles("pullsync_pull_lateness_seconds"),
                    Query("max(pullsync_schedule_lag_seconds)", "most overdue"),
                ),
                unit="s",
            ),
            Panel(
                title="Pulls under way",
                description="Of all pullers, and the most that they take on; and leases that nobody has settled.",
                queries=(
                    Query("sum(pullsync_pulls_under_way)", "under way"),
                    Query("sum(pullsync_pulls_limit)", "limit"),
                    Query("max(pullsync_pulls_in_flight)", "leases"),
                ),
            ),
        ),
        (
            Panel(
                title="Captures in a pull",
                description="Of those that had any; with the size of all answers.",
                queries=quantiles("pullsync_pull_captures"),
            ),
            Panel(
                title="Size of answers",
                description="Of all clients.",
                queries=quantiles("pullsync_pull_answer_bytes"),
                unit="bytes",
            ),
            Panel(
                title="Claims",
                description="How pullers ask the registry for clients that are due, and how long it takes.",
                queries=(
                    rate("pullsync_claims_total", "result", "{{result}}"),
                    Query(
                        "histogram_quantile(0.99, sum by (le) (rate(pullsync_claim_seconds_bucket[$__rate_interval])))",
                        "99% take (s)",
                    ),
                ),
            ),
        ),
    ),
)
