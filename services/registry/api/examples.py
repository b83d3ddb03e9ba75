"""Example values for the OpenAPI document, as in the original's documentation: one client, `user_1`, at port 3001."""

from __future__ import annotations

from typing import Final

URL: Final = "http://localhost:3001"
TIME: Final = "2026-01-31T12:00:00.000Z"
RUN_ID: Final = "0b6f4f3e-3f0e-4d0a-9d1c-5c1d8a1f2b3c"
TOKENS: Final = {
    "pull_token": "pull_3q2-7wAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
    "client_token": "client_vu8BAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
}
PULL_ID: Final = "7d3c9c5e-1a57-4a53-8d0e-2f8a4b9c6d7e"
LETTER_ID: Final = "9f86d081884c7d659a2feaa0c55ad015"

RANKED: Final = {
    "pokemon_id": 25,
    "pokemon_name": "pikachu",
    "favorite_count": 1,
    "id": 25,
    "last_updated": TIME,
}
CLIENT: Final = {
    "user_id": "user_1",
    "client_url": URL,
    "client_type": "web",
    "capabilities": ["capture", "favorite"],
    "registered_at": TIME,
    "state": "active",
    "inactive_since": None,
    "sync_interval_s": None,
    "in_flight": False,
    "next_pull_at": "2026-01-31T12:00:30.000Z",
    "next_slot_at": "2026-01-31T12:00:30.000Z",
    "last_pull_at": TIME,
    "last_success_at": TIME,
    "failures": 0,
    "last_reason": None,
    "last_error": None,
    "last_duration_s": 0.021,
    "pending": 0,
    "stored": 3,
}
PULL: Final = {
    "pull_id": PULL_ID,
    "began_at": TIME,
    "settled_at": "2026-01-31T12:00:00.120Z",
    "since": None,
    "run_id": None,
    "outcome": "stored",
    "reason": None,
    "error": None,
    "stored": 1,
    "duplicates": 0,
    "quarantined": 0,
    "pending": 0,
    "duration_s": 0.021,
    "acknowledged_at": "2026-01-31T12:00:00.120Z",
}
MINUTE: Final = {
    "minute": TIME,
    "pulls": 2,
    "failed": 1,
    "failed_by_reason": {"timeout": 1},
    "stored_captures": 1,
    "duration_median_s": 0.0263,
    "duration_p99_s": 0.0263,
}
QUEUES: Final = {
    "management_url": "http://localhost:15672",
    "problem": None,
    "queues": [
        {
            "queue": "ingest.capture-batches",
            "kind": "work",
            "messages": 1,
            "ready": 0,
            "unacknowledged": 1,
            "consumers": 1,
            "publish_rate": 0.2,
            "deliver_rate": 0.2,
        }
    ],
}
CAPTURE_WAY: Final = {
    "user_id": "user_1",
    "capture_id": "25_1769860799000_capture",
    "state": "acknowledged",
    "summary": "It was stored at 2026-01-31 12:00:00 UTC, and the client was told by 2026-01-31 12:00:00 UTC: "
    "there is nothing to do.",
    "made_at": "2026-01-31T11:59:59.000Z",
    "pulled_at": "2026-01-31T12:00:00.021Z",
    "stored_at": "2026-01-31T12:00:00.080Z",
    "acknowledged_at": "2026-01-31T12:00:00.120Z",
    "acknowledgement": "known",
    "pokemon_id": 25,
    "pokemon_name": "pikachu",
    "action": "capture",
    "removed": False,
    "pull_id": PULL_ID,
    "pull": PULL,
    "quarantine": None,
    "dead_letter": None,
    "dead_letters_searched": None,
    "client": CLIENT,
}
NEVER_SEEN: Final = {
    **dict.fromkeys(CAPTURE_WAY),
    "user_id": "user_1",
    "capture_id": "25_1769860799000_capture",
    "state": "never_seen",
    "summary": "Nothing is known of such a capture; its client was last pulled at 2026-01-31 12:00:00 UTC: if it was "
    "made since, the pull at 2026-01-31 12:00:30 UTC brings it; else see whether the client has it, and whether the id "
    "is right.",
    "dead_letters_searched": True,
    "client": CLIENT,
}
METRICS: Final = {
    "registered_clients": 1,
    "active_clients": 1,
    "failing_clients": 0,
    "inactive_clients": 0,
    "paused_clients": 0,
    "in_flight": 0,
    "pending_captures": 0,
    "stored_captures": 3,
    "lag_s": 0.0,
    "recent": {
        "window_s": 300.0,
        "pulls": 10,
        "success_rate": 0.9,
        "failed_by_reason": {"timeout": 1},
        "stored_captures": 3,
        "duration_median_s": 0.021,
        "duration_p99_s": 0.11,
    },
}
RUN: Final = {
    "run_id": RUN_ID,
    "kind": "sync-all",
    "since": None,
    "delete_unknown": False,
    "created_at": TIME,
    "finished_at": "2026-01-31T12:00:00.120Z",
    "elapsed_s": 0.12,
    "requested": 2,
    "settled": 2,
    "failed": 1,
    "cancelled": 0,
    "stored": 1,
    "missing": 0,
    "unknown": 0,
    "deleted": 0,
    "state": "finished",
    "rate_per_s": 16.667,
    "time_left_s": 0.0,
}
PROGRESS: Final = {**RUN, "failed_by_reason": {"timeout": 1}}
FAILURE: Final = "user_2: timeout: no whole answer within 15 s"
RESULT: Final = {
    "success": True,
    "clients_processed": 1,
    "total_captures": 1,
    "failed_clients": [],
    "errors": [],
    "processing_time": 0.12,
    "run_id": RUN_ID,
}
STARTED: Final = {
    "message": "The sync has started.",
    "run_id": RUN_ID,
    "status_url": f"/api/v1/pull-sync/runs/{RUN_ID}",
}
GOES_ON: Final = {**STARTED, "message": "The sync is not finished after 60 s; it goes on."}
RUN_CLIENT: Final = {
    "user_id": "user_2",
    "client_url": "http://localhost:3002",
    "settled_at": TIME,
    "stored": 0,
    "reason": "timeout",
    "error": "no whole answer within 15 s",
    "missing": 0,
    "unknown": 0,
    "deleted": 0,
    "missing_examples": [],
    "unknown_examples": [],
}
QUARANTINED: Final = {
    "quarantine_id": 1,
    "user_id": "user_1",
    "capture_id": "0_1760000000000_capture",
    "problem": "pokemon_id: Input should be greater than or equal to 1",
    "pull_id": PULL_ID,
    "quarantined_at": TIME,
    "raw": '{"capture_id": "0_1760000000000_capture", "pokemon_id": 0, "action": "capture"}',
}
ASKED: Final = {"message": "Ingest tries them; what it can store leaves the quarantine.", "asked": 1}
DEATH: Final = {
    "reason": "rejected",
    "queue": "ingest.capture-batches",
    "exchange": "pullsync",
    "routing_keys": ["captures.pulled"],
    "count": 1,
    "died_at": TIME,
}
DEAD_LETTER: Final = {
    "id": LETTER_ID,
    "summary": "CaptureBatch from puller was refused at once, because it could not be read.",
    "message_type": "CaptureBatch",
    "message_id": None,
    "correlation_id": None,
    "app_id": "puller",
    "content_type": "application/json",
    "size_bytes": 12,
    "published_at": TIME,
    "death": DEATH,
    "times_delivered": 1,
    "preview": '{"pulls": 0}',
}
WHOLE_DEAD_LETTER: Final = {
    **DEAD_LETTER,
    "deaths": [DEATH],
    "headers": {},
    "body": {"pulls": 0},
    "body_format": "json",
    "body_is_cut": False,
}
REPLAYED: Final = {"message": "The message was replayed.", "queue": "ingest.capture-batches", "replayed": 1}
DIAGNOSIS: Final = {
    "version": "0.1.0",
    "python": "3.13.1",
    "time": TIME,
    "settings": {"is_anonymous": False, "timeout_s": 15.0, "lease_s": 120},
    "database": {
        "problem": None,
        "version": "18.1",
        "version_number": 180001,
        "is_standby": False,
        "illness": None,
        "connections": 12,
        "max_connections": 200,
        "clock_offset_s": 0.0,
        "clock_uncertainty_s": 0.001,
        "tables": {
            "revision": "0004",
            "expected": "0004",
            "standing": "current",
            "missing_views": [],
            "captures_problem": None,
        },
    },
    "broker": {
        "problem": None,
        "product": "RabbitMQ",
        "version": "4.2.1",
        "takes_messages": True,
        "queues": [
            {"queue": "ingest.capture-batches", "kind": "work", "exists": True, "messages": 0, "consumers": 1},
            {"queue": "ingest.capture-batches.dead", "kind": "dead", "exists": True, "messages": 0, "consumers": 0},
        ],
    },
    "disk": {"free_bytes": 52_000_000_000, "total_bytes": 100_000_000_000},
}
