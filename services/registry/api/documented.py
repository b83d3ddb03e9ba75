"""What the OpenAPI document says that the code can't: examples, and the problems of each operation of its own.

A test checks each example against its schema. Problems that follow from an operation's shape (bad values, a database
that is away) are not listed here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from services.registry.api import examples
from services.registry.captures import UnknownUserError
from services.registry.dead_letters.letters import (
    ReplayRefusedError,
    UnknownDeadLetterError,
    UnknownDeadLetterQueueError,
)
from services.registry.dead_letters.queue import BrokerAwayError, DeadLettersBusyError
from services.registry.errors import (
    CapturesNotReadyError,
    DatabaseAwayError,
    DatabaseIllError,
    DatabaseRefusesError,
    NoSocketError,
    RefusedError,
    RegistryError,
    TooManyRequestsError,
    TooManyStreamsError,
    UnknownClientError,
    UnknownRunError,
)
from services.registry.nudges import NotPulledError, NudgedTooOftenError
from services.registry.quarantine import ReplayNotTakenError, UnknownQuarantinedError
from services.registry.routes.captures import UnknownCaptureError
from services.registry.runs import CompleteRunUnderWayError, RunFinishedError


@dataclass(frozen=True, slots=True, kw_only=True)
class Documented:
    """One operation."""

    request: Any = None
    answers: Mapping[int, Any] = field(default_factory=dict)
    """By status."""
    refusals: tuple[type[RegistryError], ...] = ()


TAGS: Final = (
    {"name": "clients", "description": "Registering clients, looking at them, changing how they are pulled."},
    {"name": "status", "description": "The whole system at a glance."},
    {"name": "sync", "description": "Pulling on demand. Each sync is a run over all clients."},
    {"name": "runs", "description": "How far a run is, what became of each of its clients; cancelling it."},
    {"name": "scheduler", "description": "The timer that pulls each client, and the cleanup."},
    {"name": "captures", "description": "Where a capture is, and what keeps it there."},
    {"name": "ranking", "description": "Which Pokémon is held by most users, and who holds most."},
    {"name": "quarantine", "description": "Captures that could not be read or stored; trying them again."},
    {"name": "dead letters", "description": "Messages that could not be handled; giving them to their queue again."},
    {"name": "live", "description": "What goes on, as it goes on; for the operators' dashboard."},
    {"name": "system", "description": "Whether the service and what it needs are there."},
    {"name": "pullers", "description": "What the pullers ask for; not for others."},
)

WITHOUT_DATABASE: Final = frozenset({"system", "dead letters", "live"})
"""Tags whose operations do without PostgreSQL."""
ANSWERED_WHILE_STARTING: Final = frozenset({"system_live", "system_alive", "system_ready", "system_metrics"})
"""Operations that need no server."""
WITH_CAPTURES: Final = frozenset({"captures", "ranking", "quarantine"})
"""Tags whose operations read what ingest publishes."""

PARAMETERS: Final[Mapping[str, Mapping[str, Any]]] = {
    "user_id": {"description": "Whose client; percent-encoded where it has other than plain characters."},
    "capture_id": {"description": "Which capture; percent-encoded where it has other than plain characters."},
    "run_id": {"description": "The `run_id` of the answer that began the run."},
    "interval": {"description": "Seconds; it may as well stand in the body.", "example": 30},
    "queue": {"description": "The work queue's name.", "example": "ingest.capture-batches"},
    "message_id": {"description": "The `id` of a listed message."},
    "quarantine_id": {"description": "The number of a listed item."},
}

_DEAD_LETTER_REFUSALS: Final = (UnknownDeadLetterQueueError, BrokerAwayError, DeadLettersBusyError)


def _says(message: str) -> dict[int, Any]:
    return {200: {"message": message}}


OPERATIONS: Final[Mapping[str, Documented]] = {
    "clients_register": Documented(
        request={
            "client_url": examples.URL,
            "user_id": "user_1",
            "client_type": "web",
            "capabilities": ["capture", "favorite"],
        },
        answers={200: {"message": f"Client user_1 is registered at {examples.URL}.", **examples.TOKENS}},
        refusals=(RefusedError, TooManyRequestsError, NoSocketError),
    ),
    "clients_unregister": Documented(
        answers=_says("Client user_1 is no longer registered."), refusals=(UnknownClientError,)
    ),
    "clients_list": Documented(answers={200: [examples.CLIENT]}, refusals=(UnknownClientError,)),
    "clients_get": Documented(answers={200: examples.CLIENT}, refusals=(UnknownClientError,)),
    "clients_change": Documented(
        request={"sync_interval_s": 300},
        answers={200: {**examples.CLIENT, "sync_interval_s": 300}},
        refusals=(UnknownClientError,),
    ),
    "clients_nudge": Documented(
        answers={202: {"message": "Client user_1 is due now.", "due_at": examples.TIME}},
        refusals=(UnknownClientError, NotPulledError, NudgedTooOftenError),
    ),
    "clients_pulls": Documented(answers={200: [examples.PULL]}, refusals=(UnknownClientError,)),
    "captures_where": Documented(
        answers={200: examples.CAPTURE_WAY}, refusals=(UnknownCaptureError, UnknownClientError)
    ),
    "status": Documented(
        answers={
            200: {**examples.METRICS, "clients": [examples.CLIENT], "scheduler": {"running": True, "sync_interval": 30}}
        }
    ),
    "status_minutes": Documented(answers={200: [examples.MINUTE]}),
    "sync_all": Documented(
        request={}, answers={200: examples.RESULT, 202: examples.GOES_ON}, refusals=(TooManyRequestsError,)
    ),
    "sync_recent": Documented(answers={200: examples.RESULT, 202: examples.GOES_ON}, refusals=(TooManyRequestsError,)),
    "sync_in_background": Documented(
        request={"since": examples.TIME}, answers={200: examples.STARTED}, refusals=(TooManyRequestsError,)
    ),
    "sync_complete_state": Documented(
        request={},
        answers={202: {**examples.STARTED, "message": "The comparison has started."}},
        refusals=(CompleteRunUnderWayError, TooManyRequestsError),
    ),
    "runs": Documented(answers={200: [examples.RUN]}),
    "runs_run": Documented(
        answers={200: {**examples.PROGRESS, "failures": [examples.FAILURE]}}, refusals=(UnknownRunError,)
    ),
    "runs_clients": Documented(answers={200: [examples.RUN_CLIENT]}, refusals=(UnknownRunError,)),
    "runs_events": Documented(
        answers={200: f'event: progress\ndata: {{"run_id": "{examples.RUN_ID}", "settled": 1, "requested": 2}}\n\n'},
        refusals=(UnknownRunError, TooManyStreamsError),
    ),
    "runs_cancel": Documented(
        answers={200: {**examples.PROGRESS, "cancelled": 1, "state": "cancelled"}},
        refusals=(UnknownRunError, RunFinishedError),
    ),
    "scheduler_status": Documented(
        answers={
            200: {
                **examples.METRICS,
                "running": True,
                "sync_interval": 30,
                "cleanup_interval": 3600,
                "last_cleanup": examples.TIME,
            }
        }
    ),
    "scheduler_start": Documented(answers=_says("The scheduler is running.")),
    "scheduler_stop": Documented(answers=_says("The scheduler is stopped.")),
    "scheduler_set_interval": Documented(
        request={"interval": 30},
        answers=_says("Each client is pulled every 30 seconds."),
        refusals=(RefusedError,),
    ),
    "scheduler_cleanup_inactive": Documented(
        answers={
            200: {
                "message": "Removed 0 clients, and marked 1 as inactive.",
                "removed_clients": 0,
                "marked_inactive": 1,
            }
        }
    ),
    "pullers_heartbeat": Documented(answers=_says("The leases stay.")),
    "pullers_claim": Documented(
        answers={
            200: {
                "targets": [
                    {
                        "pull_id": examples.PULL_ID,
                        "user_id": "user_1",
                        "client_url": examples.URL,
                        "lease_expires_at": "2026-01-31T12:02:00.000Z",
                        "after": None,
                    }
                ]
            }
        }
    ),
    "ranking": Documented(answers={200: [examples.RANKED]}),
    "ranking_for_client": Documented(answers={200: [examples.RANKED]}, refusals=(UnknownClientError,)),
    "ranking_stats": Documented(
        answers={200: {"total_pokemon": 4, "total_favorites": 10, "total_captures": 12, "last_updated": examples.TIME}}
    ),
    "ranking_users": Documented(answers={200: [{"user_id": "user_1", "holdings": 3, "last_updated": examples.TIME}]}),
    "ranking_user": Documented(
        answers={200: [{"pokemon_id": 25, "pokemon_name": "pikachu", "held_since": examples.TIME}]},
        refusals=(UnknownUserError,),
    ),
    "quarantine_list": Documented(answers={200: [examples.QUARANTINED]}),
    "quarantine_get": Documented(
        answers={200: {**examples.QUARANTINED, "replays": 0, "last_replay_at": None, "last_problem": None}},
        refusals=(UnknownQuarantinedError,),
    ),
    "quarantine_replay": Documented(
        request={"quarantine_ids": [1]},
        answers={202: examples.ASKED},
        refusals=(UnknownQuarantinedError, ReplayNotTakenError),
    ),
    "quarantine_replay_one": Documented(
        answers={202: examples.ASKED}, refusals=(UnknownQuarantinedError, ReplayNotTakenError)
    ),
    "live_queues": Documented(answers={200: examples.QUEUES}),
    "live_events": Documented(
        answers={200: 'event: clients\ndata: {"clients": [], "next": null}\n\n'},
        refusals=(RefusedError, UnknownClientError, TooManyStreamsError),
    ),
    "system_database_status": Documented(
        refusals=(DatabaseAwayError, DatabaseIllError, DatabaseRefusesError, CapturesNotReadyError)
    ),
    "system_diagnosis": Documented(answers={200: examples.DIAGNOSIS}),
    "dead_letters_list_queues": Documented(
        answers={
            200: [
                {
                    "queue": "ingest.capture-batches",
                    "dead_letter_queue": "ingest.capture-batches.dead",
                    "messages": 1,
                }
            ]
        },
        refusals=(BrokerAwayError,),
    ),
    "dead_letters_list_oldest": Documented(answers={200: [examples.DEAD_LETTER]}, refusals=_DEAD_LETTER_REFUSALS),
    "dead_letters_get": Documented(
        answers={200: examples.WHOLE_DEAD_LETTER}, refusals=(*_DEAD_LETTER_REFUSALS, UnknownDeadLetterError)
    ),
    "dead_letters_replay_one": Documented(
        answers={200: examples.REPLAYED}, refusals=(*_DEAD_LETTER_REFUSALS, UnknownDeadLetterError, ReplayRefusedError)
    ),
    "dead_letters_replay_all": Documented(
        answers={200: {**examples.REPLAYED, "message": "Replayed 1 messages."}},
        refusals=(*_DEAD_LETTER_REFUSALS, ReplayRefusedError),
    ),
}
