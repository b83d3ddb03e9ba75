"""What the checklist in `docs/deploy.md` promises."""

from __future__ import annotations

import re
from typing import Final

import pytest
import yaml

from tests.unit.test_compose import ROOT

TEXT: Final = (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8")
SEED: Final = (
    "HTTPS",
    "environment variables",
    "persistence",
    "monitoring",
    "logs",
    "connectivity test",
    "backup",
    "authentication and authorization",
    "rate limiting",
    "validation of input",
    "timeouts of requests",
    "cleanup of old data",
)
"""What the original's checklist and its recommendations for security have."""


def checklist() -> dict[str, list[str]]:
    """The other cells of each line, by the first."""
    chapter = TEXT.partition("## The production checklist")[2].partition("\n## ")[0]
    lines = [line.strip("| ").split(" | ") for line in chapter.splitlines() if line.startswith("| ")]
    return {first: [cell.strip() for cell in others] for first, *others in lines[1:]}


def test_the_checklist_has_what_the_original_asks_for() -> None:
    """Each of its items, in its order."""
    assert tuple(checklist()) == SEED


@pytest.mark.parametrize("item", SEED)
def test_each_item_is_done_or_one_setting_away(item: str) -> None:
    """By settings, commands and files that are there, and is shown by tests that are there."""
    _, todo, shown = checklist()[item]
    known = (ROOT / ".env.example").read_text(encoding="utf-8")
    for name in re.findall(r"`([A-Z][A-Z_]+)(?:=[^`]*)?`", todo):
        assert f"\n{name}=" in known or f"\n# {name}=" in known, name
    for target in re.findall(r"`make (\w+)", todo):
        assert f"\n{target}:" in (ROOT / "Makefile").read_text(encoding="utf-8"), target
    for path in re.findall(r"\b(?:deploy/[\w/.-]+|docker-compose[\w.]*\.yml)", todo):
        assert (ROOT / path).is_file(), path
    tests = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", shown)
    assert tests
    for path, name in tests:
        assert not name or f"def {name}(" in (ROOT / path).read_text(encoding="utf-8"), name
        assert (ROOT / path).is_file(), path


def test_logs_do_not_fill_the_disk() -> None:
    """Docker keeps three files of 10 MB of each container, and no more."""
    for name in ("docker-compose.yml", "docker-compose.tls.yml"):
        services = yaml.safe_load(re.sub(r"!\w+", "", (ROOT / name).read_text(encoding="utf-8")))["services"]
        for service in (each for each in services.values() if "image" in each or "build" in each):
            assert service["logging"] == {"driver": "json-file", "options": {"max-size": "10m", "max-file": "3"}}
