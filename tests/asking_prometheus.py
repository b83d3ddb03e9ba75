"""Asking a Prometheus that runs."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

from dev.local_http import open_local
from dev.servers.prometheus import PrometheusServer
from tests.waiting import eventually


def asked(prometheus: PrometheusServer, path: str) -> Any:
    """What its API answers.

    Raises:
        OSError: it does not answer, or refuses.
    """
    with open_local(f"{prometheus.url}/api/v1/{path}", timeout_s=5) as answer:
        return json.load(answer)["data"]


def values(prometheus: PrometheusServer, expression: str, label: str) -> dict[str, float]:
    """The value of each series now, by one of its labels."""
    found = asked(prometheus, f"query?query={quote(expression)}")["result"]
    return {series["metric"].get(label, ""): float(series["value"][1]) for series in found}


def rules(prometheus: PrometheusServer) -> dict[str, dict[str, Any]]:
    """Each alert's rule with its state."""
    return {rule["name"]: rule for group in asked(prometheus, "rules")["groups"] for rule in group["rules"]}


async def true_in_time(check: Callable[[], bool]) -> None:
    """Wait for what this says, which may block."""

    async def holds() -> bool:
        return await asyncio.to_thread(check)

    await eventually(holds)
