"""HTTP to our own processes on 127.0.0.1, never by way of a proxy that the environment names."""

from __future__ import annotations

import urllib.request
from typing import IO, Final

_OPENER: Final = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def open_local(url: str, *, body: bytes | None = None, timeout_s: float) -> IO[bytes]:
    """The answer to a GET, or with a body to a POST of JSON; to be closed by the caller.

    Raises:
        OSError: no answer in time, or one with an error status (`urllib.error.HTTPError`).
        http.client.HTTPException: an answer that ends in its middle.
    """
    request = urllib.request.Request(url, data=body, headers={"content-type": "application/json"})  # noqa: S310 - ours
    answer: IO[bytes] = _OPENER.open(request, timeout=timeout_s)
    return answer
