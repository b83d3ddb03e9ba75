"""Where `make up` keeps its data between runs, and the passwords in it."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Final

DATA: Final = Path(__file__).parents[1] / ".local"
DATABASE: Final = "pullsync"


def kept_password(name: str) -> str:
    """Made once, kept with the data."""
    path = DATA / f"{name}-password"
    if not path.exists():
        path.touch(mode=0o600)
        path.write_text(secrets.token_urlsafe(24))
    return path.read_text()
