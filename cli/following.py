"""A run as it goes on, across lost connections."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from typing import Final

from cli.errors import BusyError, CliError, UnreachableError
from cli.registry import PULL_SYNC, Json, Registry

_PAUSES_S: Final = (0.5, 1.0, 2.0, 5.0, 10.0)


def follow(
    registry: Registry,
    run_id: str,
    *,
    on_lost: Callable[[CliError], None] = lambda _: None,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[Json]:
    """The run's progress at each change, the last time when it is finished; every event carries all of it.

    A connection that is lost, and a registry that is busy, is tried again for as long as it takes, with pauses up to
    ten seconds; `on_lost` is told each time.

    Raises:
        CliError: the run is unknown, or may not be looked at.
    """
    failed = 0
    while True:
        try:
            for name, progress in registry.events(f"{PULL_SYNC}/runs/{run_id}/events"):
                failed = 0
                yield progress
                if name == "finished":
                    return
        except (UnreachableError, BusyError) as error:
            on_lost(error)
        pause = _PAUSES_S[min(failed, len(_PAUSES_S) - 1)]
        failed += 1
        sleep(pause * random.uniform(0.8, 1.2))  # noqa: S311 - so that many do not come back at once
