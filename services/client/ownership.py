"""Whose captures a client has: its own user's only, unless it is told to take over those of others.

Captures of another user would be kept in the server's quarantine, and acknowledged: the client would take them for
stored, and delete them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import structlog

from services.client.errors import StoreUnavailableError
from shared.errors import StartupError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path

    from services.client.store import CaptureStore

_MOST_NAMED: Final = 3

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Ownership:
    """The client's user, and those whose captures become his."""

    user_id: str
    take_over_from: Collection[str] = ()

    def check(self, captures: Mapping[str, int], *, where: str, setting: str) -> None:
        """Return when these may be had: how many captures of which other users are in `where`.

        Raises:
            StartupError: some may not; the text says what to do.
        """
        strangers = {user: count for user, count in captures.items() if user not in self.take_over_from}
        if not strangers:
            return
        named = ", ".join(f"{count} of {user!r}" for user, count in list(strangers.items())[:_MOST_NAMED])
        more = f" and of {len(strangers) - _MOST_NAMED} more" if len(strangers) > _MOST_NAMED else ""
        message = (
            f"{where} has captures of another user than CLIENT_USER_ID, {self.user_id!r}: {named}{more}. Nothing was "
            f"changed. Set CLIENT_USER_ID to their user; or set another {setting}; or name their user in "
            f"CLIENT_TAKE_OVER_FROM, and they all become captures of {self.user_id!r} and are stored as his"
        )
        raise StartupError(message)


async def claim(store: CaptureStore, ownership: Ownership, *, path: Path) -> None:
    """Make sure that all captures in the store are the user's. It may be repeated.

    Raises:
        StartupError: there are some of others, or the database can't be used.
    """
    try:
        others = await store.foreign_owners()
        ownership.check(others, where=f"the database {path}", setting="CLIENT_DATABASE")
        await store.claim()
    except StoreUnavailableError as error:
        raise StartupError(error.sentence) from error
    if others:
        log.warning("captures_taken_over", user_id=ownership.user_id, captures=sum(others.values()), of=list(others))
