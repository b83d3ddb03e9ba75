"""Who may read this client's captures and acknowledge them: whoever brings its pull token, if it has one.

The registry makes the token, and tells it when the client registers; without a registry that does so, everybody may, as
in the original.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.client.errors import RequestError
from shared.tokens import bearer, is_one_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastapi import Request

    from services.client.store import CaptureStore


class PullAccess:
    """The token is on the disk before it is needed, and outlives a restart."""

    def __init__(self, *, store: CaptureStore) -> None:
        self._store = store
        self.token: str | None = None
        """None for everybody."""
        self.on_refused: Callable[[], None] = lambda: None
        """Called when somebody was refused: perhaps the registry has made another token."""

    async def load(self) -> None:
        """Take the token of the last run.

        Raises:
            StoreUnavailableError: it can't be read.
        """
        self.token = await self._store.pull_token()

    async def keep(self, token: str | None) -> None:
        """Ask for this token from now on; for none if it is None.

        Raises:
            StoreUnavailableError: it can't be kept, and the one before holds.
        """
        if token != self.token:
            await self._store.keep_pull_token(token)
            self.token = token

    async def check(self, request: Request) -> None:
        """Return when the request may be served.

        Raises:
            RequestError: it brings no token, or another one.
        """
        if self.token is None:
            return
        given = bearer(request.headers.getlist("authorization"))
        if given is None or not is_one_of(given, [self.token]):
            self.on_refused()
            sentence = "This needs the client's pull token, in the header `Authorization: Bearer <token>`."
            raise RequestError(401, sentence)
