"""The third step of a capture: it is stored and acknowledged."""

from __future__ import annotations

from typing import Final

from dev.dashboard.panels import Panel, Query, Row, quantiles, rate

STORING: Final = Row(
    title="3. Captures are stored and acknowledged",
    height=8,
    lines=(
        (
            Panel(
                title="Captures",
                description="Each second. A duplicate was stored before, and is acknowledged again.",
                queries=(rate("pullsync_captures_total", "outcome", "{{outcome}}"),),
                unit="cps",
                stacking="normal",
            ),
            Panel(
                title="Commits",
                description="Each second. One that failed is tried again.",
                queries=(rate("pullsync_commits_total", "result", "{{result}}"),),
                unit="ops",
            ),
            Panel(
                title="Time of a commit",
                description="In PostgreSQL.",
                queries=quantiles("pullsync_commit_seconds"),
                unit="s",
            ),
        ),
        (
            Panel(
                title="Rows in a commit",
                description="And how many wait for the next one.",
                queries=(
                    *quantiles("pullsync_commit_rows"),
                    Query("sum(pullsync_writer_waiting_rows)", "waiting"),
                ),
            ),
            Panel(
                title="Age of captures when stored",
                description="From end to end, by the devices' clocks.",
                queries=quantiles("pullsync_capture_age_seconds"),
                unit="s",
            ),
            Panel(
                title="From pulled to stored",
                description="What is ours of that age.",
                queries=quantiles("pullsync_store_delay_seconds"),
                unit="s",
            ),
        ),
        (
            Panel(
                title="Acknowledgements",
                description="Tries each second. What is given up is pulled and acknowledged again.",
                queries=(rate("pullsync_acknowledgements_total", "outcome", "{{outcome}}"),),
                unit="ops",
            ),
            Panel(
                title="Pulls that were settled",
                description="As the registry has them, each second.",
                queries=(rate("pullsync_pulls_settled_total", "outcome, reason", "{{outcome}} {{reason}}"),),
                unit="ops",
            ),
            Panel(
                title="What is left to do",
                description="Captures that clients still have, runs that have not ended, items in quarantine.",
                queries=(
                    Query("max(pullsync_captures_pending)", "pending captures"),
                    Query("max(pullsync_sync_runs_unfinished)", "unfinished runs"),
                    Query("max(pullsync_quarantined_items)", "quarantine"),
                ),
            ),
        ),
    ),
)
