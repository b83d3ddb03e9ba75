"""A large answer is read as a small one, item by item: what is heavy is not parsed, and costs no other."""

from __future__ import annotations

import json
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.puller import answer
from services.puller.answer import ITEM_BYTES, UnreadableAnswerError
from services.puller.complete_reading import read_complete_page
from services.puller.plain_reading import parse_plain_answer
from services.puller.reading import read_page
from shared.contracts.capture_reading import RAW_CHARS
from shared.contracts.messages import CAPTURES_PER_PULL
from tests.unit.test_puller_complete import ASKED
from tests.unit.test_puller_reading import GOOD, ITEMS, OWNER, UNREADABLE, bad, nested, through_the_queue
from tests.unit.test_puller_reading import answer as answered

LARGE: Final = b" " * ITEM_BYTES
"""Behind an answer it changes nothing of what it says."""
KEYS: Final = b",".join(b'"%x":1' % number for number in range(990_000))


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How much was given to a parser that makes objects of it, each time."""
    sizes: list[int] = []
    load, capture = json.loads, answer._CAPTURE  # noqa: SLF001 - the parsers

    class Watched:
        def validate_json(self, text: bytes) -> object:
            sizes.append(len(text))
            return capture.validate_json(text)

    def watched(text: str, **options: Any) -> object:
        sizes.append(len(text))
        return load(text, **options)

    monkeypatch.setattr(answer, "_CAPTURE", Watched())
    monkeypatch.setattr(json, "loads", watched)
    return sizes


def outcome(body: bytes) -> object:
    """What is read; of what is no capture all but the text that is kept, which may lack unknown keys."""
    try:
        page = read_page(body, owner=OWNER)
    except UnreadableAnswerError:
        return None
    told = [(item.capture_id, item.problem) for item in page.unreadable]
    return page.user_id, page.captures, told, page.pending, page.more_pending


@pytest.mark.parametrize("item", [item for item, _ in UNREADABLE.values() if len(item) < ITEM_BYTES])
def test_a_bad_item_is_read_alike(item: bytes) -> None:
    """Between two good ones, in a large answer as in a small one."""
    body = answered(GOOD, item, {**GOOD, "capture_id": "other"})
    assert outcome(body + LARGE) == outcome(body)


@pytest.mark.parametrize("depth", [150, *range(194, 204), *range(290, 304), 1_000, 5_000])
def test_a_deep_item_is_read_alike(depth: int) -> None:
    """What is too deep to be anything is cut, however it was reached."""
    for others in ((), (b"null",)):
        body = answered(nested(depth), *others)
        assert outcome(body + LARGE) == outcome(body)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"[" * 9,
        b"}" * 9,
        answered(GOOD)[:-1],
        answered(GOOD)[:-2],
        answered(GOOD)[:-9],
        answered(GOOD) + b"}",
        b'{"user_id":"user_1","captures":{"a":{}}}',
        b'{"user_id":"user_1","captures":[{"a" 1}]}',
        b'{"user_id":"user_1","captures":[[1}]}',
        b'{"user_id":"user_1","captures":["[{]}",[[]],{"a":[{}]},1,null,"\\"["]}',
        b'{"user_id":"user_1","captures":[{"a":1}],"captures":[]}',
        b'{"user_id":"user_1","captures":["\xff"]}',
        b'{"user_id":"user_1","captures":[{"a":"\xff"}]}',
        b'{"user_id":"user_1","captures":[NaN,-Infinity],"x":{"y":[{"z":[]}]}}',
    ],
)
def test_any_shape_is_read_alike(body: bytes) -> None:
    """Or is no answer at all."""
    assert outcome(LARGE + body) == outcome(body)


@settings(max_examples=300, deadline=None)
@given(items=st.lists(ITEMS, max_size=6), ascii_only=st.booleans())
def test_arbitrary_items_are_read_alike(*, items: list[Any], ascii_only: bool) -> None:
    """Whatever they are."""
    text = json.dumps({"user_id": OWNER, "captures": items, "total_pending": 3}, ensure_ascii=ascii_only)
    body = text.encode(errors="replace")
    assert outcome(body + LARGE) == outcome(body)


HEAVY: Final = {
    "metadata": (bad(metadata="@").replace(b'"@"', b"{%s}" % KEYS), "bad"),
    "of itself": (b"{%s}" % KEYS, None),
    "with a word that is no JSON": (bad(metadata="@").replace(b'"@"', b'{%s,"a":NaN}' % KEYS), None),
    "of another user": (bad(user_id="ash")[:-1] + b",%s}" % KEYS, "bad"),
    "in a list": (b"[%s]" % (b"{}," * 100_000 + b"1"), None),
    "text": (bad(x="\x7f\u00e9" * ITEM_BYTES), "bad"),
}


@pytest.mark.parametrize(("item", "capture_id"), HEAVY.values(), ids=HEAVY)
def test_a_heavy_item_is_not_parsed(item: bytes, capture_id: str | None, parsed: list[int]) -> None:
    """Its neighbours are read, and it is kept with its id and the beginning of its text."""
    body = answered(GOOD, item, {**GOOD, "capture_id": "other"})
    page = read_page(body, owner=OWNER)
    assert [capture.capture_id for capture in page.captures] == ["good", "other"]
    [unreadable] = page.unreadable
    assert (unreadable.capture_id, unreadable.problem) == (capture_id, f"it is larger than {ITEM_BYTES} bytes")
    assert len(unreadable.raw) == RAW_CHARS
    assert unreadable.raw.isascii()
    assert unreadable.raw.isprintable()
    assert through_the_queue(page).unreadable == page.unreadable
    assert max(parsed) <= ITEM_BYTES


def test_a_heavy_item_has_its_place_among_all(parsed: list[int]) -> None:
    """Of everything that a client has, by its id."""
    item, _ = HEAVY["metadata"]
    body = answered({**GOOD, "capture_id": "a"}, item, {**GOOD, "capture_id": "z"}, total_captures=3)
    page = read_complete_page(body, owner=OWNER, after=None, complete=ASKED)
    assert [capture.capture_id for capture in page.captures] == ["a", "z"]
    assert [unreadable.capture_id for unreadable in page.unreadable] == ["bad"]
    assert page.complete is not None
    assert page.complete.unacknowledged == ("a", "bad", "z")
    assert max(parsed) <= ITEM_BYTES


def test_a_heavy_capture_that_is_plain_is_read_either_way(parsed: list[int]) -> None:
    """Unknown keys are passed over, however many."""
    capture = json.dumps(GOOD).encode()[:-1] + b",%s}" % KEYS
    page = read_page(answered(capture), owner=OWNER)
    assert (len(page.captures), parsed) == (1, [])
    page = read_page(answered(capture, b"null"), owner=OWNER)
    assert (len(page.captures), len(page.unreadable)) == (1, 1)
    assert max(parsed) <= ITEM_BYTES


def test_what_is_heavy_around_the_captures_is_passed_over(parsed: list[int]) -> None:
    """Or refused: it is not parsed either."""
    item = json.dumps(GOOD).encode()
    for name in ("metadata", "device"):
        body = b'{%s,"user_id":"user_1","captures":[%s,{"%s":"\\\\"}]}' % (KEYS, item, name.encode())
        assert [capture.capture_id for capture in read_page(body, owner=OWNER).captures] == ["good"]
    for heavy in (b'{"a":NaN,%s,"user_id":"user_1","captures":[]}' % KEYS, answered(*[b"1"] * 30_000)):
        with pytest.raises(UnreadableAnswerError, match="around its captures"):
            read_page(heavy, owner=OWNER)
    assert max(parsed) <= ITEM_BYTES


def test_others_have_their_turn_while_brackets_are_looked_for() -> None:
    """One search through megabytes without any would hold up all threads."""
    matches = answer._UP_TO_A_BRACKET.finditer(KEYS)  # noqa: SLF001 - the search
    assert max(match.end() - match.start() for match in matches) < 16 * 1024


@pytest.mark.parametrize("indent", [None, 2])
def test_a_hundred_thousand_captures_are_read(indent: int | None, parsed: list[int]) -> None:
    """None of them plain, in 16 MiB, as a client sends them that does not know of pages."""
    count = 100_000 if indent is None else 50_000
    items = [
        {**GOOD, "capture_id": f"c{number}", "pokemon_name": "Flab\u00e9b\u00e9", "metadata": {"removed": False}}
        for number in range(count)
    ]
    body = json.dumps({"user_id": OWNER, "captures": items, "total_pending": count}, indent=indent).encode()
    assert parse_plain_answer(body, owner=OWNER) is None
    page = read_page(body, owner=OWNER)
    assert [capture.capture_id for capture in page.captures] == [f"c{number}" for number in range(CAPTURES_PER_PULL)]
    assert (page.pending, page.more_pending, page.unreadable) == (count, True, ())
    around = json.dumps({"user_id": OWNER, "captures": [[number] for number in range(count)]}, indent=indent)
    assert max(parsed) < 2 * len(around)
