"""Captures that are made all the while, by way of the client containers, and what became of them."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Self

import httpx

from shared.contracts.client_protocol import ADD_CAPTURE_PATH, STATS_PATH
from tests.compose.project import CommandError, Project, until

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_PAUSE_S: Final = 0.2
_ANSWER_S: Final = 5.0
_SPECIES: Final = 1000
_SUMS: Final = """
SELECT 'totals say ' || events || ' events' FROM captures.totals
WHERE events <> (SELECT count(*) FROM captures.events)
UNION ALL
SELECT 'the ranking of ' || coalesce(r.pokemon_id, h.pokemon_id) || ' is not the number of its holders'
FROM (SELECT * FROM captures.ranking WHERE holders <> 0) r
FULL JOIN (SELECT pokemon_id, count(*) AS held FROM captures.holdings WHERE held GROUP BY 1) h USING (pokemon_id)
WHERE r.holders IS DISTINCT FROM h.held
UNION ALL
SELECT 'in quarantine: ' || problem FROM captures.quarantine
"""


@dataclass(frozen=True, kw_only=True)
class Recovery:
    """How long it took after a fault."""

    stack: str
    fault: str
    stored_s: float
    """Until a capture that was made afterwards on each client was stored."""
    well_s: float
    """Until every container said that it is healthy."""


RECOVERIES: Final[list[Recovery]] = []
"""All of this session."""


@dataclass(kw_only=True)
class Captures:
    """Makes some a second on each client, as a context manager; knows the ids that clients have promised to keep."""

    project: Project
    clients: Mapping[str, str]
    """Users and the URLs of their clients."""
    made: dict[str, set[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._end = threading.Event()
        self._http = httpx.Client(timeout=_ANSWER_S, trust_env=False)
        self._threads = [threading.Thread(target=self._go_on, args=(user,)) for user in self.clients]
        self.made |= {user: set() for user in self.clients}

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._http.close()

    def stop(self) -> None:
        """Make no more."""
        self._end.set()
        for thread in self._threads:
            thread.join()

    def _go_on(self, user: str) -> None:
        while not self._end.wait(_PAUSE_S):
            self.make(user)

    def make(self, user: str) -> str | None:
        """One capture; its id when the client has promised to keep it."""
        number = time.monotonic_ns() // 1_000_000 % _SPECIES + 1
        body = {"pokemon_id": number, "pokemon_name": f"number {number}", "action": "capture"}
        try:
            answer = self._http.post(f"{self.clients[user]}{ADD_CAPTURE_PATH}", json=body)
        except httpx.HTTPError:
            return None
        if not answer.is_success:
            return None
        made = str(answer.json()["capture"]["capture_id"])
        self.made[user].add(made)
        return made

    def flow_again(self, fault: str, since: float | None = None) -> None:
        """Wait until new captures of each client are stored and all containers are healthy; note how long it took."""
        begun = time.monotonic() if since is None else since
        fresh: dict[str, str] = {}
        for user in self.clients:
            until(lambda user=user: self._fresh(user, fresh), f"after {fault}: {user}'s client takes captures")  # type: ignore[misc]
        until(lambda: set(fresh.values()) <= self._stored(fresh), f"after {fault}: what is captured is stored")
        stored_s = time.monotonic() - begun
        until(self.project.is_well, f"after {fault}: all containers are healthy")
        well_s = time.monotonic() - begun
        RECOVERIES.append(Recovery(stack=self.project.name, fault=fault, stored_s=stored_s, well_s=well_s))

    def flow_again_after(self, what: str, do: Callable[[], object]) -> None:
        """The same of something that takes a while itself, which counts."""
        begun = time.monotonic()
        do()
        self.flow_again(what, begun)

    def _fresh(self, user: str, fresh: dict[str, str]) -> bool:
        made = self.make(user)
        if made is not None:
            fresh[user] = made
        return made is not None

    def _stored(self, fresh: Mapping[str, str]) -> set[str]:
        ids = ", ".join(f"'{each}'" for each in fresh.values())
        try:
            return set(self.project.rows(f"SELECT capture_id FROM captures.events WHERE capture_id IN ({ids})"))
        except CommandError:
            return set()

    def none_is_lost(self) -> None:
        """Make no more, and wait until clients have nothing left: the tables have each capture once, and no other."""
        self.stop()
        until(
            lambda: not any(self._stats(user)["pending_sync"] for user in self.clients), "clients have nothing pending"
        )
        stored: dict[str, list[str]] = {user: [] for user in self.clients}
        for row in self.project.rows("SELECT user_id || ' ' || capture_id FROM captures.events"):
            user, _, capture_id = row.partition(" ")
            stored[user].append(capture_id)
        for user, made in self.made.items():
            assert made, f"{user} made no capture at all"
            assert made - set(stored[user]) == set(), f"captures of {user} are lost"
            # Of some the answer was lost, and not the capture.
            assert len(stored[user]) == self._stats(user)["total_captures"], f"{user} has others than are stored"
        assert self.project.rows(_SUMS) == []
        queues = self.project.compose("exec", "-T", "rabbitmq", "rabbitmqctl", "-q", "list_queues", "name", "messages")
        letters = [line for line in queues.splitlines() if ".dead" in line and not line.endswith("\t0")]
        assert letters == [], "messages are dead"

    def _stats(self, user: str) -> dict[str, int]:
        answer = self._http.get(f"{self.clients[user]}{STATS_PATH}")
        answer.raise_for_status()
        found: dict[str, int] = answer.json()
        return found
