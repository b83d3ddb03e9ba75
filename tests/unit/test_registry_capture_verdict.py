"""Where a capture is, as it follows from the facts: each state, what the client was told, and the sentence."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final, get_args
from uuid import UUID

import pytest

from services.registry.dead_letters.reading import DeadLetter, Death
from services.registry.domain import ClientRecord
from services.registry.pulls import PullRecord
from services.registry.whereabouts.facts import (
    ClientFacts,
    Facts,
    FoundLetter,
    QuarantinedCapture,
    Searched,
    StoredCapture,
)
from services.registry.whereabouts.letters import names_capture
from services.registry.whereabouts.sentences import summary
from services.registry.whereabouts.verdict import CaptureState, acknowledgement, queue_to_search, state_of
from shared.contracts.encoding import encoded
from shared.contracts.messages import (
    AcknowledgeCaptures,
    Acknowledgement,
    CaptureBatch,
    Pull,
    PulledCapture,
    UnreadableItem,
)
from shared.contracts.topology import ACKNOWLEDGEMENTS, CAPTURE_BATCHES

NOW: Final = datetime(2026, 11, 26, 3, 0, tzinfo=UTC)
STORED_AT: Final = NOW - timedelta(minutes=10)
PULL: Final = UUID(int=7)
ANOTHER_PULL: Final = UUID(int=8)
BATCHES: Final = CAPTURE_BATCHES.name
ACKS: Final = ACKNOWLEDGEMENTS.name

NOTHING: Final = Facts(user_id="ash", capture_id="c1")
STORED: Final = StoredCapture(
    pokemon_id=25,
    pokemon_name="pikachu",
    action="capture",
    removed=False,
    captured_at=STORED_AT - timedelta(hours=1),
    received_at=STORED_AT - timedelta(seconds=1),
    stored_at=STORED_AT,
    pull_id=PULL,
)
QUARANTINED: Final = QuarantinedCapture(
    quarantine_id=3, problem="pokemon_id: too\u202e small", pull_id=PULL, quarantined_at=STORED_AT
)
LETTER: Final = DeadLetter(
    id="0123",
    summary="",
    message_type=None,
    message_id=None,
    correlation_id=None,
    app_id=None,
    content_type=None,
    size_bytes=1,
    published_at=None,
    death=Death(reason="rejected", queue=BATCHES, exchange="", routing_keys=[], count=1, died_at=STORED_AT),
    times_delivered=None,
    preview="",
)
RECORD: Final = PullRecord(
    pull_id=PULL,
    began_at=STORED_AT - timedelta(seconds=2),
    settled_at=STORED_AT,
    since=None,
    run_id=None,
    outcome="stored",
    reason="unacknowledged",
    error="stored, but the client could not be told: timeout",
    stored=1,
    duplicates=0,
    quarantined=0,
    pending=1,
    duration_s=0.1,
    acknowledged_at=None,
)
CLIENT: Final = ClientRecord(
    user_id="ash",
    client_url="http://ash:3001",
    client_type="web",
    capabilities=[],
    registered_at=NOW - timedelta(days=9),
    state="active",
    inactive_since=None,
    sync_interval_s=None,
    in_flight=False,
    next_pull_at=NOW + timedelta(seconds=20),
    next_slot_at=NOW + timedelta(seconds=20),
    last_pull_at=NOW - timedelta(seconds=10),
    last_success_at=NOW - timedelta(seconds=10),
    failures=0,
    last_reason=None,
    last_error=None,
    last_duration_s=0.1,
    pending=0,
    stored=1,
)
FAILING: Final[dict[str, Any]] = {"failures": 3, "last_reason": "timeout", "last_error": "no answer within 15 s"}


def of_client(*, emptied_at: datetime | None = None, pull_id: UUID | None = None, **changes: Any) -> ClientFacts:
    """A client that waits for its slot, but for the changes."""
    record = CLIENT.model_copy(update={"in_flight": pull_id is not None, **changes})
    return ClientFacts(record=record, pull_id=pull_id, claimed_at=NOW - timedelta(seconds=1), emptied_at=emptied_at)


def known(**facts: Any) -> Facts:
    """Of a registered user, whose capture left these traces."""
    return replace(NOTHING, **{"client": of_client(), "is_known_user": True, **facts})


FOUND: Final = Searched(found=FoundLetter(queue=BATCHES, letter=LETTER))
CASES: Final[dict[str, tuple[Facts, CaptureState, tuple[str, ...]]]] = {
    "told": (known(stored=STORED, told_at=NOW), "acknowledged", ("stored at 2026-11-26 02:50:00", "nothing to do")),
    "emptied since": (
        known(stored=STORED, client=of_client(emptied_at=NOW)),
        "acknowledged",
        ("not on record", "03:00"),
    ),
    "not told": (known(stored=STORED, pull=RECORD), "stored", ("could not be told yet (stored, but", "03:00:20")),
    "being told": (known(stored=STORED, client=of_client(pull_id=PULL)), "stored", ("is being told",)),
    "long ago": (known(stored=STORED), "stored", ("PULL_SYNC_HISTORY_DAYS",)),
    "telling died": (
        known(stored=STORED, pull=RECORD, searched=Searched(found=FoundLetter(queue=ACKS, letter=LETTER))),
        "stored",
        (f"dead letters of {ACKS} since 2026-11-26 02:50", f"POST /api/v1/admin/dead-letters/{ACKS}/0123/replay"),
    ),
    "quarantine": (
        known(quarantined=QUARANTINED),
        "quarantined",
        ("number 3", r"too\u202e small", "quarantine/3/replay"),
    ),
    "batch died": (known(searched=FOUND), "dead_letter", (f"dead letters of {BATCHES} since", "0123/replay")),
    "under way": (known(client=of_client(pull_id=PULL)), "on_its_way", ("since 2026-11-26 02:59:59", "ask again")),
    "paused": (known(client=of_client(state="paused")), "client_paused", ("resume",)),
    "stopped": (known(is_timer_running=False), "timer_stopped", ("scheduler/start",)),
    "inactive": (
        known(client=of_client(state="inactive", inactive_since=STORED_AT, **FAILING)),
        "client_inactive",
        ("for gone since 2026-11-26 02:50", "no answer within 15 s", "probed at 2026-11-26 03:00:20"),
    ),
    "failing": (
        known(client=of_client(state="failing", **FAILING)),
        "client_failing",
        ("3 times in a row", "no answer within 15 s", "http://ash:3001", "again at 2026-11-26 03:00:20"),
    ),
    "unregistered": (known(client=None), "client_unregistered", ("no client is registered",)),
    "never seen": (known(), "never_seen", ("last pulled at 2026-11-26 02:59:50", "the pull at 2026-11-26 03:00:20")),
    "never pulled": (known(client=of_client(last_pull_at=None)), "never_seen", ("was never pulled",)),
    "nobody": (NOTHING, "never_seen", ("Nothing is known of this user",)),
}


@pytest.mark.parametrize("case", CASES)
def test_each_state_is_said_with_what_to_do(case: str) -> None:
    """The state, and what its sentence must have."""
    facts, state, words = CASES[case]
    assert state_of(facts) == state
    said = summary(facts)
    assert [word for word in words if word not in said] == [], said
    assert said.endswith(".")


def test_no_state_is_left_out() -> None:
    """The cases above are all that there are."""
    assert {state for _, state, _ in CASES.values()} == set(get_args(CaptureState))


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        ({"stored": STORED}, {"quarantined": QUARANTINED}),
        ({"quarantined": QUARANTINED}, {"searched": FOUND}),
        ({"searched": FOUND}, {"client": of_client(pull_id=ANOTHER_PULL)}),
        ({"client": of_client(pull_id=ANOTHER_PULL)}, {"is_timer_running": False}),
        ({"client": of_client(state="paused")}, {"is_timer_running": False}),
        ({"is_timer_running": False}, {"client": of_client(state="inactive")}),
    ],
)
def test_the_nearest_to_being_stored_counts(better: dict[str, Any], worse: dict[str, Any]) -> None:
    """When several are the case; a pause is told before the timer, whose start would not help."""
    assert state_of(known(**worse, **better)) == state_of(known(**better))


# ---------------------------------------------------------------- what the client was told


@pytest.mark.parametrize(
    ("facts", "told"),
    [
        (known(), None),
        (known(stored=STORED, pull=RECORD, told_at=NOW), "known"),
        (known(stored=STORED, told_at=NOW), "known"),
        (known(stored=STORED, pull=RECORD, client=of_client(emptied_at=NOW)), "inferred"),
        (known(stored=STORED, client=of_client(emptied_at=STORED_AT - timedelta(seconds=1))), "unknown"),
        (known(stored=STORED, client=of_client(emptied_at=STORED_AT)), "unknown"),
        (known(stored=STORED, pull=RECORD), "waiting"),
        (known(stored=STORED, client=of_client(pull_id=PULL)), "waiting"),
        (known(stored=STORED, client=of_client(pull_id=ANOTHER_PULL)), "unknown"),
        (known(stored=STORED, client=None), "unknown"),
        (known(quarantined=QUARANTINED, told_at=NOW), "known"),
        (known(quarantined=QUARANTINED, client=of_client(emptied_at=NOW)), "inferred"),
    ],
)
def test_what_the_client_was_told(facts: Facts, told: str | None) -> None:
    """On record, inferred of a later pull that left nothing, not yet, or not known; never guessed."""
    assert acknowledgement(facts) == told


@pytest.mark.parametrize(
    ("facts", "queue"),
    [
        (NOTHING, BATCHES),
        (known(client=of_client(state="failing")), BATCHES),
        (known(quarantined=QUARANTINED), None),
        (known(stored=STORED, told_at=NOW), None),
        (known(stored=STORED, client=of_client(emptied_at=NOW)), None),
        (known(stored=STORED, client=of_client(pull_id=PULL)), None),
        (known(stored=STORED, pull=RECORD), ACKS),
        (known(stored=STORED), ACKS),
    ],
)
def test_dead_letters_are_searched_only_for_what_is_missing(facts: Facts, queue: str | None) -> None:
    """A batch for what is not stored, an acknowledgement for what the client may not know; else none."""
    assert queue_to_search(facts) == queue


def test_a_search_with_a_gap_is_said() -> None:
    """Whatever the state is."""
    facts = known(searched=Searched(gap="somebody else looks."))
    assert summary(facts).endswith("Not all dead letters could be looked through: somebody else looks.")


# ---------------------------------------------------------------- dead letters


def batch(user_id: str, *capture_ids: str, unreadable: str = "x") -> bytes:
    """A batch with one pull."""
    captures = [
        PulledCapture(capture_id=each, pokemon_id=1, pokemon_name="", action="capture", timestamp=NOW)
        for each in capture_ids
    ]
    pull = Pull(
        pull_id=PULL,
        user_id=user_id,
        client_url="http://ash:3001",
        pulled_at=NOW,
        duration_s=0.1,
        pending=1,
        more_pending=False,
        captures=tuple(captures),
        unreadable=(UnreadableItem(capture_id=unreadable, problem="", raw=""),),
    )
    return encoded(CaptureBatch(pulls=(pull,)))


@pytest.mark.parametrize("capture_id", ["c1", 'a"b', "a\\b", "a/b", "ü\u202e\U0001f600", "\x85"])
def test_a_batch_names_what_it_carries(capture_id: str) -> None:
    """Whatever characters an id has; read or not; and neither another user's nor a part of another id."""
    names = names_capture(BATCHES, "ash", capture_id)
    assert names(batch("ash", "c0", capture_id))
    assert names(batch("ash", unreadable=capture_id))
    assert not names(batch("misty", capture_id))
    assert not names(batch("ash", f"{capture_id}0", f"0{capture_id}"))


def test_both_names_in_a_batch_are_not_enough() -> None:
    """The capture must be that user's; something else may happen to be called the same."""
    assert not names_capture(BATCHES, "ash", "http://ash:3001")(batch("ash", "c1"))


def test_what_nobody_can_read_counts_by_its_bytes() -> None:
    """That may be why it is there."""
    names = names_capture(BATCHES, "ash", "c1")
    assert names(b'{"pulls": 0, "user_id":"ash", "capture_id":"c1"')
    assert not names(b'{"pulls": 0, "user_id":"ash"')


def test_an_acknowledgement_names_whom_it_tells_of_what() -> None:
    """User and capture belong together."""

    def told(user_id: str, *ids: str) -> Acknowledgement:
        return Acknowledgement(user_id=user_id, client_url="http://ash:3001", capture_ids=ids, outcome=None)

    body = encoded(AcknowledgeCaptures(acknowledgements=(told("ash", "c1"), told("misty", "c2"))))
    assert names_capture(ACKS, "ash", "c1")(body)
    assert not names_capture(ACKS, "ash", "c2")(body)
