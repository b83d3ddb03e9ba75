"""Who may read this client's captures and acknowledge them: whoever brings its pull token, where it has one.

The registry makes the token, and tells it when the client registers; without a registry that does so, everybody may, as
in the original.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from fastapi import Request

from services.client.errors import RequestError
from services.client.store import CaptureStore
from shared.tokens import PULL_PREFIX, bearer, is_one_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    """What the registry has told this client."""

    for_pulls: str
    """What whoever pulls must show."""
    for_registry: str
    """What this client shows to the registry."""


class PullAccess:
    """The tokens are on the disk before they are needed, and outlive a restart."""

    def __init__(self, *, store: CaptureStore) -> None:
        self._store = store
        self._tokens: Tokens | None = None
        self._is_open = True
        self.on_refused: Callable[[], None] = lambda: None
        """Called when somebody came with a pull token that is not the right one: perhaps the registry has another."""

    async def load(self) -> None:
        """Take the tokens of the last run.

        Raises:
            StoreUnavailableError: they can't be read.
        """
        facts = await self._store.facts("pull_token", "client_token", "open")
        if facts["pull_token"] and facts["client_token"]:
            self._tokens = Tokens(for_pulls=facts["pull_token"], for_registry=facts["client_token"])
        self._is_open = self._tokens is None or facts["open"] == "yes"

    @property
    def for_registry(self) -> str | None:
        """What to show to the registry; None as long as it has told nothing."""
        return self._tokens.for_registry if self._tokens else None

    @property
    def is_open(self) -> bool:
        """Whether everybody may pull."""
        return self._is_open

    async def keep(self, tokens: Tokens) -> None:
        """Ask for these from now on.

        Raises:
            StoreUnavailableError: they can't be kept, and what was before holds.
        """
        if self._is_open or tokens != self._tokens:
            await self._store.keep_facts(
                {"pull_token": tokens.for_pulls, "client_token": tokens.for_registry, "open": "no"}
            )
            self._tokens, self._is_open = tokens, False

    async def open(self) -> None:
        """Let everybody pull, since the registry has no tokens; those from before are kept, to be shown to it.

        Raises:
            StoreUnavailableError: that can't be kept, and what was before holds.
        """
        if not self._is_open:
            await self._store.keep_facts({"open": "yes"})
            self._is_open = True

    async def check(self, request: Request) -> None:
        """Return when the request may be served.

        Raises:
            RequestError: it brings no token, or another one.
        """
        if self._is_open or self._tokens is None:
            return
        given = bearer(request.headers.getlist("authorization")) or ""
        if not is_one_of(given, [self._tokens.for_pulls]):
            if given.startswith(PULL_PREFIX):
                self.on_refused()
            sentence = "This needs the client's pull token, in the header `Authorization: Bearer <token>`."
            raise RequestError(401, sentence)
