"""All that the doctor's rules may know: what the registry's API tells, and what else is reachable from here. No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Literal

from cli.words import moment

Json = dict[str, Any]
Access = Literal["allowed", "wanted", "refused", "forbidden"]
"""`wanted`: no token was shown; `refused`: that one is unknown; `forbidden`: it has too few rights."""
MIB: Final = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """From where on something is worth a word."""

    least_free_bytes: int = 1024 * MIB
    """On the registry's disk: a problem below, a warning below five times as much."""
    clock_warning_s: float = 2.0
    clock_problem_s: float = 60.0
    backlog: int = 10_000
    """Messages that wait in one queue."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Clock:
    """A clock against another: ahead by so much, give or take."""

    offset_s: float
    uncertainty_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """The registry answers."""

    version: str
    took_s: float
    clock: Clock | None
    """Against the one of this machine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What one question came to: an answer, or why there is none."""

    answer: Any = None
    error: str | None = None
    """One sentence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientProbe:
    """A client's health, asked from here."""

    client_url: str
    says: Json | None
    reason: str | None = None
    """Out of the fixed set that pulls have, when it did not answer properly."""
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientFacts:
    """Of one client in depth."""

    user_id: str
    record: Look
    """404 is an answer: None."""
    probe: ClientProbe | None
    """None when it is not known where it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Here:
    """What the settings of this environment lead to, beside the registry. None: nothing is set for it."""

    settings_problems: tuple[str, ...] = ()
    database: Look | None = None
    broker: Look | None = None
    management: Look | None = None
    services: Mapping[str, Look] = field(default_factory=dict)
    """The readiness of puller and ingest, by name, where their ports are set."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What was found. Without `registry` there is nothing else of it."""

    url: str
    is_local: bool
    """Whether the registry is on this machine."""
    has_token: bool
    registry: Answered | None
    unreachable: str | None = None
    """Why there is no registry."""
    access: Access = "allowed"
    scheduler: Look | None = None
    """The answer of `scheduler/status`, which has the numbers of the status, too."""
    diagnosis: Look | None = None
    tables: Look | None = None
    """The answer of `database-status`."""
    client: ClientFacts | None = None
    here: Here = Here()
    thresholds: Thresholds = Thresholds()

    def of_diagnosis(self, part: str) -> Json | None:
        """A part of the registry's diagnosis, when there is one without a problem."""
        found = self.diagnosis.answer.get(part) if self.diagnosis and self.diagnosis.answer else None
        return found if found and not found.get("problem") else None

    @property
    def now(self) -> datetime | None:
        """The registry's time, when it told."""
        return moment(self.diagnosis.answer["time"]) if self.diagnosis and self.diagnosis.answer else None
