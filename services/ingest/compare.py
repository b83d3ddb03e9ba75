"""Compares a page of everything that a client has with what is stored, and deletes here, if asked, what it lacks."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final

import asyncpg
import stamina
import structlog
from asyncpg.pool import PoolConnectionProxy

from services.ingest.errors import StoreUnavailableError
from services.ingest.writer import RETRY_S, may_pass
from shared.contracts.messages import EXAMPLES, CompletePage, Difference, Pull
from shared.postgres.database import TRANSIENT

_AT_ONCE: Final = 2
"""Less than the pool has connections: a comparison of everybody must not keep the writer from its own."""

log = structlog.get_logger()


def page_ids(pull: Pull) -> tuple[str, ...]:
    """The ids that a pull brought, of captures and of what can't be read."""
    unreadable = (item.capture_id for item in pull.unreadable if item.capture_id is not None)
    return (*(capture.capture_id for capture in pull.captures), *unreadable)


class Comparison:
    """Call it when the pull is stored. What is stored later than the page was asked for is left alone."""

    def __init__(self, *, pool: asyncpg.Pool, queries: Mapping[str, str]) -> None:
        self._pool = pool
        self._queries = queries
        self._permits = asyncio.Semaphore(_AT_ONCE)

    async def compare(self, pull: Pull, page: CompletePage) -> Difference:
        """What the client has against what is stored, in the range of the page; one transaction.

        It may be repeated, and beside writers: the tables end as if what is deleted had never been stored. What is
        missing is found by the pull that stored it, so a repetition tells the same; what the first one deleted is
        unknown no more.

        Raises:
            StoreUnavailableError: Postgres did not answer in time; nothing is known to be deleted.
        """
        try:
            async for attempt in stamina.retry_context(
                on=may_pass, attempts=None, timeout=RETRY_S, wait_initial=0.1, wait_max=5.0
            ):
                with attempt:
                    async with self._permits, self._pool.acquire() as connection, connection.transaction():
                        return await self._compare(connection, pull, page)
        except TRANSIENT as error:
            message = f"the database did not compare a page of {pull.user_id!r}: {error}"
            raise StoreUnavailableError(message) from error
        raise AssertionError

    async def _compare(self, connection: PoolConnectionProxy, pull: Pull, page: CompletePage) -> Difference:
        scope = (pull.user_id, page.after or "", page.until)
        (missing,) = await connection.fetch(self._queries["find_missing"], *scope, pull.pull_id, EXAMPLES)
        known = [capture_id for capture_id in page_ids(pull) if "\0" not in capture_id]  # Postgres' text has no NUL
        here_only = (*scope, page.asked_at, known)
        if page.delete_unknown:
            rows = await connection.fetch(self._queries["delete_unknown"], *here_only)
            await self._forget(connection, pull.user_id, rows)
            unknown, examples = len(rows), [row["capture_id"] for row in rows[:EXAMPLES]]
        else:
            (found,) = await connection.fetch(self._queries["find_unknown"], *here_only, EXAMPLES)
            unknown, examples = found["captures"], found["examples"]
        return Difference(
            until=page.until,
            missing=missing["captures"],
            unknown=unknown,
            deleted=unknown if page.delete_unknown else 0,
            missing_examples=tuple(missing["examples"]),
            unknown_examples=tuple(examples),
        )

    async def _forget(self, connection: PoolConnectionProxy, user_id: str, deleted: Sequence[asyncpg.Record]) -> None:
        """Move what is counted of these events to what it is without them."""
        if not deleted:
            return
        pokemon = list({row["pokemon_id"] for row in deleted})
        await connection.fetch(self._queries["lock_holdings"], user_id, pokemon)
        moved = await connection.fetch(self._queries["recompute_holdings"], user_id, pokemon)
        columns = [[row[name] for row in moved] for name in ("pokemon_id", "pokemon_name", "difference")]
        difference = sum(columns[2])
        if difference:
            await connection.execute(self._queries["move_holder"], user_id, difference)
        await connection.execute(self._queries["move_ranking"], *columns)
        await connection.execute(self._queries["count"], -len(deleted), difference, 0)
        log.info("unknown_captures_deleted", user_id=user_id, captures=len(deleted), holdings=difference)
