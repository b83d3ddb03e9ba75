"""Prometheus for what runs on this machine without Docker: deploy/monitoring/prometheus.yml with other addresses.

The rules are the same file, and no alert is sent to anybody.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import yaml

FOLDER: Final = Path(__file__).parents[1] / "deploy" / "monitoring"
_DISCOVERY: Final = ("dns_sd_configs", "static_configs")


def configuration(targets: Mapping[str, Sequence[str]], *, every: str = "5s", tokens: Path | None = None) -> str:
    """The text of a `prometheus.yml` that asks the jobs of the real one at these addresses, and no other jobs.

    Args:
        targets: `host:port` of each replica, by the name of the job.
        every: how often they are asked, and the rules evaluated, as Prometheus writes durations.
        tokens: the folder of the files with the tokens that are shown; none are unless told.

    Raises:
        KeyError: the real one has no such job.
    """
    found: dict[str, Any] = yaml.safe_load((FOLDER / "prometheus.yml").read_text(encoding="utf-8"))
    jobs = {job["job_name"]: job for job in found["scrape_configs"]}
    local = {
        "global": {"scrape_interval": every, "scrape_timeout": every, "evaluation_interval": every},
        "rule_files": [str(FOLDER / name) for name in found["rule_files"]],
        "scrape_configs": [_at(jobs[name], addresses, tokens) for name, addresses in targets.items()],
    }
    return yaml.safe_dump(local, sort_keys=False)


def address(url: str) -> str:
    """`host:port` of a URL, as Prometheus wants its targets."""
    return urlsplit(url).netloc


def _at(job: Mapping[str, Any], addresses: Sequence[str], tokens: Path | None) -> dict[str, Any]:
    kept = {name: value for name, value in job.items() if name not in _DISCOVERY}
    shown = kept.pop("authorization", None)
    if shown is not None and tokens is not None:
        kept["authorization"] = {"credentials_file": str(tokens / Path(shown["credentials_file"]).name)}
    return {**kept, "static_configs": [{"targets": list(addresses)}]}
