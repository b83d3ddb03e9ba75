"""What the services say to each other over RabbitMQ. Names are commands (imperative) or events (past tense).

Every message is frozen, carries its schema version, and may be delivered more than once: handlers must be repeatable.
A reader ignores keys that it does not know, so that a newer sender can be deployed first.

Types and limits are checked when a message is read (`shared.contracts.encoding`), not when it is made.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Final, Literal
from uuid import UUID

from msgspec import Meta, Struct

from shared.contracts.client_protocol import Action

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

LONGEST_RETRY_AFTER_S: Final = 3_600.0
"""What a client asks for beyond this is not believed: its captures may exist nowhere else."""

Moment = Annotated[datetime, Meta(tz=True)]
"""With a zone, to the microsecond. All that is sent is in UTC; a time without a zone is refused."""


class Reason(StrEnum):
    """Why a pull, or a part of it, did not go well: a fixed set, so that it can label a metric."""

    TIMEOUT = "timeout"
    CONNECT = "connect"
    TLS = "tls"
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


class Message(Struct, frozen=True, kw_only=True):
    """What every message has."""

    schema_version: Literal[1] = 1


class Part(Struct, frozen=True, kw_only=True):
    """A part of a message."""


class PullTarget(Part, frozen=True, kw_only=True, gc=False, omit_defaults=True):
    """One client to be pulled, under a lease that the registry holds for it."""

    pull_id: UUID
    user_id: str
    client_url: str
    due_in_s: float = 0.0
    """Seconds from the claim until its slot, for it may be claimed a moment before; 0 for now."""
    lease_expires_at: Moment
    """After this, by the registry's clock, the pull is taken for lost: what comes of it later settles nothing."""
    after: str | None = None
    """Of a complete pull: only captures whose id comes after this one; None from the first."""
    token_generation: int = 0
    """Of the client's registration; its pull token is made of it (`shared.tokens`)."""
    traceparent: str | None = None
    """The pull's place in its trace, as W3C's Trace Context writes it; left out when it is in none."""


class CompletePull(Part, frozen=True, kw_only=True):
    """Asks for everything that a client still has, acknowledged or not, to be compared with what is stored."""

    asked_at: Moment
    """What was stored later than this is not compared: the client's answer may be older."""
    delete_unknown: bool
    """Whether what is stored, and the client does not have, is deleted here."""


class PullRequested(Message, frozen=True, kw_only=True):
    """Registry to puller: pull these clients now. Repeating it costs a request to each client, nothing more."""

    since: Moment | None = None
    """Only captures newer than this, by the client's clock; None for all that is pending."""
    complete: CompletePull | None = None
    """Everything that the clients have, in pages by capture id, instead of what is pending."""
    targets: Annotated[tuple[PullTarget, ...], Meta(max_length=PULLS_PER_REQUEST)]


class PulledCapture(Part, frozen=True, kw_only=True, gc=False, omit_defaults=True):
    """A capture that could be read."""

    capture_id: str
    pokemon_id: int
    pokemon_name: str
    action: Action
    timestamp: Moment
    removed: bool = False
    metadata: str | None = None
    """JSON text of what the client said beyond `removed`; None for nothing."""


class UnreadableItem(Part, frozen=True, kw_only=True, gc=False):
    """An item that could not be read as a capture: kept as it came, and acknowledged if it has an id."""

    capture_id: str | None
    problem: str
    """One sentence."""
    raw: str
    """ASCII JSON text, cut to a length that is worth keeping."""


class CompletePage(Part, frozen=True, kw_only=True, gc=False):
    """What makes a pull a page of everything that a client has: the ids after `after`, up to and with `until`."""

    asked_at: Moment
    delete_unknown: bool
    after: str | None
    until: str | None
    """The last id of the page, one that a capture can have and that comes after `after`; None when nothing comes after
    it. Ids are ordered by their UTF-8 bytes."""
    unacknowledged: tuple[str, ...]
    """Of the page's ids those that the client still holds as pending: only these are acknowledged."""


class Pull(Part, frozen=True, kw_only=True, gc=False, omit_defaults=True):
    """What one client had pending, or a page of everything that it has."""

    pull_id: UUID
    user_id: str
    client_url: str
    pulled_at: Moment
    duration_s: float
    pending: int
    """Captures that the client said it holds, these included."""
    more_pending: bool
    captures: tuple[PulledCapture, ...]
    unreadable: tuple[UnreadableItem, ...] = ()
    complete: CompletePage | None = None
    token_generation: int = 0
    """As the `PullTarget` had it."""
    traceparent: str | None = None
    """The pull's place in its trace, as W3C's Trace Context writes it; left out when it is in none."""


class CaptureBatch(Message, frozen=True, kw_only=True):
    """Puller to ingest: the pulls of many clients. Repeating it stores nothing twice."""

    pulls: tuple[Pull, ...]


class Difference(Part, frozen=True, kw_only=True, gc=False):
    """What a client has against what was stored, in one page."""

    until: str | None
    """As in the page: where the next one begins, None at the end."""
    missing: int
    """Captures that the client has and that were not stored: they are now. What was still pending is among them."""
    unknown: int
    """Captures that were stored and that the client does not have, be it that it deleted what was acknowledged."""
    deleted: int
    """How many of these were deleted here, because it was asked for; a repeated message finds none of them again."""
    missing_examples: Annotated[tuple[str, ...], Meta(max_length=EXAMPLES)] = ()
    unknown_examples: Annotated[tuple[str, ...], Meta(max_length=EXAMPLES)] = ()
    """Their ids, the first of them."""


class PullOutcome(Part, frozen=True, kw_only=True, gc=False, omit_defaults=True):
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
    error: Annotated[str, Meta(max_length=500)] | None = None
    """One sentence for an operator."""
    duration_s: float = 0.0
    """From the claim's request to the client's whole answer."""
    retry_after_s: Annotated[float, Meta(ge=0, le=LONGEST_RETRY_AFTER_S)] = 0.0
    """How long the client asks not to be called, by `Retry-After` with a 429 or 503; 0 when it does not."""
    difference: Difference | None = None
    """Of a complete pull that was stored."""
    traceparent: str | None = None
    """The pull's place in its trace, as W3C's Trace Context writes it; left out when it is in none."""


class Acknowledgement(Part, frozen=True, kw_only=True, gc=False, omit_defaults=True):
    """What one client is to be told: that these captures are stored."""

    user_id: str
    client_url: str
    capture_ids: tuple[str, ...]
    """None for a client that need not be told, whose pull is only to be settled."""
    outcome: PullOutcome | None
    """How its pull ended, but for whether the client could be told; null when that is settled already."""
    token_generation: int = 0
    """As the `PullTarget` had it."""
    pull_id: UUID | None = None
    """Which pull that was; null from an ingest that did not tell it yet."""
    traceparent: str | None = None
    """The pull's place in its trace, as W3C's Trace Context writes it; left out when it is in none."""


class AcknowledgeCaptures(Message, frozen=True, kw_only=True):
    """Ingest to ingest: these captures are stored, tell the clients, and settle. Repeating it does no harm."""

    acknowledgements: tuple[Acknowledgement, ...]
    attempts: int = 0
    """How often it was tried so far; what failed comes back with a delay, each by itself."""


class PullAcknowledged(Part, frozen=True, kw_only=True, gc=False):
    """The client of a pull could be told after all. It ends no lease."""

    pull_id: UUID
    user_id: str


class PullSettled(Message, frozen=True, kw_only=True):
    """Puller or ingest to registry: these pulls have ended. Repeating it changes nothing."""

    outcomes: tuple[PullOutcome, ...]
    acknowledged: tuple[PullAcknowledged, ...] = ()
    """Pulls that were settled as `unacknowledged`; a registry that does not know this key passes it over."""


class ReplayQuarantined(Message, frozen=True, kw_only=True):
    """Registry to ingest: read these items again, and store what can be stored now. Repeating it does no harm."""

    quarantine_ids: Annotated[tuple[int, ...], Meta(max_length=QUARANTINED_PER_REPLAY)]
