"""The reference client's database and the real code of the version before: forward, and back as it is documented."""

# ruff: noqa: ASYNC221 - a command that takes a moment keeps nothing else waiting

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

from shared.contracts.client_protocol import (
    ACKNOWLEDGE_PATH,
    ADD_CAPTURE_PATH,
    ALL_CAPTURES_PATH,
    CAPTURE_STATES_PATH,
    SYNC_DATA_PATH,
)
from tests.client_process import BULBASAUR, Process, get, post, starting_clients

UPGRADE: Final = Path(__file__).parents[2] / "docs" / "upgrade.md"
BACK: Final = re.compile(r"^python3 -c '(.+)' client-data/captures\.sqlite3$", re.MULTILINE)


async def held(client: Process) -> tuple[list[Any], list[Any]]:
    """All captures of a client, and those that are pending."""
    return (await get(client, ALL_CAPTURES_PATH))["captures"], (await get(client, SYNC_DATA_PATH))["captures"]


async def add(client: Process, pokemon_id: int) -> str:
    """The id of a new capture."""
    answer = await post(client, ADD_CAPTURE_PATH, {**BULBASAUR, "pokemon_id": pokemon_id})
    assert answer.status_code == 200, answer.text
    return str(answer.json()["capture"]["capture_id"])


async def test_a_client_goes_forward_and_back(previous: Path, tmp_path: Path) -> None:
    """Captures that were made, pulled and acknowledged are there in each version, as they were."""
    database = tmp_path / "captures.sqlite3"
    there = {"CLIENT_DATABASE": str(database)}
    for folder in ("old", "new"):
        (tmp_path / folder).mkdir()
    async with (
        starting_clients(tmp_path / "old", checkout=previous) as start_old,
        starting_clients(tmp_path / "new") as start_new,
    ):
        old = await start_old(**there)
        ids = [await add(old, number) for number in (1, 2, 3)]
        await get(old, SYNC_DATA_PATH)
        await post(old, ACKNOWLEDGE_PATH, {"capture_ids": ids[:1]})
        before = await held(old)
        assert [len(each) for each in before] == [3, 2]
        await old.stop()

        new = await start_new(**there)
        states = await post(new, CAPTURE_STATES_PATH, {"capture_ids": ids})
        assert [each["state"] for each in states.json()["captures"]] == ["stored", "pending", "pending"]
        assert await held(new) == before
        await post(new, ACKNOWLEDGE_PATH, {"capture_ids": [ids[1], await add(new, 4)]})
        after = await held(new)
        assert [len(each) for each in after] == [4, 1]
        await new.stop()

        refused = await start_old(serving=False, **there)
        assert await refused.status() == 1
        assert "newer client" in refused.output
        [command] = BACK.findall(UPGRADE.read_text(encoding="utf-8"))
        subprocess.run([sys.executable, "-c", command, str(database)], check=True)  # noqa: S603 - what the page says
        again = await start_old(**there)
        assert await held(again) == after
        await again.stop()
        assert await held(await start_new(**there)) == after
