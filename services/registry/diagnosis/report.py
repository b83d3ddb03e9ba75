"""What a diagnosis says. No addresses, names of machines or users, and no text of a server's own error are in it."""

from __future__ import annotations

from typing import Literal

from faststream.rabbit import RabbitQueue

from services.registry.api.models import ApiModel
from shared.contracts.times import UtcDatetime
from shared.contracts.topology import WORK_QUEUES
from shared.postgres.illness import Illness
from shared.postgres.migrations import Standing

Problem = Literal["away", "refused", "slow", "unprepared"]
QueueKind = Literal["work", "delay", "dead"]


def kind_of(queue: RabbitQueue) -> QueueKind:
    """What a queue of ours is for."""
    if queue in WORK_QUEUES:
        return "work"
    return "dead" if queue.name.endswith(".dead") else "delay"


class SettingsReport(ApiModel):
    """What the registry was started with, as far as it can be wrong."""

    is_anonymous: bool
    """Whether everybody who reaches the registry is an operator."""
    timeout_s: float
    """For a client's whole answer."""
    lease_s: int
    """After which a pull that was not settled is taken for lost."""


class SchemaReport(ApiModel):
    """The registry's tables against what its code expects."""

    revision: str | None
    expected: str
    standing: Standing
    """`behind`: migrations are missing. `ahead`: a newer version of the registry has made some."""
    missing_views: list[str]
    """Those of ingest that this registry reads and that are missing, or not granted to it."""
    captures_problem: Problem | None
    """Why that could not be looked at by the login that reads them; the words are those of the database's problem."""


class DatabaseReport(ApiModel):
    """PostgreSQL. With a problem all the rest is null."""

    problem: Problem | None
    """`away`: not reached; `refused`: it does not let the registry in; `slow`: no answer in time; `unprepared`: the
    tables are not there, or not those of this version."""
    version: str | None = None
    version_number: int | None = None
    """170002 is 17.2."""
    is_standby: bool | None = None
    """Whether nothing can be written there."""
    illness: Illness | None = None
    """What is wrong with a server that answers, as it says or as the registry's own statements met it lately; it may be
    there beside a problem."""
    connections: int | None = None
    """Of all that use the server."""
    max_connections: int | None = None
    clock_offset_s: float | None = None
    """How far its clock is ahead of the registry's."""
    clock_uncertainty_s: float | None = None
    """Half the time that it took to ask."""
    tables: SchemaReport | None = None


class QueueReport(ApiModel):
    """A queue as RabbitMQ has it."""

    queue: str
    kind: QueueKind
    exists: bool
    messages: int | None = None
    """That nobody has taken yet."""
    consumers: int | None = None


class BrokerReport(ApiModel):
    """RabbitMQ. With a problem all the rest is null or empty."""

    problem: Problem | None
    product: str | None = None
    version: str | None = None
    takes_messages: bool | None = None
    """False while it blocks who publishes, as it does on an alarm (memory, disk); null where that can't be told."""
    queues: tuple[QueueReport, ...] = ()


class DiskReport(ApiModel):
    """The file system on which the registry runs; that of the servers where they share it."""

    free_bytes: int
    total_bytes: int


class DiagnosisReport(ApiModel):
    """All that was found."""

    version: str
    """Of the registry."""
    python: str
    time: UtcDatetime
    """The registry's clock, when all was done."""
    settings: SettingsReport
    database: DatabaseReport
    broker: BrokerReport
    disk: DiskReport | None
    """Null where the system does not tell."""
