"""The engine, and how long it took after each fault, told at the end."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from dev.stack import CHECKOUT
from tests.compose.captures import RECOVERIES

if TYPE_CHECKING:
    from _pytest.terminal import TerminalReporter


@pytest.fixture(scope="session")
def _built() -> None:
    """The image is in the engine's cache, so that each project has it at once; it is built without a warning."""
    if subprocess.run(["docker", "version"], capture_output=True, check=False).returncode != 0:  # noqa: S607 - the user's
        pytest.fail("no Docker engine answers: start one, and set DOCKER_HOST where it is no usual one", pytrace=False)
    build = ["docker", "buildx", "build", "--progress=plain", "--network=host", str(CHECKOUT)]
    done = subprocess.run(build, capture_output=True, text=True, check=False)  # noqa: S603 - ours
    assert done.returncode == 0, done.stderr
    assert [line for line in done.stderr.splitlines() if "warn" in line.lower()] == []


def pytest_terminal_summary(terminalreporter: TerminalReporter) -> None:
    """A table."""
    if not RECOVERIES:
        return
    terminalreporter.section("recoveries")
    terminalreporter.write_line(f"{'fault':<34} {'stored again after':>18} {'healthy after':>14}")
    for each in sorted(RECOVERIES, key=lambda each: (each.stack, each.fault)):
        terminalreporter.write_line(f"{each.fault:<34} {each.stored_s:>16.1f} s {each.well_s:>12.1f} s")
