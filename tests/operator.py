"""An operator at a shell: `pullsync` as a process of its own, with the environment that a test gives it."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

from dev.stack import inherited_environment

if TYPE_CHECKING:
    from collections.abc import Iterator

DEADLINE_S: Final = 60.0
_POLL_S: Final = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What a command came to."""

    status: int
    out: str
    err: str

    @property
    def data(self) -> Any:
        """Its JSON."""
        return json.loads(self.out)


class Operator:
    """Calls the program from a folder of its own."""

    def __init__(self, url: str, folder: Path, *, program: Sequence[str] = ("-m", "cli"), **env: str) -> None:
        """`program` is what Python runs, when that is not the command itself."""
        self._argv = [sys.executable, *program]
        self._folder = folder
        self._env = {**inherited_environment(), "PULLSYNC_URL": url, "SECRETS_DIR": "", **env}

    def calls(self, *args: str, **env: str) -> Said:
        """Run the command, and wait for its end; no traceback is ever shown."""
        done = subprocess.run(  # noqa: S603 - ours
            [*self._argv, *args],
            env={**self._env, **env},
            cwd=self._folder,
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        said = Said(status=done.returncode, out=done.stdout, err=done.stderr)
        assert "Traceback" not in said.out + said.err, said
        return said

    @contextmanager
    def begins(self, *args: str, err: int | IO[str] = subprocess.PIPE) -> Iterator[subprocess.Popen[str]]:
        """The command while it runs; it is ended on leaving."""
        with subprocess.Popen(  # noqa: S603 - ours
            [*self._argv, *args], env=self._env, cwd=self._folder, stdout=subprocess.PIPE, stderr=err, text=True
        ) as running:
            try:
                yield running
            finally:
                running.kill()


def until(condition: Callable[[], bool], *, deadline_s: float = DEADLINE_S) -> None:
    """Return as soon as it holds.

    Raises:
        AssertionError: it did not within the deadline.
    """
    end = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < end, f"not true within {deadline_s:g} s"
        time.sleep(_POLL_S)


def is_stopped(pid: int) -> bool:
    """Whether a process stands still after SIGSTOP."""
    return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] == "T"
