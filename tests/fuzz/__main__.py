"""`python -m tests.fuzz`, which is `make fuzz`: looks for bytes that break a decoder's promise, led by coverage.

What is found is printed and kept. The status is 0 when nothing was. Inputs that led somewhere new are kept in
`.local/fuzz`, and the next run begins from them.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from dev.environments import python_with
from dev.stack import CHECKOUT, inherited_environment
from tests.fuzz.seeds import CORPUS, PIECES
from tests.fuzz.targets import TARGETS

_ENVIRONMENT: Final = CHECKOUT / ".venv-fuzz"
"""Atheris has its own: it is built for fewer systems and versions of Python than the project runs on."""
_REQUIREMENTS: Final = (CHECKOUT / "requirements.txt", CHECKOUT / "tests" / "fuzz" / "requirements.txt")
_KEPT: Final = CHECKOUT / ".local" / "fuzz"
_SLOW_S: Final = 10
"""An input that takes longer is a finding."""
_LONGEST_BYTES: Final = 16_384
_EXECUTIONS: Final = re.compile(r"stat::number_of_executed_units:\s*(\d+)|^Done (\d+) runs", re.MULTILINE)


def main() -> int:
    """Run the command line; gives the exit status."""
    arguments = _arguments()
    python = python_with(_ENVIRONMENT, *_REQUIREMENTS)
    found = [_fuzz(python, name, arguments.seconds, arguments.seed) for name in arguments.only]
    return 1 if any(found) else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tests.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=int, default=180, help="for each target")
    parser.add_argument("--only", nargs="+", choices=TARGETS, default=list(TARGETS), help="these targets")
    parser.add_argument("--seed", type=int, default=0, help="of libFuzzer's chance; 0 for another each time")
    return parser.parse_args()


def _fuzz(python: Path, name: str, seconds: int, seed: int) -> bool:
    """Whether something was found, of which all is printed."""
    kept = _KEPT / name
    for folder in (kept / "inputs", kept / "findings"):
        folder.mkdir(parents=True, exist_ok=True)
    dictionary = kept / "pieces.txt"
    dictionary.write_text("".join(f'"{_escaped(piece)}"\n' for piece in PIECES), encoding="ascii")
    options = (
        *(f"-max_total_time={seconds}", f"-timeout={_SLOW_S}", f"-max_len={_LONGEST_BYTES}", f"-seed={seed}"),
        *("-print_final_stats=1", f"-dict={dictionary}", f"-artifact_prefix={kept / 'findings'}/"),
        *(str(kept / "inputs"), str(CORPUS / name)),
    )
    done = _run([str(python), "-m", "tests.fuzz.engine", name, *options])
    counted = _EXECUTIONS.search(done.stderr)
    executions = int(next(filter(None, counted.groups()))) if counted else 0
    if done.returncode == 0 and executions:
        _say(f"{name}: {executions} executions, nothing found")
        return False
    _say(done.stdout + done.stderr)
    _say(f"{name}: {executions} executions, and a finding: see above; its bytes are in {kept / 'findings'}.")
    _say(f"Put them into {CORPUS / name}, mend the decoder, and `make test ARGS=tests/fuzz` tries them.")
    return True


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _run(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603 - ours
        command,
        cwd=CHECKOUT,
        env=inherited_environment(),
        capture_output=True,
        text=True,
        errors="backslashreplace",
        check=False,
    )


def _escaped(piece: bytes) -> str:
    """As libFuzzer reads it."""
    return "".join(f"\\x{byte:02x}" for byte in piece)


if __name__ == "__main__":
    sys.exit(main())
