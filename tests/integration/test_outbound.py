"""Calls to hostile clients: each ends in its reason, in time, and does nothing to the others."""

from __future__ import annotations

import asyncio
import gzip
import socket
import threading
from typing import Any, Final

import pytest

from shared.contracts.messages import Reason
from shared.outbound.answer_memory import LARGE_AT_ONCE, SMALL_BYTES
from shared.outbound.client_http import ClientCallError, ClientHttp, Network, OutboundPolicy
from tests.raw_server import (
    GOOD,
    OK,
    Answer,
    endless_body,
    endless_headers,
    endless_hints,
    reset_after,
    served,
    trickle,
    wait_for_ever,
)
from tests.waiting import eventually

TIMEOUT_S: Final = 0.5
BODY_LIMIT_BYTES: Final = 1024 * 1024
LARGE_BYTES: Final = 300 * 1024


def client_http(
    *networks: Network, body_limit_bytes: int = BODY_LIMIT_BYTES, timeout_s: float = TIMEOUT_S
) -> ClientHttp:
    """HTTP to clients; only to loopback unless told."""
    policy = OutboundPolicy(frozenset(networks or ("loopback",)))
    return ClientHttp(policy=policy, timeout_s=timeout_s, body_limit_bytes=body_limit_bytes)


async def fetched(http: ClientHttp, url: str) -> bytes:
    """The answer's body."""
    async with http.get(url) as body:
        return body


async def failure(http: ClientHttp, url: str) -> ClientCallError:
    """How the call fails, which it does within its timeout."""
    async with asyncio.timeout(TIMEOUT_S * 3):
        with pytest.raises(ClientCallError) as caught:
            await fetched(http, url)
    assert 0 < len(str(caught.value)) <= 200
    return caught.value


NOT_HTTP: Final = (Reason.CONNECT, Reason.BAD_PAYLOAD)
HOSTILE: Final[dict[str, tuple[Answer, tuple[Reason, ...]]]] = {
    "silent": (wait_for_ever, (Reason.TIMEOUT,)),
    "slow headers": (trickle(OK, b"x: y\r\n"), (Reason.TIMEOUT,)),
    "slow body": (trickle(OK + b"content-length: 100000\r\n\r\n", b"x"), (Reason.TIMEOUT,)),
    "slow chunks": (trickle(OK + b"transfer-encoding: chunked\r\n\r\n", b"1\r\nx\r\n"), (Reason.TIMEOUT,)),
    "endless body": (endless_body, (Reason.TOO_LARGE, Reason.TIMEOUT)),
    "endless headers": (endless_headers, NOT_HTTP),
    "endless hints": (endless_hints, (Reason.BAD_PAYLOAD,)),
    "large, with its length": (
        OK + b"content-length: %d\r\n\r\n" % (BODY_LIMIT_BYTES + 1) + b"x" * (BODY_LIMIT_BYTES + 1),
        (Reason.TOO_LARGE,),
    ),
    "large, without its length": (OK + b"\r\n" + b"x" * (BODY_LIMIT_BYTES + 1), (Reason.TOO_LARGE,)),
    "redirect": (b"HTTP/1.1 302 Found\r\nlocation: http://169.254.169.254/\r\n\r\n", (Reason.HTTP_STATUS,)),
    "redirect to nowhere": (b"HTTP/1.1 302 Found\r\nlocation: http://\xff[\r\n\r\n", (Reason.HTTP_STATUS, *NOT_HTTP)),
    "500": (b"HTTP/1.1 500 Oops\r\ncontent-length: 0\r\n\r\n", (Reason.HTTP_STATUS,)),
    "204": (b"HTTP/1.1 204 None\r\n\r\n", (Reason.HTTP_STATUS,)),
    "upgrade": (b"HTTP/1.1 101 Go\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n", (Reason.HTTP_STATUS,)),
    "closed at once": (b"", (Reason.CONNECT,)),
    "closed in the headers": (b"HTTP/1.1 20", (Reason.CONNECT,)),
    "closed in the body": (OK + b"content-length: 10\r\n\r\nabc", (Reason.CONNECT,)),
    "closed in a chunk": (OK + b"transfer-encoding: chunked\r\n\r\n5\r\nab", (Reason.CONNECT,)),
    "reset at once": (reset_after(b""), (Reason.CONNECT,)),
    "reset in the body": (reset_after(OK + b"content-length: 10\r\n\r\nabc"), (Reason.CONNECT,)),
    "not HTTP": (b"\x00\xff garbage\r\n\r\n", NOT_HTTP),
    "SSH": (b"SSH-2.0-OpenSSH_9.2\r\n", NOT_HTTP),
    "status of five digits": (b"HTTP/1.1 99999 X\r\n\r\n", NOT_HTTP),
    "reason not UTF-8": (b"HTTP/1.1 500 \xff\xfe\r\ncontent-length: 0\r\n\r\n", (Reason.HTTP_STATUS,)),
    "two lengths": (OK + b"content-length: 1\r\ncontent-length: 2\r\n\r\nab", NOT_HTTP),
    "length of 5,000 digits": (OK + b"content-length: " + b"9" * 5_000 + b"\r\n\r\nab", NOT_HTTP),
    "negative length": (OK + b"content-length: -1\r\n\r\n", NOT_HTTP),
    "bad chunk": (OK + b"transfer-encoding: chunked\r\n\r\nzz\r\nab\r\n", NOT_HTTP),
    "giant header": (OK + b"x-header: " + b"x" * 100_000 + b"\r\n\r\n", NOT_HTTP),
    "many headers": (OK + b"x-header: value\r\n" * 50_000 + b"\r\n", NOT_HTTP),
    "many trailers": (OK + b"transfer-encoding: chunked\r\n\r\n0\r\n" + b"x: y\r\n" * 50_000 + b"\r\n", NOT_HTTP),
    "gzip": (OK + b"content-encoding: gzip\r\n\r\n" + gzip.compress(b"x" * 1_000_000), (Reason.BAD_PAYLOAD,)),
}


@pytest.mark.parametrize(("answer", "reasons"), HOSTILE.values(), ids=HOSTILE)
async def test_a_hostile_client_ends_in_its_reason(answer: Answer, reasons: tuple[Reason, ...]) -> None:
    """In time, and a good client that is called meanwhile, as the ones that are called after it, gets its answer."""
    async with served(answer) as hostile, served(GOOD) as good, client_http() as http:
        error, body = await asyncio.gather(failure(http, hostile), fetched(http, good))
        assert error.reason in reasons
        assert body == b"{}"
        assert await fetched(http, good) == b"{}"


SENTENCES: Final[dict[str, tuple[bytes, str]]] = {
    "longer than it says": (OK + b"content-length: 2\r\n\r\n{}]}", "is longer than its Content-Length says"),
    "much longer than it says": (OK + b"content-length: 2\r\n\r\n{}" + b"x" * 200_000, "than its Content-Length says"),
    "something where nothing is": (OK + b"content-length: 0\r\n\r\n{}", "than its Content-Length says"),
    "longer than its chunks": (OK + b"transfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\nx", "its last chunk says"),
    "no chunk": (OK + b"transfer-encoding: chunked\r\n\r\nzz\r\nab\r\n", "the body is not HTTP"),
    "304": (b"HTTP/1.1 304 X\r\n\r\n", "answered 304 to GET /; it says that nothing was modified, which was not asked"),
    "304 with a body": (b"HTTP/1.1 304 X\r\ncontent-length: 2\r\n\r\n{}", "answered 304 to GET /; it says"),
    "204 with a body": (b"HTTP/1.1 204 X\r\ncontent-length: 2\r\n\r\n{}", "answered 204 to GET /; there is no content"),
    "206": (b"HTTP/1.1 206 X\r\ncontent-length: 2\r\n\r\n{}", "answered 206 to GET /; it is a part"),
    "308": (b"HTTP/1.1 308 X\r\nlocation: /\r\n\r\n", "answered 308 to GET /; redirects are not followed"),
    "299": (b"HTTP/1.1 299 X\r\n\r\n", "answered 299 to GET /"),
    "a coding in a list": (OK + b"content-encoding: identity, GZip\r\n\r\nx", "compressed (gzip), which was not asked"),
    "busy": (b"HTTP/1.1 429 X\r\nretry-after: 120\r\n\r\n", "answered 429 to GET / and asks for 120 s"),
    "busy for a day": (
        b"HTTP/1.1 503 X\r\nretry-after: 86400\r\n\r\n",
        "and asks for more than 3600 s",
    ),
    "busy, and who knows how long": (b"HTTP/1.1 429 X\r\nretry-after: -1\r\n\r\n", "answered 429 to GET /"),
}


@pytest.mark.parametrize(("answer", "sentence"), SENTENCES.values(), ids=SENTENCES)
@pytest.mark.parametrize("in_one", [True, False], ids=["in one", "in bytes"])
async def test_the_sentence_is_true(answer: bytes, sentence: str, *, in_one: bool) -> None:
    """It says what the answer is, in whatever pieces it comes."""

    async def head_in_bytes(writer: asyncio.StreamWriter) -> None:
        head, _, body = answer.partition(b"\r\n\r")
        for byte in head + b"\r\n\r":
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(0)
        writer.write(body)
        await writer.drain()

    async with served(answer if in_one else head_in_bytes) as hostile, client_http() as http:
        assert sentence in (await failure(http, hostile)).sentence


@pytest.mark.parametrize("value", [b"utf-8", b"none", b"Identity", b"", b"identity, binary"])
async def test_what_is_no_coding_is_read(value: bytes) -> None:
    """Some clients name the encoding of characters in `Content-Encoding`."""
    answer = OK + b"content-encoding: " + value + b"\r\ncontent-length: 2\r\n\r\n{}"
    async with served(answer) as url, client_http() as http:
        assert await fetched(http, url) == b"{}"


@pytest.mark.parametrize("answer", [b"\x00\xff garbage\r\n\r\n", OK + b"x: " + b"x" * 100_000 + b"\r\n\r\n"])
async def test_what_is_not_http_is_a_bad_payload(answer: bytes) -> None:
    """The client was reached, so that `connect` would send an operator looking in the wrong place."""
    async with served(answer) as hostile, client_http() as http:
        assert (await failure(http, hostile)).reason is Reason.BAD_PAYLOAD


async def test_bodies_up_to_the_cap_are_read() -> None:
    """To the last byte, with and without a length."""
    body = b"x" * BODY_LIMIT_BYTES
    async with (
        served(OK + b"\r\n" + body) as without,
        served(OK + b"content-length: %d\r\n\r\n" % len(body) + body) as known,
        client_http() as http,
    ):
        assert await fetched(http, without) == body
        assert await fetched(http, known) == body


@pytest.mark.parametrize("size", [64 * 1024 + 1, 200_000, 263_000])
async def test_a_small_cap_holds(size: int) -> None:
    """Ingest's cap is 64 KiB."""
    answer = OK + b"content-length: %d\r\n\r\n" % size + b"x" * size
    async with served(answer) as url, client_http(body_limit_bytes=64 * 1024) as http:
        assert (await failure(http, url)).reason is Reason.TOO_LARGE


async def test_hung_clients_do_not_hold_up_the_others() -> None:
    """A good client among two hundred hung ones is answered long before those time out."""
    async with served(wait_for_ever) as hung, served(GOOD) as good, client_http(timeout_s=20.0) as http:
        calls = [asyncio.create_task(fetched(http, hung)) for _ in range(200)]
        async with asyncio.timeout(10):
            assert await fetched(http, good) == b"{}"
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)


async def test_stalled_large_answers_do_not_hold_up_the_others() -> None:
    """A large answer is read though ten before it stand still in theirs for ever."""
    begun = asyncio.Semaphore(0)

    async def stall(writer: asyncio.StreamWriter) -> None:
        writer.write(OK + b"content-length: 1000000\r\n\r\n" + b"x" * LARGE_BYTES)
        await writer.drain()
        begun.release()
        await writer.wait_closed()

    large = OK + b"content-length: %d\r\n\r\n" % LARGE_BYTES + b"x" * LARGE_BYTES
    async with served(stall) as stalled, served(large) as good, client_http(timeout_s=4.0) as http:
        calls = [asyncio.create_task(fetched(http, stalled)) for _ in range(10)]
        try:
            for _ in calls:
                await begun.acquire()
            assert len(await fetched(http, good)) == LARGE_BYTES
        finally:
            for call in calls:
                call.cancel()
            await asyncio.gather(*calls, return_exceptions=True)


async def test_large_answers_are_few_in_memory() -> None:
    """Of forty, each at the cap, four are whole at once; the others wait with little, and small ones pass them by."""
    calls_at_once, body = 40, b"x" * BODY_LIMIT_BYTES
    within, go_on = asyncio.Semaphore(0), asyncio.Semaphore(0)
    bound = calls_at_once * SMALL_BYTES + LARGE_AT_ONCE * BODY_LIMIT_BYTES

    async def use(http: ClientHttp, url: str) -> int:
        async with http.get(url) as answer:
            within.release()
            assert http.memory.large_held <= LARGE_AT_ONCE
            assert http.memory.bytes_held <= bound
            await go_on.acquire()
            return len(answer)

    async with served(OK + b"\r\n" + body) as large, served(GOOD) as good, client_http(timeout_s=60.0) as http:
        calls = [asyncio.create_task(use(http, large)) for _ in range(calls_at_once)]
        waiting = (calls_at_once - LARGE_AT_ONCE) * (SMALL_BYTES - 16 * 1024)

        async def as_much_as_ever() -> bool:
            return http.memory.bytes_held >= waiting + LARGE_AT_ONCE * BODY_LIMIT_BYTES

        await eventually(as_much_as_ever)
        for _ in range(LARGE_AT_ONCE):
            await within.acquire()
        assert http.memory.bytes_held <= bound
        assert within.locked()
        assert await fetched(http, good) == b"{}"
        for _ in calls:
            go_on.release()
        assert await asyncio.gather(*calls) == [BODY_LIMIT_BYTES] * calls_at_once
        assert (http.memory.bytes_held, http.memory.large_held) == (0, 0)


async def test_slow_name_servers_do_not_hold_up_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """A good name is looked up while forty others wait for theirs."""
    over, begun = threading.Event(), asyncio.Event()
    loop, look_up = asyncio.get_running_loop(), socket.getaddrinfo

    def slowly(host: Any, *arguments: Any, **named: Any) -> Any:
        if str(host).endswith(".slow.test"):
            loop.call_soon_threadsafe(begun.set)
            over.wait(10)
            raise socket.gaierror(socket.EAI_NONAME, "not known")
        return look_up(host, *arguments, **named)

    monkeypatch.setattr(socket, "getaddrinfo", slowly)
    async with served(GOOD) as good, client_http() as http:
        calls = [asyncio.create_task(fetched(http, f"http://c{number}.slow.test/")) for number in range(40)]
        try:
            await begun.wait()
            assert await fetched(http, good.replace("127.0.0.1", "localhost")) == b"{}"
            failures = await asyncio.gather(*calls, return_exceptions=True)
            assert {each.reason for each in failures if isinstance(each, ClientCallError)} == {Reason.TIMEOUT}
            assert len(failures) == 40
        finally:
            over.set()
            await asyncio.gather(*calls, return_exceptions=True)


@pytest.mark.parametrize("cookie", [b"session=1; path=/", b"\xff=\x7f; path=/"])
async def test_no_cookie_is_kept(cookie: bytes) -> None:
    """A client can neither mark nor break the calls to its neighbours."""
    heads: list[bytes] = []

    async def keep_head(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(GOOD)
        await writer.drain()
        writer.close()

    neighbour = await asyncio.start_server(keep_head, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{neighbour.sockets[0].getsockname()[1]}"
    try:
        async with (
            served(OK + b"set-cookie: " + cookie + b"\r\ncontent-length: 0\r\n\r\n") as hostile,
            client_http() as http,
        ):
            await fetched(http, hostile)
            assert await fetched(http, url) == b"{}"
    finally:
        neighbour.close()
        await neighbour.wait_closed()
    assert b"cookie" not in heads[0].lower()


async def test_nobody_listens() -> None:
    """A refused connection is told as such."""
    async with served(GOOD) as url:
        pass
    async with client_http() as http:
        assert (await failure(http, url)).reason is Reason.CONNECT


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "0x7f000001", "[::ffff:127.0.0.1]"])
async def test_the_policy_holds_for_addresses_and_for_names(host: str) -> None:
    """What a name resolves to is what counts; nothing is sent to a forbidden address."""
    async with served(GOOD) as url, client_http("public", "private") as http:
        error = await failure(http, url.replace("127.0.0.1", host))
    assert error.reason is Reason.FORBIDDEN_ADDRESS


async def test_a_name_with_two_forbidden_addresses_is_forbidden(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reason survives when the HTTP stack merges the errors of both."""
    look_up = socket.getaddrinfo

    def both(host: Any, port: Any, *_: Any, **__: Any) -> Any:
        hosts = ("127.0.0.1", "::1") if host == "both.test" else (host,)
        return [found for one in hosts for found in look_up(one, port, type=socket.SOCK_STREAM)]

    monkeypatch.setattr(socket, "getaddrinfo", both)
    async with client_http("public") as http:
        error = await failure(http, "http://both.test:8080/")
    assert error.reason is Reason.FORBIDDEN_ADDRESS


BAD_URLS: Final = (
    "http://",
    "http:///x",
    "http://[::1/",
    "http://127.0.0.1:99999/",
    "http://127.0.0.1:abc/",
    "http://a..b/",
    f"http://{'a' * 64}.test/",
    "http://xn--a.test/",
    "http://\ud800/",
    "http://\u2603/",
    "http://127.0.0.1:1024/\n",
    f"http://127.0.0.1:1024/{'x' * 70_000}",
)


@pytest.mark.parametrize("url", BAD_URLS, ids=ascii)
async def test_a_bad_url_is_a_failed_call(url: str) -> None:
    """Nothing but `ClientCallError` comes out."""
    async with client_http() as http:
        assert (await failure(http, url)).reason in {Reason.CONNECT, Reason.BAD_PAYLOAD}


async def test_a_body_is_posted_as_json() -> None:
    """With its length, as deployed clients read it, and nothing that asks for a compressed answer."""
    heads: list[bytes] = []

    async def keep(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append((await reader.readuntil(b"\r\n\r\n")).lower())
        heads.append(await reader.readexactly(len(b'{"capture_ids":["a"]}')))
        writer.write(GOOD)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(keep, "127.0.0.1", 0)
    try:
        async with client_http() as http:
            url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/api/client/acknowledge"
            assert await http.post(url, {"capture_ids": ["a"]}) == b"{}"
    finally:
        server.close()
        await server.wait_closed()
    head, body = heads
    assert head.startswith(b"post /api/client/acknowledge http/1.1\r\n")
    assert b"content-type: application/json" in head
    assert b"content-length: %d" % len(body) in head
    assert b"accept-encoding: identity" in head
    assert body == b'{"capture_ids":["a"]}'
