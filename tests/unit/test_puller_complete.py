"""Pages of everything that a client has: whatever it answers, they hold each id once, in order, and come to an end."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import httpx
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import asdict

from services.client.app import build_app as build_client
from services.client.settings import ClientSettings
from services.puller import client_api, complete_reading
from services.puller.client_api import ClientApi
from services.puller.complete_reading import read_complete_page
from services.puller.consumers import RequestedPulls
from services.puller.loop import Pulls
from services.puller.publisher import BatchPublisher
from services.puller.pull import Puller
from services.puller.reading import Page, UnreadableAnswerError
from shared.contracts.client_protocol import ALL_CAPTURES_PATH, PAGE_CAPTURES, SYNC_DATA_PATH
from shared.contracts.encoding import decoded, encoded
from shared.contracts.messages import (
    BYTES_PER_PULL,
    CAPTURES_PER_PULL,
    CaptureBatch,
    CompletePage,
    CompletePull,
    Message,
    Outcome,
    Pull,
    PullRequested,
    PullSettled,
    PullTarget,
    Reason,
)
from shared.outbound.client_http import ClientHttp
from shared.rabbitmq.broker import Publisher
from shared.rabbitmq.settlements import Settlements

OWNER: Final = "user_1"
ASKED: Final = CompletePull(asked_at=datetime(2026, 1, 31, tzinfo=UTC), delete_unknown=True)


def capture(capture_id: object, **fields: Any) -> dict[str, Any]:
    """An acknowledged capture; it can be read when its id can."""
    return {
        "capture_id": capture_id,
        "pokemon_id": 25,
        "pokemon_name": "pikachu",
        "action": "capture",
        "timestamp": "2026-01-31T12:00:00.000Z",
        "user_id": OWNER,
        "synced": True,
        **fields,
    }


def answer(*items: object, **envelope: Any) -> bytes:
    """What a client sends that has these items and no others, unless told."""
    return json.dumps({"user_id": OWNER, "captures": items, "total_captures": len(items), **envelope}).encode()


def read(body: bytes, after: str | None = None) -> Page:
    """The page in an answer."""
    return read_complete_page(body, owner=OWNER, after=after, complete=ASKED)


def part(page: Page) -> CompletePage:
    """What is said of the page as a page."""
    assert page.complete is not None
    return page.complete


def ids(page: Page) -> list[str | None]:
    """The ids of a page's captures."""
    return [each.capture_id for each in page.captures]


@contextmanager
def pages_of(captures: int) -> Iterator[None]:
    """A pull carries only so many."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(complete_reading, "CAPTURES_PER_PULL", captures)
        yield


def test_everything_is_one_page_in_order() -> None:
    """A client that sends all in any order ends in one page by id; only what it holds as pending is to be told."""
    body = answer(capture("c", synced=False), capture("a"), capture("b", pokemon_id=0), capture("d", user_id="other"))
    page = read(body)
    assert ids(page) == ["a", "c"]
    assert [item.capture_id for item in page.unreadable] == ["b", "d"]
    assert "another user" in page.unreadable[1].problem
    assert (page.user_id, page.pending, page.more_pending) == (OWNER, 1, False)
    assert part(page) == CompletePage(
        asked_at=ASKED.asked_at, delete_unknown=True, after=None, until=None, unacknowledged=("c",)
    )


@pytest.mark.parametrize(
    ("said", "told"), [(True, False), (False, True), (None, True), ("true", True), (1, True), (0, True), ("-", True)]
)
def test_only_what_is_surely_synced_is_not_told_again(said: object, *, told: bool) -> None:
    """Of captures and of what can't be read alike; without a word about it, it is pending."""
    good, bad = capture("good", synced=said), capture("bad", synced=said, pokemon_id=0)
    if said == "-":
        del good["synced"], bad["synced"]
    page = read(answer(good, bad, capture(None, synced=False)))
    assert part(page).unacknowledged == (("bad", "good") if told else ())
    assert page.pending == 1 + 2 * told


def test_ids_are_ordered_as_postgres_orders_them() -> None:
    """By their UTF-8 bytes: characters beyond the first plane come last, capitals before small letters."""
    expected = ["A", "Z", "a", "\u00e9", "\uffee", "\U0001f600"]
    assert sorted(expected, key=str.encode) == expected
    assert ids(read(answer(*map(capture, reversed(expected))))) == expected


def test_a_page_is_cut_by_its_captures() -> None:
    """It says after which id the next one begins, and the last that nothing does."""
    items = [capture(f"{number:05}", synced=False) for number in range(CAPTURES_PER_PULL + 1)]
    page = read(answer(*reversed(items)))
    assert len(page.captures) == CAPTURES_PER_PULL
    assert part(page).until == "09999"
    assert len(part(page).unacknowledged) == CAPTURES_PER_PULL
    last = read(answer(*reversed(items)), after="09999")
    assert (ids(last), part(last).after, part(last).until) == (["10000"], "09999", None)
    assert part(read(answer(*items[:-1]))).until is None


def test_a_page_is_cut_by_its_bytes() -> None:
    """Captures, what can't be read, and the ids to be told count together."""
    items = [
        capture(f"{number:04}" + "\u20ac" * 251, synced=False, metadata={"a": "x" * 7_000}, pokemon_id=number % 2)
        for number in range(BYTES_PER_PULL // 7_000 + 1)
    ]
    page = read(answer(*items))
    taken = len(page.captures) + len(page.unreadable)
    assert 0 < taken < len(items)
    assert part(page).until == items[taken - 1]["capture_id"]
    assert len(msgspec.json.encode((page.captures, page.unreadable, page.complete))) < BYTES_PER_PULL * 1.01


def test_one_item_is_always_taken() -> None:
    """An item that is larger than a pull still moves the page on."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(complete_reading, "BYTES_PER_PULL", 10)
        assert part(read(answer(capture("a"), capture("b")))).until == "a"


def test_an_id_that_comes_twice_is_one() -> None:
    """The first of its items that is a capture counts; it is told if one of them is pending."""
    page = read(
        answer(
            capture("a", pokemon_id=0, synced=False),
            capture("b", pokemon_id=1),
            capture("a", pokemon_id=2),
            capture("a", pokemon_id=3),
            capture("b", pokemon_id=4),
        )
    )
    assert [(each.capture_id, each.pokemon_id) for each in page.captures] == [("a", 2), ("b", 1)]
    assert page.unreadable == ()
    assert part(page).unacknowledged == ("a",)


def test_a_thousand_times_the_same_id_is_passed() -> None:
    """The next page begins behind it."""
    with pages_of(2):
        body = answer(*[capture("a")] * 1_000, capture("b"), capture("c"))
        assert (ids(read(body)), part(read(body)).until) == (["a", "b"], "b")
        assert (ids(read(body, "b")), part(read(body, "b")).until) == (["c"], None)


def test_items_without_an_id_are_on_the_first_page_only() -> None:
    """They are kept, but neither do they come again nor do they take the others' room."""
    nameless: list[object] = [None, 1, [], {}, capture(5), capture("\ud800"), capture("x" * 100_000)]
    body = answer(capture("b"), *nameless, capture("a"))
    assert [item.capture_id for item in read(body).unreadable] == [None] * len(nameless)
    assert ids(read(body)) == ["a", "b"]
    assert read(body, "a").unreadable == ()
    for many in ([{"a": "x" * 10_000}] * 1_000, [1] * 15_000):
        page = read(answer(*many, *[capture(f"{number}") for number in range(100)]))
        assert (len(page.captures), part(page).until) == (100, None)
        assert 0 < len(page.unreadable) <= 1_000
        assert len(msgspec.json.encode(page.unreadable)) < BYTES_PER_PULL // 2


@pytest.mark.parametrize("odd", ["", "a\0b", "\0", "x" * 5_000, "\u20ac" * 256, "a\n"])
def test_an_id_that_no_capture_can_have_is_no_bound(odd: str) -> None:
    """Nothing is stored under it, so its place is the first page, and a pending one is told there."""
    with pages_of(2):
        items = [capture(odd, synced=False), capture("b"), capture("c"), capture(odd), capture("a")]
        first = read(answer(*items))
        assert [item.capture_id for item in first.unreadable] == [odd, odd]
        assert (ids(first), part(first).until, part(first).unacknowledged) == (["a"], "a", (odd,))
        second = read(answer(*items), "a")
        assert (ids(second), second.unreadable, part(second).until) == (["b", "c"], (), None)


def test_a_bad_neighbour_costs_nothing() -> None:
    """However deep, large or wrong an item is, the others are on the page, and so is its id."""
    deep = json.dumps(capture("deep", metadata="@")).replace('"@"', '{"a":' + "[" * 20_000 + "]" * 20_000 + "}")
    body = answer(capture("a"), "@", capture("z"), last_sync=5, client_url=[]).replace(b'"@"', deep.encode())
    page = read(body)
    assert ids(page) == ["a", "z"]
    assert [item.capture_id for item in page.unreadable] == ["deep"]


def test_a_part_may_go_on() -> None:
    """Whether more comes after it is known when it comes; nothing after an id is the end."""
    assert part(read(answer(capture("a"), capture("b"), total_captures=9))).until == "b"
    assert part(read(answer(capture("c"), total_captures=9), "b")).until == "c"
    page = read(answer(total_captures=9), "b")
    assert (page.captures, part(page).after, part(page).until) == ((), "b", None)


def test_an_empty_client_is_a_page() -> None:
    """All that is stored of its user may be unknown to it."""
    assert part(read(answer())) == CompletePage(
        asked_at=ASKED.asked_at, delete_unknown=True, after=None, until=None, unacknowledged=()
    )


@pytest.mark.parametrize("total", [0, 0.0, "0"])
def test_an_empty_list_of_go_is_empty_when_the_total_says_so(total: object) -> None:
    """Both must say that there is nothing: it may delete what is stored."""
    assert read(answer(captures=None, total_captures=total)) == read(answer())


def test_a_byte_order_mark_is_passed_over() -> None:
    """As in every answer."""
    assert read(b"\xef\xbb\xbf" + answer(capture("a"))) == read(answer(capture("a")))


def test_captures_of_other_languages_are_in_the_page() -> None:
    """What can't be misunderstood is stored, and counts as known."""
    page = read(answer(capture("a", synced=0), capture("b", metadata=[]), capture("c", pokemon_id=25.0)))
    assert (ids(page), page.unreadable) == (["a", "b", "c"], ())


NO_TOTALS: Final[tuple[object, ...]] = (0.5, False, True, "", "many", [], {})


@pytest.mark.parametrize(
    ("body", "after", "problem"),
    [
        *((answer(captures=None, total_captures=total), None, "captures") for total in (1, -1, 0.5, None, False, "")),
        *((answer(captures={}, total_captures=total), None, "captures") for total in (0, 1)),
        *((answer(total_captures=total), None, "total_captures") for total in NO_TOTALS),
        (b'{"user_id": "user_1", "captures": null}', None, "captures"),
        (b'{"user_id": "user_1", "total_captures": 0}', None, "captures"),
        (answer(total_captures=1), None, "without a single capture id"),
        (answer(1, total_captures=2), None, "without a single capture id"),
        (answer(1, total_captures=2), "a", "without a single capture id"),
        (answer(capture("b"), capture("a"), total_captures=3), None, "not in the order"),
        (answer(capture("b"), 1, capture("a"), total_captures=9), None, "not in the order"),
        (answer(capture("a"), capture("b"), total_captures=3), "b", "sent before"),
        (answer(capture("a"), total_captures=10**300), "b", "sent before"),
        (answer(capture("a"), total_captures=None), None, "total_captures"),
        (answer(capture("a"), total_captures=-1), None, "total_captures"),
        (answer(capture("a"), captures={}), None, "captures"),
        (b'{"user_id": "user_1", "captures": []}', None, "total_captures"),
        (b"[]", None, "shape"),
        (b"<html>", None, "not JSON"),
    ],
)
def test_what_may_have_gaps_is_no_page(body: bytes, after: str | None, problem: str) -> None:
    """What it leaves out would be taken for lost, so it is a failure with a sentence."""
    with pytest.raises(UnreadableAnswerError, match=problem) as caught:
        read(body, after)
    assert str(caught.value).startswith("the answer ")


IDS: Final = st.text(alphabet="ab\u20ac\U0001f600\0", max_size=3)
ITEMS: Final = st.lists(
    st.tuples(IDS, st.booleans(), st.booleans()).map(
        lambda each: capture(each[0], pokemon_id=int(each[1]), synced=each[2])
    )
    | st.sampled_from([None, 1, {}, capture(5), capture("\udfff")]),
    max_size=12,
)


def pages(serve: Callable[[str | None], bytes], *, limit: int) -> list[Page]:
    """Page after page until the end, each of which moves on."""
    found: list[Page] = []
    after: str | None = None
    with pages_of(limit):
        while True:
            found.append(read(serve(after), after))
            until = part(found[-1]).until
            if until is None:
                return found
            assert after is None or until > after
            after = until


@settings(max_examples=300, deadline=None)
@given(items=ITEMS, limit=st.integers(1, 4), paging=st.integers(1, 5) | st.none(), inclusive=st.booleans())
def test_the_pages_are_what_the_client_has(
    items: list[Any],
    limit: int,
    paging: int | None,
    *,
    inclusive: bool,
) -> None:
    """Of clients that page, by any size and from the last id or behind it, and of those that do not, in any order."""
    named = {each["capture_id"] for each in items if isinstance(each, dict) and is_id(each.get("capture_id"))}

    def serve(after: str | None) -> bytes:
        if paging is None:
            return answer(*items)
        by_id = sorted((each for each in items if id_of(each) in named), key=lambda each: str(id_of(each)))
        start = next((n for n, each in enumerate(by_id) if after is None or str(id_of(each)) > after), len(by_id))
        last = after is not None and start > 0 and inclusive and start < len(by_id)
        sent = by_id[start - last : start + paging]
        while (
            sent and start - last + len(sent) < len(by_id) and id_of(by_id[start - last + len(sent)]) == id_of(sent[-1])
        ):
            sent.append(by_id[start - last + len(sent)])
        return answer(*sent, total_captures=len(by_id))

    found = pages(serve, limit=limit)
    taken = [[*ids(page), *(item.capture_id for item in page.unreadable if item.capture_id in named)] for page in found]
    assert sorted(str(each) for page in taken for each in page) == sorted(named)
    for page, page_ids in zip(found, taken, strict=True):
        bounds = part(page)
        assert all(bounds.after is None or str(each) > bounds.after for each in page_ids)
        assert all(bounds.until is None or str(each) <= bounds.until for each in page_ids)
    readable = {id_of(each) for each in items if id_of(each) in named and each["pokemon_id"]}
    assert {each for page in found for each in ids(page)} == readable
    pending = {id_of(each) for each in items if id_of(each) in named and not each["synced"]}
    assert sorted(each for page in found for each in part(page).unacknowledged if each in named) == sorted(
        map(str, pending)
    )


def id_of(item: Any) -> object:
    """The item's id, of whatever kind."""
    return item.get("capture_id") if isinstance(item, dict) else None


def is_id(capture_id: object) -> bool:
    """Whether a capture may have it."""
    return isinstance(capture_id, str) and capture_id not in ("", "\udfff") and "\0" not in capture_id


class Http(ClientHttp):
    """A client that answers what it is told, and remembers what it was asked."""

    def __init__(self, body: bytes) -> None:
        self.body = body
        self.asked: list[tuple[str, Mapping[str, str | int] | None]] = []

    @asynccontextmanager
    async def get(
        self, url: str, params: Mapping[str, str | int] | None = None, *, token: str | None = None
    ) -> AsyncIterator[bytes]:
        """The answer."""
        assert token is None
        self.asked.append((url, params))
        yield self.body


class Published(Publisher):
    """Keeps what would go to RabbitMQ."""

    def __init__(self) -> None:
        self.messages: list[Message] = []

    async def publish(self, message: Message, *, routing_key: str) -> None:
        """Keep it."""
        assert routing_key
        self.messages.append(message)


async def asked_for(
    http: Http, after: str | None = None, complete: CompletePull | None = ASKED, since: datetime | None = None
) -> Message:
    """What the puller publishes on a request of the registry for one client."""
    published = Published()
    batches, settlements = BatchPublisher(publisher=published), Settlements(publisher=published)
    puller = Puller(client_api=ClientApi(http=http), batches=batches, settlements=settlements)
    target = PullTarget(
        pull_id=UUID(int=7),
        user_id=OWNER,
        client_url="http://c:1",
        lease_expires_at=datetime.now(UTC) + timedelta(hours=1),
        after=after,
    )
    request = PullRequested(targets=(target,), complete=complete, since=since)
    await RequestedPulls(pulls=Pulls(puller=puller, concurrency=2)).handle(request)
    (message,) = published.messages
    return message


def only_pull(message: Message) -> Pull:
    """The pull of a batch, as ingest reads it."""
    assert isinstance(message, CaptureBatch)
    (pull,) = decoded(CaptureBatch, encoded(message)).pulls
    return pull


async def test_a_complete_pull_asks_for_all_captures() -> None:
    """With the page's size and where it begins; what came goes to ingest as a page."""
    http = Http(answer(capture("a"), capture("b", synced=False)))
    pull = only_pull(await asked_for(http, after="a"))
    assert http.asked == [(f"http://c:1{ALL_CAPTURES_PATH}", {"limit": CAPTURES_PER_PULL, "after": "a"})]
    assert [each.capture_id for each in pull.captures] == ["b"]
    assert (pull.pull_id, pull.pending, pull.more_pending) == (UUID(int=7), 1, False)
    assert pull.complete == CompletePage(
        asked_at=ASKED.asked_at, delete_unknown=True, after="a", until=None, unacknowledged=("b",)
    )


async def test_an_empty_page_goes_to_ingest_too() -> None:
    """What is stored must still be compared with it."""
    http = Http(answer())
    pull = only_pull(await asked_for(http))
    assert http.asked == [(f"http://c:1{ALL_CAPTURES_PATH}", {"limit": CAPTURES_PER_PULL})]
    assert (pull.captures, pull.complete is None) == ((), False)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (answer(capture("a"), total_captures=9), Reason.BAD_PAYLOAD),
        (answer(user_id="user_2"), Reason.WRONG_USER),
    ],
)
async def test_what_is_no_page_is_a_failure(body: bytes, reason: Reason) -> None:
    """It is told to the registry, and nothing goes to ingest, where it would be compared."""
    message = await asked_for(Http(body), after="b")
    assert isinstance(message, PullSettled)
    (outcome,) = message.outcomes
    assert (outcome.outcome, outcome.reason, outcome.difference) == (Outcome.FAILED, reason, None)


async def test_a_pull_of_what_is_pending_is_no_page() -> None:
    """Without the word it asks for what is pending, as ever, and nothing pending settles at once."""
    http = Http(b'{"user_id": "user_1", "captures": [], "total_pending": 0}')
    message = await asked_for(http, complete=None, since=ASKED.asked_at)
    assert isinstance(message, PullSettled)
    assert [outcome.outcome for outcome in message.outcomes] == [Outcome.NOTHING]
    query = f"limit={PAGE_CAPTURES}&since=2026-01-31T00:00:00.000Z"
    assert http.asked == [(f"http://c:1{SYNC_DATA_PATH}?{query}", None)]


@pytest.mark.parametrize(
    "page",
    [
        CompletePage(**asdict(ASKED), after=None, until=None, unacknowledged=()),
        CompletePage(**asdict(ASKED), after="\x01" * 8_000, until="\x01" * 8_000, unacknowledged=()),
        CompletePage(**asdict(ASKED), after=None, until=None, unacknowledged=("\x01" * 16_000,)),
    ],
    ids=["empty", "long bounds", "long ids"],
)
async def test_many_pages_are_not_one_message(page: CompletePage) -> None:
    """Pages without a capture are counted too, and their ids by their size."""
    published = Published()
    batches = BatchPublisher(publisher=published)
    pull = Pull(
        pull_id=UUID(int=7),
        user_id=OWNER,
        client_url="http://c:1",
        pulled_at=ASKED.asked_at,
        duration_s=0.0,
        pending=0,
        more_pending=False,
        captures=(),
        complete=page,
    )
    await asyncio.gather(*(batches.add(pull) for _ in range(1_500)))
    carried = [len(message.pulls) for message in published.messages if isinstance(message, CaptureBatch)]
    assert sum(carried) == 1_500
    assert max(carried) <= 1_000
    assert max(len(encoded(message)) for message in published.messages) < 6 * 2**20


class ReferenceClient(Http):
    """The project's own client, called without a network."""

    def __init__(self, web: httpx.AsyncClient) -> None:
        super().__init__(b"")
        self._web = web

    @asynccontextmanager
    async def get(
        self, url: str, params: Mapping[str, str | int] | None = None, *, token: str | None = None
    ) -> AsyncIterator[bytes]:
        """Its answer."""
        assert token is None
        self.asked.append((url, params))
        yield (await self._web.get(url, params=params)).raise_for_status().content


@pytest.mark.parametrize("asked_for_at_once", [7, 10_000])
async def test_the_reference_client_is_read_to_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked_for_at_once: int
) -> None:
    """It pages as it is asked to; every capture comes once, by id."""
    monkeypatch.setattr(client_api, "CAPTURES_PER_PULL", asked_for_at_once)
    database, old = tmp_path / "captures.sqlite3", tmp_path / "client-sync-data.json"
    old.write_text(json.dumps({"captures": [capture(f"c\u20ac{number}") for number in range(25)], "last_sync": None}))
    client = ClientSettings(
        client_url="http://c:1", client_database=database, client_import_file=old, backend_url="http://127.0.0.1:9"
    )
    app = build_client(client)
    found: list[str] = []
    after: str | None = None
    async with app.router.lifespan_context(app), httpx.AsyncClient(transport=httpx.ASGITransport(app)) as web:
        http = ReferenceClient(web)
        while not found or after is not None:
            pull = only_pull(await asked_for(http, after=after))
            assert pull.complete is not None
            assert pull.complete.unacknowledged == ()
            found += [each.capture_id for each in pull.captures]
            after = pull.complete.until
    assert found == sorted(f"c\u20ac{number}" for number in range(25))
    assert len(http.asked) == (5 if asked_for_at_once == 7 else 1)
