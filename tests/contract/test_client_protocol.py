"""The client speaks "Served by the client" of the protocol: every endpoint, every field, every refusal.

The expectations are written out here by hand, as deployed registries know them, and not taken from the models.
"""

from __future__ import annotations

import asyncio
import json
import re
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.client import bodies
from services.client.app import build_app
from services.client.settings import ClientSettings
from shared.contracts.client_protocol import AllCaptures, Capture, CaptureStates, Health, Stats, SyncData

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
BULBASAUR = {"pokemon_id": 1, "pokemon_name": "bulbasaur", "action": "capture", "removed": False}
MEBIBYTE = 1024 * 1024

slow_fixture = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(min_value=1, max_value=3)
    | st.floats()
    | st.text(st.characters(exclude_categories=()), max_size=20)
    | st.sampled_from(["capture", "favorite", "\x00", "\ud800", "x" * 300]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=8,
)


@asynccontextmanager
async def running(settings: ClientSettings) -> AsyncIterator[httpx.AsyncClient]:
    """The app, started, and something that talks to it."""
    app = build_app(settings)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost:3001") as http,
    ):
        yield http


@pytest.fixture
def client_settings(tmp_path: Path) -> ClientSettings:
    """Settings for a client that nobody answers."""
    return ClientSettings(
        client_database=tmp_path / "captures.sqlite3",
        client_import_file=tmp_path / "client-sync-data.json",
        backend_url="http://127.0.0.1:9",
    )


@pytest.fixture
async def http(client_settings: ClientSettings) -> AsyncIterator[httpx.AsyncClient]:
    """Talks to a client without captures."""
    async with running(client_settings) as client:
        yield client


async def add(http: httpx.AsyncClient, **changes: Any) -> dict[str, Any]:
    """The capture that `add-capture` answered with."""
    response = await http.post("/api/client/add-capture", json={**BULBASAUR, **changes})
    assert response.status_code == 200, response.text
    capture: dict[str, Any] = response.json()["capture"]
    return capture


def assert_refused(response: httpx.Response, status: int, *words: str) -> None:
    """The body is `{"error": <one sentence>}` with these words in it."""
    assert response.status_code == status, response.text
    assert list(response.json()) == ["error"]
    sentence = response.json()["error"]
    assert sentence.endswith(".")
    assert "\n" not in sentence
    for word in words:
        assert word in sentence


async def test_health(http: httpx.AsyncClient) -> None:
    """It says who answers, where, and since when it knows: now."""
    response = await http.get("/api/client/health")
    assert response.status_code == 200
    body = response.json()
    assert TIME.fullmatch(body.pop("timestamp"))
    assert re.fullmatch("[0-9a-f]{64}", body.pop("registration_key_sha256"))
    assert body == {
        "status": "healthy",
        "client_id": "user_1",
        "client_url": "http://localhost:3001",
        "version": "1.0.0",
    }
    Health.model_validate_json(response.content)


async def test_health_is_unhealthy_while_the_database_can_not_be_used(
    http: httpx.AsyncClient, client_settings: ClientSettings
) -> None:
    """503 from the first capture that could not be taken on, with the same fields, what is wrong, and what to do."""
    client_settings.client_database.unlink()
    assert (await http.post("/api/client/add-capture", json=BULBASAUR)).status_code == 503
    response = await http.get("/api/client/health")
    assert response.status_code == 503
    body = response.json()
    assert (body["status"], body["client_id"], body["client_url"]) == ("unhealthy", "user_1", "http://localhost:3001")
    assert "moved or deleted" in body["error"]
    assert "Put the file back" in body["error"]
    assert Health.model_validate_json(response.content).registration_key_sha256
    assert (await http.head("/api/client/health")).status_code == 503


GETS = ["health", "sync-data", "sync-data?limit=0", "stats", "all-captures", "all-captures?limit=1", "ranking?limit=0"]


@pytest.mark.parametrize("path", [f"/api/client/{each}" for each in GETS] + ["/metrics", "/", "/service-worker.js"])
async def test_head_is_get_without_its_body(http: httpx.AsyncClient, path: str) -> None:
    """Status and headers are those of the GET, also of a refused one."""
    await add(http)
    whole, head = await http.get(path), await http.head(path)
    assert (head.status_code, head.content) == (whole.status_code, b"")
    assert head.headers["content-type"] == whole.headers["content-type"]
    if path not in {"/metrics", "/api/client/stats"}:
        assert head.headers["content-length"] == whole.headers["content-length"]


async def test_head_leaves_nothing_behind(http: httpx.AsyncClient) -> None:
    """A capture that nobody was given is not on record as pulled."""
    capture_id = (await add(http))["capture_id"]
    await http.head("/api/client/sync-data")
    states = await http.post("/api/client/capture-states", json={"capture_ids": [capture_id]})
    assert states.json()["captures"][0]["state"] == "pending"


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "add-capture", "POST"),
        ("HEAD", "acknowledge", "POST"),
        ("POST", "health", "GET, HEAD"),
        ("DELETE", "sync-data", "GET, HEAD"),
        ("PUT", "../..", "GET, HEAD"),
    ],
)
async def test_another_method_is_told_which_there_are(
    http: httpx.AsyncClient, method: str, path: str, allowed: str
) -> None:
    """In `Allow` and in a sentence."""
    response = await http.request(method, f"/api/client/{path}")
    assert (response.status_code, response.headers["allow"]) == (405, allowed)
    if method != "HEAD":
        assert_refused(response, 405, allowed.replace(", ", " or "))


async def test_a_path_that_is_not_there_is_told_where_they_are_named(http: httpx.AsyncClient) -> None:
    """By HEAD, it has no body."""
    assert_refused(await http.get("/api/client/healthz"), 404, "docs/client-protocol.md")
    head = await http.head("/api/client/healthz")
    assert (head.status_code, head.content) == (404, b"")


async def test_sync_data(http: httpx.AsyncClient) -> None:
    """Owner, address, the captures, last_sync (null before the first) and the number of all that is pending."""
    capture = await add(http)
    response = await http.get("/api/client/sync-data")
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    assert response.json() == {
        "user_id": "user_1",
        "client_url": "http://localhost:3001",
        "captures": [capture],
        "last_sync": None,
        "total_pending": 1,
    }
    assert SyncData[Capture].model_validate_json(response.content).captures[0].capture_id == capture["capture_id"]


@pytest.mark.parametrize("after", ["%FF", "a%C3", "%ED%A0%80"])
async def test_a_name_that_is_no_text_is_refused(http: httpx.AsyncClient, after: str) -> None:
    """It would be read as U+FFFD, and a page begin after another capture."""
    for path in (f"/api/client/all-captures?after={after}", f"/api/client/sync-data?since={after}", f"/{after}"):
        refused = await http.get(path)
        assert (refused.status_code, "UTF-8" in refused.json()["error"]) == (400, True), path


async def test_an_empty_client_serves_an_empty_list(http: httpx.AsyncClient) -> None:
    """No capture is an empty list and a total of 0, not an absence."""
    body = (await http.get("/api/client/sync-data")).json()
    assert (body["captures"], body["total_pending"], body["last_sync"]) == ([], 0, None)


async def test_sync_data_since(http: httpx.AsyncClient) -> None:
    """Only what is strictly newer comes and is counted; the time may be in any ISO form, and may be empty."""
    moment = (await add(http))["timestamp"]
    for since, expected in [
        (moment, 0),
        (moment.replace("Z", "+00:00"), 0),
        (moment.replace("Z", ""), 0),
        ("2020-01-01", 1),
        ("2999-12-31T00:00:00.000Z", 0),
        ("", 1),
    ]:
        body = (await http.get("/api/client/sync-data", params={"since": since})).json()
        assert (len(body["captures"]), body["total_pending"]) == (expected, expected), since


async def test_the_plus_of_an_offset_need_not_be_quoted(http: httpx.AsyncClient) -> None:
    """A registry that pastes the time into the URL sends a space where the offset's + was."""
    await add(http)
    response = await http.get("/api/client/sync-data?since=2020-01-01T00:00:00+02:00")
    assert response.json()["total_pending"] == 1


async def test_a_since_before_all_times_is_none(http: httpx.AsyncClient) -> None:
    """A caller that did not set it means everything, also a capture of whose time nobody knows."""
    await add(http, capture_id="a", timestamp="0001-01-01T00:00:00Z")
    for since in ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00+14:00", "0001-01-01"):
        body = (await http.get("/api/client/sync-data", params={"since": since})).json()
        assert [capture["capture_id"] for capture in body["captures"]] == ["a"]


@pytest.mark.parametrize("since", ["yesterday", "2026-13-01", "20261130", "0", "1760000000000", "\x00"])
async def test_a_since_that_is_no_time_is_refused(http: httpx.AsyncClient, since: str) -> None:
    """Taking it for nothing would send everything, or lose something."""
    assert_refused(await http.get("/api/client/sync-data", params={"since": since}), 400, "since", "ISO 8601")


async def test_sync_data_limit(http: httpx.AsyncClient) -> None:
    """A page has the oldest captures, and the total tells that there is more."""
    captures = [await add(http, pokemon_id=number) for number in (3, 2, 1)]
    body = (await http.get("/api/client/sync-data", params={"limit": 2})).json()
    assert (body["captures"], body["total_pending"]) == (captures[:2], 3)
    body = (await http.get("/api/client/sync-data", params={"limit": 10_000})).json()
    assert body["captures"] == captures
    body = (await http.get("/api/client/sync-data?since=&limit=")).json()
    assert body["captures"] == captures


@pytest.mark.parametrize("limit", ["0", "-1", "10001", "many", "1.5"])
async def test_a_limit_out_of_range_is_refused(http: httpx.AsyncClient, limit: str) -> None:
    """From 1 to 10,000 is what a page may have."""
    assert_refused(await http.get("/api/client/sync-data", params={"limit": limit}), 400, "limit")


async def test_acknowledge(http: httpx.AsyncClient) -> None:
    """The answer counts the ids that were given, known or not; the known ones are no longer pending."""
    capture = await add(http)
    ids = [capture["capture_id"], "unknown"]
    response = await http.post("/api/client/acknowledge", json={"capture_ids": ids})
    assert response.status_code == 200
    body = response.json()
    assert sorted(body) == ["count", "message"]
    assert (body["count"], type(body["message"])) == (2, str)
    after = (await http.get("/api/client/sync-data")).json()
    assert (after["captures"], after["total_pending"]) == ([], 0)
    assert TIME.fullmatch(after["last_sync"])


@pytest.mark.parametrize(
    ("body", "word"),
    [
        ({}, "missing"),
        ({"capture_ids": None}, "null"),
        ({"capture_ids": "1_2_capture"}, "1_2_capture"),
        ({"capture_ids": {"0": "1_2_capture"}}, "an object"),
        ({"capture_ids": ["1_2_capture", 5]}, "5"),
        ({"capture_ids": [["1_2_capture"]]}, "a list"),
        ([], "a list"),
        ("text", "text"),
    ],
)
async def test_an_acknowledgement_without_a_list_of_strings_is_refused(
    http: httpx.AsyncClient, body: Any, word: str
) -> None:
    """It is refused as a whole, and nothing is marked."""
    assert_refused(await http.post("/api/client/acknowledge", json=body), 400, word, "expected")
    assert (await http.get("/api/client/stats")).json()["last_sync"] is None


@pytest.mark.parametrize("path", ["acknowledge", "add-capture", "capture-states"])
@pytest.mark.parametrize("body", [b"", b"{", b"\xff\xfe", b'{"a": NaN}', b"[" * 100_000, b"1" * 10_000])
async def test_a_body_that_is_no_json_is_refused(http: httpx.AsyncClient, path: str, body: bytes) -> None:
    """All endpoints say so in the same shape."""
    assert_refused(await http.post(f"/api/client/{path}", content=body), 400, "not valid JSON", "expected")


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        (b"{", "from line 1, column 2 on"),
        (b"\xff\xfe\xff", "not UTF-8"),
        (b'{"a": -Infinity}', "NaN and Infinity"),
        (b"[" * 100_000, "nested too deep"),
        (b"1" * 200_000, "too many digits"),
    ],
)
async def test_a_fault_of_json_is_told_in_our_own_words(http: httpx.AsyncClient, body: bytes, fault: str) -> None:
    """Those of Python are for its programmers, and name what is inside here."""
    answer = await http.post("/api/client/add-capture", content=body)
    assert_refused(answer, 400, "not valid JSON", fault)
    assert not any(word in answer.text for word in ("sys.", "Exceeds", "codec", "Expecting", "char"))


async def test_nobody_is_sent_to_where_his_host_header_says(http: httpx.AsyncClient) -> None:
    """A slash too many is another path."""
    answer = await http.get("/api/client/health/")
    assert (answer.status_code, answer.headers.get("location")) == (404, None)


async def test_acknowledging_all_of_a_large_reply_at_once(http: httpx.AsyncClient) -> None:
    """Registries without paging acknowledge thousands of captures in one body, of more than 1 MiB."""
    capture = await add(http)
    ids = [*(f"{number}_1760000000000_capture" for number in range(50_000)), capture["capture_id"]]
    response = await http.post("/api/client/acknowledge", json={"capture_ids": ids})
    assert response.json()["count"] == 50_001
    assert (await http.get("/api/client/stats")).json()["pending_sync"] == 0


async def test_an_acknowledgement_of_too_many_is_refused(
    http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before any of it is done."""
    monkeypatch.setattr(bodies, "MOST_IDS", 2)
    capture = await add(http)
    body = {"capture_ids": ["1", "2", capture["capture_id"]]}
    assert_refused(await http.post("/api/client/acknowledge", json=body), 400, "at most 2", "expected")
    assert (await http.get("/api/client/stats")).json()["pending_sync"] == 1
    body["capture_ids"] = body["capture_ids"][1:]
    assert (await http.post("/api/client/acknowledge", json=body)).json()["count"] == 2


async def test_an_error_of_ours_tells_nothing_of_itself(client_settings: ClientSettings) -> None:
    """No trace, no path: one sentence, as everywhere."""
    app = build_app(client_settings)

    @app.get("/broken")
    async def broken() -> None:
        message = f"secret {client_settings.client_database}"
        raise ZeroDivisionError(message)

    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost:3001") as http:
        response = await http.get("/broken")
    assert_refused(response, 500, "was logged")
    assert "secret" not in response.text


async def test_stats(http: httpx.AsyncClient) -> None:
    """Totals of all, pending and acknowledged, and the time of the last acknowledgement."""
    response = await http.get("/api/client/stats")
    assert response.json() == {
        "total_captures": 0,
        "pending_sync": 0,
        "synced_captures": 0,
        "last_sync": None,
        "client_id": "user_1",
    }
    captures = [await add(http, pokemon_id=number) for number in (1, 2, 3)]
    await http.post("/api/client/acknowledge", json={"capture_ids": [each["capture_id"] for each in captures[:2]]})
    response = await http.get("/api/client/stats")
    body = response.json()
    assert TIME.fullmatch(body.pop("last_sync"))
    assert body == {"total_captures": 3, "pending_sync": 1, "synced_captures": 2, "client_id": "user_1"}
    Stats.model_validate_json(response.content)


async def test_add_capture(http: httpx.AsyncClient) -> None:
    """The answer has a message and the capture, each field as the protocol has it."""
    response = await http.post("/api/client/add-capture", json=BULBASAUR)
    assert response.status_code == 200
    body = response.json()
    assert sorted(body) == ["capture", "message"]
    assert isinstance(body["message"], str)
    capture = body["capture"]
    assert re.fullmatch(r"1_\d{13}_capture", capture.pop("capture_id"))
    assert TIME.fullmatch(capture.pop("timestamp"))
    assert capture == {
        "pokemon_id": 1,
        "pokemon_name": "bulbasaur",
        "action": "capture",
        "user_id": "user_1",
        "synced": False,
        "metadata": {"removed": False, "client_version": "1.0.0"},
    }


async def test_add_capture_again(http: httpx.AsyncClient) -> None:
    """The same within 5 s is answered with the first capture, `duplicated` and a message; twenty at once likewise."""
    first = await add(http)
    responses = await asyncio.gather(*(http.post("/api/client/add-capture", json=BULBASAUR) for _ in range(20)))
    for response in responses:
        assert response.status_code == 200
        body = response.json()
        assert isinstance(body.pop("message"), str)
        assert body == {"duplicated": True, "capture": first}
    assert (await http.get("/api/client/stats")).json()["total_captures"] == 1


FROM_A_PAGE: Final = {**BULBASAUR, "capture_id": "7f3f9a4e-0d5c", "timestamp": "2026-01-31T12:00:00.000Z"}


async def test_add_capture_with_an_id(http: httpx.AsyncClient) -> None:
    """It may be sent again, at once and later: one capture, with the id and the time that came with it."""
    first = await http.post("/api/client/add-capture", json=FROM_A_PAGE)
    assert (first.status_code, sorted(first.json())) == (200, ["capture", "message"])
    capture = first.json()["capture"]
    assert capture == {
        "capture_id": "7f3f9a4e-0d5c",
        "pokemon_id": 1,
        "pokemon_name": "bulbasaur",
        "action": "capture",
        "timestamp": "2026-01-31T12:00:00.000Z",
        "user_id": "user_1",
        "synced": False,
        "metadata": {"removed": False, "client_version": "1.0.0"},
    }
    again = await asyncio.gather(*(http.post("/api/client/add-capture", json=FROM_A_PAGE) for _ in range(20)))
    await http.post("/api/client/acknowledge", json={"capture_ids": [capture["capture_id"]]})
    later = await http.post("/api/client/add-capture", json={**FROM_A_PAGE, "pokemon_name": "other"})
    for answer in again:
        assert (answer.status_code, answer.json()["duplicated"], answer.json()["capture"]) == (200, True, capture)
    assert (later.json()["duplicated"], later.json()["capture"]) == (True, {**capture, "synced": True})
    assert (await http.get("/api/client/stats")).json()["total_captures"] == 1


async def test_captures_with_ids_of_their_own_are_no_duplicates(http: httpx.AsyncClient) -> None:
    """The same again within 5 s is meant when it has another id; without a time it is made now."""
    first, second = [await add(http, capture_id=capture_id) for capture_id in ("a", "b")]
    assert (await http.get("/api/client/sync-data")).json()["captures"] == [first, second]
    assert first["timestamp"] > "2026"
    assert TIME.fullmatch(first["timestamp"])


@pytest.mark.parametrize("change", [{"pokemon_id": 2}, {"action": "favorite"}, {"removed": True}])
async def test_an_id_of_another_capture_is_refused(http: httpx.AsyncClient, change: dict[str, Any]) -> None:
    """409, and the first is as it was."""
    capture = await add(http, **FROM_A_PAGE)
    answer = await http.post("/api/client/add-capture", json={**FROM_A_PAGE, **change})
    assert_refused(answer, 409, "capture_id", "nothing was stored", "new id")
    assert (await http.get("/api/client/sync-data")).json()["captures"] == [capture]


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("2026-01-31T12:00:00.000Z", "2026-01-31T12:00:00.000Z"),
        ("2026-01-31T13:30:00+01:30", "2026-01-31T12:00:00.000Z"),
        ("2026-02-01T02:00:00.999999+14:00", "2026-01-31T12:00:00.999Z"),
        ("2026-01-31T12:00:00", "2026-01-31T12:00:00.000Z"),
        ("2999-01-31T12:00:00Z", "2999-01-31T12:00:00.000Z"),
        ("0001-01-01T00:00:00Z", "0001-01-02T00:00:00.000Z"),
        ("0001-01-01T00:00:00+14:00", "0001-01-02T00:00:00.000Z"),
        ("9999-12-31T23:59:59.999999Z", "9999-12-30T23:59:59.999Z"),
    ],
)
async def test_a_time_of_any_zone_is_kept_in_utc(http: httpx.AsyncClient, given: str, kept: str) -> None:
    """Also one ahead of us: a clock may be wrong, and that is for whoever stores it to judge."""
    assert (await add(http, capture_id="a", timestamp=given))["timestamp"] == kept


@pytest.mark.parametrize("timestamp", ["2026-01-31T12:00:00.000Z", "0001-01-01T00:00:00Z"])
async def test_a_time_without_an_id_is_refused(http: httpx.AsyncClient, timestamp: str) -> None:
    """Such a request can't be repeated, which is what the time of another moment is for."""
    answer = await http.post("/api/client/add-capture", json={**BULBASAUR, "timestamp": timestamp})
    assert_refused(answer, 400, "timestamp", "capture_id", "expected")
    assert (await http.get("/api/client/stats")).json()["total_captures"] == 0


BAD_IDS: Final[tuple[Any, ...]] = ("", "x" * 256, "a\x00", "a\n", "\x7f", "half \ud800", 1, True, ["a"], {})
BAD_TIMES: Final[tuple[Any, ...]] = (
    *("", "yesterday", "2026-13-01", "1760000000", "2026-01-31T12:00:00.000Z\ud800", "20261130", "0"),
    *(1760000000, 1.5, True, ["a"], {}),
)


@pytest.mark.parametrize(
    ("field", "value"),
    [*(("capture_id", each) for each in BAD_IDS), *(("timestamp", each) for each in BAD_TIMES)],
)
async def test_a_bad_id_or_time_is_refused(http: httpx.AsyncClient, field: str, value: object) -> None:
    """The sentence names it, shows what came and what is expected, and nothing is stored."""
    body = json.dumps({**FROM_A_PAGE, field: value})
    assert_refused(await http.post("/api/client/add-capture", content=body), 400, field, "expected")
    assert (await http.get("/api/client/stats")).json()["total_captures"] == 0


async def test_capture_states(http: httpx.AsyncClient) -> None:
    """Pending, pulled by whoever asks for what is pending, stored: each with its times, in the order asked, once."""
    captures = [await add(http, capture_id=each, pokemon_id=number) for number, each in enumerate("abc", start=1)]

    async def states(*capture_ids: str) -> list[dict[str, Any]]:
        answer = await http.post("/api/client/capture-states", json={"capture_ids": capture_ids})
        assert (answer.status_code, list(answer.json())) == (200, ["captures"])
        CaptureStates.model_validate_json(answer.content)
        found: list[dict[str, Any]] = answer.json()["captures"]
        return found

    assert await states("b", "unknown", "a", "b") == [
        {"capture_id": each, "state": "pending", "pulled_at": None, "stored_at": None} for each in "ba"
    ]
    assert (await http.get("/api/client/sync-data?limit=2")).json()["captures"] == captures[:2]
    pulled = await states("a", "b", "c")
    assert [each["state"] for each in pulled] == ["pulled", "pulled", "pending"]
    assert TIME.fullmatch(pulled[0]["pulled_at"])
    assert pulled[2]["pulled_at"] is None
    await http.get("/api/client/sync-data")
    await http.post("/api/client/acknowledge", json={"capture_ids": ["a"]})
    stored, *others = await states("a", "b", "c")
    assert (stored["state"], stored["pulled_at"]) == ("stored", pulled[0]["pulled_at"])
    assert stored["stored_at"] >= stored["pulled_at"]
    assert [each["state"] for each in others] == ["pulled", "pulled"]
    assert others[0] == pulled[1]


async def test_only_a_pull_makes_captures_pulled(http: httpx.AsyncClient) -> None:
    """To look at all of them, or at numbers, is none; a pull that is refused neither."""
    await add(http, capture_id="a")
    for path in ("all-captures", "all-captures?limit=5", "stats", "health", "sync-data?limit=0"):
        await http.get(f"/api/client/{path}")
    await http.get("/api/client/sync-data?since=2999-01-01")
    answer = await http.post("/api/client/capture-states", json={"capture_ids": ["a"]})
    assert answer.json()["captures"][0]["state"] == "pending"


async def test_a_thousand_states_at_once(http: httpx.AsyncClient) -> None:
    """So many ids of any characters may be asked for, and no more."""
    capture_id = "\U0001f600" * 250
    await add(http, capture_id=capture_id)
    body = {"capture_ids": [*("\U0001f601" * 250 for _ in range(999)), capture_id]}
    answer = await http.post("/api/client/capture-states", content=json.dumps(body, ensure_ascii=False).encode())
    assert [each["capture_id"] for each in answer.json()["captures"]] == [capture_id]
    body["capture_ids"].append("another")
    refused = await http.post("/api/client/capture-states", content=json.dumps(body, ensure_ascii=False).encode())
    assert_refused(refused, 400, "capture_ids", "1001", "at most 1000", "expected")


@pytest.mark.parametrize("body", [{}, {"capture_ids": "a"}, {"capture_ids": ["a", 1]}, {"capture_ids": None}, []])
async def test_states_of_what_is_no_list_of_strings_are_refused(http: httpx.AsyncClient, body: Any) -> None:
    """As for an acknowledgement."""
    assert_refused(await http.post("/api/client/capture-states", json=body), 400, "expected")


async def test_a_pull_that_can_not_be_noted_is_answered(
    http: httpx.AsyncClient, client_settings: ClientSettings
) -> None:
    """What is on record is for people; what is pending is pulled whatever becomes of that."""
    capture = await add(http, capture_id="a")
    client_settings.client_database.unlink()
    for _ in range(2):
        answer = await http.get("/api/client/sync-data")
        assert (answer.status_code, answer.json()["captures"]) == (200, [capture])
    states = await http.post("/api/client/capture-states", json={"capture_ids": ["a"]})
    assert states.json()["captures"][0]["state"] == "pending"


async def test_without_a_registry_there_is_no_ranking(http: httpx.AsyncClient) -> None:
    """503, with what to look at; a limit out of its range is refused before that."""
    assert_refused(await http.get("/api/client/ranking"), 503, "BACKEND_URL", "look whether it runs")
    for limit in ("0", "101", "many"):
        assert_refused(await http.get(f"/api/client/ranking?limit={limit}"), 400, "limit")


async def test_the_largest_and_the_oddest_capture_is_taken(http: httpx.AsyncClient) -> None:
    """The whole range of ids, the longest name of any characters, and unknown keys are no reason to refuse."""
    capture = await add(http, pokemon_id=2**31 - 1, pokemon_name="\U0001f600\n\"'\\" * 51, action="favorite", extra=[1])
    assert capture["pokemon_name"] == "\U0001f600\n\"'\\" * 51
    assert (await http.get("/api/client/sync-data")).json()["captures"] == [capture]


BAD_CAPTURES: list[tuple[str, Any]] = [
    ("pokemon_id", 0),
    ("pokemon_id", -1),
    ("pokemon_id", 2**31),
    ("pokemon_id", 10**400),
    ("pokemon_id", "1"),
    ("pokemon_id", 1.5),
    ("pokemon_id", True),
    ("pokemon_id", None),
    ("pokemon_id", {"a": 1}),
    ("pokemon_name", 5),
    ("pokemon_name", None),
    ("pokemon_name", "x" * 256),
    ("pokemon_name", "NUL \x00"),
    ("pokemon_name", "half of a pair \ud800"),
    ("action", "release"),
    ("action", "Capture"),
    ("action", None),
    ("action", ["capture"]),
    ("action", "\ud800"),
    ("removed", "false"),
    ("removed", 0),
    ("removed", None),
]


@pytest.mark.parametrize(("field", "value"), BAD_CAPTURES)
async def test_a_bad_capture_is_refused(http: httpx.AsyncClient, field: str, value: object) -> None:
    """The sentence names the field, shows what came and what is expected, and nothing is stored."""
    body = json.dumps({**BULBASAUR, field: value})
    assert_refused(await http.post("/api/client/add-capture", content=body), 400, field, "expected")
    assert (await http.get("/api/client/stats")).json()["total_captures"] == 0


@pytest.mark.parametrize("field", ["pokemon_id", "pokemon_name"])
async def test_a_capture_with_a_field_missing_is_refused(http: httpx.AsyncClient, field: str) -> None:
    """The sentence names what is missing."""
    body = {key: value for key, value in BULBASAUR.items() if key != field}
    assert_refused(await http.post("/api/client/add-capture", json=body), 400, f"{field} is missing", "expected")


@pytest.mark.parametrize(
    ("path", "limit"), [("add-capture", MEBIBYTE), ("acknowledge", 16 * MEBIBYTE), ("capture-states", MEBIBYTE)]
)
async def test_a_body_above_the_limit_is_not_read(http: httpx.AsyncClient, path: str, limit: int) -> None:
    """Whether its length is announced or not, the answer does not wait for its end."""
    taken = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal taken
        for _ in range(64):
            taken += MEBIBYTE
            yield b" " * MEBIBYTE

    headers = {"content-length": str(limit + 1)}
    refused = await http.post(f"/api/client/{path}", content=endless(), headers=headers)
    assert_refused(refused, 413, str(limit), "expected")
    assert refused.headers["connection"] == "close"
    assert taken <= 18 * MEBIBYTE
    taken = 0
    assert_refused(await http.post(f"/api/client/{path}", content=endless()), 413, str(limit))
    assert taken <= limit + 18 * MEBIBYTE


async def test_a_body_of_just_the_limit_is_taken(http: httpx.AsyncClient) -> None:
    """1 MiB is allowed, a byte more is not."""
    body = json.dumps(BULBASAUR).encode()
    assert (await http.post("/api/client/add-capture", content=body.ljust(MEBIBYTE))).status_code == 200
    assert_refused(await http.post("/api/client/add-capture", content=body.ljust(MEBIBYTE + 1)), 413)


async def test_all_captures(http: httpx.AsyncClient) -> None:
    """Acknowledged or not, all are there, oldest first, with a total."""
    first, second = await add(http, pokemon_id=1), await add(http, pokemon_id=2, removed=True)
    await http.post("/api/client/acknowledge", json={"capture_ids": [first["capture_id"]]})
    response = await http.get("/api/client/all-captures")
    assert response.status_code == 200
    body = response.json()
    assert TIME.fullmatch(body.pop("last_sync"))
    assert body == {
        "user_id": "user_1",
        "client_url": "http://localhost:3001",
        "captures": [{**first, "synced": True}, second],
        "total_captures": 2,
    }
    AllCaptures.model_validate_json(response.content)


async def test_all_captures_in_pages(http: httpx.AsyncClient) -> None:
    """By id, each page strictly after the one before; the total counts all; with both parameters empty, as ever."""
    captures = [await add(http, pokemon_id=number) for number in (3, 1, 20)]
    in_order = sorted(captures, key=lambda each: str(each["capture_id"]).encode())
    assert in_order != captures
    path, after = "/api/client/all-captures", ""
    for expected in ([in_order[0], in_order[1]], [in_order[2]], []):
        body = (await http.get(path, params={"limit": 2, "after": after})).json()
        assert (body["captures"], body["total_captures"]) == (expected, 3)
        assert sorted(body) == ["captures", "client_url", "last_sync", "total_captures", "user_id"]
        after = expected[-1]["capture_id"] if expected else ""
    rest = (await http.get(path, params={"after": in_order[0]["capture_id"]})).json()
    assert rest["captures"] == in_order[1:]
    for query in ("", "?after=", "?limit=", "?after=&limit="):
        assert (await http.get(path + query)).json()["captures"] == captures, query
    assert (await http.get(f"{path}?after=&limit=10000")).json()["captures"] == in_order


@pytest.mark.parametrize("limit", ["0", "-1", "10001", "many", "1.5"])
async def test_a_limit_of_all_captures_out_of_range_is_refused(http: httpx.AsyncClient, limit: str) -> None:
    """The same as for `sync-data`."""
    assert_refused(await http.get("/api/client/all-captures", params={"limit": limit}), 400, "limit")


@pytest.mark.parametrize(
    ("after", "expected"),
    [
        ("%00", 1),
        ("1", 1),
        ("1_9999999999999_capture%00", 0),
        ("%F0%9F%98%80", 0),
        ("'; DROP TABLE captures; --", 1),
        ("2" * 10_000, 0),
    ],
)
async def test_a_page_may_come_after_any_text(http: httpx.AsyncClient, after: str, expected: int) -> None:
    """Whatever text stands there has a place in the order, NUL, too."""
    await add(http)
    response = await http.get(f"/api/client/all-captures?after={after}")
    assert response.status_code == 200
    assert (len(response.json()["captures"]), response.json()["total_captures"]) == (expected, 1)


async def test_a_database_that_can_not_be_written_accepts_nothing(
    http: httpx.AsyncClient, client_settings: ClientSettings
) -> None:
    """503 with a sentence that says so, and what is pending can still be pulled."""
    capture = await add(http)
    client_settings.client_database.unlink()
    response = await http.post("/api/client/add-capture", json={**BULBASAUR, "pokemon_id": 2})
    assert_refused(response, 503, "moved or deleted", "Put the file back", "Nothing was accepted")
    assert_refused(await http.post("/api/client/acknowledge", json={"capture_ids": []}), 503)
    assert (await http.get("/api/client/sync-data")).json()["captures"] == [capture]


async def test_identity_comes_from_the_settings(client_settings: ClientSettings) -> None:
    """User and address are quoted as they are, whatever characters they have."""
    changes = {"client_user_id": 'ash "é" \U0001f600', "client_url": "https://example.org/ash"}
    async with running(client_settings.model_copy(update=changes)) as http:
        capture = await add(http)
        assert capture["user_id"] == changes["client_user_id"]
        for path in ("sync-data", "all-captures"):
            body = (await http.get(f"/api/client/{path}")).json()
            assert (body["user_id"], body["client_url"]) == tuple(changes.values())
        body = (await http.get("/api/client/health")).json()
        assert (body["client_id"], body["client_url"]) == tuple(changes.values())


FOREIGN: Final = (
    {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"},
    {"Origin": "http://localhost:8100"},
    {"Origin": "null"},
    {"Sec-Fetch-Site": "cross-site"},
)


@pytest.mark.parametrize("page", FOREIGN)
async def test_a_foreign_page_gets_at_nothing(http: httpx.AsyncClient, page: dict[str, str]) -> None:
    """It neither adds, reads nor acknowledges, also by requests of which a browser does not ask first."""
    capture = await add(http)
    plain = {**page, "Content-Type": "text/plain"}
    ids = {"capture_ids": [capture["capture_id"]]}
    bodies = {"add-capture": {**BULBASAUR, "pokemon_id": 2}, "acknowledge": ids, "capture-states": ids}
    for path, body in bodies.items():
        answer = await http.post(f"/api/client/{path}", content=json.dumps(body), headers=plain)
        assert_refused(answer, 403, "CLIENT_CORS_ORIGINS", "http://localhost:8100")
    for path in ("sync-data", "all-captures", "stats", "health", "ranking"):
        answer = await http.get(f"/api/client/{path}", headers=page)
        assert_refused(answer, 403, "CLIENT_CORS_ORIGINS")
        assert "access-control-allow-origin" not in answer.headers
    assert (await http.get("/api/client/sync-data")).json()["captures"] == [capture]


@pytest.mark.parametrize("page", [{"Origin": "http://localhost:3001"}, {"Sec-Fetch-Site": "same-origin"}])
async def test_its_own_pages_may_do_all(http: httpx.AsyncClient, page: dict[str, str]) -> None:
    """Such as the web app that it serves itself."""
    assert (await http.post("/api/client/add-capture", json=BULBASAUR, headers=page)).status_code == 200
    assert (await http.get("/api/client/sync-data", headers=page)).json()["total_pending"] == 1


@pytest.mark.parametrize("named", ["http://localhost:8100", "*"])
async def test_a_named_page_may_do_all(client_settings: ClientSettings, named: str) -> None:
    """An app on another port of this machine is the usual one; all pages may only where that is said."""
    page = {"Origin": "http://localhost:8100", "Sec-Fetch-Site": "same-site"}
    preflight = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}
    async with running(client_settings.model_copy(update={"client_cors_origins": (named,)})) as http:
        asked = await http.options("/api/client/add-capture", headers={**page, **preflight})
        assert asked.status_code == 200
        assert "POST" in asked.headers["access-control-allow-methods"]
        added = await http.post("/api/client/add-capture", json=BULBASAUR, headers=page)
        refused = await http.post("/api/client/add-capture", content=b"{", headers=page)
        assert (added.status_code, refused.status_code) == (200, 400)
        for answer in (asked, added, refused):
            assert answer.headers["access-control-allow-origin"] == named
        other = await http.post("/api/client/add-capture", json=BULBASAUR, headers={"Origin": "https://evil.example"})
        assert other.status_code == (200 if named == "*" else 403)


async def test_it_answers_to_its_own_names_only(client_settings: ClientSettings) -> None:
    """Names of others lead a browser here, too (DNS rebinding), and make their pages its own."""
    named = client_settings.model_copy(
        update={"client_url": "https://ash.example:8443/app", "client_hosts": ("a.lan",)}
    )
    for client, names in ((client_settings, set()), (named, {"ash.example:8443", "a.lan:3001"})):
        async with running(client) as http:
            for host in ("ash.example:8443", "a.lan:3001", "evil.example:3001"):
                answer = await http.get("/api/client/sync-data", headers={"Host": host})
                if host in names:
                    assert answer.status_code == 200
                else:
                    assert_refused(answer, 421, "CLIENT_HOSTS")
            assert (await http.get("/api/client/sync-data", headers={"Host": "127.0.0.1:3001"})).status_code == 200


async def test_no_foreign_script_runs_on_its_origin(http: httpx.AsyncClient) -> None:
    """FastAPI's pages of documentation would load some."""
    for path in ("/docs", "/redoc", "/docs/oauth2-redirect"):
        assert (await http.get(path)).status_code == 404


async def test_unknown_paths_and_methods_have_the_same_shape(http: httpx.AsyncClient) -> None:
    """Also these say `{"error": ...}`."""
    assert list((await http.get("/api/client/nothing")).json()) == ["error"]
    response = await http.get("/api/client/add-capture")
    assert (response.status_code, list(response.json())) == (405, ["error"])


@slow_fixture
@given(body=json_values | st.fixed_dictionaries({}, optional=dict.fromkeys(FROM_A_PAGE, json_values)))
async def test_add_capture_survives_any_json(http: httpx.AsyncClient, body: Any) -> None:
    """Whatever comes: 200 and one capture that can be served, or a 4xx with a sentence and no change; never a 5xx."""
    before = (await http.get("/api/client/stats")).json()["total_captures"]
    response = await http.post("/api/client/add-capture", content=json.dumps(body))
    after = (await http.get("/api/client/stats")).json()["total_captures"]
    if response.status_code == 200:
        Capture.model_validate_json(json.dumps(response.json()["capture"]))
        assert after - before == (0 if response.json().get("duplicated") else 1)
    else:
        assert_refused(response, 409 if response.status_code == 409 else 400)
        assert after == before
    SyncData[Capture].model_validate_json((await http.get("/api/client/sync-data")).content)


@slow_fixture
@given(body=json_values | st.fixed_dictionaries({"capture_ids": json_values | st.lists(st.text())}))
async def test_acknowledge_survives_any_json(http: httpx.AsyncClient, body: Any) -> None:
    """200 exactly for a list of strings, else a 400 with a sentence."""
    response = await http.post("/api/client/acknowledge", content=json.dumps(body))
    ids = body.get("capture_ids") if isinstance(body, dict) else None
    if "NaN" in json.dumps(body) or "Infinity" in json.dumps(body):
        assert response.status_code in {200, 400}
    elif isinstance(ids, list) and all(isinstance(each, str) for each in ids):
        assert (response.status_code, response.json()["count"]) == (200, len(ids))
    else:
        assert_refused(response, 400)


@slow_fixture
@given(body=json_values | st.fixed_dictionaries({"capture_ids": json_values | st.lists(st.text())}))
async def test_capture_states_survives_any_json(http: httpx.AsyncClient, body: Any) -> None:
    """200 exactly for a list of strings, else a 400 with a sentence."""
    response = await http.post("/api/client/capture-states", content=json.dumps(body))
    ids = body.get("capture_ids") if isinstance(body, dict) else None
    if response.status_code == 200:
        assert isinstance(ids, list)
        assert all(isinstance(each, str) for each in ids)
        assert response.json() == {"captures": []}
    else:
        assert_refused(response, 400)
        assert not (isinstance(ids, list) and all(isinstance(each, str) for each in ids)) or set(body) != {
            "capture_ids"
        }


def is_text(raw: bytes) -> bool:
    """Whether these bytes are UTF-8."""
    try:
        raw.decode()
    except UnicodeDecodeError:
        return False
    return True


@slow_fixture
@given(after=st.binary(max_size=20), limit=st.none() | st.integers(-2, 10_002))
async def test_all_captures_survives_any_parameters(http: httpx.AsyncClient, after: bytes, limit: int | None) -> None:
    """200 for a limit in its range and any text at all, else a 400 with a sentence."""
    paging = "" if limit is None else f"&limit={limit}"
    response = await http.get(f"/api/client/all-captures?after={quote(after)}{paging}")
    if not is_text(after):
        assert_refused(response, 400, "UTF-8")
    elif limit is None or 1 <= limit <= 10_000:
        assert response.status_code == 200
        AllCaptures.model_validate_json(response.content)
    else:
        assert_refused(response, 400, "limit")


@slow_fixture
@given(body=st.binary(max_size=60), path=st.sampled_from(["acknowledge", "add-capture", "capture-states"]))
async def test_any_bytes_are_answered(http: httpx.AsyncClient, body: bytes, path: str) -> None:
    """Bytes that are hardly ever JSON get a 400 with a sentence."""
    assert_refused(await http.post(f"/api/client/{path}", content=body), 400)
