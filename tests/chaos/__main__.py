"""`python -m tests.chaos`, which is `make chaos`: nothing is lost, whatever fails.

Each round starts everything anew, kills and cuts parts of it by chance for a while, and compares the end with a model.
The same seed injects the same faults in the same order. The status is 0 when every invariant held in every round.
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

import uvloop

from dev.servers.errors import DevError
from tests.chaos.plan import Kind
from tests.chaos.round import Options, Round, say
from tests.chaos.sabotage import SABOTAGES
from tests.chaos.settling import Deadlines
from tests.chaos.world import Size

_SECONDS: Final = 180.0
_USERS: Final = 300
_SETTLE_S: Final = 400.0


def main() -> int:
    """Run the command line; gives the exit status."""
    arguments = _arguments()
    good = 0
    for number in range(arguments.rounds):
        try:
            good += _round(arguments, arguments.seed + number)
        except (KeyboardInterrupt, asyncio.CancelledError):
            say("stopped; nothing is left running")
            return 130
        except DevError as error:
            say(f"error: {error}\n{error.detail}")
            return 1
    say(f"{good} of {arguments.rounds} rounds without a broken invariant")
    return 0 if good == arguments.rounds else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tests.chaos", description=__doc__)
    parser.add_argument("--rounds", type=int, default=1, help="how many; each has the seed after that of the last one")
    parser.add_argument("--seed", type=int, default=None, help="of the first round; by chance unless given")
    parser.add_argument("--seconds", type=float, default=_SECONDS, help="of faults in each round")
    parser.add_argument("--users", type=int, default=_USERS, help="simulated clients")
    parser.add_argument("--processes", type=int, default=3, help="in which these live")
    parser.add_argument("--references", type=int, default=3, help="reference clients beside them")
    parser.add_argument("--rate", type=float, default=40.0, help="captures each second")
    parser.add_argument("--settle", type=float, default=_SETTLE_S, help="seconds until everybody must be told")
    parser.add_argument("--keep", action="store_true", help="keep data and logs when all is well, too")
    parser.add_argument("--only", type=_kinds, default=frozenset(), help="kinds of faults, as KILL_BROKER,CUT_CLIENTS")
    parser.add_argument("--sabotage", choices=SABOTAGES, help="build this fault into a service: it must be found")
    arguments = parser.parse_args()
    if arguments.seed is None:
        arguments.seed = int(time.time()) % 1_000_000
    return arguments


def _kinds(names: str) -> frozenset[Kind]:
    try:
        return frozenset(Kind[name.strip()] for name in names.split(","))
    except KeyError as error:
        message = f"{error} is none of {', '.join(Kind.__members__)}"
        raise argparse.ArgumentTypeError(message) from error


def _options(arguments: argparse.Namespace, seed: int) -> Options:
    return Options(
        seed=seed,
        seconds=arguments.seconds,
        size=Size(
            users=arguments.users,
            processes=arguments.processes,
            references=arguments.references,
            rate=arguments.rate,
        ),
        deadlines=Deadlines(told_s=arguments.settle, quiet_s=arguments.settle / 2),
        only=arguments.only,
        sabotage=arguments.sabotage,
    )


def _round(arguments: argparse.Namespace, seed: int) -> bool:
    folder = Path(tempfile.mkdtemp(prefix="pullsync-chaos-"))
    keep = True
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            held = runner.run(_until_stopped(Round(folder, _options(arguments, seed))))
        keep = arguments.keep or not held
    except asyncio.CancelledError:
        keep = arguments.keep
        raise
    finally:
        if keep:
            say(f"data and logs are kept: {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)
    return held


async def _until_stopped(one: Round) -> bool:
    """The first Ctrl-C or SIGTERM ends the round; the others must not disturb its end."""
    task = asyncio.current_task()
    assert task is not None
    stopping = asyncio.Event()

    def stop() -> None:
        if not stopping.is_set():
            stopping.set()
            task.cancel()

    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop)
    return await one.run()


if __name__ == "__main__":
    sys.exit(main())
