"""The program's entry: errors become one or two lines and an exit status, never a traceback."""

from __future__ import annotations

import io
import logging
import sys

import structlog

from cli.app import build_app
from cli.errors import CliError
from cli.output import Output


def main() -> None:
    """Run the command that the arguments name, and exit."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # whatever it can't write, it writes as an escape
            stream.reconfigure(errors="backslashreplace")
    _silence()
    try:
        build_app()(prog_name="pullsync")
    except CliError as error:
        Output().error(str(error))
        sys.exit(error.status)


def _silence() -> None:
    """What the services' modules and libraries log is not what was asked for, and would stand among the data."""
    logging.disable(logging.CRITICAL)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
