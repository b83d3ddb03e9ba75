"""Which faults a run injects, and in which order. No I/O: the same seed gives the same plan.

Faults come in lanes. Within a lane one follows the other; the lanes run side by side, so that, for example, connections
are cut while the broker is down.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from random import Random
from typing import Final

from tests.chaos.seeds import seeded


class Kind(StrEnum):
    """Every kind of fault; the value is what the table says."""

    KILL_REGISTRY = "kill -9 of a registry"
    KILL_PULLER = "kill -9 of a puller"
    KILL_INGEST = "kill -9 of an ingest"
    RESTART_SERVICE = "restart of a service (SIGTERM)"
    FREEZE_SERVICE = "service frozen (SIGSTOP)"
    FULL_QUEUE = "queue full, its consumers gone"
    STOP_BROKER = "RabbitMQ stopped and started"
    KILL_BROKER = "RabbitMQ killed and started"
    BROKER_ALARM = "RabbitMQ out of memory (alarm)"
    STOP_POSTGRES = "Postgres stopped and started"
    KILL_POSTGRES = "Postgres killed and started"
    LONG_POSTGRES = "Postgres away for long"
    LONG_BROKER = "RabbitMQ away for long"
    CUT_BROKER = "connections to RabbitMQ cut"
    CUT_POSTGRES = "connections to Postgres cut"
    CUT_REGISTRY = "connections to the registries cut"
    CUT_CLIENTS = "connections to clients cut"
    STALL_BROKER = "connections to RabbitMQ stalled"
    STALL_POSTGRES = "connections to Postgres stalled"
    STALL_REGISTRY = "connections to the registries stalled"
    STALL_CLIENTS = "connections to clients stalled"
    REFUSE_BROKER = "RabbitMQ unreachable"
    REFUSE_POSTGRES = "Postgres unreachable"
    REFUSE_REGISTRY = "registries unreachable"
    KILL_CLIENTS = "kill -9 of a process of clients"
    KILL_REFERENCE = "kill -9 of a reference client"
    SLOW_CLIENTS = "clients that hang"
    FORGET_CLIENTS = "clients unregistered"
    END_BACKENDS = "Postgres ends its sessions"
    NO_SLOTS = "Postgres without a free connection"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One fault. What it hits is drawn from `seed` when it is injected."""

    kind: Kind
    pause_s: float
    """After the fault before it in its lane."""
    duration_s: float
    """How long it lasts, or until what was killed is started again."""
    seed: str


Choice = tuple[Kind, int, float, float]
"""A kind, its weight, and its shortest and longest duration in seconds."""

_PROCESSES: Final[tuple[Choice, ...]] = (
    (Kind.KILL_REGISTRY, 3, 0.1, 4.0),
    (Kind.KILL_PULLER, 3, 0.1, 4.0),
    (Kind.KILL_INGEST, 4, 0.1, 4.0),
    (Kind.RESTART_SERVICE, 2, 0.1, 1.0),
    (Kind.FREEZE_SERVICE, 2, 1.0, 8.0),
    (Kind.FULL_QUEUE, 2, 3.0, 8.0),
)
_SERVERS: Final[tuple[Choice, ...]] = (
    (Kind.STOP_BROKER, 2, 0.1, 6.0),
    (Kind.KILL_BROKER, 3, 0.1, 6.0),
    (Kind.BROKER_ALARM, 1, 2.0, 8.0),
    (Kind.STOP_POSTGRES, 2, 0.1, 6.0),
    (Kind.KILL_POSTGRES, 3, 0.1, 6.0),
)
_NETWORK: Final[tuple[Choice, ...]] = (
    (Kind.CUT_BROKER, 3, 0.0, 0.0),
    (Kind.CUT_POSTGRES, 3, 0.0, 0.0),
    (Kind.CUT_REGISTRY, 2, 0.0, 0.0),
    (Kind.CUT_CLIENTS, 2, 0.0, 0.0),
    (Kind.STALL_BROKER, 2, 1.0, 8.0),
    (Kind.STALL_POSTGRES, 2, 1.0, 8.0),
    (Kind.STALL_REGISTRY, 1, 1.0, 8.0),
    (Kind.STALL_CLIENTS, 2, 1.0, 8.0),
    (Kind.REFUSE_BROKER, 2, 1.0, 6.0),
    (Kind.REFUSE_POSTGRES, 2, 1.0, 6.0),
    (Kind.REFUSE_REGISTRY, 1, 1.0, 6.0),
)
_EDGE: Final[tuple[Choice, ...]] = (
    (Kind.KILL_CLIENTS, 3, 0.1, 3.0),
    (Kind.KILL_REFERENCE, 2, 0.1, 3.0),
    (Kind.SLOW_CLIENTS, 3, 2.0, 10.0),
    (Kind.FORGET_CLIENTS, 2, 0.0, 0.0),
    (Kind.END_BACKENDS, 1, 0.0, 0.0),
    (Kind.NO_SLOTS, 1, 1.0, 6.0),
)
_LONG_S: Final = (35.0, 45.0)
_LONG_FROM_S: Final = 120.0
_LONG: Final = {Kind.LONG_POSTGRES: 1, Kind.LONG_BROKER: 4}
"""Which outages are long, and as the how manieth of their lane they come: once in each round."""
_PAUSE_S: Final = {"processes": 3.0, "servers": 9.0, "network": 4.0, "edge": 4.0}
"""Between two faults of a lane, on the average."""


def make_plan(seed: int, seconds: float, only: frozenset[Kind] = frozenset()) -> dict[str, list[Fault]]:
    """The faults of each lane, as many as fit into so many seconds, or a few more; only of some kinds, if any is given.

    Short runs have no long outages, unless these are asked for.
    """
    lanes = {"processes": _PROCESSES, "servers": _SERVERS, "network": _NETWORK, "edge": _EDGE}
    plan = {name: _lane(seed, name, _chosen(choices, only), seconds) for name, choices in lanes.items()}
    for kind, place in _LONG.items():
        if kind in only or (not only and seconds >= _LONG_FROM_S):
            plan["servers"].insert(place, _long(seed, kind))
    return plan


def _chosen(choices: tuple[Choice, ...], only: frozenset[Kind]) -> tuple[Choice, ...]:
    return tuple(choice for choice in choices if not only or choice[0] in only)


def _lane(seed: int, name: str, choices: tuple[Choice, ...], seconds: float) -> list[Fault]:
    random = seeded(seed, "plan", name)
    faults: list[Fault] = []
    planned_s = 0.0
    while choices and planned_s < seconds:
        fault = _fault(random, f"{seed}/{name}/{len(faults)}", choices, _PAUSE_S[name])
        faults.append(fault)
        planned_s += fault.pause_s + fault.duration_s
    return faults


def _fault(random: Random, seed: str, choices: tuple[Choice, ...], pause_s: float) -> Fault:
    kind, _, shortest, longest = random.choices(choices, weights=[choice[1] for choice in choices])[0]
    return Fault(
        kind=kind, pause_s=random.uniform(0.3, 1.7) * pause_s, duration_s=random.uniform(shortest, longest), seed=seed
    )


def _long(seed: int, kind: Kind) -> Fault:
    return Fault(kind=kind, pause_s=6.0, duration_s=seeded(seed, kind).uniform(*_LONG_S), seed=f"{seed}/{kind}")
