"""What the registry knows of clients and runs, and the rules on them. No I/O."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Final, Literal
from urllib.parse import SplitResult, urlsplit
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, StringConstraints

from shared.client_protocol import Registration, UtcDatetime

RunKind = Literal["sync-all", "sync-recent", "sync-all-background"]

FAILURES_SHOWN: Final = 1_000
"""Most failed clients that an answer about a run lists."""


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        _ = parts.port  # a port that is no number is only told when asked
    except ValueError as error:
        message = f"must be a URL: {error}"
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
    return url.rstrip("/")


class NewClient(Registration):
    """A registration whose URL may be called, if the outbound policy agrees."""

    client_url: Annotated[str, StringConstraints(min_length=1, max_length=2_048), AfterValidator(checked_client_url)]


class ClientRecord(BaseModel):
    """All that is known of a client."""

    model_config = ConfigDict(frozen=True)

    user_id: str
    client_url: str
    client_type: str
    capabilities: list[str]
    registered_at: UtcDatetime
    in_flight: bool
    """Whether a pull of this client is under way."""
    next_pull_at: UtcDatetime
    """Its next slot; while a pull is under way, when that is taken for lost."""
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
        return cls.model_validate({**dict(row), "in_flight": row["pull_id"] is not None})


@dataclass(frozen=True, slots=True, kw_only=True)
class Scheduler:
    """The timer's state, the same for every puller."""

    running: bool
    sync_interval_s: int
    last_cleanup: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A client that a run could not pull, or could not tell."""

    user_id: str
    client_url: str
    reason: str
    error: str | None

    def __str__(self) -> str:
        """One line for an operator."""
        return f"{self.user_id}: {self.reason}: {self.error}"


class Run(BaseModel):
    """A sync over many clients, and how far it is."""

    model_config = ConfigDict(frozen=True)

    run_id: UUID
    kind: RunKind
    since: UtcDatetime | None
    created_at: UtcDatetime
    finished_at: UtcDatetime | None
    requested: int
    """Clients that it is over."""
    settled: int
    """Clients that are done, well or not."""
    failed: int
    stored: int
    """Captures that it stored."""

    @property
    def processing_time_s(self) -> float:
        """From its start to its end; 0 while it goes on."""
        return (self.finished_at - self.created_at).total_seconds() if self.finished_at else 0.0
