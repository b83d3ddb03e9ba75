"""What is known of one capture: the facts on which `services.registry.whereabouts.verdict` decides. No I/O."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from uuid import UUID

from services.registry.dead_letters.reading import DeadLetter
from services.registry.domain import ClientRecord
from services.registry.pulls import PullRecord

Action = Literal["capture", "favorite"]


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredCapture:
    """As it stands in ingest's tables."""

    pokemon_id: int
    pokemon_name: str
    """Fit for showing."""
    action: Action
    removed: bool
    captured_at: datetime
    """By the client's clock."""
    received_at: datetime
    """When the puller had it."""
    stored_at: datetime
    pull_id: UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class QuarantinedCapture:
    """An item of the quarantine with the capture's id."""

    quarantine_id: int
    problem: str
    pull_id: UUID
    quarantined_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientFacts:
    """The user's client, and what its record does not show."""

    record: ClientRecord
    pull_id: UUID | None
    """Of the pull that is under way."""
    claimed_at: datetime | None
    """When that pull began, or the last one."""
    emptied_at: datetime | None
    """When the last pull began after which the client held nothing that it was not told of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundLetter:
    """A dead letter that names the capture."""

    queue: str
    letter: DeadLetter


@dataclass(frozen=True, slots=True, kw_only=True)
class Searched:
    """What a search of dead letters found."""

    found: FoundLetter | None = None
    gap: str | None = None
    """Why not all of them could be looked through; None when they were."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """All that is known of a capture in one moment; dead letters are looked through only when the rest does not say."""

    user_id: str
    capture_id: str
    stored: StoredCapture | None = None
    quarantined: QuarantinedCapture | None = None
    pull: PullRecord | None = None
    """The one that brought it, into the tables or into the quarantine."""
    told_at: datetime | None = None
    """When the client of that pull had been told."""
    client: ClientFacts | None = None
    is_known_user: bool = False
    is_timer_running: bool = True
    searched: Searched | None = None
