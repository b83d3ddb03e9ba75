"""A plain answer is read as the patient reader reads it; what is not plain is left to that one."""

from __future__ import annotations

import json
from typing import Any, Final
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.puller import reading
from services.puller.plain_reading import parse_plain_answer
from services.puller.reading import UnreadableAnswerError, read_page
from shared.contracts.client_protocol import ID_CHARS

OWNER: Final = "user_1"
PLAIN: Final[dict[str, bytes]] = {
    "capture_id": b'"25_1700000000000_1"',
    "pokemon_id": b"25",
    "pokemon_name": b'"pikachu"',
    "action": b'"capture"',
    "timestamp": b'"2026-01-31T12:00:00.000Z"',
    "user_id": b'"user_1"',
    "synced": b"false",
    "metadata": b'{"removed":true}',
}
TIMES: Final = (
    *("2026-01-31T12:00:00Z", "2026-01-31T12:00:00.123456Z", "2026-01-31t12:00:00.1z", "2026-01-31 12:00:00+02:00"),
    *("2026-01-31T12:00:00", "2026-01-31T12:00:00-0330", "9999-12-31T23:59:59-01:00", "0001-01-01T00:00:00+01:00"),
    *(
        "2026-01-31T12:00:00.1234567Z",
        "2026-01-31T12:00:00.9999999999Z",
        "2026-01-31T12:00",
        "2026-01-31",
        "2026-W05-6",
    ),
    *(
        "2026-01-31_12:00:00Z",
        "2026-01-31T12:00:00,5Z",
        "2026-02-30T12:00:00Z",
        "2026-01-31T24:00:00Z",
        "1700000000",
        "",
    ),
    *("2026-01-31T23:59:60Z", "0000-01-31T12:00:00Z", "2026-01-31T12:00:00+24:00", "2026-01-31T12:00:00.Z"),
)
VALUES: Final = (
    *(
        b"null",
        b"true",
        b"1",
        b"0",
        b"-1",
        b"01",
        b"1.0",
        b"1e0",
        b"2147483647",
        b"2147483648",
        b"9" * 40,
        b"NaN",
        b"[]",
    ),
    *(b'""', b'"favorite"', b'"Capture"', b'"user_2"', b'"a\\u0000b"', b'"\\ud800"', b'"a\x7f"', b'"a\nb"', b'"\xff"'),
    *('"Flabébé 🦆"'.encode(), b'"\\u00e9"', b"{}", b'{"removed":null}', b'{"removed":1}', b'{"removed":false}'),
    *(b'{"removed":true,"device":"x"}', b'{"removed":true,"removed":false}', b"[" * 2_000 + b"]" * 2_000),
    *(b'"' + b"x" * length + b'"' for length in (ID_CHARS, ID_CHARS + 1)),
    *(f'"{"é" * length}"'.encode() for length in (ID_CHARS, ID_CHARS + 1)),
    *(json.dumps(time).encode() for time in TIMES),
)


def written(fields: list[tuple[str, bytes]]) -> bytes:
    """An object, with its keys in this order, more than once if they are there more than once."""
    return b"{" + b",".join(json.dumps(name).encode() + b":" + value for name, value in fields) + b"}"


@st.composite
def captures(draw: st.DrawFn) -> bytes:
    """Most fields as they should be, some missing, doubled, unknown or of any other value."""
    fields = [(name, value) for name, value in PLAIN.items() if draw(st.integers(0, 15))]
    odd = draw(st.lists(st.tuples(st.sampled_from([*PLAIN, "other"]), st.sampled_from(VALUES)), max_size=1))
    return written(draw(st.permutations([*fields, *odd])))


@st.composite
def answers(draw: st.DrawFn) -> bytes:
    """Mostly of the protocol's shape."""
    items = b"[" + b",".join(draw(st.lists(captures(), max_size=3))) + b"]"
    fields = [
        ("user_id", draw(st.sampled_from([b'"user_1"', b'"user_2"', *VALUES]) if odd(draw) else st.just(b'"user_1"')))
    ]
    fields.append(("captures", draw(st.sampled_from(VALUES)) if odd(draw) else items))
    if draw(st.booleans()):
        fields.append(("total_pending", draw(st.sampled_from(VALUES)) if odd(draw) else b"7"))
    if draw(st.booleans()):
        fields.append((draw(st.sampled_from(["last_sync", "captures", "user_id"])), draw(st.sampled_from(VALUES))))
    return (
        draw(st.sampled_from([b"", b"\xef\xbb\xbf", b" "]))
        + written(fields)
        + draw(st.sampled_from([b"", b"\n", b"x"]))
    )


def odd(draw: st.DrawFn) -> bool:
    """Once in a while."""
    return draw(st.integers(0, 15)) == 0


def patiently(body: bytes) -> Any:
    """What is read when nothing is taken for plain."""
    with patch.object(reading, "parse_plain_answer", lambda *_, **__: None):
        return read_page(body, owner=OWNER)


@settings(max_examples=1_500)
@given(answers())
def test_what_is_read_as_plain_is_what_is_read_patiently(body: bytes) -> None:
    """Whatever a client sends; that it is never an error is a part of it."""
    if parse_plain_answer(body, owner=OWNER) is not None:
        assert read_page(body, owner=OWNER) == patiently(body)


@pytest.mark.parametrize("field", [*PLAIN, "other"])
@pytest.mark.parametrize("value", VALUES)
def test_each_odd_value_of_a_capture_is_read_alike(field: str, value: bytes) -> None:
    """One at a time, so that none is missed."""
    check_alike(b'{"user_id":"user_1","captures":[' + written([*{**PLAIN, field: value}.items()]) + b"]}")


@pytest.mark.parametrize("field", ["user_id", "captures", "total_pending", "other"])
@pytest.mark.parametrize("value", VALUES)
def test_each_odd_value_around_the_captures_is_read_alike(field: str, value: bytes) -> None:
    """One at a time, so that none is missed."""
    envelope = {"user_id": b'"user_1"', "captures": b"[" + written([*PLAIN.items()]) + b"]", field: value}
    check_alike(written([*envelope.items()]))


def check_alike(body: bytes) -> None:
    """What can't be read patiently is not read as plain either."""
    try:
        expected = patiently(body)
    except UnreadableAnswerError:
        assert parse_plain_answer(body, owner=OWNER) is None
    else:
        assert read_page(body, owner=OWNER) == expected


@pytest.mark.parametrize("left_out", [None, "pokemon_name", "user_id", "synced", "metadata"])
def test_what_deployed_clients_send_is_plain(left_out: str | None) -> None:
    """Else the patient reader would read everything, and nobody would see it."""
    fields = [(name, value) for name, value in PLAIN.items() if name != left_out]
    body = b'{"user_id":"user_1","client_url":"http://localhost:3001","captures":['
    body += written(fields) + b'],"last_sync":null,"total_pending":3}'
    answer = parse_plain_answer(body, owner=OWNER)
    assert answer is not None
    assert answer.captures == list(patiently(body).captures)
    assert answer.total_pending == 3
