"""The wire shapes that deployed clients speak (JSON over HTTP). They are fixed: clients in the field can't be changed.

Nothing here talks to a network. The messages between our own services are in `shared.contracts.messages`.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Annotated, Final, Generic, Literal, Self, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    FailFast,
    Field,
    StringConstraints,
    model_validator,
)

from shared.contracts.lenient_fields import (
    EmptyIfNull,
    Flag,
    FlagOrFalse,
    NullIfEmptyList,
    NullIfEmptyText,
    WholeNumber,
)
from shared.contracts.times import UtcDatetime, UtcDatetimeOrDay

HEALTH_PATH: Final = "/api/client/health"
SYNC_DATA_PATH: Final = "/api/client/sync-data"
ACKNOWLEDGE_PATH: Final = "/api/client/acknowledge"
STATS_PATH: Final = "/api/client/stats"
ADD_CAPTURE_PATH: Final = "/api/client/add-capture"
ALL_CAPTURES_PATH: Final = "/api/client/all-captures"
CAPTURE_STATES_PATH: Final = "/api/client/capture-states"
RANKING_PATH: Final = "/api/client/ranking"
"""The last two are the reference client's own, for its web page."""

ID_CHARS: Final = 255
"""Longest `user_id` or `capture_id`: both together must fit a Postgres index row (2,704 bytes) at 4 bytes each."""

PAGE_CAPTURES: Final = 1_000
"""Default page of `sync-data?limit=`; clients that do not know the parameter send everything that is pending."""

ACKNOWLEDGE_BODY_BYTES: Final = 64 * 1024
"""Largest acknowledgement sent at once: deployed Node.js clients refuse bodies above Express' 100 kB default."""

MOST_STATES: Final = 1_000
"""Ids in one request of `capture-states`."""


NO_CONTROL_CHARACTERS: Final = r"^[^\x00-\x1f\x7f]*$"
Identifier = Annotated[str, StringConstraints(min_length=1, max_length=ID_CHARS, pattern=NO_CONTROL_CHARACTERS)]
PokemonId = Annotated[int, Field(ge=1, le=2**31 - 1)]
PokemonName = Annotated[str, StringConstraints(max_length=ID_CHARS, pattern=r"^[^\x00]*$")]
Action = Literal["capture", "favorite"]
RegistrationKey = Annotated[str, StringConstraints(min_length=32, max_length=255, pattern="^[!-~]+$")]


class WireModel(BaseModel):
    """Strict about types, and tolerant of keys that a newer or another client adds."""

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore", use_attribute_docstrings=True)


class Metadata(BaseModel):
    """What a client says about a capture. Only `removed` has a meaning here; the rest is kept as it came."""

    model_config = ConfigDict(frozen=True, strict=True, extra="allow")

    removed: bool = False
    """True makes the capture a removal: the user no longer holds this Pokémon."""


class Capture(WireModel):
    """One event on a user's device."""

    capture_id: Identifier
    """Unique within one user."""
    pokemon_id: PokemonId
    pokemon_name: PokemonName = ""
    """As the client typed it: never to be trusted for display."""
    action: Action
    timestamp: UtcDatetime
    """The client's clock, which may be wrong."""
    user_id: Identifier | None = None
    synced: bool = False
    """False until acknowledged."""
    metadata: Metadata | None = None

    @property
    def removed(self) -> bool:
        """Whether this capture is a removal."""
        return self.metadata is not None and self.metadata.removed


class LenientMetadata(Metadata):
    """As clients have it that know no booleans."""

    removed: Flag = False


class LenientCapture(Capture):
    """The same, read with patience (`shared.contracts.lenient_fields`). That takes twice the time, and few need it."""

    pokemon_id: Annotated[PokemonId, WholeNumber]
    pokemon_name: Annotated[PokemonName, EmptyIfNull] = ""
    user_id: Annotated[Identifier | None, NullIfEmptyText] = None
    synced: FlagOrFalse = False
    metadata: Annotated[LenientMetadata | None, NullIfEmptyList] = None


CaptureT = TypeVar("CaptureT")


class Health(WireModel):
    """Answer of `GET /api/client/health`."""

    status: str
    client_id: str | None = None
    client_url: str | None = None
    timestamp: UtcDatetime | None = None
    version: str | None = None
    registration_key_sha256: str | None = None
    """Hexadecimal SHA-256 of the key of the client's registration, by which the registry knows that it was its own."""


class Unhealthy(Health):
    """The reference client's 503 there: it answers, and can neither take captures nor give them."""

    error: str
    """What is wrong, and what to do."""


class SyncData(WireModel, Generic[CaptureT]):
    """Answer of `GET /api/client/sync-data`: the captures that are not yet acknowledged."""

    user_id: str
    client_url: str | None = None
    captures: Annotated[list[CaptureT], FailFast()]
    last_sync: UtcDatetime | None = None
    total_pending: Annotated[int, Field(ge=0)] | None = None


class AllCaptures(WireModel):
    """Answer of `GET /api/client/all-captures`: every capture that the client still has, acknowledged or not."""

    user_id: str
    client_url: str | None = None
    captures: list[Capture]
    last_sync: UtcDatetime | None = None
    total_captures: Annotated[int, Field(ge=0)]


class Acknowledge(WireModel):
    """Body of `POST /api/client/acknowledge`. Ids that the client does not know are ignored."""

    capture_ids: list[str]


class Acknowledged(WireModel):
    """Answer of `POST /api/client/acknowledge`."""

    message: str
    count: int


class Stats(WireModel):
    """Answer of `GET /api/client/stats`."""

    total_captures: int
    pending_sync: int
    synced_captures: int
    last_sync: UtcDatetime | None
    client_id: str


class AddCapture(WireModel):
    """Body of `POST /api/client/add-capture`."""

    pokemon_id: PokemonId
    pokemon_name: PokemonName
    action: Action = "capture"
    removed: bool = False
    capture_id: Identifier | None = None
    """Made by the sender, who may then repeat the request: it makes one capture. The reference client's own."""
    timestamp: UtcDatetimeOrDay | None = None
    """When it was made, if not now; only together with `capture_id`."""

    @model_validator(mode="after")
    def _is_repeatable(self) -> Self:
        """Sent twice, a time without an id would be two captures."""
        if self.timestamp is not None and self.capture_id is None:
            message = "timestamp is only taken together with capture_id"
            raise ValueError(message)
        return self


class AskStates(WireModel):
    """Body of `POST /api/client/capture-states`, of the reference client."""

    capture_ids: Annotated[list[str], Field(max_length=MOST_STATES)]


class CaptureState(WireModel):
    """How far a capture has come."""

    capture_id: str
    state: Literal["pending", "pulled", "stored"]
    """Only here; in an answer to whoever pulls, which may have got lost; acknowledged."""
    pulled_at: UtcDatetime | None
    """The first time that it was in such an answer, as far as that is on record."""
    stored_at: UtcDatetime | None
    """When it was acknowledged."""


class CaptureStates(WireModel):
    """Answer of `POST /api/client/capture-states`: those that the client has, in the order asked."""

    captures: list[CaptureState]


class RankingEntry(WireModel):
    """A Pokémon that users hold."""

    pokemon_id: PokemonId
    pokemon_name: PokemonName
    favorite_count: Annotated[int, Field(ge=0)]
    """Users who hold it."""
    last_updated: UtcDatetime


class Ranking(WireModel):
    """Answer of `GET /api/client/ranking`, of the reference client: what the registry says."""

    ranking: list[RankingEntry]
    as_of: UtcDatetime
    """When the registry was asked."""


class Registration(WireModel):
    """Body of `POST /api/v1/pull-sync/register-client`."""

    client_url: Annotated[str, StringConstraints(min_length=1, max_length=2_048)]
    user_id: Identifier
    client_type: Annotated[str, StringConstraints(max_length=64, pattern=NO_CONTROL_CHARACTERS)] = "web"
    capabilities: Annotated[
        list[Annotated[str, StringConstraints(max_length=64, pattern=NO_CONTROL_CHARACTERS)]], Field(max_length=32)
    ] = []
    registration_key: RegistrationKey | None = None
    """Random text of the client's, whose SHA-256 its health shows: only then it is told its tokens."""


def registration_key_digest(key: str) -> str:
    """What `GET /api/client/health` shows of it."""
    return sha256(key.encode()).hexdigest()
