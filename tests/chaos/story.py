"""The story of one capture, told from the journals, the tables and the logs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import asyncpg

from tests.chaos.faults import Injected, clock
from tests.chaos.model import Key, Model
from tests.chaos.world import World

_LINES: Final = 40
_LINE_CHARS: Final = 400


async def tell(key: Key, *, model: Model, world: World, injected: Sequence[Injected]) -> str:
    """When it was made, served, stored and acknowledged, which faults there were, and what the logs say of its user."""
    user_id, capture_id = key
    entry = next((e for e in model.entries if (e.made.user_id, str(e.made.capture_id)) == key), None)
    lines = [f"the story of {capture_id} of {user_id}:"]
    names = [user_id]
    if entry is None:
        lines.append("  nobody made it")
    else:
        made = entry.made
        told = "never" if entry.acknowledged_at is None else clock(entry.acknowledged_at)
        lines.append(f"  made {clock(made.made_at)} as number {made.number} ({made.kind}), acknowledged: {told}")
        lines.append(f"  {made.document[:_LINE_CHARS]}")
        lines += [f"  served {clock(at)}" for at in _served(world, user_id, made.number)][-_LINES:]
        lines += [f"  fault {fault}" for fault in injected if fault.ended > made.made_at - 1][:_LINES]
    for row in await _rows(world, user_id, capture_id):
        lines.append(f"  {row}")
        names += [part for part in row.split("'") if part.count("-") == 4]
    lines += [f"  {line}" for line in list(_log_lines(world.folder / "logs", names))[-_LINES:]]
    return "\n".join(lines)


def _served(world: World, user_id: str, number: int) -> Iterator[float]:
    for settings in world.settings.values():
        if user_id in settings.users and settings.served.exists():
            for line in settings.served.read_text(encoding="utf-8").splitlines():
                answer = json.loads(line)
                if answer["user_id"] == user_id and number in answer["numbers"]:
                    yield answer["at"]


async def _rows(world: World, user_id: str, capture_id: str) -> list[str]:
    connection = await asyncpg.connect(world.database.admin_url)
    try:
        found = []
        for what, query in {
            "stored": "SELECT * FROM captures.events WHERE user_id = $1 AND capture_id = $2",
            "in quarantine": "SELECT * FROM captures.quarantine WHERE user_id = $1 AND capture_id = $2",
        }.items():
            rows = await connection.fetch(query, user_id, capture_id)
            found += [f"{what}: { {name: str(value) for name, value in row.items()} }" for row in rows]
            found += [] if rows else [f"not {what}"]
        client = await connection.fetchrow("SELECT * FROM registry.clients WHERE user_id = $1", user_id)
        found.append(f"the registry's record: {dict(client) if client else None}")
    finally:
        await connection.close()
    return found


def _log_lines(folder: Path, names: Sequence[str]) -> Iterator[str]:
    for path in sorted(folder.glob("*.log")):
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            if any(name in line for name in names):
                yield f"{path.stem}: {line[:_LINE_CHARS]}"
