"""What clients of other languages send is read where it can't be misunderstood; and from quarantine, too."""

from __future__ import annotations

import json
from typing import Any, Final
from uuid import UUID

import pytest

from services.ingest.replay import read_again
from services.ingest.store import Quarantined
from services.puller.answer import ITEM_BYTES
from services.puller.reading import UnreadableAnswerError, read_page
from shared.contracts.times import EARLIEST
from tests.unit.test_puller_reading import GOOD, OWNER, answer, bad, through_the_queue

UNUSUAL: Final[dict[str, tuple[dict[str, Any], dict[str, Any]]]] = {
    "pokemon with a point": ({"pokemon_id": 25.0}, {"pokemon_id": 25}),
    "pokemon as text": ({"pokemon_id": "25"}, {"pokemon_id": 25}),
    "name null": ({"pokemon_name": None}, {"pokemon_name": ""}),
    "half a pair in the name": ({"pokemon_name": "a\ud83d"}, {"pokemon_name": "a\ufffd"}),
    "other half in the name": ({"pokemon_name": "\udfffa"}, {"pokemon_name": "\ufffda"}),
    "half and whole pair": ({"pokemon_name": "\ud83d\U0001f600"}, {"pokemon_name": "\ufffd\U0001f600"}),
    "half a pair in metadata": ({"metadata": {"\ud800": "\udc00"}}, {"metadata": '{"\ufffd":"\ufffd"}'}),
    "user empty": ({"user_id": ""}, {}),
    "user null": ({"user_id": None}, {}),
    "synced 0": ({"synced": 0}, {}),
    "synced null": ({"synced": None}, {}),
    "synced as text": ({"synced": "false"}, {}),
    "synced as anything": ({"synced": [2]}, {}),
    "metadata of PHP": ({"metadata": []}, {"removed": False, "metadata": None}),
    "removed 0": ({"metadata": {"removed": 0, "a": 1}}, {"removed": False, "metadata": '{"a":1}'}),
    "removed 1": ({"metadata": {"removed": 1}}, {"removed": True, "metadata": None}),
    "removed 1.0": ({"metadata": {"removed": 1.0}}, {"removed": True}),
    "removed null": ({"metadata": {"removed": None}}, {"removed": False}),
    "removed as false": ({"metadata": {"removed": "false"}}, {"removed": False}),
    "removed as True": ({"metadata": {"removed": "True"}}, {"removed": True}),
    "six characters": ({"metadata": {"a": r"\u0000"}}, {"metadata": r'{"a":"\\u0000"}'}),
    "six characters in a key": ({"metadata": {r"\u0000": 1}}, {"metadata": r'{"\\u0000":1}'}),
    "seven characters": ({"metadata": {"a": r"\\u0000"}}, {"metadata": r'{"a":"\\\\u0000"}'}),
}


@pytest.mark.parametrize(("fields", "read"), UNUSUAL.values(), ids=UNUSUAL)
@pytest.mark.parametrize("neighbour", [GOOD, b"null"], ids=["good", "bad"])
@pytest.mark.parametrize("padding", [0, ITEM_BYTES], ids=["small", "large"])
def test_what_cannot_be_misunderstood_is_a_capture(
    fields: dict[str, Any], read: dict[str, Any], neighbour: bytes | dict[str, Any], padding: int
) -> None:
    """Whoever wrote it, in answers of every size, and beside whatever; and so it is when it is read again."""
    item = json.dumps({**GOOD, "capture_id": "bad", **fields}).encode()
    page = read_page(answer(item, neighbour) + b" " * padding, owner=OWNER)
    (capture,) = (each for each in through_the_queue(page).captures if each.capture_id == "bad")
    assert {name: getattr(capture, name) for name in read} == read
    kept = Quarantined(
        quarantine_id=1, user_id=OWNER, problem="x", raw=item.decode(), pull_id=UUID(int=1), quarantined_at=EARLIEST
    )
    assert read_again(kept).capture == capture


def test_a_real_nul_stays_what_it_was() -> None:
    """Behind a backslash, too: PostgreSQL has no such character."""
    for text in ("\0", "\\\0", "\\\\\0", r"\u0000" + "\0"):
        (item,) = read_page(answer(bad(metadata={"a": text})), owner=OWNER).unreadable
        assert item.problem == "metadata: contains a NUL character"


@pytest.mark.parametrize("field", ["capture_id", "user_id"])
def test_an_id_with_half_a_pair_is_no_other(field: str) -> None:
    """It is told in a sentence, and acknowledged as no id that it is not."""
    (item,) = read_page(answer(bad(**{field: "bad\ud83d"}), GOOD), owner=OWNER).unreadable
    assert item.problem == f"{field}: it has half of a surrogate pair, which is no character"
    assert item.capture_id == (None if field == "capture_id" else "bad")


def test_what_cannot_be_read_of_a_time_is_told() -> None:
    """With what is expected."""
    (item,) = read_page(answer(bad(timestamp="20261130")), owner=OWNER).unreadable
    assert item.problem == "timestamp: must be a time in ISO 8601, such as 2026-01-31T12:00:00Z"


NOTHING: Final = {
    "Go's empty list": b'"captures": null',
    "with a total": b'"captures": null, "total_pending": 0',
    "with a total that is unset": b'"captures": null, "total_pending": null',
    "with a total below 0": b'"captures": null, "total_pending": -1',
    "with a total in a text": b'"captures": null, "total_pending": "0"',
    "left out": b'"total_pending": 0',
    "Lua's empty list": b'"captures": {}, "total_pending": 0',
    "a total below 0": b'"captures": [], "total_pending": -1',
    "a total of one and a half": b'"captures": [], "total_pending": 1.5',
    "a total in words": b'"captures": [], "total_pending": "many"',
    "a total that is no number": b'"captures": [], "total_pending": NaN',
    "a total that is true": b'"captures": [], "total_pending": true',
    "a total of 5,000 digits": b'"captures": [], "total_pending": "' + b"9" * 5_000 + b'"',
}


@pytest.mark.parametrize("members", NOTHING.values(), ids=NOTHING)
@pytest.mark.parametrize("padding", [0, ITEM_BYTES], ids=["small", "large"])
def test_nothing_is_pending(members: bytes, padding: int) -> None:
    """However a client writes an empty list, and whatever it says beside it that is no count."""
    page = read_page(b'{"user_id": "user_1", ' + members + b"}" + b" " * padding, owner=OWNER)
    assert (page.captures, page.unreadable, page.pending, page.more_pending) == ((), (), 0, False)


@pytest.mark.parametrize("total", [-1, 1.5, "many", None, [], {}, True, float("nan")])
def test_a_wrong_total_costs_no_capture(total: object) -> None:
    """It is information."""
    page = read_page(answer(GOOD, total_pending=total), owner=OWNER)
    assert (len(page.captures), page.pending, page.more_pending) == (1, 1, False)


@pytest.mark.parametrize("total", [2_500, 2_500.0, "2500"])
def test_a_total_of_another_type_counts(total: object) -> None:
    """What can't be misunderstood is believed."""
    assert read_page(answer(GOOD, total_pending=total), owner=OWNER).pending == 2_500


@pytest.mark.parametrize("body", [answer(GOOD), answer(), answer(bad(pokemon_id=0))])
def test_a_byte_order_mark_is_passed_over(body: bytes) -> None:
    """.NET and PowerShell write one."""
    assert read_page(b"\xef\xbb\xbf" + body, owner=OWNER) == read_page(body, owner=OWNER)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le"])
def test_another_encoding_is_told(encoding: str) -> None:
    """By its name, and without advice for programmers of Python."""
    with pytest.raises(UnreadableAnswerError, match=f"in {encoding[:6].upper()}, and JSON is sent in UTF-8"):
        read_page(answer(GOOD).decode().encode(encoding), owner=OWNER)
