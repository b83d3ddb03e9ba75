"""Virtual environments beside `.venv`, for tools that need other packages than the project does."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def python_with(environment: Path, *requirements: Path) -> Path:
    """The Python of an environment that has just what these files require, with hashes; made anew when they changed.

    Raises:
        subprocess.CalledProcessError: it could not be made; what is wrong stands on the terminal.
    """
    python = environment / "bin" / "python"
    stamp = environment / "requirements.txt"
    wanted = b"".join(path.read_bytes() for path in requirements)
    if not stamp.exists() or stamp.read_bytes() != wanted:
        sys.stderr.write(f"Installing Python packages into {environment.name} (once) ...\n")
        subprocess.run([sys.executable, "-m", "venv", "--clear", environment], check=True)
        pip = [str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check", "--require-hashes"]
        subprocess.run([*pip, *(part for path in requirements for part in ("-r", str(path)))], check=True)
        stamp.write_bytes(wanted)
    return python
