"""Everything that can go wrong on purpose, and the one place that turns it into an HTTP answer.

Every refusal has the body `{"error": "<one sentence>"}`, as the original client has it.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import structlog
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from httpx import codes
from pydantic import BaseModel
from starlette.exceptions import HTTPException

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fastapi import FastAPI, Request
    from starlette.types import Receive, Scope, Send

_LINGER_S: Final = 2.0
_LINGER_BYTES: Final = 16 * 1024 * 1024

log = structlog.get_logger()


class ClientError(Exception):
    """Base of this package's errors; its text is one line, fit for a user."""


class StoreUnavailableError(ClientError):
    """Transient: the database could not be used, and nothing was changed."""

    def __init__(self, reason: str, *, remedy: str = "Try again later") -> None:
        super().__init__(reason)
        self.remedy = remedy
        """What to do, as a sentence without its full stop."""

    @property
    def sentence(self) -> str:
        """What is wrong, and what to do."""
        return f"The client's database can't be used ({self}). {self.remedy}."


class RegistryAwayError(ClientError):
    """Transient: the registry can't be asked, or refuses; the text says what to do."""


class RequestError(ClientError):
    """Permanent: the request can't be served as it is."""

    def __init__(self, status: int, sentence: str, *, unread: bool = False) -> None:
        super().__init__(sentence)
        self.status = status
        self.unread = unread
        """Whether the sender may still be sending its body."""


class IdTakenError(RequestError):
    """A capture's id is that of another one."""

    def __init__(self) -> None:
        super().__init__(
            codes.CONFLICT,
            "Another capture has this capture_id already, with another pokemon_id, action or removed, so nothing was "
            "stored; make a new id for this one.",
        )


class Refusal(BaseModel):
    """The body of every answer that is no success."""

    error: str
    """One sentence."""


def refusal(status: int, sentence: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """An answer to a request that is refused before it is looked at."""
    return JSONResponse({"error": sentence}, status_code=status, headers=headers)


class EarlyResponse(JSONResponse):
    """An answer to a request whose body was not read; the connection ends with it.

    To close on a sender that is still writing resets the connection, and most clients then lose the answer too. So
    the answer goes out first, and for a short while what still comes is thrown away.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the answer, linger, close."""
        del scope
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": self.body, "more_body": True})
        with suppress(TimeoutError):
            async with asyncio.timeout(_LINGER_S):
                await _discard_body(receive)
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _discard_body(receive: Receive) -> None:
    discarded_bytes = 0
    while discarded_bytes < _LINGER_BYTES:
        message = await receive()
        discarded_bytes += len(message.get("body", b""))
        if not message.get("more_body", False):
            return


def install_error_handlers(app: FastAPI) -> None:
    """Map each error to its answer."""
    app.exception_handler(RequestError)(_refused)
    app.exception_handler(StoreUnavailableError)(_unavailable)
    app.exception_handler(RegistryAwayError)(_registry_away)
    app.exception_handler(RequestValidationError)(_bad_query)
    app.exception_handler(HTTPException)(_http_error)
    app.exception_handler(Exception)(_broken)


async def _refused(_request: Request, error: RequestError) -> JSONResponse:
    if error.unread:
        return EarlyResponse({"error": str(error)}, status_code=error.status, headers={"Connection": "close"})
    headers = {"WWW-Authenticate": "Bearer"} if error.status == codes.UNAUTHORIZED else None
    return JSONResponse({"error": str(error)}, status_code=error.status, headers=headers)


async def _unavailable(_request: Request, error: StoreUnavailableError) -> JSONResponse:
    """The database itself logs it, once."""
    return JSONResponse({"error": f"{error.sentence} Nothing was accepted or changed."}, status_code=503)


async def _registry_away(_request: Request, error: RegistryAwayError) -> JSONResponse:
    return JSONResponse({"error": str(error)}, status_code=codes.SERVICE_UNAVAILABLE)


async def _broken(_request: Request, _error: Exception) -> JSONResponse:
    """Starlette logs the trace; what happened is none of the caller's business."""
    return JSONResponse({"error": "Something went wrong here, and was logged."}, status_code=500)


async def _bad_query(_request: Request, error: RequestValidationError) -> JSONResponse:
    problem = error.errors()[0]
    return JSONResponse({"error": f"The parameter {problem['loc'][-1]} is wrong: {problem['msg']}."}, status_code=400)


async def _http_error(_request: Request, error: HTTPException) -> JSONResponse:
    headers = dict(error.headers or {})
    sentence = error.detail
    if error.status_code == codes.METHOD_NOT_ALLOWED:
        headers["Allow"] = _allowed(headers.get("Allow", ""))
        sentence = f"This takes {headers['Allow'].replace(', ', ' or ')} only."
    elif error.status_code == codes.NOT_FOUND:
        sentence = "There is nothing at this path; docs/client-protocol.md names what there is."
    return JSONResponse({"error": sentence}, status_code=error.status_code, headers=headers)


def _allowed(methods: str) -> str:
    """What a route takes: HEAD wherever GET is."""
    found = {method.strip() for method in methods.split(",")}
    return ", ".join(sorted(found | ({"HEAD"} if "GET" in found else set())))
