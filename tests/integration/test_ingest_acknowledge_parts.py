"""The bodies of acknowledgements: each small enough for a deployed client, together all ids, in order."""

from __future__ import annotations

import asyncio
import json
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.ingest.client_api import ClientApi, parts
from shared.contracts.client_protocol import ID_CHARS
from shared.contracts.messages import Acknowledgement
from shared.outbound.client_http import ClientHttp, OutboundPolicy

EXPRESS_LIMIT_BYTES: Final = 100_000

TEXT: Final = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=40)
MANY: Final = st.lists(
    st.tuples(TEXT, st.integers(min_value=1, max_value=60)).map(lambda pair: pair[0] * pair[1]), max_size=50
).flatmap(lambda ids: st.integers(min_value=1, max_value=60).map(lambda times: ids * times))


@settings(max_examples=150, deadline=None)
@given(MANY)
def test_every_body_is_small_and_nothing_is_lost(capture_ids: list[str]) -> None:
    """As the most wasteful writer of JSON would write it, with spaces and every character escaped."""
    made = list(parts(capture_ids))
    assert [capture_id for part in made for capture_id in part] == capture_ids
    for part in made:
        body = json.dumps({"capture_ids": part}, indent=None, separators=(", ", ": "), ensure_ascii=True)
        assert part
        assert len(part) == 1 or len(body.encode()) < EXPRESS_LIMIT_BYTES


@pytest.mark.parametrize(
    "character",
    ["x", "\x01", "\u20ac", "\U0001f600", '"', "\\"],
    ids=ascii,
)
def test_the_longest_ids_are_small_enough(character: str) -> None:
    """Thousands of ids of the longest kind that is stored."""
    for part in parts([character * ID_CHARS] * 2_000):
        assert len(json.dumps({"capture_ids": part}).encode()) < EXPRESS_LIMIT_BYTES


def test_nothing_to_say_is_no_body() -> None:
    """A pull of which nothing has an id is not acknowledged at all."""
    assert list(parts([])) == []


def test_a_usual_page_is_one_body() -> None:
    """A thousand ids as the original makes them need one call."""
    assert len(list(parts([f"25_{1_760_000_000_000 + number}_capture" for number in range(1_000)]))) == 1


async def test_what_is_sent_is_small_and_whole() -> None:
    """On the wire too: the bodies that leave are below the limit and carry every id as it is."""
    bodies: list[bytes] = []

    async def keep(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])
        bodies.append(await reader.readexactly(length))
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")
        await writer.drain()
        writer.close()

    capture_ids = [
        f"{number}{text}"
        for number in range(400)
        for text in ("_capture", '"' * 99, "\\" * 99, "\x01" * 99, "\u20ac" * 250, "\U0001f600" * 250, "\x7f\u2028\0")
    ]
    server = await asyncio.start_server(keep, "127.0.0.1", 0)
    policy = OutboundPolicy(frozenset({"loopback"}))
    try:
        async with ClientHttp(policy=policy, timeout_s=30.0, body_limit_bytes=1_024) as http:
            url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            told = Acknowledgement(user_id="ash", client_url=url, capture_ids=tuple(capture_ids), outcome=None)
            await ClientApi(http=http).acknowledge(told)
    finally:
        server.close()
        await server.wait_closed()
    assert len(bodies) > 1
    assert max(map(len, bodies)) < EXPRESS_LIMIT_BYTES
    assert [capture_id for body in bodies for capture_id in json.loads(body)["capture_ids"]] == capture_ids
