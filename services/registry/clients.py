"""The client records in Postgres: registering, listing, changing, forgetting."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Literal

import asyncpg

from services.registry.domain import ClientRecord, Known, NewClient, Terms
from services.registry.errors import UnknownClientError
from services.registry.runs import log_finished
from shared.contracts.client_protocol import ID_CHARS

Selection = Literal["active", "failing", "inactive", "paused"]
"""Clients that an operator may look for. All but the active ones have an index, so that few among many are found."""

_LAST: Final = "\U0010ffff"
_BEFORE_SURROGATES: Final = "\ud7ff"
_BEHIND_SURROGATES: Final = "\ue000"


@dataclass(frozen=True, slots=True, kw_only=True)
class Registered:
    """A client that is registered now."""

    is_new: bool
    generation: int
    terms: Terms


def _anybody(_known: Known | None) -> Terms:
    """Refuse nobody."""
    return Terms()


class Clients:
    """Every method is one transaction."""

    def __init__(self, *, pool: asyncpg.Pool, queries: Mapping[str, str]) -> None:
        self._pool = pool
        self._queries = queries

    async def register(self, client: NewClient, *, terms: Callable[[Known | None], Terms] = _anybody) -> Registered:
        """Keep the client; it is due at once. May be repeated.

        `terms` gets what is known of the user until now, and raises to refuse; when that changes meanwhile, it is asked
        again.
        """
        values = (client.user_id, client.client_url, client.client_type, client.capabilities)
        while True:
            known = await self.known(client.user_id)
            agreed = terms(known)
            over = (known.generation, known.client_url) if known else (None, None)
            what = (agreed.changes, agreed.tells_first)
            row = await self._pool.fetchrow(self._queries["register"], *values, *over, *what)
            if row is not None:
                return Registered(is_new=known is None, generation=row["token_generation"], terms=agreed)

    async def known(self, user_id: str) -> Known | None:
        """What is known of the user's registration; None when there is none."""
        row = await self._pool.fetchrow(self._queries["registration"], user_id)
        return None if row is None else Known(**dict(row))

    async def is_registered(self, user_id: str) -> bool:
        """Whether the user has a client."""
        return await self.known(user_id) is not None

    async def unregister(self, user_id: str) -> None:
        """Forget the client; runs that wait for it count it as failed.

        Raises:
            UnknownClientError: there is no such client.
        """
        async with self._pool.acquire() as connection, connection.transaction():
            await self._change(connection, "unregister", user_id)
            runs = await connection.fetch(
                self._queries["abandon_parts"], [user_id], "unregistered", "the client was unregistered"
            )
        log_finished(runs)

    async def get(self, user_id: str) -> ClientRecord:
        """All that is known of one client.

        Raises:
            UnknownClientError: there is no such client.
        """
        row = await self._pool.fetchrow(self._queries["client"], user_id)
        if row is None:
            raise UnknownClientError(user_id)
        return ClientRecord.of(row)

    async def page(
        self, *, after: str, limit: int, selection: Selection | None = None, search: str = ""
    ) -> list[ClientRecord]:
        """The clients whose user id comes after `after` and begins with `search`, in that order.

        All of them, or those of one selection.
        """
        query = self._queries[f"clients_{selection}" if selection else "clients"]
        rows = await self._pool.fetch(query, after, limit, search, behind(search))
        return [ClientRecord.of(row) for row in rows]

    async def set_interval(self, user_id: str, interval_s: int | None) -> None:
        """Pull this client each `interval_s` seconds, None for the scheduler's interval.

        Raises:
            UnknownClientError: there is no such client.
        """
        await self._change(self._pool, "set_own_interval", user_id, interval_s)

    async def pause(self, user_id: str) -> None:
        """Pull this client no more, until it is resumed; runs that wait for it count it as failed. May be repeated.

        Raises:
            UnknownClientError: there is no such client.
        """
        async with self._pool.acquire() as connection, connection.transaction():
            await self._change(connection, "pause", user_id)
            runs = await connection.fetch(self._queries["abandon_parts"], [user_id], "paused", "the client was paused")
        log_finished(runs)

    async def resume(self, user_id: str) -> None:
        """Pull this client again. May be repeated.

        Raises:
            UnknownClientError: there is no such client.
        """
        await self._change(self._pool, "resume", user_id)

    async def _change(
        self, connection: asyncpg.Pool | asyncpg.pool.PoolConnectionProxy, query: str, user_id: str, *values: object
    ) -> None:
        if await connection.fetchval(self._queries[query], user_id, *values) is None:
            raise UnknownClientError(user_id)


def behind(prefix: str) -> str:
    """The first text that comes behind all ids that begin with `prefix`, in the order of ids: by code points."""
    kept = prefix.rstrip(_LAST)
    if not kept:
        return _LAST * (ID_CHARS + 1)
    last = kept[-1]
    return kept[:-1] + (_BEHIND_SURROGATES if last == _BEFORE_SURROGATES else chr(ord(last) + 1))


def possible(user_id: str) -> str:
    """The id, if a registered one can be like that.

    Raises:
        UnknownClientError: it has characters that PostgreSQL can't even look for.
    """
    if not is_possible(user_id):
        raise UnknownClientError(user_id)
    return user_id


def is_possible(text: str) -> bool:
    """Whether PostgreSQL can look for the text: it has neither NUL nor half a surrogate pair."""
    return "\x00" not in text and not any("\ud800" <= character <= "\udfff" for character in text)
