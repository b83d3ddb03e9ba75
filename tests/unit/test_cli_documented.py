"""`docs/cli.md` names every command with all of its options and arguments, and none that there is not."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from typer.main import get_command

from cli.app import build_app
from cli.errors import INTERRUPTED, CliError, FailedError, NotAllowedError, UnreachableError, UsageError
from cli.settings import CliSettings
from services.registry.api.permissions import NEEDS, Need
from shared.version import VERSION

ROOT: Final = Path(__file__).resolve().parents[2]
PAGE: Final = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
ROW: Final = re.compile(r"^\| `(pullsync [a-z][^`]*)` \| (.*?) \| (.*?) \| (\w+) \|$", re.MULTILINE)


def commands() -> dict[str, Any]:
    """Each command by what is typed."""

    def walk(command: Any, path: str) -> Iterator[tuple[str, Any]]:
        for name, each in getattr(command, "commands", {}).items():
            yield from walk(each, f"{path} {name}")
        if not getattr(command, "commands", {}):
            yield path, command

    return dict(walk(get_command(build_app()), "pullsync"))


def synopsis(path: str, command: Any) -> str:
    """With its arguments, as the page has it."""
    words = [path]
    for parameter in command.params:
        if parameter.param_type_name == "argument":
            name = parameter.metavar or parameter.name.upper()
            words.append(name if parameter.required else f"[{name}]{'...' if parameter.nargs == -1 else ''}")
    return " ".join(words)


def options(command: Any) -> set[str]:
    """Of its own, without `--help`."""
    return {
        name
        for parameter in command.params
        if parameter.param_type_name == "option"
        for name in parameter.opts
        if name.startswith("--") and name != "--help"
    }


COMMANDS: Final = {synopsis(path, command): command for path, command in commands().items()}
ROWS: Final = {row[0]: row[1:] for row in ROW.findall(PAGE)}


def test_the_page_names_every_command_and_no_other() -> None:
    """With its arguments."""
    assert set(ROWS) == set(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_the_page_names_the_options_of_each_command(name: str) -> None:
    """All of them, and no other."""
    assert set(re.findall(r"`(--[a-z-]+)`", ROWS[name][0])) == options(COMMANDS[name])


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_says_what_it_does(name: str) -> None:
    """In a sentence, and so does each of its options and arguments; all that can show something can do so as JSON."""
    command = COMMANDS[name]
    assert command.help
    assert all(parameter.help for parameter in command.params)
    assert "--json" in options(command)


def test_the_page_has_every_setting_and_every_exit_status() -> None:
    """By name and by number."""
    for name in CliSettings.model_fields:
        assert f"| `{name.upper()}` |" in PAGE
    kinds: tuple[type[CliError], ...] = (FailedError, UsageError, UnreachableError, NotAllowedError)
    for status in (0, *(kind.status for kind in kinds), INTERRUPTED):
        assert f"\n| {status} | " in PAGE


def test_the_diagnosis_can_be_read_by_who_may_only_look() -> None:
    """As the page says of the doctor."""
    assert NEEDS["system_diagnosis"] is Need.READ
    assert ROWS["pullsync doctor"][2] == "read"


@pytest.mark.parametrize("by_link", [False, True])
def test_the_command_runs_from_anywhere(by_link: bool, tmp_path: Path) -> None:  # noqa: FBT001 - a parameter of the test
    """From a folder with modules of other people, which are not imported, and by a link to it."""
    for name in ("cli", "typer", "json"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('a stranger runs')\n")
    program = ROOT / "cli" / "pullsync"
    if by_link:
        link = tmp_path / "pullsync"
        link.symlink_to(program)
        program = link
    done = subprocess.run([program, "--version"], cwd=tmp_path, capture_output=True, text=True, check=False)  # noqa: S603 - ours
    assert (done.stdout, done.stderr, done.returncode) == (f"pullsync {VERSION}\n", "", 0)


def test_it_is_on_the_path_of_the_image_and_of_the_environment() -> None:
    """By links to the one script."""
    assert "ln -s /app/cli/pullsync /venv/bin/pullsync" in (ROOT / "Dockerfile").read_text(encoding="utf-8")
    assert 'ln -sf ../../cli/pullsync "$venv/bin/pullsync"' in (ROOT / "dev" / "bootstrap.sh").read_text(
        encoding="utf-8"
    )
