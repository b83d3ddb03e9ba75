"""Whether the body of a dead letter names a capture. No I/O, and no faith: it may be what nobody could read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from shared.contracts.encoding import UnreadableMessageError, decoded
from shared.contracts.messages import AcknowledgeCaptures, CaptureBatch
from shared.contracts.topology import ACKNOWLEDGEMENTS, CAPTURE_BATCHES

Names = Callable[[bytes], bool]


def names_capture(queue: str, user_id: str, capture_id: str) -> Names:
    """To be asked with each body of the dead letters of that queue, one of those in which captures travel.

    A body without both ids, as our services write them, is not read further; one with both that can't be read counts,
    since that may be why it is there.
    """
    carries = _CARRIES[queue]
    written = [msgspec.json.encode(text) for text in (user_id, capture_id)]

    def names(body: bytes) -> bool:
        if not all(text in body for text in written):
            return False
        try:
            return carries(body, user_id, capture_id)
        except UnreadableMessageError:
            return True

    return names


def _batch_carries(body: bytes, user_id: str, capture_id: str) -> bool:
    pulls = [pull for pull in decoded(CaptureBatch, body).pulls if pull.user_id == user_id]
    return any(
        any(capture.capture_id == capture_id for capture in pull.captures)
        or any(item.capture_id == capture_id for item in pull.unreadable)
        for pull in pulls
    )


def _acknowledgement_carries(body: bytes, user_id: str, capture_id: str) -> bool:
    return any(
        told.user_id == user_id and capture_id in told.capture_ids
        for told in decoded(AcknowledgeCaptures, body).acknowledgements
    )


_CARRIES: Final = {CAPTURE_BATCHES.name: _batch_carries, ACKNOWLEDGEMENTS.name: _acknowledgement_carries}
