"""One round: everything starts, faults are injected while captures are made, the dust settles, the end is checked."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.chaos import checks
from tests.chaos.checks import Broken
from tests.chaos.facts import Facts, read_facts, stored_count
from tests.chaos.faults import Faults
from tests.chaos.model import Model, read_model
from tests.chaos.plan import Fault, Kind, make_plan
from tests.chaos.recovery import recoveries
from tests.chaos.report import Numbers, broken_summary, table
from tests.chaos.settling import Deadlines, Settling, counts
from tests.chaos.story import tell
from tests.chaos.traffic import Traffic
from tests.chaos.world import Size, World

_CALM_S: Final = 3.0
"""Without faults, at the begin and after the end of the faults, while captures are made."""
_SAY_EVERY_S: Final = 5.0
_STORIES: Final = 3
_EXAMPLES: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Of one round."""

    seed: int
    seconds: float
    """How long faults are injected."""
    size: Size
    deadlines: Deadlines
    only: frozenset[Kind] = frozenset()
    """Of which kinds the faults are; of all when it is empty."""
    sabotage: str | None = None
    """A fault built into a service, which must be found."""


class Round:
    """To be run once."""

    def __init__(self, folder: Path, options: Options) -> None:
        self._options = options
        self._world = World(folder, seed=options.seed, size=options.size, sabotage=options.sabotage)
        self._faults = Faults(self._world)
        self._traffic = Traffic(self._world, seed=options.seed)
        self._begun = time.monotonic()
        self._said = 0.0

    async def run(self) -> bool:
        """Whether every invariant holds; what is to be told is printed. Nothing is left running, however it ends."""
        try:
            await self._start()
            await self._make_trouble()
            return await self._end()
        finally:
            await self._world.close()

    async def _start(self) -> None:
        options = self._options
        say(f"seed {options.seed}: {options.size.users} clients, {options.seconds:g} s of faults")
        await self._world.start()
        await self._world.start_all_clients(make_until=time.time() + options.seconds + 2 * _CALM_S)
        self._begun = time.monotonic()
        say(f"everything runs; data and logs: {self._world.folder}")

    async def _make_trouble(self) -> None:
        """Captures and faults, side by side, until the time is over; then all faults are undone."""
        options = self._options
        async with asyncio.TaskGroup() as tasks:
            background = [
                tasks.create_task(self._watch()),
                tasks.create_task(self._traffic.operate()),
                *(tasks.create_task(self._traffic.use(name)) for name in self._world.references),
            ]
            await asyncio.sleep(_CALM_S)
            until = time.monotonic() + options.seconds
            lanes = make_plan(options.seed, options.seconds, options.only).values()
            await asyncio.gather(*(self._lane(faults, until) for faults in lanes))
            await self._faults.heal()
            await asyncio.sleep(_CALM_S)
            for task in background:
                task.cancel()

    async def _lane(self, faults: Sequence[Fault], until: float) -> None:
        for fault in faults:
            left = until - time.monotonic()
            if fault.pause_s >= left:
                await asyncio.sleep(max(0.0, left))
                return
            await asyncio.sleep(fault.pause_s)
            await self._faults.inject(fault)

    async def _watch(self) -> None:
        """Supervise, and show how it goes."""
        while True:
            await self._world.restart_ended()
            await self.progress("")
            await asyncio.sleep(0.5)

    async def progress(self, what: str) -> None:
        """A line, when the last one was some seconds ago."""
        elapsed = time.monotonic() - self._begun
        if elapsed - self._said < _SAY_EVERY_S:
            return
        self._said = elapsed
        made = counts(self._world)
        from_apps = sum(map(len, self._traffic.accepted.values()))
        stored = await stored_count(self._world)
        say(
            f"{elapsed:5.0f} s  faults {len(self._faults.injected):4}  made {made.captures + from_apps:6}"
            f"  stored {stored if stored >= 0 else '?':>6}  pending {made.pending:5}  {what}"
        )

    async def _end(self) -> bool:
        settling = Settling(self._world, deadlines=self._options.deadlines, say=self.progress)
        begun = time.monotonic()
        broken = await settling.settle()
        settled_s = time.monotonic() - begun
        model, facts, differences = await compare(self._world, self._traffic)
        broken += differences
        self._print_table(model, facts, settled_s)
        say(broken_summary(broken, seed=self._options.seed, examples=_EXAMPLES))
        await self._print_stories(broken, model)
        return not broken

    def _print_table(self, model: Model, facts: Facts, settled_s: float) -> None:
        stored_at = {event.key: event.stored_at.timestamp() for event in facts.events}
        passages = [
            (user_id, expected.entry.made.made_at, stored_at[user_id, capture_id])
            for (user_id, capture_id), expected in model.captures.items()
            if (user_id, capture_id) in stored_at
        ]
        numbers = Numbers(
            made=len(model.captures),
            stored=len(facts.events),
            lost=checks.lost(model, facts),
            doubled=checks.doubled(facts),
            garbage=len(model.garbage),
            quarantined=len(facts.quarantine),
            untold=len(model.untold()),
            settled_s=settled_s,
        )
        say("\n" + table(numbers, recoveries(self._faults.injected, passages)) + "\n")

    async def _print_stories(self, broken: Sequence[Broken], model: Model) -> None:
        keys = list(dict.fromkeys(each.key for each in broken if each.key is not None))
        for key in keys[:_STORIES]:
            say("")
            say(await tell(key, model=model, world=self._world, injected=self._faults.injected))


async def compare(world: World, traffic: Traffic) -> tuple[Model, Facts, list[Broken]]:
    """What must be, what is, and where that differs, when nothing is under way any more."""
    facts = await read_facts(world)
    model = read_model(
        [settings.journal for settings in world.settings.values()],
        [world.folder / name / "client-data" / "captures.sqlite3" for name in world.references],
    )
    broken = [*checks.check(model, facts), *checks.kept(traffic.accepted, model)]
    ended = "services wait, resume, and stop when asked to"
    return model, facts, broken + [Broken(invariant=ended, text=text) for text in world.ended]


def say(text: str) -> None:
    """To the terminal, at once; nobody may be there any more."""
    with suppress(BrokenPipeError):
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()
