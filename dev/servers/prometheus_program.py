"""Where Prometheus' programs are."""

import shutil
from pathlib import Path
from typing import Final

from dev.servers.errors import DevError

_PROGRAMS: Final = ("prometheus", "promtool")


def find_prometheus() -> Path:
    """The folder of `prometheus` and `promtool`, which every package of it puts side by side.

    Raises:
        DevError: one of them is missing.
    """
    for program in _PROGRAMS:
        found = shutil.which(program)
        if found and all((Path(found).parent / name).is_file() for name in _PROGRAMS):
            return Path(found).parent
    message = "Prometheus, with its promtool, is missing: apt-get install prometheus (https://prometheus.io/download)"
    raise DevError(message)
