"""What the services say to each other over RabbitMQ. Names are commands (imperative) or events (past tense).

Every message is frozen, carries its schema version, and may be delivered more than once: handlers must be repeatable.
A reader ignores keys that it does not know, so that a newer sender can be deployed first.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Final, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from shared.client_protocol import Action, UtcDatetime

PULLS_PER_REQUEST: Final = 100
"""Most clients in one `PullRequested`."""

CAPTURES_PER_PULL: Final = 10_000
"""Most captures that one pull carries; what a client serves beyond them is pulled again at once."""

BYTES_PER_PULL: Final = 4 * 1024 * 1024
"""Most bytes of a client's reply that one pull carries; well under the 16 MiB that RabbitMQ 4 takes as a message."""


EXAMPLES: Final = 20
"""Most capture ids that a difference names."""

QUARANTINED_PER_REPLAY: Final = 1_000
"""Most quarantined items in one `ReplayQuarantined`."""


class Reason(StrEnum):
    """Why a pull, or a part of it, did not go well: a fixed set, so that it can label a metric."""

    TIMEOUT = "timeout"
    CONNECT = "connect"
    HTTP_STATUS = "http_status"
    TOO_LARGE = "too_large"
    BAD_PAYLOAD = "bad_payload"
    WRONG_USER = "wrong_user"
    FORBIDDEN_ADDRESS = "forbidden_address"
    PUBLISH = "publish"
    UNACKNOWLEDGED = "unacknowledged"
    UNREGISTERED = "unregistered"
    PAUSED = "paused"
    CANCELLED = "cancelled"


class Outcome(StrEnum):
    """How a pull ended."""

    NOTHING = "nothing"
    STORED = "stored"
    FAILED = "failed"


class Message(BaseModel):
    """What every message has."""

    model_config = ConfigDict(frozen=True, extra="ignore", use_attribute_docstrings=True)

    schema_version: Literal[1] = 1


class Part(BaseModel):
    """A part of a message."""

    model_config = ConfigDict(frozen=True, extra="ignore", use_attribute_docstrings=True)


class PullTarget(Part):
    """One client to be pulled, under a lease that the registry holds for it."""

    pull_id: UUID
    user_id: str
    client_url: str
    lease_expires_at: UtcDatetime
    """After this, by the registry's clock, the pull is taken for lost: what comes of it later settles nothing."""
    after: str | None = None
    """Of a complete pull: only captures whose id comes after this one; None from the first."""


class CompletePull(Part):
    """Asks for everything that a client still has, acknowledged or not, to be compared with what is stored."""

    asked_at: UtcDatetime
    """What was stored later than this is not compared: the client's answer may be older."""
    delete_unknown: bool
    """Whether what is stored, and the client does not have, is deleted here."""


class PullRequested(Message):
    """Registry to puller: pull these clients now. Repeating it costs a request to each client, nothing more."""

    since: UtcDatetime | None = None
    """Only captures newer than this, by the client's clock; None for all that is pending."""
    complete: CompletePull | None = None
    """Everything that the clients have, in pages by capture id, instead of what is pending."""
    targets: Annotated[tuple[PullTarget, ...], Field(max_length=PULLS_PER_REQUEST)]


class PulledCapture(Part):
    """A capture that could be read."""

    capture_id: str
    pokemon_id: int
    pokemon_name: str
    action: Action
    timestamp: UtcDatetime
    removed: bool
    metadata: str | None
    """JSON text of what the client said beyond `removed`; None for nothing."""


class UnreadableItem(Part):
    """An item that could not be read as a capture: kept as it came, and acknowledged if it has an id."""

    capture_id: str | None
    problem: str
    """One sentence."""
    raw: str
    """ASCII JSON text, cut to a length that is worth keeping."""


class CompletePage(Part):
    """What makes a pull a page of everything that a client has: the ids after `after`, up to and with `until`."""

    asked_at: UtcDatetime
    delete_unknown: bool
    after: str | None
    until: str | None
    """The last id of the page, one that a capture can have and that comes after `after`; None when nothing comes after
    it. Ids are ordered by their UTF-8 bytes."""
    unacknowledged: tuple[str, ...]
    """Of the page's ids those that the client still holds as pending: only these are acknowledged."""


class Pull(Part):
    """What one client had pending, or a page of everything that it has."""

    pull_id: UUID
    user_id: str
    client_url: str
    pulled_at: UtcDatetime
    duration_s: float
    pending: int
    """Captures that the client said it holds, these included."""
    more_pending: bool
    captures: tuple[PulledCapture, ...]
    unreadable: tuple[UnreadableItem, ...] = ()
    complete: CompletePage | None = None


class CaptureBatch(Message):
    """Puller to ingest: the pulls of many clients. Repeating it stores nothing twice."""

    pulls: tuple[Pull, ...]


class AcknowledgeCaptures(Message):
    """Ingest to ingest, with a delay: these captures are stored, tell the client. Repeating it does no harm."""

    pull_id: UUID
    user_id: str
    client_url: str
    capture_ids: tuple[str, ...]
    attempts: int
    """How often it was tried so far."""


class Difference(Part):
    """What a client has against what was stored, in one page."""

    until: str | None
    """As in the page: where the next one begins, None at the end."""
    missing: int
    """Captures that the client has and that were not stored: they are now. What was still pending is among them."""
    unknown: int
    """Captures that were stored and that the client does not have, be it that it deleted what was acknowledged."""
    deleted: int
    """How many of these were deleted here, because it was asked for; a repeated message finds none of them again."""
    missing_examples: Annotated[tuple[str, ...], Field(max_length=EXAMPLES)] = ()
    unknown_examples: Annotated[tuple[str, ...], Field(max_length=EXAMPLES)] = ()
    """Their ids, the first of them."""


class PullOutcome(Part):
    """How one pull ended, from whoever ended it."""

    pull_id: UUID
    user_id: str
    outcome: Outcome
    stored: int = 0
    duplicates: int = 0
    quarantined: int = 0
    pending: int = 0
    """Captures that the client still holds, as far as is known."""
    more_pending: bool = False
    reason: Reason | None = None
    error: Annotated[str, Field(max_length=500)] | None = None
    """One sentence for an operator."""
    duration_s: float = 0.0
    """From the claim's request to the client's whole answer."""
    difference: Difference | None = None
    """Of a complete pull that was stored."""


class PullSettled(Message):
    """Puller or ingest to registry: these pulls have ended. Repeating it changes nothing."""

    outcomes: tuple[PullOutcome, ...]


class ReplayQuarantined(Message):
    """Registry to ingest: read these items again, and store what can be stored now. Repeating it does no harm."""

    quarantine_ids: Annotated[tuple[int, ...], Field(max_length=QUARANTINED_PER_REPLAY)]
