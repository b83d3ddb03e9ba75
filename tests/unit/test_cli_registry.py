"""What becomes of the registry's answers, and of none, in `pullsync`."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from cli.errors import (
    BusyError,
    CliError,
    FailedError,
    NotAllowedError,
    NotFoundError,
    TooOftenError,
    UnreachableError,
)
from cli.following import follow
from cli.registry import Registry, segment

URL = "http://registry.example:8000"
Handler = Callable[[httpx.Request], httpx.Response]


def registry(handler: Handler, *, token: str | None = None) -> Registry:
    """One that answers as `handler` does."""
    return Registry(url=URL, token=token, transport=httpx.MockTransport(handler))


def refused(status: int, **answer: Any) -> CliError:
    """What a refusal is told as."""
    with (
        registry(lambda _: httpx.Response(status, **answer), token="t" * 16) as asked,
        pytest.raises(CliError) as raised,
    ):
        asked.get("/x")
    return raised.value


@pytest.mark.parametrize(
    ("status", "kind", "exit_status"),
    [
        (400, FailedError, 1),
        (401, NotAllowedError, 4),
        (403, NotAllowedError, 4),
        (404, NotFoundError, 1),
        (409, FailedError, 1),
        (422, FailedError, 1),
        (429, TooOftenError, 1),
        (500, FailedError, 1),
        (502, FailedError, 1),
        (503, BusyError, 1),
    ],
)
def test_a_refusal_is_told_in_the_registrys_words(status: int, kind: type[CliError], exit_status: int) -> None:
    """Of at most two lines, with the exit status that docs/cli.md says."""
    error = refused(status, json={"detail": "It is so.\x1b[31m"})
    assert type(error) is kind
    assert error.status == exit_status
    assert len(str(error).splitlines()) <= 2
    assert "\x1b" not in str(error)
    if status != 401:
        assert str(error).startswith("It is so.")


def test_a_refusal_without_words_is_told_by_its_number() -> None:
    """A proxy's, most likely."""
    assert str(refused(500, text="oops")) == "The registry answered 500."
    assert str(refused(500, json=["x"])) == "The registry answered 500."


def test_when_to_come_again_is_told() -> None:
    """If the registry says when, and has not said so in its sentence."""
    assert str(refused(503, json={"detail": "Busy."}, headers={"retry-after": "5"})) == "Busy.\nTry again in 5 s."


@pytest.mark.parametrize(
    "answer",
    [
        {"status_code": 200, "text": "<html>"},
        {"status_code": 302, "headers": {"location": "http://elsewhere.example/"}},
        {"status_code": 404, "headers": {"content-type": "text/html"}, "text": "<html>"},
    ],
)
def test_what_is_not_the_registry_is_told_so(answer: dict[str, Any]) -> None:
    """And no redirect is followed, with our token least of all."""
    asked: list[str] = []

    def handler(request: httpx.Request) -> httpx.Response:
        asked.append(str(request.url))
        return httpx.Response(**answer)

    with (
        registry(handler, token="t" * 16) as stranger,
        pytest.raises(UnreachableError, match="not PullSync's registry"),
    ):
        stranger.get("/x")
    assert asked == [f"{URL}/x"]


@pytest.mark.parametrize("has_token", [True, False])
def test_a_missing_token_is_told_from_a_wrong_one(has_token: bool) -> None:  # noqa: FBT001 - a parameter of the test
    """What to do differs."""
    token = "t" * 16 if has_token else None
    with (
        registry(lambda _: httpx.Response(401, json={}), token=token) as asked,
        pytest.raises(NotAllowedError) as raised,
    ):
        asked.get("/x")
    assert ("does not take this token" in str(raised.value)) is has_token
    assert "PULLSYNC_TOKEN" in str(raised.value)
    assert "t" * 16 not in str(raised.value)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (httpx.ConnectError("[Errno 111] Connection refused"), "is not reached: Connection refused."),
        (httpx.ConnectTimeout("timed out"), "is not reached: no answer."),
        (httpx.ReadTimeout("timed out"), "did not answer in time."),
        (httpx.RemoteProtocolError("Server disconnected"), "was lost: Server disconnected."),
    ],
)
@pytest.mark.parametrize("method", ["get", "post"])
def test_an_unreachable_registry_is_told(error: httpx.HTTPError, said: str, method: str) -> None:
    """Asked once, whatever for; what may be done all the same is told so."""
    asked = 0

    def handler(_request: httpx.Request) -> httpx.Response:
        nonlocal asked
        asked += 1
        raise error

    with registry(handler) as away, pytest.raises(UnreachableError) as raised:
        getattr(away, method)("/x")
    assert asked == 1
    assert said in str(raised.value)
    is_unsure = method == "post" and not isinstance(error, httpx.ConnectError | httpx.ConnectTimeout)
    assert ("Whether it was done is not known" in str(raised.value)) is is_unsure


def test_an_untrusted_certificate_is_told_with_the_setting_that_helps() -> None:
    """Which is not the services'."""

    def handler(_request: httpx.Request) -> httpx.Response:
        cause = ssl.SSLCertVerificationError("certificate verify failed")
        cause.verify_code = 20
        raise httpx.ConnectError(str(cause)) from cause

    with registry(handler) as untrusted, pytest.raises(UnreachableError, match="PULLSYNC_CA_FILE must name"):
        untrusted.get("/x")


def test_pages_are_followed_on_this_registry_only() -> None:
    """Wherever else the header leads."""
    asked: list[str] = []
    links = {"/a": '</b?after=x>; rel="next"', "/b": '<http://evil.example/c>; rel="next"'}

    def handler(request: httpx.Request) -> httpx.Response:
        asked.append(str(request.url))
        return httpx.Response(200, json=[request.url.path], headers={"link": links[request.url.path]})

    with registry(handler) as paged:
        assert [*map(str, paged.pages("/a", {"limit": 1}))] == ["(['/a'], True)", "(['/b'], False)"]
    assert asked == [f"{URL}/a?limit=1", f"{URL}/b?after=x"]


@pytest.mark.parametrize(
    ("text", "path"),
    [("a/b", "a%2Fb"), ("..", "%2E%2E"), (".", "%2E"), ("ü %", "%C3%BC%20%25"), ("a.b", "a.b"), ("\udc80", "%3F")],
)
def test_any_name_is_one_segment_of_a_path(text: str, path: str) -> None:
    """None leads elsewhere, and none is refused by ourselves."""
    assert segment(text) == path


# ---------------------------------------------------------------- following


class Streams:
    """Event streams, one after another, as the registry would serve them."""

    def __init__(self, *streams: list[bytes] | int | httpx.HTTPError) -> None:
        self._streams = iter(streams)

    def __call__(self, _request: httpx.Request) -> httpx.Response:
        """The next of them."""
        stream = next(self._streams)
        if isinstance(stream, httpx.HTTPError):
            raise stream
        if isinstance(stream, int):
            return httpx.Response(stream, json={"detail": "no"})
        return httpx.Response(200, stream=Broken(stream), headers={"content-type": "text/event-stream"})


class Broken(httpx.SyncByteStream):
    """Parts of a body, and then no end."""

    def __init__(self, parts: list[bytes]) -> None:
        self._parts = parts

    def __iter__(self) -> Iterator[bytes]:
        yield from self._parts
        raise httpx.ReadError(str(len(self._parts)))


def event(name: str, settled: int) -> bytes:
    """As FastAPI writes it."""
    return f'event: {name}\ndata: {{"settled": {settled}}}\n\n'.encode()


def test_a_run_is_followed_across_lost_connections() -> None:
    """A stream that breaks, a registry that is away or busy: it is asked again, with growing pauses."""
    pauses: list[float] = []
    lost: list[CliError] = []
    streams = Streams(
        [event("progress", 1), b": ping\n\n", event("progress", 2)[:20]],
        httpx.ConnectError("[Errno 111] Connection refused"),
        503,
        429,
        [event("progress", 2), event("finished", 3)],
    )
    with registry(streams) as followed:
        seen = [run["settled"] for run in follow(followed, "id", on_lost=lost.append, sleep=pauses.append)]
    assert seen == [1, 2, 3]
    assert [type(error) for error in lost] == [UnreachableError, UnreachableError, BusyError, TooOftenError]
    assert pauses == sorted(pauses)
    assert len(pauses) == 4


@pytest.mark.parametrize(("status", "kind"), [(404, NotFoundError), (401, NotAllowedError)])
def test_what_does_not_pass_by_itself_ends_the_following(status: int, kind: type[CliError]) -> None:
    """There is nothing to wait for."""
    with registry(Streams(status)) as followed, pytest.raises(kind):
        list(follow(followed, "id", sleep=lambda _: pytest.fail("it waits")))
