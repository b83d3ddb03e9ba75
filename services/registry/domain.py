"""What the registry knows of clients and runs, and the rules on them. No I/O."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from ipaddress import ip_address
from typing import Annotated, Any, Final, Literal
from urllib.parse import SplitResult, urlsplit
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, StringConstraints, computed_field
from yarl import URL

from shared.contracts.client_protocol import Registration
from shared.contracts.times import UtcDatetime

RunKind = Literal["sync-all", "sync-recent", "sync-all-background", "sync-complete-state"]
RunState = Literal["running", "finished", "cancelled"]
ClientState = Literal["active", "failing", "inactive", "paused"]

SHORTEST_INTERVAL_S: Final = 5
LONGEST_INTERVAL_S: Final = 86_400


_LONGEST_NAME: Final = 253
_NAME: Final = re.compile(r"[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*\.?")
"""Of a host, when it is written in ASCII; with or without the dot of the root."""
_NUMBER: Final = re.compile(r"(\d+|0x[0-9a-f]*)")
"""What makes a host an IPv4 address for some parsers, when its last label is like that."""


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        _ = parts.port  # a port that is no number is only told when asked
    except ValueError as error:
        message = "must be a URL such as http://host:port"
        raise ValueError(message) from error
    return parts


def checked_client_url(url: str) -> str:
    """The URL under which a client's paths begin: as given, without a slash at the end.

    Raises:
        ValueError: it is no plain http(s) URL with a host; the text says what it should be.
    """
    if any(character.isspace() or not character.isprintable() for character in url):
        message = "must not contain blanks or control characters"
        raise ValueError(message)
    parts = _split(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        message = "must look like http://host:port or https://host"
        raise ValueError(message)
    if parts.username is not None or parts.password is not None:
        message = "must not contain a user name or a password"
        raise ValueError(message)
    if "?" in url or "#" in url:
        message = "must not contain a query or a fragment"
        raise ValueError(message)
    _check_host(url, bracketed="[" in parts.netloc)
    return url.rstrip("/")


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What is known of the registration of a user."""

    generation: int
    """Another one after each removal; a client's pull token is made of it."""
    client_url: str
    since_told: timedelta | None
    """Since the client was first told its tokens; None before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What a registration does, by who asks for it."""

    changes: bool = True
    """Whether it changes what is known of a client beside its address."""
    tells: bool = False
    """Whether the caller is told the client's tokens."""
    tells_first: bool = False
    """Whether that counts as the first time."""


def _check_host(url: str, *, bracketed: bool) -> None:
    """As the HTTP client will read it: encoded for DNS, whatever script it is written in.

    Raises:
        ValueError: it is neither a name that can be looked up nor an address in its usual form. Numbers that some
            programs take for an address (`2130706433`, `0177.0.0.1`, `0x7f.1`, `127.0.0.1.`) are neither.
    """
    try:
        host = URL(url).raw_host or ""
    except ValueError as error:
        message = "has a host that can't be written as a domain name"
        raise ValueError(message) from error
    if _is_address(host):
        return
    if bracketed or _NUMBER.fullmatch(host.removesuffix(".").rpartition(".")[2]):
        message = "must have an IP address in its usual form, such as 192.0.2.1 or [2001:db8::1], or a name"
        raise ValueError(message)
    if len(host) > _LONGEST_NAME or not _NAME.fullmatch(host):
        message = "has a host that can't be a domain name"
        raise ValueError(message)


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return "%" not in host  # behind it stands a link of this machine


class NewClient(Registration):
    """A registration whose URL may be called, if the outbound policy agrees."""

    client_url: Annotated[str, StringConstraints(min_length=1, max_length=2_048), AfterValidator(checked_client_url)]


class ClientRecord(BaseModel):
    """All that is known of a client."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    user_id: str
    client_url: str
    client_type: str
    capabilities: list[str]
    registered_at: UtcDatetime
    state: ClientState
    """`failing` since its last pull; `inactive`: without success for long, and only probed; `paused` by an operator."""
    inactive_since: UtcDatetime | None
    sync_interval_s: int | None
    """Its own interval; null for the scheduler's."""
    in_flight: bool
    """Whether a pull of this client is under way."""
    next_pull_at: UtcDatetime
    """When it is due; while a pull is under way, when that is taken for lost. Nothing is due while it is paused."""
    next_slot_at: UtcDatetime
    """Its next slot, where it is pulled as long as all is well."""
    last_pull_at: UtcDatetime | None
    last_success_at: UtcDatetime | None
    failures: int
    """In a row."""
    last_reason: str | None
    last_error: str | None
    last_duration_s: float | None
    pending: int
    """Captures that the client still held after its last pull."""
    stored: int
    """Captures stored so far."""

    @classmethod
    def of(cls, row: Any) -> ClientRecord:
        """From a row of `registry.clients`."""
        return cls.model_validate({**dict(row), "in_flight": row["pull_id"] is not None, "state": _state_of(row)})


def _state_of(row: Any) -> ClientState:
    if row["paused"]:
        return "paused"
    if row["inactive_since"] is not None:
        return "inactive"
    return "failing" if row["failures"] > 0 else "active"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scheduler:
    """The timer's state, the same for every puller."""

    running: bool
    sync_interval_s: int
    last_cleanup: datetime | None


class RunClient(BaseModel):
    """One client's part of a run."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    user_id: str
    client_url: str
    settled_at: UtcDatetime | None
    """Null while the run waits for it."""
    stored: int
    """Captures that were stored for the first time."""
    reason: str | None
    """Why it failed; null when it did not."""
    error: str | None
    missing: int
    """Of a complete run: captures that the client has and that were not stored. They are now."""
    unknown: int
    """Of a complete run: captures that were stored and that the client does not have (any more)."""
    deleted: int
    """How many of these were deleted here."""
    missing_examples: list[str]
    unknown_examples: list[str]
    """The first of their ids."""

    def __str__(self) -> str:
        """One line for an operator."""
        return f"{self.user_id}: {self.reason}: {self.error}"


class Run(BaseModel):
    """A sync over many clients, and how far it is."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    run_id: UUID
    kind: RunKind
    since: UtcDatetime | None
    delete_unknown: bool
    created_at: UtcDatetime
    finished_at: UtcDatetime | None
    elapsed_s: float
    """From its start to its end, or until now."""
    requested: int
    """Clients that it is over."""
    settled: int
    """Clients that are done, well or not."""
    failed: int
    cancelled: int
    """Clients that were not done when it was cancelled."""
    stored: int
    """Captures that it stored."""
    missing: int
    unknown: int
    deleted: int
    """Of a complete run, over all clients: see RunClient."""

    @computed_field  # type: ignore[prop-decorator] # mypy knows no decorated properties
    @property
    def state(self) -> RunState:
        """Whether it goes on."""
        if self.finished_at is None:
            return "running"
        return "cancelled" if self.cancelled else "finished"

    @computed_field  # type: ignore[prop-decorator] # mypy knows no decorated properties
    @property
    def rate_per_s(self) -> float:
        """Clients settled each second, on the average so far."""
        return round(self.settled / self.elapsed_s, 3) if self.elapsed_s > 0 else 0.0

    @computed_field  # type: ignore[prop-decorator] # mypy knows no decorated properties
    @property
    def time_left_s(self) -> float | None:
        """How long it takes yet at that rate; null as long as nothing can be said."""
        if self.finished_at is not None:
            return 0.0
        return round((self.requested - self.settled) * self.elapsed_s / self.settled, 1) if self.settled else None


class RunProgress(Run):
    """A run, and why clients failed."""

    failed_by_reason: dict[str, int]
    """Clients, by the reason of their failure."""
