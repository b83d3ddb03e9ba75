"""The clients: what each has pending, and how it answers. They speak the protocol as deployed clients do."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from random import Random
from typing import Final

from benchmarks.simulator.http import Request, Response
from shared.contracts.client_protocol import ACKNOWLEDGE_PATH, HEALTH_PATH, SYNC_DATA_PATH
from shared.contracts.times import iso_millis

FIRST_ADDRESS: Final = 64 << 16
"""127.64.0.0: that of the client with the number 0."""
SPECIES: Final = 1_025
_NOT_FOUND: Final = Response(b'{"error": "not found"}', 404)


def user_id(number: int) -> str:
    """The user of that client."""
    return f"user_{number:07}"


def address(number: int) -> str:
    """The client's own IP address; no two clients share a host, as no two devices do."""
    at = FIRST_ADDRESS + number
    return f"127.{at >> 16}.{at >> 8 & 255}.{at & 255}"


@dataclass(slots=True)
class Client:
    """One client, and the captures that it was not told to forget, oldest first."""

    number: int
    made: int = 0
    """Captures so far."""
    pending: dict[str, bytes] = field(default_factory=dict)
    """JSON by id."""
    made_at: dict[str, float] = field(default_factory=dict)
    """Seconds since 1970 by id, of those whose way is timed."""
    hangs: bool = False
    answer: Response | None = None
    """To the next `sync-data`, as long as nothing changes."""

    def sync_data(self) -> Response:
        """What is pending."""
        if self.answer is None:
            head = (
                f'{{"user_id":"{user_id(self.number)}","client_url":"http://{address(self.number)}",'
                f'"last_sync":null,"total_pending":{len(self.pending)},"captures":['
            )
            self.answer = Response(head.encode() + b",".join(self.pending.values()) + b"]}")
        return self.answer

    def make(self, random: Random, at_s: float) -> str:
        """One more capture; its id."""
        species = random.randint(1, SPECIES)
        milliseconds = int(at_s) * 1_000 + self.made % 1_000  # so that no id is made twice, also of what was forgotten
        self.made += 1
        capture_id = f"{species}_{milliseconds}_capture"
        moment = iso_millis(datetime.fromtimestamp(milliseconds / 1_000, UTC))
        self.pending[capture_id] = (
            f'{{"capture_id":"{capture_id}","pokemon_id":{species},"pokemon_name":"pokemon-{species}",'
            f'"action":"capture","timestamp":"{moment}","user_id":"{user_id(self.number)}","synced":false,'
            f'"metadata":{{"removed":false}}}}'
        ).encode()
        self.answer = None
        return capture_id


class Fleet:
    """All clients of the process, by their hosts; and what was seen of the backend."""

    def __init__(self, *, clients: int, port: int, seed: int) -> None:
        self.clients = [Client(number) for number in range(clients)]
        self._by_host = {f"{address(client.number)}:{port}".encode(): client for client in self.clients}
        self._random = Random(seed)  # noqa: S311 - no secret
        self.polls: list[tuple[int, float]] = []
        """Number of the client and the moment, in seconds since 1970, of each `sync-data`."""
        self.acknowledged = 0
        self.told_after_s: list[float] = []
        """From a timed capture until its client was told that it is stored."""

    def fill(self, numbers: Iterable[int], captures: int) -> None:
        """Give each of these clients so many captures more, made in the last hour."""
        for number in numbers:
            client = self.clients[number]
            begun = time.time() - 3_600
            for _ in range(captures):
                begun += self._random.uniform(0.001, 3_600 / captures)
                client.make(self._random, begun)
            client.sync_data()

    def make_timed(self) -> Client:
        """A capture of some client, now; its way is timed."""
        client = self._random.choice(self.clients)
        now = time.time()
        client.made_at[client.make(self._random, now)] = now
        return client

    def pending(self) -> int:
        """Captures that no client was told to forget."""
        return sum(len(client.pending) for client in self.clients)

    def handle(self, request: Request) -> Response | None:
        """A request of the backend."""
        client = self._by_host.get(request.host)
        if client is None:
            return _NOT_FOUND
        if request.path == SYNC_DATA_PATH.encode():
            self.polls.append((client.number, time.time()))
            return None if client.hangs else client.sync_data()
        if request.path == ACKNOWLEDGE_PATH.encode():
            return self._acknowledge(client, json.loads(request.body)["capture_ids"])
        if request.path == HEALTH_PATH.encode():
            return Response(json.dumps({"status": "healthy", "client_id": user_id(client.number)}).encode())
        return _NOT_FOUND

    def _acknowledge(self, client: Client, capture_ids: list[str]) -> Response:
        now = time.time()
        for capture_id in capture_ids:
            if client.pending.pop(capture_id, None) is not None:
                self.acknowledged += 1
                if (made_at := client.made_at.pop(capture_id, None)) is not None:
                    self.told_after_s.append(now - made_at)
        client.answer = None
        return Response(b'{"message":"thanks","count":%d}' % len(capture_ids))
