"""The registry's HTTP API: one request each, never repeated by itself. What goes wrong becomes an error of ours."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import Any, Final, Self
from urllib.parse import quote

import httpx

from cli.errors import BusyError, CliError, FailedError, NotAllowedError, NotFoundError, TooOftenError, UnreachableError
from shared import tls
from shared.tokens import authorization
from shared.untrusted_text import visible
from shared.version import VERSION

Json = dict[str, Any]
Params = Mapping[str, str | int | bool | None]

PULL_SYNC: Final = "/api/v1/pull-sync"
ADMIN: Final = "/api/v1/admin"
RANKING: Final = "/api/v1/ranking"

_TIMEOUT: Final = httpx.Timeout(60.0, connect=5.0)
_SILENCE: Final = httpx.Timeout(45.0, connect=5.0)
"""Of a stream of events, which says something every 15 seconds."""
_LONGEST_DETAIL: Final = 500
_DONE: Final = "Whether it was done is not known: look before you repeat it."


_LATER: Final[Mapping[int, type[FailedError]]] = {
    HTTPStatus.TOO_MANY_REQUESTS: TooOftenError,
    HTTPStatus.SERVICE_UNAVAILABLE: BusyError,
}


class Registry:
    """As a context manager; no request follows a redirect, or goes to a proxy."""

    def __init__(
        self,
        *,
        url: str,
        token: str | None,
        verify: Any = True,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        """`verify` is what httpx has for TLS, `transport` another way to it than the network."""
        self.url = url
        self.has_token = token is not None
        self._http = httpx.Client(
            base_url=url,
            headers={"accept": "application/json", "user-agent": f"pullsync/{VERSION}", **authorization(token)},
            timeout=_TIMEOUT,
            verify=verify,
            trust_env=False,
            transport=transport,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def get(self, path: str, params: Params | None = None) -> Any:
        """What the API answers.

        Raises:
            CliError: nothing, or a refusal; each by its kind.
        """
        return self._read(self.answer("GET", path, params=params))

    def pages(self, path: str, params: Params) -> Iterator[tuple[list[Json], bool]]:
        """Each page, and whether there is another behind it. Raises as `get` does."""
        answer = self.answer("GET", path, params=params)
        while True:
            following = answer.links.get("next", {}).get("url", "")
            goes_on = following.startswith("/")  # and nowhere else, least of all with our token
            yield self._read(answer), goes_on
            if not goes_on:
                return
            answer = self.answer("GET", following)

    def post(self, path: str, *, params: Params | None = None, body: Any = None) -> Any:
        """What the API answers. Where it does not, the error says that it may be done. Raises as `get` does."""
        return self._read(self.answer("POST", path, params=params, body=body))

    def patch(self, path: str, *, body: Any) -> Any:
        """As `post`."""
        return self._read(self.answer("PATCH", path, body=body))

    def delete(self, path: str) -> Any:
        """As `post`."""
        return self._read(self.answer("DELETE", path))

    def answer(self, method: str, path: str, *, params: Params | None = None, body: Any = None) -> httpx.Response:
        """The whole answer, which is no refusal. Raises as `get` does."""
        given = {name: value for name, value in (params or {}).items() if value is not None}
        try:
            answer = self._http.request(method, path, params=given or None, json=body)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise unreachable(self.url, error, maybe_done=method != "GET") from error
        self._check(answer)
        return answer

    def events(self, path: str) -> Iterator[tuple[str, Json]]:
        """Name and data of each server-sent event until the stream ends, or breaks. Raises as `get` does."""
        headers = {"accept": "text/event-stream"}
        try:
            with self._http.stream("GET", path, headers=headers, timeout=_SILENCE) as answer:
                if not answer.is_success:
                    answer.read()
                self._check(answer)
                yield from _events(answer.iter_lines())
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise unreachable(self.url, error, maybe_done=False) from error

    def _check(self, answer: httpx.Response) -> None:
        if not answer.is_success:
            raise refusal(answer, url=self.url, has_token=self.has_token)

    def _read(self, answer: httpx.Response) -> Any:
        try:
            return answer.json()
        except ValueError as error:
            raise _stranger(self.url) from error


def segment(text: str) -> str:
    """A text as one segment of a path, whatever is in it; two dots are not the folder above."""
    return quote(text, safe="", errors="replace") if text.strip(".") else "%2E" * len(text)


def _events(lines: Iterator[str]) -> Iterator[tuple[str, Json]]:
    name, data = "message", ""
    for line in lines:
        if line.startswith("event:"):
            name = line.removeprefix("event:").strip()
        elif line.startswith("data:"):
            data += line.removeprefix("data:").strip()
        elif not line and data:
            yield name, json.loads(data)
            name, data = "message", ""


def refusal(answer: httpx.Response, *, url: str, has_token: bool) -> CliError:
    """What an answer that is no success comes to."""
    said = _detail(answer)
    if answer.status_code == HTTPStatus.UNAUTHORIZED:
        done = "does not take this token" if has_token else "wants a token"
        return NotAllowedError(
            f"The registry at {url} {done}.\nPut an operator's token into PULLSYNC_TOKEN, or name its file: "
            "pullsync --token-file FILE ..."
        )
    if answer.status_code == HTTPStatus.FORBIDDEN:
        return NotAllowedError(f"{said}\nThis takes a token with more rights (docs/security.md): see PULLSYNC_TOKEN.")
    if answer.is_redirect or answer.headers.get("content-type", "").startswith("text/html"):
        return _stranger(url)
    if answer.status_code == HTTPStatus.NOT_FOUND:
        return NotFoundError(said)
    kind = _LATER.get(answer.status_code, FailedError)
    wait = answer.headers.get("retry-after", "")
    return kind(f"{said}\nTry again in {wait} s." if wait.isdigit() and " in " not in said else said)


def unreachable(url: str, error: Exception, *, maybe_done: bool) -> UnreachableError:
    """What an error of the network comes to."""
    remedy = tls.remedy(error)
    if remedy is not None:
        said = f"No TLS with the registry at {url}: {remedy.replace('TLS_CA_FILE', 'PULLSYNC_CA_FILE')}."
    elif isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
        said = f"The registry at {url} is not reached: {_reason(error)}.\nDoes it run there? PULLSYNC_URL says where."
        maybe_done = False
    elif isinstance(error, httpx.TimeoutException):
        said = f"The registry at {url} did not answer in time."
    else:
        said = f"The connection to the registry at {url} was lost: {_reason(error)}."
    return UnreachableError(f"{said} {_DONE}" if maybe_done and remedy is None else said)


def _reason(error: Exception) -> str:
    if isinstance(error, httpx.ConnectTimeout):
        return "no answer"
    text = str(error).partition("] ")[2] or str(error) or type(error).__name__
    return visible(text[:_LONGEST_DETAIL]).rstrip(".")


def _stranger(url: str) -> UnreachableError:
    return UnreachableError(f"What answers at {url} is not PullSync's registry.\nPULLSYNC_URL says where that is.")


def _detail(answer: httpx.Response) -> str:
    try:
        body = answer.json()
    except ValueError:
        body = None
    detail = body.get("detail") if isinstance(body, dict) else None
    if not isinstance(detail, str) or not detail:
        detail = f"The registry answered {answer.status_code}."
    return visible(detail[:_LONGEST_DETAIL])
