"""One way to log for all services: structured, readable on a terminal, JSON elsewhere, or as the settings say.

What clients wrote is data here, too: it can neither begin a line of its own nor move, colour or turn what is shown.
"""

from __future__ import annotations

import json
import logging
import math
import sys
import time
from collections.abc import Callable
from io import StringIO
from typing import Any, Final, TextIO
from uuid import UUID

import structlog

from shared.observing import tracing
from shared.untrusted_text import visible

_NOISY = ("alembic", "asyncio", "httpx", "httpcore", "sqlalchemy", "uvicorn", "uvicorn.error")
"""Libraries that tell of each step; what they warn of is still shown."""

_RETRYING = ("aio_pika", "aiormq", "asyncpg", "opentelemetry")
"""Libraries that tell of each attempt to reconnect, with a trace; we tell when a server is lost and when it is back."""

_IN_A_TRACE: Final = "  | "
"""Before each line of a trace on a terminal, so that none can be taken for an entry of the log."""


class Seldom:
    """Says when the same thing may be logged again, so that an outage is told and the log is not flooded."""

    def __init__(self, *, every_s: float) -> None:
        self._every_s = every_s
        self._told: dict[str, float] = {}

    def may_tell(self, what: str) -> bool:
        """True at the first time, and then once in `every_s` seconds at most. `what` is out of a fixed set."""
        now = time.monotonic()
        if now - self._told.get(what, -math.inf) < self._every_s:
            return False
        self._told[what] = now
        return True


def configure_logging(service: str, level: str, log_format: str = "auto") -> None:
    """Send all logs of this process to standard error, one line each, with the service's name.

    `auto` is text for a terminal, which is coloured, and `json` for anything else. To be called once, before anything
    is logged.
    """
    terminal = sys.stderr.isatty() and log_format != "json"
    shared: list[structlog.types.Processor] = [
        structlog.contextvars.merge_contextvars,
        _add_trace,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="%H:%M:%S" if terminal else "iso", utc=not terminal),
        _add_service(service),
        structlog.processors.StackInfoRenderer(),
    ]
    render: list[structlog.types.Processor] = (
        [_make_visible, structlog.dev.ConsoleRenderer(colors=terminal, exception_formatter=_write_trace)]
        if terminal or log_format == "text"
        else [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(serializer=_in_ascii)]
    )
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(level),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *render],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in _NOISY:
        logging.getLogger(name).setLevel(logging.WARNING)
    for name in _RETRYING:
        logging.getLogger(name).setLevel(logging.CRITICAL)


def _add_service(service: str) -> structlog.types.Processor:
    def add(_logger: Any, _method: str, event: structlog.types.EventDict) -> structlog.types.EventDict:
        event["service"] = service
        return event

    return add


def _add_trace(_logger: Any, _method: str, event: structlog.types.EventDict) -> structlog.types.EventDict:
    """While traces are on, the trace that the line is of."""
    if trace_id := tracing.trace_id():
        event["trace_id"] = trace_id
    return event


def _make_visible(_logger: Any, _method: str, event: structlog.types.EventDict) -> structlog.types.EventDict:
    """The same entry with texts that stay within their line; `exc_info` is for `_write_trace`."""
    return {name: value if name == "exc_info" else _shown(value) for name, value in event.items()}


def _shown(value: object) -> object:
    return value if isinstance(value, bool | int | float | None) else visible(str(value))


def _write_trace(target: TextIO, exc_info: structlog.typing.ExcInfo) -> None:
    """Without the values of variables, which may be secrets."""
    trace = StringIO()
    structlog.dev.plain_traceback(trace, exc_info)
    target.writelines(f"\n{_IN_A_TRACE}{visible(line)}" for line in trace.getvalue().strip("\n").split("\n"))


def _in_ascii(event: Any, *, default: Callable[[Any], Any], **options: Any) -> str:
    """JSON without any control character: all others are escaped already. Ids are made text here, not by who logs."""

    def text_of(value: object) -> Any:
        return str(value) if isinstance(value, UUID) else default(value)

    return json.dumps(event, default=text_of, **options).replace("\x7f", "\\u007f")
