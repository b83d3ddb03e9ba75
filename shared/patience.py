"""What a service does when it starts, and waits for: however long a server is away, the service does not end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import structlog

from shared import tls
from shared.postgres.database import TRANSIENT

_PAUSES_S: Final = (0.2, 0.5, 1.0, 2.0, 5.0)

log = structlog.get_logger()


def is_transient(error: Exception) -> bool:
    """Whether Postgres may take the same statement later."""
    return isinstance(error, TRANSIENT)


async def patiently(
    step: Callable[[], Awaitable[None]], *, may_pass: Callable[[Exception], bool] = is_transient
) -> None:
    """Do `step`, and again after a pause as long as it fails with what may pass.

    The first failure is logged, and each other one about which something else must be done.

    Raises:
        Exception: what `step` raised and does not pass by itself.
    """
    told: str | None = None
    for attempt in range(2**63):
        try:
            await step()
        except Exception as error:
            if not may_pass(error):
                raise
            remedy = tls.remedy(error)
            if remedy not in (None, told):
                log.error("database_refused", problem=first_line(error), remedy=remedy, retrying=True)
            elif attempt == 0:
                log.warning("database_away", problem=first_line(error), retrying=True)
            told = remedy or told
            await asyncio.sleep(_PAUSES_S[min(attempt, len(_PAUSES_S) - 1)])
        else:
            return


def first_line(error: Exception) -> str:
    """What an error says, without the statement that some libraries add."""
    return next(iter(str(error).splitlines()), type(error).__name__)
