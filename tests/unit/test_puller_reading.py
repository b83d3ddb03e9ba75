"""Whatever bytes a client answers, reading them ends in a page or in one sentence; nothing with an id is lost."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, Final
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from services.puller import reading
from services.puller.reading import Page, UnreadableAnswerError, read_page
from shared.contracts import capture_reading
from shared.contracts.encoding import decoded, encoded
from shared.contracts.messages import BYTES_PER_PULL, CAPTURES_PER_PULL, CaptureBatch, Pull
from shared.contracts.times import EARLIEST, LATEST

OWNER: Final = "user_1"
GOOD: Final[dict[str, Any]] = {
    "capture_id": "good",
    "pokemon_id": 25,
    "pokemon_name": "pikachu",
    "action": "capture",
    "timestamp": "2026-01-31T12:00:00.000Z",
    "user_id": OWNER,
    "synced": False,
}


def answer(*items: bytes | dict[str, Any], **envelope: Any) -> bytes:
    """An answer of `sync-data` with these items, each as JSON or already written."""
    texts = [item if isinstance(item, bytes) else json.dumps(item).encode() for item in items]
    rest = "".join(f", {json.dumps(name)}: {json.dumps(value)}" for name, value in envelope.items())
    return b'{"user_id": "user_1", "captures": [' + b", ".join(texts) + b"]" + rest.encode() + b"}"


def bad(**fields: Any) -> bytes:
    """A capture with the id `bad` and these fields of its own."""
    return json.dumps({**GOOD, "capture_id": "bad", **fields}).encode()


def written(field: str, text: bytes) -> bytes:
    """A capture with the id `bad`, one of whose fields is this JSON text."""
    return bad(**{field: "@"}).replace(b'"@"', text)


def through_the_queue(page: Page) -> Pull:
    """The page as ingest reads it."""
    pull = Pull(
        pull_id=UUID(int=0),
        user_id=OWNER,
        client_url="http://localhost:3001",
        pulled_at=datetime(2026, 1, 31, tzinfo=UTC),
        duration_s=0.0,
        pending=page.pending,
        more_pending=page.more_pending,
        captures=page.captures,
        unreadable=page.unreadable,
    )
    (read,) = decoded(CaptureBatch, encoded(CaptureBatch(pulls=(pull,)))).pulls
    return read


def test_a_good_page_is_read() -> None:
    """Each field of the protocol comes through, metadata as JSON without `removed`."""
    removal = {
        **GOOD,
        "capture_id": "two",
        "action": "favorite",
        "metadata": {"removed": True, "device_info": {"a": 1}},
    }
    page = read_page(answer(GOOD, removal, last_sync=None, total_pending=2, client_url="http://x"), owner=OWNER)
    first, second = page.captures
    assert (page.user_id, page.unreadable, page.pending, page.more_pending) == (OWNER, (), 2, False)
    assert (first.capture_id, first.pokemon_id, first.pokemon_name, first.action) == ("good", 25, "pikachu", "capture")
    assert (first.timestamp, first.removed, first.metadata) == (datetime(2026, 1, 31, 12, tzinfo=UTC), False, None)
    assert (second.action, second.removed, second.metadata) == ("favorite", True, '{"device_info":{"a":1}}')


UNREADABLE: Final[dict[str, tuple[bytes, str | None]]] = {
    "pokemon 0": (bad(pokemon_id=0), "bad"),
    "pokemon bool": (bad(pokemon_id=True), "bad"),
    "pokemon of half": (bad(pokemon_id=25.5), "bad"),
    "pokemon as a text that is no number": (bad(pokemon_id="25a"), "bad"),
    "pokemon as a text with leading zeros": (bad(pokemon_id="025"), "bad"),
    "pokemon as a text of 5,000 digits": (bad(pokemon_id="9" * 5_000), "bad"),
    "pokemon null": (bad(pokemon_id=None), "bad"),
    "pokemon too large for its column": (bad(pokemon_id=2**31), "bad"),
    "pokemon of 5,000 digits": (written("pokemon_id", b"9" * 5_000), "bad"),
    "pokemon NaN": (bad(pokemon_id=float("nan")), "bad"),
    "pokemon infinite": (written("pokemon_id", b"1e999"), "bad"),
    "no id": (json.dumps({name: GOOD[name] for name in GOOD if name != "capture_id"}).encode(), None),
    "empty id": (bad(capture_id=""), ""),
    "number as id": (bad(capture_id=5), None),
    "long id": (bad(capture_id="x" * 256), "x" * 256),
    "NUL in the id": (bad(capture_id="a\0b"), "a\0b"),
    "line break in the id": (bad(capture_id="a\n"), "a\n"),
    "lone surrogate in the id": (bad(capture_id="\ud800"), None),
    "NUL in the name": (bad(pokemon_name="a\0"), "bad"),
    "long name": (bad(pokemon_name="x" * 256), "bad"),
    "unknown action": (bad(action="release"), "bad"),
    "time as number": (bad(timestamp=1_760_000_000_000), "bad"),
    "time as a text of digits": (bad(timestamp="20261130"), "bad"),
    "time as 0 in a text": (bad(timestamp="0"), "bad"),
    "time as a negative number in a text": (bad(timestamp="-1.5"), "bad"),
    "time without a day": (bad(timestamp="12:00:00Z"), "bad"),
    "day without a time": (bad(timestamp="2026-11-30"), "bad"),
    "time as garbage": (bad(timestamp="yesterday"), "bad"),
    "year 0": (bad(timestamp="0000-01-01T00:00:00Z"), "bad"),
    "year 10000": (bad(timestamp="10000-01-01T00:00:00Z"), "bad"),
    "metadata as list of something": (bad(metadata=[1]), "bad"),
    "metadata as text": (bad(metadata=""), "bad"),
    "metadata as false": (bad(metadata=False), "bad"),
    "removed as number beyond 1": (bad(metadata={"removed": 2}), "bad"),
    "removed as word": (bad(metadata={"removed": "perhaps"}), "bad"),
    "removed as list": (bad(metadata={"removed": []}), "bad"),
    "removed as nothing": (bad(metadata={"removed": ""}), "bad"),
    "name as number": (bad(pokemon_name=25), "bad"),
    "huge metadata": (bad(metadata={"a": "x" * 8_192}), "bad"),
    "metadata with NUL": (bad(metadata={"a": ["\0"]}), "bad"),
    "metadata key with NUL": (bad(metadata={"\0": 1}), "bad"),
    "metadata nested 500 deep": (written("metadata", b'{"a":' + b"[" * 500 + b"]" * 500 + b"}"), "bad"),
    "of another user": (bad(user_id="user_2"), "bad"),
    "of a user that can't be written": (bad(user_id="\ud800"), "bad"),
    "list": (b"[1]", None),
    "null": (b"null", None),
    "number": (b"1", None),
    "string": (b'"bad"', None),
}


@pytest.mark.parametrize(("item", "capture_id"), UNREADABLE.values(), ids=UNREADABLE)
def test_a_bad_item_costs_no_other(item: bytes, capture_id: str | None) -> None:
    """It is kept with its id and a sentence, and its neighbours on both sides are read."""
    page = read_page(answer(GOOD, item, {**GOOD, "capture_id": "other"}), owner=OWNER)
    (unreadable,) = page.unreadable
    assert [capture.capture_id for capture in page.captures] == ["good", "other"]
    assert unreadable.capture_id == capture_id
    assert 0 < len(unreadable.problem) <= 500
    assert unreadable.raw.isascii()
    assert len(unreadable.raw) <= capture_reading.RAW_CHARS
    assert through_the_queue(page).unreadable == page.unreadable


def test_an_id_of_a_megabyte_costs_no_other() -> None:
    """It can't be a capture, and its neighbour is read."""
    page = read_page(answer(bad(capture_id="x" * 1_000_000), GOOD), owner=OWNER)
    assert [capture.capture_id for capture in page.captures] == ["good"]
    assert len(page.unreadable) == 1


@pytest.mark.parametrize(
    ("item", "moment"),
    [
        (bad(timestamp="2026-01-31T12:00:00"), datetime(2026, 1, 31, 12, tzinfo=UTC)),
        (bad(timestamp="2026-01-31T14:00:00+02:00"), datetime(2026, 1, 31, 12, tzinfo=UTC)),
        (bad(timestamp="0001-01-01T00:00:00Z"), EARLIEST),
        (bad(timestamp="0001-01-01T00:00:00"), EARLIEST),
        (bad(timestamp="0001-01-01T00:00:00+14:00"), EARLIEST),
        (bad(timestamp="0001-12-31T12:00:00Z"), datetime(1, 12, 31, 12, tzinfo=UTC)),
        (bad(timestamp="9999-12-31T23:59:59.999999Z"), LATEST),
        (bad(timestamp="9999-12-31T23:59:59-14:00"), LATEST),
        (bad(timestamp="9999-01-01T00:00:00Z"), datetime(9999, 1, 1, tzinfo=UTC)),
    ],
    ids=[
        *("naive", "offset", "unset in Go", "unset in .NET", "before all in UTC", "first year"),
        *("last of all", "after all in UTC", "last year"),
    ],
)
@pytest.mark.parametrize("metadata", [{}, {"device": "x"}], ids=["plain", "patient"])
def test_odd_times_are_read(item: bytes, moment: datetime, metadata: dict[str, str]) -> None:
    """A time without a zone is UTC, and what is beyond the ends of time is at the end; by both readers."""
    page = read_page(answer({**json.loads(item), "metadata": metadata}), owner=OWNER)
    (capture,) = through_the_queue(page).captures
    assert capture.timestamp == moment
    for hours in (-23, 23):
        capture.timestamp.astimezone(timezone(timedelta(hours=hours)))


def test_times_keep_their_order_at_the_ends() -> None:
    """In the year of an end each is where it was, but for the last day."""
    moments = ["0001-01-01T12:00:00Z", "0001-01-02T00:00:00.001Z", "0001-06-01T00:00:00Z", "9999-12-31T00:00:00Z"]
    page = read_page(answer(*(bad(timestamp=moment) for moment in moments)), owner=OWNER)
    times = [capture.timestamp for capture in page.captures]
    assert times == sorted(times)
    assert len(set(times)) == len(times)


@pytest.mark.parametrize(
    ("item", "metadata"),
    [
        (bad(metadata=None), None),
        (bad(metadata={"removed": False}), None),
        (bad(metadata={"a": float("nan"), "b": float("-inf")}), '{"a":null,"b":null}'),
        (bad(metadata={"model_extra": 1, "__class__": 2}), '{"model_extra":1,"__class__":2}'),
        (bad(metadata={"a": "\U0001f600"}), '{"a":"\U0001f600"}'),
    ],
    ids=["null", "only removed", "no number", "names of Python", "emoji"],
)
def test_odd_metadata_is_kept(item: bytes, metadata: str | None) -> None:
    """What is not a number becomes null, as JSON has no word for it; the rest stays as it came."""
    page = read_page(answer(item), owner=OWNER)
    assert [capture.metadata for capture in through_the_queue(page).captures] == [metadata]


def nested(depth: int) -> bytes:
    """A capture with the id `bad` whose metadata is that deep, with brackets in strings and of both kinds."""
    lists, objects = depth // 2, depth - depth // 2
    inner = b'{"a]\\\\":' * objects + b"[" * lists + b'"\\"[[{{"' + b"]" * lists + b"}" * objects
    return written("metadata", b'{"b": 1, "a":' + inner + b"}")


@pytest.mark.parametrize("depth", [250, 297, 298, 500, 900, 950, *range(960, 1_000), 10_000])
def test_a_deeply_nested_item_costs_no_other(depth: int) -> None:
    """However deep one item is, it is kept with its id, and its neighbours are read."""
    page = read_page(answer(GOOD, nested(depth), {**GOOD, "capture_id": "other"}), owner=OWNER)
    assert [capture.capture_id for capture in page.captures] == ["good", "other"]
    assert [item.capture_id for item in page.unreadable] == ["bad"]


@pytest.mark.parametrize("item", [b"[" * 5_000 + b"]" * 5_000, b'{"a":' * 5_000 + b"1" + b"}" * 5_000])
def test_a_deep_value_costs_no_other(item: bytes) -> None:
    """What is no capture at all neither."""
    page = read_page(answer(item, GOOD, item), owner=OWNER)
    assert [capture.capture_id for capture in page.captures] == ["good"]
    assert len(page.unreadable) == 2


NUMBERS: Final = [b"9" * digits for digits in (20, 21, 30, 400, 4_299, 4_300, 4_301, 5_000)] + [b"1e999", b"0.1e-400"]


@pytest.mark.parametrize("number", [*NUMBERS, *(b"-" + number for number in NUMBERS)], ids=len)
def test_a_bad_item_changes_nothing_about_the_others(number: bytes) -> None:
    """A number in the metadata, however long, is the same one beside a bad item as without it."""
    item = written("metadata", b'{"a":' + number + b"}")
    alone = read_page(answer(item), owner=OWNER)
    assert [capture.metadata for capture in alone.captures] != [None]
    assert read_page(answer(item, b"null"), owner=OWNER).captures == alone.captures


@pytest.mark.parametrize("neighbour", [GOOD, b"null"], ids=["good", "bad"])
@pytest.mark.parametrize("depth", [150, 190, *range(194, 204)])
def test_what_is_as_deep_as_a_capture_may_be_is_whole(depth: int, neighbour: bytes | dict[str, Any]) -> None:
    """Either it is kept as it came, or it can't be read; nothing in it becomes null."""
    page = read_page(answer(nested(depth), neighbour), owner=OWNER)
    metadata = [capture.metadata for capture in page.captures if capture.capture_id == "bad"]
    expected = json.dumps(json.loads(nested(depth))["metadata"], separators=(",", ":"))
    assert metadata == [expected] if depth < 197 else metadata in ([], [expected])
    assert len(metadata) + sum(item.capture_id == "bad" for item in page.unreadable) == 1


@pytest.mark.parametrize("wrong", [5, "yesterday", [], {}, True, "\ud800"])
def test_what_is_not_needed_of_the_envelope_may_be_wrong(wrong: object) -> None:
    """`last_sync` and `client_url` cost nothing, whatever they are."""
    for item in (GOOD, b"null"):
        page = read_page(answer(item, GOOD, last_sync=wrong, client_url=wrong), owner=OWNER)
        assert page.captures[-1].capture_id == "good"


def test_a_long_number_is_no_id() -> None:
    """A number is no id, however long it is."""
    (item,) = read_page(answer(written("capture_id", b"9" * 21), b"null"), owner=OWNER).unreadable[:1]
    assert item.capture_id is None
    assert item.raw != "null"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"hello",
        b"\xff\xfe",
        answer(GOOD) + b"x",
        answer(GOOD)[:-1],
        answer(GOOD).decode().encode("utf-16"),
        b"[" * 10_000,
        b"[" * 10_000 + b"]" * 10_000,
        b'{"user_id": "user_1", "captures": ' + b"[" * 10_000 + b"}",
        b'{"user_id": "user_1", "captures": ' + b"[" * 10_000 + b'"' + b"]" * 10_000 + b"}",
        b"[]",
        b"null",
        b"{}",
        b'{"user_id": "user_1"}',
        b'{"captures": []}',
        b'{"user_id": "user_1", "captures": null, "total_pending": 1}',
        b'{"user_id": "user_1", "captures": null, "total_pending": "many"}',
        b'{"user_id": "user_1", "captures": null, "total_pending": 0.5}',
        b'{"user_id": "user_1", "captures": null, "total_pending": true}',
        b'{"user_id": "user_1", "captures": {}, "total_pending": 1}',
        b'{"user_id": "user_1", "total_pending": 1}',
        b'{"user_id": "user_1", "total_pending": -1}',
        b'{"user_id": "user_1", "total_pending": null}',
        b'{"user_id": "user_1", "captures": {"0": {}}, "total_pending": 0}',
        b'{"user_id": "user_1", "captures": {}}',
        b'{"user_id": 1, "captures": []}',
    ],
)
def test_what_is_no_page_is_told_in_a_sentence(body: bytes) -> None:
    """The error's text is one short line."""
    with pytest.raises(UnreadableAnswerError) as caught:
        read_page(body, owner=OWNER)
    assert str(caught.value).startswith("the answer ")
    assert len(str(caught.value).splitlines()) == 1
    assert len(str(caught.value)) < 300


def test_more_captures_than_a_pull_carries_are_left_for_the_next() -> None:
    """The first ones are taken, and the page says that more is pending."""
    items = [bad(capture_id=f"c{number}") for number in range(CAPTURES_PER_PULL + 1)]
    page = read_page(answer(*items), owner=OWNER)
    assert [capture.capture_id for capture in page.captures] == [f"c{number}" for number in range(CAPTURES_PER_PULL)]
    assert (page.pending, page.more_pending) == (CAPTURES_PER_PULL + 1, True)
    assert read_page(answer(*items[:-1]), owner=OWNER).more_pending is False


def test_more_bytes_than_a_pull_carries_are_left_for_the_next() -> None:
    """Captures, unreadable items and their mixture are cut at the same size, in the order in which they came."""
    metadata = {"a": "x" * 8_000}
    items = [
        bad(capture_id=f"c{number}", metadata=metadata, pokemon_id=number % 2, device=["x" * 9_000])
        for number in range(BYTES_PER_PULL // 8_000 + 1)
    ]
    page = read_page(answer(*items), owner=OWNER)
    taken = len(page.captures) + len(page.unreadable)
    assert 0 < taken < len(items)
    assert page.more_pending
    assert page.pending == len(items)
    ids = {capture.capture_id for capture in page.captures} | {item.capture_id for item in page.unreadable}
    assert ids == {f"c{number}" for number in range(taken)}
    assert len(encoded(through_the_queue(page))) < BYTES_PER_PULL * 1.1


def test_an_item_with_an_endless_id_stops_nobody() -> None:
    """No client could be told such an id, so the item is kept without it, and those behind it are taken."""
    page = read_page(answer(bad(capture_id="x" * (BYTES_PER_PULL + 1)), GOOD), owner=OWNER)
    assert [item.capture_id for item in page.unreadable] == [None]
    assert (len(page.captures), page.more_pending) == (1, False)


def test_what_the_client_says_that_it_holds_is_kept() -> None:
    """A client that pages says how much there is; one that says less than it sends is not believed."""
    page = read_page(answer(GOOD, total_pending=2_500), owner=OWNER)
    assert (page.pending, page.more_pending) == (2_500, True)
    assert read_page(answer(GOOD, GOOD, total_pending=1), owner=OWNER).pending == 2
    assert read_page(answer(total_pending=7), owner=OWNER).more_pending is False


@pytest.mark.parametrize("said", [2**63, 10**30, 10**300])
def test_a_count_of_pending_fits_the_registrys_column(said: int) -> None:
    """What a client claims can be summed over thousands of clients without leaving a bigint."""
    assert read_page(answer(GOOD, total_pending=said), owner=OWNER).pending < 2**48


@pytest.mark.parametrize("item", [b"{}", b"1", b"[]"])
def test_many_bad_items_do_not_cost_much_memory(item: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Validation as a whole gives up at the first bad item, instead of describing each of millions."""
    counts: list[int] = []
    whole = reading._WHOLE  # noqa: SLF001 - where the errors are made

    class Counting:
        def validate_json(self, body: bytes) -> object:
            try:
                return whole.validate_json(body)
            except ValidationError as error:
                counts.append(error.error_count())
                raise

    monkeypatch.setattr(reading, "_WHOLE", Counting())
    read_page(answer(*[item] * 1_000), owner=OWNER)
    assert [0 < count < 10 for count in counts] == [True]  # the faults of one item


def test_a_pull_stays_below_its_bytes_whatever_the_characters() -> None:
    """Characters of four bytes count as four bytes."""
    items = [bad(capture_id=f"c{number}", metadata={"a": "\U0001f600" * 2_000}) for number in range(1_500)]
    page = read_page(json.dumps({"user_id": OWNER, "captures": list(map(json.loads, items))}).encode(), owner=OWNER)
    assert len(encoded(through_the_queue(page))) < BYTES_PER_PULL * 1.1


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_a_page_or_an_error(body: bytes) -> None:
    """Nothing but `UnreadableAnswerError` is ever raised."""
    try:
        through_the_queue(read_page(body, owner=OWNER))
    except UnreadableAnswerError:
        return


JSON: Final = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(min_value=-(10**15), max_value=10**15)
    | st.floats()
    | st.text(alphabet=st.characters(), max_size=20)
    | st.sampled_from([OWNER, "bad", "capture", "2026-01-31T12:00:00Z", "\ud800", "\0"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
ITEMS: Final = JSON | st.fixed_dictionaries(
    {"capture_id": st.text(alphabet=st.characters(), max_size=300) | JSON},
    optional={
        "pokemon_id": st.integers(min_value=1, max_value=1_025) | JSON,
        "pokemon_name": st.text(alphabet=st.characters(), max_size=10) | JSON,
        "action": st.sampled_from(["capture", "favorite"]) | JSON,
        "timestamp": st.datetimes().map(lambda moment: moment.isoformat(timespec="milliseconds")) | JSON,
        "user_id": st.just(OWNER) | JSON,
        "synced": st.booleans() | JSON,
        "metadata": st.dictionaries(st.text(max_size=8), JSON, max_size=3) | JSON,
    },
)


@settings(max_examples=400, deadline=None)
@given(
    items=st.lists(ITEMS, max_size=6),
    pending=st.none() | st.integers(min_value=0, max_value=2**53),
    ascii_only=st.booleans(),
)
def test_arbitrary_items_are_all_kept(*, items: list[Any], pending: int | None, ascii_only: bool) -> None:
    """Each item is a capture or unreadable; every id that can be sent is there; ingest reads what was published."""
    text = json.dumps({"user_id": OWNER, "captures": items, "total_pending": pending}, ensure_ascii=ascii_only)
    page = read_page(text.encode(errors="replace"), owner=OWNER)
    if ascii_only:
        kept = [capture.capture_id for capture in page.captures] + [item.capture_id for item in page.unreadable]
        assert len(kept) == len(items)
        assert sorted(filter(None, kept)) == sorted(filter(None, map(sendable_id, items)))
    read = through_the_queue(page)
    assert read.unreadable == page.unreadable
    assert read.captures == page.captures


def sendable_id(item: Any) -> str | None:
    """The id under which a client can be told, if there is one."""
    capture_id = item.get("capture_id") if isinstance(item, dict) else None
    if not isinstance(capture_id, str) or any("\ud800" <= character <= "\udfff" for character in capture_id):
        return None
    return capture_id


@settings(max_examples=200, deadline=None)
@given(JSON)
def test_arbitrary_json_is_a_page_or_an_error(data: Any) -> None:
    """Nothing but `UnreadableAnswerError` is ever raised, whatever the shape."""
    try:
        read_page(json.dumps(data).encode(), owner=OWNER)
    except UnreadableAnswerError:
        return
