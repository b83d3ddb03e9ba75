"""`python dlt_pull.py POSTGRES_URL < urls`: the same clients with dlt, extracted in parallel and merged by primary key.

Runs in an environment of its own (`benchmarks/requirements.txt`). Prints a line of JSON: seconds of the run.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import Any

import dlt
import requests

# What was found to be fastest here: more extraction threads than its default of 5, and COPY instead of INSERT.
SETTINGS = {
    "EXTRACT__WORKERS": "20",
    "EXTRACT__MAX_PARALLEL_ITEMS": "100",
    "NORMALIZE__WORKERS": "2",
    "NORMALIZE__LOADER_FILE_FORMAT": "csv",
    "RUNTIME__DLTHUB_TELEMETRY": "false",
    "RUNTIME__LOG_LEVEL": "ERROR",
}


def main() -> None:
    """Measured from the first request to the last commit, without the start of the program."""
    os.environ.update(SETTINGS)
    urls = sys.stdin.read().split()
    session = requests.Session()
    session.trust_env = False
    session.mount("http://", requests.adapters.HTTPAdapter(pool_connections=len(urls)))

    @dlt.resource
    def clients() -> Iterator[str]:
        yield from urls

    @dlt.transformer(
        data_from=clients,
        name="events",
        write_disposition={"disposition": "merge", "strategy": "upsert"},
        primary_key=("user_id", "capture_id"),
    )
    def captures(url: str) -> Any:
        @dlt.defer
        def pull() -> list[dict[str, Any]]:
            answer = session.get(url, timeout=15)
            answer.raise_for_status()
            return list(answer.json()["captures"])

        return pull()

    with tempfile.TemporaryDirectory() as folder:
        pipeline = dlt.pipeline(
            "captures",
            pipelines_dir=folder,
            destination=dlt.destinations.postgres(sys.argv[1]),
            dataset_name="captures_by_dlt",
        )
        everybody = urls[:]
        del urls[1:]  # the tables and what else it makes once are there before it is measured, as ours are
        pipeline.run(captures).raise_on_failed_jobs()
        urls[:] = everybody
        begun = time.perf_counter()
        pipeline.run(captures).raise_on_failed_jobs()
        seconds = time.perf_counter() - begun
    print(json.dumps({"seconds": seconds}))


if __name__ == "__main__":
    main()
