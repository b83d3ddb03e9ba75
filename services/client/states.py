"""How far captures have come: only here, in an answer to whoever pulls, or acknowledged."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import structlog

from services.client.errors import StoreUnavailableError
from shared.contracts.times import iso_millis

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    from services.client.database import Database

log = structlog.get_logger()


class States:
    """On the same database as the captures."""

    def __init__(self, *, database: Database, queries: Mapping[str, str]) -> None:
        self._database = database
        self._queries = queries

    async def of(self, capture_ids: Iterable[str]) -> list[str]:
        """A JSON text for each of these that is here, in their order, each once; any text may be asked for.

        Raises:
            StoreUnavailableError: SQLite could not do it.
        """
        asked = dict.fromkeys(capture_ids)
        async with self._database.transaction(write=False) as db:
            rows = await db.execute_fetchall(self._queries["states"], {"capture_ids": json.dumps(list(asked))})
        found: dict[str, str] = {row[0]: row[1] for row in rows}
        # Looked up here once more: SQLite cuts a text in JSON at a NUL, and so finds what nobody asked for.
        return [found[each] for each in asked if each in found]

    async def note_pulled(self, capture_ids: Sequence[str], pulled_at: datetime) -> None:
        """Put on record that these were pulled; the first time stays. It may be repeated.

        A failure is only logged: the captures stay pending, and the next pull notes it.
        """
        rows = [{"capture_id": each, "pulled_at": iso_millis(pulled_at)} for each in capture_ids]
        try:
            async with self._database.transaction(write=True) as db:
                await db.executemany(self._queries["note_pulled"], rows)
        except StoreUnavailableError as error:
            log.warning("pulled_not_noted", captures=len(rows), reason=str(error))
