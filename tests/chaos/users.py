"""The users of one process of simulated clients: what each holds, what he is like, and how it all becomes durable."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tests.chaos.journal import Journal
from tests.chaos.making import Made, make
from tests.chaos.seeds import seeded

_FLUSH_EVERY_S: Final = 0.05
_BURST: Final = 40
_BURST_SHARE: Final = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a process of simulated clients is told; JSON on its command line."""

    seed: int
    name: str
    users: list[str]
    port: int
    public_url: str
    """Where the backend reaches this process."""
    registry_url: str
    folder: str
    rate: float
    """Captures each second, of all users of this process together."""
    make_until: float
    """Seconds since 1970; from then on nothing is made, and all clients behave."""

    @property
    def journal(self) -> Path:
        """The process' own storage."""
        return Path(self.folder) / f"{self.name}.sqlite3"

    @property
    def served(self) -> Path:
        """What was answered to whom: a line of JSON for each answer with captures."""
        return Path(self.folder) / f"{self.name}.served"


@dataclass(slots=True)
class User:
    """One client. What he is like depends on the seed and his name only."""

    user_id: str
    page: int | None
    """How many captures he answers at once; None for an original client, which knows no paging."""
    nudges: bool
    slow_s: float
    flaky: float
    """The share of requests that he answers badly."""
    next_number: int = 0
    pending: dict[int, Made] = field(default_factory=dict)
    slow_until: float = 0.0
    """While an injected slowness lasts, he does not answer."""

    @classmethod
    def of(cls, seed: int, user_id: str) -> User:
        """As the seed says."""
        random = seeded(seed, "user", user_id)
        return cls(
            user_id=user_id,
            page=random.choice((3, 10, 1_000)) if random.random() < 0.4 else None,
            nudges=random.random() < 1 / 3,
            slow_s=random.uniform(0.2, 1.5) if random.random() < 0.1 else 0.0,
            flaky=random.uniform(0.05, 0.3) if random.random() < 0.2 else 0.0,
        )

    def sync_data(self, *, since: str, limit: int | None, url: str) -> tuple[dict[str, Any], list[Made]]:
        """What he answers when he behaves, and which items are in it."""
        pending = [made for made in self.pending.values() if not since or _timestamp(made) > since]
        shown = pending
        if self.page is not None and limit is not None:
            shown = pending[: min(limit, self.page)]
        items = [json.loads(made.document) for made in shown for _ in range(1 + made.twice)]
        answer = {
            "user_id": self.user_id,
            "client_url": url,
            "captures": items,
            "last_sync": None,
            "total_pending": len(pending),
        }
        return answer, shown


class Users:
    """All users of the process. What was made or acknowledged counts once it is in the journal, and not before."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._journal = Journal(settings.journal)
        self.by_id = {user_id: User.of(settings.seed, user_id) for user_id in settings.users}
        for user_id, number in self._journal.next_numbers().items():
            self.by_id[user_id].next_number = number
        for made in self._journal.pending():
            self.by_id[made.user_id].pending[made.number] = made
        self._made: list[Made] = []
        self._acknowledged: list[tuple[float, str, str]] = []
        self._flushed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def make(self) -> None:
        """Make captures at the given rate, until it is over."""
        settings = self._settings
        random = seeded(settings.seed, "pace", settings.name, sum(user.next_number for user in self.by_id.values()))
        users = list(self.by_id.values())
        while time.time() < settings.make_until:
            user = random.choice(users)
            for _ in range(_BURST if random.random() < _BURST_SHARE else 1):
                self._made.append(make(settings.seed, user.user_id, user.next_number, round(time.time(), 3)))
                user.next_number += 1
            await asyncio.sleep(random.expovariate(settings.rate / (1 + _BURST * _BURST_SHARE)))

    async def acknowledge(self, user: User, capture_ids: Iterable[str]) -> None:
        """Returns when it is durable."""
        self._acknowledged += [(time.time(), user.user_id, capture_id) for capture_id in capture_ids]
        await asyncio.shield(self._flushed)

    async def flush_for_ever(self) -> None:
        """Write what has gathered, again and again, and only then let it count."""
        while True:
            await asyncio.sleep(_FLUSH_EVERY_S)
            if not self._made and not self._acknowledged:
                continue
            made, self._made = self._made, []
            acknowledged, self._acknowledged = self._acknowledged, []
            done, self._flushed = self._flushed, asyncio.get_running_loop().create_future()
            await asyncio.to_thread(self._journal.write, made, acknowledged)
            for one in made:
                self.by_id[one.user_id].pending[one.number] = one
            self._forget(acknowledged)
            done.set_result(None)

    def _forget(self, acknowledged: Iterable[tuple[float, str, str]]) -> None:
        ids: dict[str, set[str]] = {}
        for _, user_id, capture_id in acknowledged:
            ids.setdefault(user_id, set()).add(capture_id)
        for user_id, told in ids.items():
            user = self.by_id[user_id]
            user.pending = {number: made for number, made in user.pending.items() if made.capture_id not in told}


def _timestamp(made: Made) -> str:
    document = json.loads(made.document)
    return str(document.get("timestamp", "")) if isinstance(document, dict) else ""
