"""One way to log for all services: structured, readable on a terminal, JSON elsewhere."""

from __future__ import annotations

import logging
import math
import sys
import time
from typing import Any

import structlog

_NOISY = ("alembic", "asyncio", "httpx", "httpcore", "sqlalchemy", "uvicorn", "uvicorn.error")
"""Libraries that tell of each step; what they warn of is still shown."""

_RETRYING = ("aio_pika", "aiormq", "asyncpg")
"""Libraries that tell of each attempt to reconnect, with a trace; we tell when a server is lost and when it is back."""


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


def configure_logging(service: str, level: str) -> None:
    """Send all logs of this process to standard error, one line each, with the service's name.

    A terminal gets coloured text, anything else JSON. To be called once, before anything is logged.
    """
    terminal = sys.stderr.isatty()
    shared: list[structlog.types.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="%H:%M:%S" if terminal else "iso", utc=not terminal),
        _add_service(service),
        structlog.processors.StackInfoRenderer(),
    ]
    render: list[structlog.types.Processor] = (
        [structlog.dev.ConsoleRenderer()]
        if terminal
        else [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
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
