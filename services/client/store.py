"""The captures of one user. A pending capture is never deleted; only an acknowledgement makes it anything else.

Captures leave the store as JSON texts, made by SQLite in its own thread: ten thousand of them cost the event loop
nothing but joining them.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import TYPE_CHECKING, Final

from services.client.errors import IdTakenError
from services.client.import_ids import Row, with_own_ids
from services.client.twins import WINDOW_S, Twins
from shared.contracts.times import LATEST, iso_millis

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    import aiosqlite

    from services.client.database import Database
    from shared.contracts.client_protocol import AddCapture, Capture

CLIENT_VERSION: Final = "1.0.0"
_TWIN_WINDOW: Final = timedelta(seconds=WINDOW_S)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)
_NO_LIMIT: Final = -1
_LAST_SECOND: Final = iso_millis(LATEST).partition(".")[0]
"""Of all times: no time that can be written is later than one of it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Added:
    """What became of a new capture."""

    capture: str
    """JSON of the capture that is stored: the new one, or the one that is here already."""
    duplicated: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Page:
    """Some captures, and what there is in all, at one moment."""

    captures: Sequence[str]
    """One JSON text each."""
    total: int
    last_sync: str | None
    unpulled: Sequence[str] = ()
    """Ids of those that are not on record as pulled, where that was asked for."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Counts:
    """How many captures there are, at one moment."""

    total: int
    pending: int
    last_sync: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class ForeignCapture:
    """A capture from elsewhere, with its metadata as the JSON that it came with."""

    capture: Capture
    metadata: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Imported:
    """What became of captures from elsewhere."""

    new: int
    renamed: dict[str, str] = field(default_factory=dict)
    """The ids that captures got whose own id was another capture's, with that one."""


class CaptureStore:
    """Every method is one transaction, and raises StoreUnavailableError when SQLite could not do it."""

    def __init__(
        self,
        *,
        database: Database,
        queries: Mapping[str, str],
        user_id: str,
        clock: Callable[[], datetime],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = database
        self._queries = queries
        self._user_id = user_id
        self._clock = clock
        self._twins = Twins(monotonic=monotonic)

    async def add(self, new: AddCapture) -> Added:
        """Store a capture durably, or give back what it repeats.

        One with an id repeats the capture with this id, and may be sent any number of times; one without repeats its
        pending twin from the last 5 s. One without a time is made now; or, when a capture of the same Pokémon was ever
        later, right after that one: what is later here is later for those who store it, whatever the clock does.

        Raises:
            IdTakenError: the id is another capture's; nothing was stored.
        """
        async with self._database.transaction(write=True) as db:
            now = self._clock()
            repeated = await self._repeated(db, new, now)
            if repeated is not None:
                return Added(capture=repeated, duplicated=True)
            capture_id = await self._insert(db, new, now)
            [[document]] = await db.execute_fetchall(self._queries["capture"], {"capture_id": capture_id})
            return Added(capture=document, duplicated=False)

    async def facts(self, *names: str) -> dict[str, str | None]:
        """What was kept under these names; None for nothing."""
        async with self._database.transaction(write=False) as db:
            return {name: await self._fact(db, name) for name in names}

    async def keep_facts(self, facts: Mapping[str, str]) -> None:
        """Keep these, all or none."""
        async with self._database.transaction(write=True) as db:
            for name, value in facts.items():
                await self._set_fact(db, name, value)

    async def acknowledge(self, capture_ids: Iterable[str]) -> None:
        """These are stored elsewhere now. Unknown ids are ignored; may be repeated."""
        now = iso_millis(self._clock())
        rows = [{"now": now, "capture_id": each} for each in dict.fromkeys(capture_ids) if _is_storable(each)]
        async with self._database.transaction(write=True) as db:
            await db.executemany(self._queries["acknowledge"], rows)
            await self._set_fact(db, "last_sync", now)

    async def pending(self, *, since: datetime | None = None, limit: int | None = None) -> Page:
        """What is not yet acknowledged and strictly newer than `since`, oldest first; `total` counts beyond `limit`."""
        after = "" if since is None else iso_millis(since)
        rows = {"since": after, "limit": _NO_LIMIT if limit is None else limit}
        async with self._database.transaction(write=False) as db:
            found = list(await db.execute_fetchall(self._queries["pending"], rows))
            [[total]] = await db.execute_fetchall(self._queries["count_pending"], {"since": after})
            return Page(
                captures=[document for document, _ in found],
                total=total,
                last_sync=await self._fact(db, "last_sync"),
                unpulled=[capture_id for _, capture_id in found if capture_id is not None],
            )

    async def everything(self) -> Page:
        """All that is still here, acknowledged or not, oldest first."""
        async with self._database.transaction(write=False) as db:
            captures = [document for (document,) in await db.execute_fetchall(self._queries["everything"])]
            return Page(captures=captures, total=len(captures), last_sync=await self._fact(db, "last_sync"))

    async def everything_by_id(self, *, after: str = "", limit: int | None = None) -> Page:
        """The same by the UTF-8 bytes of the ids, and only ids strictly after any text; `total` counts all.

        A capture that is there all the while is met once by reading page by page, each after the last id of the one
        before.
        """
        rows = {"after": after.encode(errors="surrogatepass"), "limit": _NO_LIMIT if limit is None else limit}
        async with self._database.transaction(write=False) as db:
            captures = [document for (document,) in await db.execute_fetchall(self._queries["everything_by_id"], rows)]
            [[total]] = await db.execute_fetchall(self._queries["count_everything"])
            return Page(captures=captures, total=total, last_sync=await self._fact(db, "last_sync"))

    async def counts(self) -> Counts:
        """Totals only."""
        async with self._database.transaction(write=False) as db:
            [[total]] = await db.execute_fetchall(self._queries["count_everything"])
            [[pending]] = await db.execute_fetchall(self._queries["count_pending"], {"since": ""})
            return Counts(total=total, pending=pending, last_sync=await self._fact(db, "last_sync"))

    async def purge(self, *, ran_s: int, keep_s: int) -> int:
        """Count so many more seconds of running, delete what is acknowledged for longer; tell how many that were.

        No clock is asked that anybody can set: nothing is deleted early, and what is acknowledged while it is wrong
        stays as long as everything else.
        """
        async with self._database.transaction(write=True) as db:
            total_s = int(await self._fact(db, "ran_s") or 0) + ran_s
            await self._set_fact(db, "ran_s", str(total_s))
            await db.execute(self._queries["count_retention"], {"ran_s": total_s})
            purged = await db.execute(self._queries["purge"], {"before_s": total_s - keep_s})
            return purged.rowcount

    async def foreign_owners(self) -> dict[str, int]:
        """Other users than this one, with how many captures of each there are."""
        async with self._database.transaction(write=False) as db:
            found = await db.execute_fetchall(self._queries["foreign_owners"], {"user_id": self._user_id})
            return {str(user): int(number) for user, number in found}

    async def claim(self) -> None:
        """Make all captures this user's. What was acknowledged to another is pending, and his tokens are forgotten."""
        async with self._database.transaction(write=True) as db:
            taken = await db.execute(self._queries["take_over"], {"user_id": self._user_id})
            if taken.rowcount > 0 or await self._fact(db, "user_id") not in (None, self._user_id):
                for name in ("pull_token", "client_token", "open"):
                    await self._set_fact(db, name, "")
            await self._set_fact(db, "user_id", self._user_id)

    async def has_imported(self) -> bool:
        """Whether `import_all` was ever done on this database."""
        async with self._database.transaction(write=False) as db:
            return await self._fact(db, "imported_from") is not None

    async def import_all(
        self, captures: Iterable[ForeignCapture], *, last_sync: datetime | None, source: str
    ) -> Imported:
        """Take over captures from elsewhere, all or none, and remember `source`.

        One that is here already is here once. Two that differ are two, also when they share an id.
        """
        now = iso_millis(self._clock())
        rows = [self._foreign_row(each, now) for each in captures]
        async with self._database.transaction(write=True) as db:
            ids = json.dumps([row["capture_id"] for row in rows])
            found = await db.execute(self._queries["captures_with_ids"], {"capture_ids": ids})
            names = [column[0] for column in found.description]
            known = [dict(zip(names, row, strict=True)) for row in await found.fetchall()]
            own = with_own_ids(rows, known)
            imported = await db.executemany(self._queries["insert_capture"], own.rows)
            newest = max(await self._fact(db, "last_sync") or "", iso_millis(last_sync) if last_sync else "")
            if newest:
                await self._set_fact(db, "last_sync", newest)
            await self._set_fact(db, "imported_from", source)
            # SQLite's module says -1 when there was nothing to insert.
            return Imported(new=max(0, imported.rowcount), renamed=own.renamed)

    async def _repeated(self, db: aiosqlite.Connection, new: AddCapture, now: datetime) -> str | None:
        if new.capture_id is None:
            return await self._twin(db, new, now)
        again = await db.execute_fetchall(self._queries["capture_again"], {"capture_id": new.capture_id, **_kind(new)})
        for document, is_same in again:
            if not is_same:
                raise IdTakenError
            return str(document)
        return None

    async def _twin(self, db: aiosqlite.Connection, new: AddCapture, now: datetime) -> str | None:
        first = self._twins.first(new)
        if first is not None:
            rows = await db.execute_fetchall(self._queries["pending_capture"], {"capture_id": first})
        elif self._twins.may_be_older:
            window = {"after": iso_millis(now - _TWIN_WINDOW), "before": iso_millis(now + _TWIN_WINDOW)}
            rows = await db.execute_fetchall(self._queries["pending_twin"], window | _kind(new))
        else:
            return None
        return next((document for (document,) in rows), None)

    async def _insert(self, db: aiosqlite.Connection, new: AddCapture, now: datetime) -> str:
        """Store it, and give its id.

        One without an id gets the first free millisecond from its time on; that moves along, so that order is kept.
        """
        made_at = new.timestamp or await self._time_for(db, new.pokemon_id, now)
        if new.capture_id is not None:
            await db.execute(self._queries["insert_capture"], self._new_row(new, new.capture_id, made_at))
            return new.capture_id
        for epoch_ms in count((made_at - _EPOCH) // _MILLISECOND):
            capture_id = f"{new.pokemon_id}_{epoch_ms}_{new.action}"
            row = self._new_row(new, capture_id, _EPOCH + epoch_ms * _MILLISECOND)
            inserted = await db.execute(self._queries["insert_capture"], row)
            if inserted.rowcount == 1:
                self._twins.remember(new, capture_id)
                return capture_id
        raise AssertionError  # count() does not end

    async def _time_for(self, db: aiosqlite.Connection, pokemon_id: int, now: datetime) -> datetime:
        """Now, or right after the latest capture that there ever was of this Pokémon, where that is later."""
        rows = await db.execute_fetchall(self._queries["latest_time"], {"pokemon_id": pokemon_id})
        latest = next((text for (text,) in rows), "")
        if not latest or latest >= _LAST_SECOND:
            return now
        return max(now, datetime.fromisoformat(latest) + _MILLISECOND)

    def _new_row(self, new: AddCapture, capture_id: str, made_at: datetime) -> Row:
        return {
            "capture_id": capture_id,
            "pokemon_id": new.pokemon_id,
            "pokemon_name": new.pokemon_name,
            "action": new.action,
            "removed": new.removed,
            "timestamp": iso_millis(made_at),
            "user_id": self._user_id,
            "metadata": json.dumps({"removed": new.removed, "client_version": CLIENT_VERSION}),
            "acknowledged_at": None,
        }

    def _foreign_row(self, foreign: ForeignCapture, now: str) -> Row:
        capture = foreign.capture
        return {
            "capture_id": capture.capture_id,
            "pokemon_id": capture.pokemon_id,
            "pokemon_name": capture.pokemon_name,
            "action": capture.action,
            "removed": capture.removed,
            "timestamp": iso_millis(capture.timestamp),
            "user_id": self._user_id,
            "metadata": foreign.metadata,
            "acknowledged_at": now if capture.synced and capture.user_id in (None, self._user_id) else None,
        }

    async def _fact(self, db: aiosqlite.Connection, name: str) -> str | None:
        rows = await db.execute_fetchall(self._queries["fact"], {"name": name})
        return next((value for (value,) in rows), None)

    async def _set_fact(self, db: aiosqlite.Connection, name: str, value: str) -> None:
        await db.execute(self._queries["set_fact"], {"name": name, "value": value})


def _kind(new: AddCapture) -> Row:
    return {"pokemon_id": new.pokemon_id, "action": new.action, "removed": new.removed}


def _is_storable(text: str) -> bool:
    """Whether SQLite can take it as text at all: half a surrogate pair, which JSON may hold, has no UTF-8."""
    return text.isascii() or text.encode(errors="ignore").decode() == text
