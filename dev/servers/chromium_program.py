"""Where Chromium is, or a browser that is made of it."""

import shutil
from pathlib import Path
from typing import Final

from dev.servers.errors import DevError

_PROGRAMS: Final = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")


def find_chromium() -> Path:
    """The program, on PATH.

    Raises:
        DevError: it is missing.
    """
    found = next((path for path in map(shutil.which, _PROGRAMS) if path), None)
    if found is None:
        message = "Chromium is missing: apt-get install chromium (https://www.chromium.org/getting-involved/download-chromium)"
        raise DevError(message)
    return Path(found)
