"""`python -m benchmarks [--only PART ...] [--quick] [--runs N]`: measure, and print the tables in Markdown."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from benchmarks import (
    end_to_end,
    freshness,
    ingest,
    ingest_growth,
    memory,
    nudges,
    polls,
    registry_growth,
    scale_out,
)
from benchmarks.figures import HEAD, Figure
from benchmarks.place import Servers
from benchmarks.plan import Plan, progress
from benchmarks.rivals.running import RivalError

Part = Callable[[Servers, Plan], Awaitable[Sequence[Figure]]]
PARTS: Final[dict[str, Part]] = {
    "ingest": ingest.measure,
    "end-to-end": end_to_end.measure,
    "polls": polls.measure,
    "freshness": freshness.measure,
    "nudges": nudges.measure,
    "registry-growth": registry_growth.measure,
    "ingest-growth": ingest_growth.measure,
    "scale-out": scale_out.measure,
    "memory": memory.measure,
}
_QUICK_PARTS: Final = ("ingest", "end-to-end", "polls", "freshness", "nudges")


def main() -> None:
    """Status 1 when a figure misses its goal; what is wrong in the tables ends it with what it is."""
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    parser.add_argument("--only", nargs="+", choices=PARTS, help="these parts; all unless told")
    parser.add_argument("--quick", action="store_true", help="smaller, one run of each; without --only some parts")
    parser.add_argument("--runs", type=int, help="of each measurement; 5 unless told")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that everything that was started is ended
    plan = Plan(quick=arguments.quick, runs=arguments.runs or (1 if arguments.quick else 5))
    names: Sequence[str] = arguments.only or (_QUICK_PARTS if arguments.quick else tuple(PARTS))
    wrong = asyncio.run(_measure(names, plan))
    if wrong:
        progress(f"{wrong} figures miss their goal, or could not be measured")
    sys.exit(1 if wrong else 0)


async def _measure(names: Sequence[str], plan: Plan) -> int:
    """Each part's table is printed as soon as it is there; how many figures are not as they should be."""
    wrong = 0
    with Servers.running() as servers:
        await servers.wear_in()
        for name in names:
            progress(name)
            try:
                figures = await PARTS[name](servers, plan)
            except (AssertionError, TimeoutError, RivalError) as error:
                progress(f"{name} could not be measured: {error}")
                wrong += 1
                continue
            command = f"make bench ONLY={name} {'QUICK=1' if plan.quick else f'RUNS={plan.runs}'}"
            rows = "\n".join(figure.row() for figure in figures)
            sys.stdout.write(f"\n### {name}\n\n`{command}`, {os.cpu_count()} cores:\n\n{HEAD}\n{rows}\n\n")
            sys.stdout.flush()
            wrong += sum(figure.missed for figure in figures)
    return wrong


if __name__ == "__main__":
    main()
