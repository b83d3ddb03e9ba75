"""The version before this one, as its commit has it: what an upgrade starts from.

`previous-version` has the commit's whole id. At a release, when the next version begins, it becomes the commit of that
release; what tests/upgrade then finds is what an upgrade from it would meet.
"""

from __future__ import annotations

import subprocess
import tarfile
from io import BytesIO
from pathlib import Path
from typing import Final

import pytest

from dev.stack import CHECKOUT

COMMIT: Final = Path(__file__).with_name("previous-version").read_text(encoding="utf-8").strip()


def unpack(folder: Path) -> None:
    """Put that version into an empty folder. It fails the test, and says what to do, where the history is not there."""
    git = ["git", "-C", str(CHECKOUT), "archive", "--format=tar", COMMIT]
    made = subprocess.run(git, capture_output=True, check=False)  # noqa: S603 - a commit of ours
    if made.returncode != 0:
        pytest.fail(
            f"the version before, {COMMIT}, is not in this checkout: get it by `git fetch --unshallow`, or `git fetch "
            f"origin {COMMIT}` (git says: {made.stderr.decode(errors='replace').strip()})",
            pytrace=False,
        )
    with tarfile.open(fileobj=BytesIO(made.stdout)) as archive:
        archive.extractall(folder, filter="data")
