"""Prometheus' own checker, which comes with it; installed where it is missing, else the test fails and says how."""

from __future__ import annotations

import subprocess
from pathlib import Path

from dev.servers.install import ensure_prometheus


def promtool(*arguments: str | Path) -> None:
    """Run it.

    Raises:
        AssertionError: it finds something wrong; the message is what it wrote.
        DevError: it is missing and can't be installed; the message says what to install.
    """
    program = ensure_prometheus() / "promtool"
    done = subprocess.run([program, *arguments], capture_output=True, text=True, check=False)  # noqa: S603 - as above
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
