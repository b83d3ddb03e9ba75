"""Decides from the facts where a capture is. No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Final, Literal
from uuid import UUID

from services.registry.domain import ClientState
from services.registry.whereabouts.facts import Facts
from shared.contracts.topology import ACKNOWLEDGEMENTS, CAPTURE_BATCHES

CaptureState = Literal[
    "acknowledged",
    "stored",
    "quarantined",
    "dead_letter",
    "on_its_way",
    "client_paused",
    "timer_stopped",
    "client_inactive",
    "client_failing",
    "client_unregistered",
    "never_seen",
]
"""Where it is: the first of these that is the case. All but the first two are of captures that are not stored."""

Acknowledgement = Literal["known", "inferred", "waiting", "unknown"]
"""Whether the client was told: it is on record; it follows from what else is known; it was not yet; nobody knows."""

_OF_CLIENT: Final[Mapping[ClientState, CaptureState]] = {
    "active": "never_seen",
    "failing": "client_failing",
    "inactive": "client_inactive",
    "paused": "client_paused",
}


def state_of(facts: Facts) -> CaptureState:
    """Where the capture is."""
    if facts.stored is not None:
        return "acknowledged" if acknowledgement(facts) in {"known", "inferred"} else "stored"
    if facts.quarantined is not None:
        return "quarantined"
    if facts.searched is not None and facts.searched.found is not None:
        return "dead_letter"
    return _state_without_trace(facts)


def _state_without_trace(facts: Facts) -> CaptureState:
    """Of a capture that is nowhere here: why it may not have come."""
    if facts.client is None:
        return "client_unregistered" if facts.is_known_user else "never_seen"
    client = facts.client.record
    if client.in_flight:
        return "on_its_way"
    if client.state != "paused" and not facts.is_timer_running:
        return "timer_stopped"
    return _OF_CLIENT[client.state]


def acknowledgement(facts: Facts) -> Acknowledgement | None:
    """Whether the client was told that it is stored, or kept in quarantine; None for what was never pulled.

    What the client was not told of comes again with a later pull, which tells it then. So the client knows as soon as a
    pull that began after the capture was stored has left nothing pending. That is inferred: it is not on record which
    pull it was, nor whether the client has lost the capture instead.
    """
    kept_at, pull_id = _kept(facts)
    if kept_at is None or pull_id is None:
        return None
    if facts.told_at is not None:
        return "known"
    if facts.client is not None and facts.client.emptied_at is not None and facts.client.emptied_at > kept_at:
        return "inferred"
    return "waiting" if facts.pull is not None or is_under_way(facts, pull_id) else "unknown"


def queue_to_search(facts: Facts) -> str | None:
    """The work queue among whose dead letters the capture may be; None when the other facts say where it is.

    What is not stored may be in a batch that could not be handled, and what a client was not told of in an
    acknowledgement. To look is a delivery of each message, and takes the queue for itself, so it is not done for more.
    """
    if facts.stored is None:
        return CAPTURE_BATCHES.name if facts.quarantined is None else None
    is_open = acknowledgement(facts) in {"waiting", "unknown"} and not is_under_way(facts, facts.stored.pull_id)
    return ACKNOWLEDGEMENTS.name if is_open else None


def is_under_way(facts: Facts, pull_id: UUID) -> bool:
    """Whether that pull of the client is not settled yet."""
    return facts.client is not None and facts.client.pull_id == pull_id


def _kept(facts: Facts) -> tuple[datetime | None, UUID | None]:
    """Since when we have it, and by which pull."""
    if facts.stored is not None:
        return facts.stored.stored_at, facts.stored.pull_id
    if facts.quarantined is not None:
        return facts.quarantined.quarantined_at, facts.quarantined.pull_id
    return None, None
