"""`docs/logs.md` names every event that a service logs, with its level, and no other."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
ROW: Final = re.compile(r"^\| `(\w+)` \| (\w+) \|", re.MULTILINE)
LEVELS: Final = {"debug", "info", "warning", "error", "exception"}


def logged(source: Path) -> Iterator[tuple[str, str]]:
    """Event and level of each line that a module may log, where its name stands in the code."""
    for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
        match node:
            case ast.Call(
                func=ast.Attribute(value=ast.Name(id="log"), attr=level), args=[ast.Constant(value=str(event)), *_]
            ) if level in LEVELS:
                yield event, "error" if level == "exception" else level


def test_the_table_names_every_event() -> None:
    """What is not told there nobody looks for."""
    sources = [*(ROOT / "services").rglob("*.py"), *(ROOT / "shared").rglob("*.py")]
    found = {entry for source in sources for entry in logged(source)}
    assert len(found) > 50
    told = set(ROW.findall((ROOT / "docs" / "logs.md").read_text(encoding="utf-8")))
    assert found - told == set(), "docs/logs.md lacks these: say there what they mean"
    assert told - found == set(), "docs/logs.md tells of these, which nobody logs"
