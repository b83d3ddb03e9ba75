"""Says for a human where a capture is, and what to do next. No I/O, and no deciding: that is the verdict's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Final

from services.registry.domain import ClientRecord
from services.registry.whereabouts.facts import ClientFacts, Facts, FoundLetter
from services.registry.whereabouts.verdict import CaptureState, acknowledgement, is_under_way, state_of
from shared.contracts.times import in_utc
from shared.untrusted_text import visible


def summary(facts: Facts) -> str:
    """What is the case, and what to do; what clients wrote can't control a terminal by it."""
    gap = facts.searched.gap if facts.searched else None
    said = _SAYS[state_of(facts)](facts)
    return f"{said} Not all dead letters could be looked through: {gap}" if gap else said


def _acknowledged(facts: Facts) -> str:
    stored = _begin(facts)
    if facts.told_at is not None:
        return f"{stored}, and the client was told by {_time(facts.told_at)}: there is nothing to do."
    emptied = _time(facts.client.emptied_at if facts.client else None)
    return (
        f"{stored}; that the client was told is not on record, but the pull that began at {emptied} left nothing "
        "pending, so it knows: there is nothing to do."
    )


def _stored(facts: Facts) -> str:
    stored = _begin(facts)
    if letter := _letter(facts):
        return (
            f"{stored}; the message by which the client is told lies in the dead letters of {letter.queue}"
            f"{_since(letter)}: find out why, then replay it ({_replay(letter)}), or wait for the next pull, which "
            "tells the client anew."
        )
    if facts.stored and is_under_way(facts, facts.stored.pull_id):
        return f"{stored}, and the client is being told: ask again in some seconds."
    if acknowledgement(facts) == "waiting":
        cause = _cause(facts.pull.error if facts.pull else None)
        return (
            f"{stored}, and the client could not be told yet{cause}: there is nothing to do, since it is told again "
            f"for some minutes, and by each later pull.{_next_pull(facts.client)}"
        )
    return (
        f"{stored}; whether the client was told is not on record, or no longer (PULL_SYNC_HISTORY_DAYS): there is "
        f"nothing to do, since a client that was not told is told by its next pull.{_next_pull(facts.client)}"
    )


def _quarantined(facts: Facts) -> str:
    item = facts.quarantined
    if item is None:
        raise AssertionError
    path = f"/api/v1/admin/quarantine/{item.quarantine_id}"
    return (
        f"It could not be read or stored, and is kept in quarantine as number {item.quarantine_id} since "
        f"{_time(item.quarantined_at)} ({visible(item.problem)}): look at it (GET {path}), and replay it when the "
        f"cause is mended (POST {path}/replay)."
    )


def _dead_letter(facts: Facts) -> str:
    letter = _letter(facts)
    if letter is None:
        raise AssertionError
    return (
        f"It is not stored: the message that carries it lies in the dead letters of {letter.queue}{_since(letter)}: "
        f"find out why, then replay it ({_replay(letter)}). The client still has it, and its next pull brings it again."
    )


def _on_its_way(facts: Facts) -> str:
    began = _time(facts.client.claimed_at if facts.client else None)
    return (
        f"It is not stored; a pull of its client is under way since {began}, and taken for lost at "
        f"{_time(_client(facts).next_pull_at)}: ask again in some seconds."
    )


def _client_paused(_facts: Facts) -> str:
    return (
        "It is not stored, and its client is paused: resume it (PATCH /api/v1/pull-sync/clients/{user_id} with "
        '{"paused": false}), and it is pulled.'
    )


def _timer_stopped(_facts: Facts) -> str:
    return (
        "It is not stored, and the timer is stopped: start it (POST /api/v1/pull-sync/scheduler/start), or pull all "
        "clients now (POST /api/v1/pull-sync/sync-all)."
    )


def _client_inactive(facts: Facts) -> str:
    client = _client(facts)
    return (
        f"It is not stored; its client is taken for gone since {_time(client.inactive_since)} and only probed"
        f"{_cause(client.last_error)}: start it at {client.client_url}; when it registers it is due at once, else it "
        f"is probed at {_time(client.next_pull_at)}."
    )


def _client_failing(facts: Facts) -> str:
    client = _client(facts)
    times = "once" if client.failures == 1 else f"{client.failures} times in a row"
    return (
        f"It is not stored; its client failed {times}{_cause(client.last_error)}: see that it runs and can be reached "
        f"at {client.client_url}; it is pulled again at {_time(client.next_pull_at)}."
    )


def _client_unregistered(_facts: Facts) -> str:
    return (
        "It is not stored, and no client is registered for this user any more: start the client, which registers and "
        "is pulled at once."
    )


def _never_seen(facts: Facts) -> str:
    if facts.client is None:
        return (
            "Nothing is known of this user, and no client is registered for it: see whether the user id is right, or "
            "start the client, which registers and is pulled at once."
        )
    client = facts.client.record
    last = f"was last pulled at {_time(client.last_pull_at)}" if client.last_pull_at else "was never pulled"
    return (
        f"Nothing is known of such a capture; its client {last}: if it was made since, the pull at "
        f"{_time(client.next_pull_at)} brings it; else see whether the client has it, and whether the id is right."
    )


_SAYS: Final[Mapping[CaptureState, Callable[[Facts], str]]] = {
    "acknowledged": _acknowledged,
    "stored": _stored,
    "quarantined": _quarantined,
    "dead_letter": _dead_letter,
    "on_its_way": _on_its_way,
    "client_paused": _client_paused,
    "timer_stopped": _timer_stopped,
    "client_inactive": _client_inactive,
    "client_failing": _client_failing,
    "client_unregistered": _client_unregistered,
    "never_seen": _never_seen,
}


def _begin(facts: Facts) -> str:
    return f"It was stored at {_time(facts.stored.stored_at if facts.stored else None)}"


def _client(facts: Facts) -> ClientRecord:
    if facts.client is None:
        raise AssertionError
    return facts.client.record


def _letter(facts: Facts) -> FoundLetter | None:
    return facts.searched.found if facts.searched else None


def _next_pull(client: ClientFacts | None) -> str:
    if client is None:
        return " No client is registered for this user now."
    return "" if client.record.state == "paused" else f" It is pulled next at {_time(client.record.next_pull_at)}."


def _since(letter: FoundLetter) -> str:
    death = letter.letter.death
    return f" since {_time(death.died_at)}" if death is not None and death.died_at is not None else ""


def _replay(letter: FoundLetter) -> str:
    return f"POST /api/v1/admin/dead-letters/{letter.queue}/{letter.letter.id}/replay"


def _cause(error: str | None) -> str:
    return f" ({visible(error)})" if error else ""


def _time(moment: datetime | None) -> str:
    return "no time" if moment is None else f"{in_utc(moment):%Y-%m-%d %H:%M:%S} UTC"
