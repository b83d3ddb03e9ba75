"""The one place that turns an error into an HTTP answer: problem details of RFC 9457.

The original answered `{"detail": "<sentence>"}`, and deployed clients read that: it is a member of every problem.
Nothing of what was sent is repeated, but for an id in a sentence that is about it.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from itertools import chain
from typing import Annotated, Final

import asyncpg
import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.contextvars import get_contextvars

from services.registry.api.request_ids import HEADER as REQUEST_ID
from services.registry.captures import SCHEMA_MISSING
from services.registry.errors import (
    BodyTooLargeError,
    BodyTooSlowError,
    CapturesNotReadyError,
    DatabaseAwayError,
    DatabaseIllError,
    DatabaseRefusesError,
    InternalError,
    InvalidField,
    InvalidRequestError,
    MalformedBodyError,
    MethodNotAllowedError,
    Quota,
    RefusedError,
    RegistryError,
    UnavailableError,
    UnknownPathError,
)
from shared.observing.logs import Seldom
from shared.postgres.database import TRANSIENT
from shared.postgres.illness import illness_of

MEDIA_TYPE: Final = "application/problem+json"
URN: Final = "urn:pullsync:problem:"
BODY_BYTES: Final = 256 * 1024
"""The largest request of ours, a thousand numbers to replay, has 20 KiB."""
BODY_S: Final = 10.0

_DATABASE: Final[Sequence[tuple[tuple[type[Exception], ...], Callable[[], RegistryError]]]] = (
    (SCHEMA_MISSING, CapturesNotReadyError),
    ((asyncpg.InvalidAuthorizationSpecificationError,), DatabaseRefusesError),
    (TRANSIENT, DatabaseAwayError),
)
"""What PostgreSQL's errors mean to a caller."""

_TELL_EVERY_S: Final = 30.0
"""Between two lines about the same outage, which each request meets."""

log = structlog.get_logger()


class Problem(BaseModel):
    """An error: RFC 9457 problem details. Callers may compare `type`, and shall show `detail`."""

    type: Annotated[str, Field(pattern=f"^{URN}[a-z0-9-]+$")]
    """The kind of problem; it stays the same from release to release."""
    title: str
    """The kind of problem in words."""
    status: Annotated[int, Field(ge=400, le=599)]
    """The HTTP status."""
    detail: str
    """One sentence: what is wrong, and what to do."""


class InvalidPart(BaseModel):
    """A parameter or a part of the body, and what is wrong with it."""

    field: str
    detail: str


class InvalidRequestProblem(Problem):
    """A request with values that can't be."""

    errors: list[InvalidPart]
    """The first of them."""


class ProblemResponse(JSONResponse):
    """A problem, as its media type says."""

    media_type = MEDIA_TYPE


def answer(error: RegistryError, headers: Mapping[str, str] | None = None) -> ProblemResponse:
    """The answer that tells of `error`, with `Retry-After` in whole seconds and quotas where the error knows them."""
    shape = {
        "type": f"{URN}{error.slug}",
        "title": error.title,
        "status": error.status,
        "detail": str(error) or error.title,
    }
    problem = Problem.model_validate(shape)
    if isinstance(error, InvalidRequestError):
        problem = InvalidRequestProblem.model_validate({**shape, "errors": [asdict(field) for field in error.fields]})
    sent = {**error.headers, **(headers or {}), **quota_headers(error.quotas)}
    if error.retry_after_s is not None:
        sent["retry-after"] = str(max(0, math.ceil(error.retry_after_s)))
    return ProblemResponse({**error.members, **problem.model_dump()}, status_code=error.status, headers=sent)


def quota_headers(quotas: Sequence[Quota]) -> dict[str, str]:
    """`RateLimit-Policy` and `RateLimit`, as draft-ietf-httpapi-ratelimit-headers-10 has them; nothing without quotas.

    `q` requests in `w` seconds, of which `r` are left for the next `t` seconds.
    """
    policies = [f'"{quota.name}";q={quota.limit};w={quota.window_s}' for quota in quotas]
    left = [f'"{quota.name}";r={quota.remaining};t={max(0, math.ceil(quota.reset_s))}' for quota in quotas]
    return {"ratelimit-policy": ", ".join(policies), "ratelimit": ", ".join(left)} if policies else {}


def install_error_handlers(app: FastAPI) -> None:
    """Answer every error of this service, of validation, of routing and of the database with a problem.

    And a body that is too large, or too slow.
    """
    app.add_middleware(BodyLimit)
    handle = partial(_handle, Seldom(every_s=_TELL_EVERY_S))
    for kind in (
        RegistryError,
        RequestValidationError,
        HTTPException,
        *chain(*(kinds for kinds, _ in _DATABASE)),
        Exception,
    ):
        app.add_exception_handler(kind, handle)


async def _handle(seldom: Seldom, request: Request, error: Exception) -> ProblemResponse:
    problem = translated(error)
    event = problem.slug.replace("-", "_")
    if isinstance(problem, UnavailableError) and problem is not error and seldom.may_tell(event):
        log.warning(event, path=request.url.path, problem=str(error) or type(error).__name__)
    headers = dict(error.headers or {}) if isinstance(error, HTTPException) else {}
    if request_id := get_contextvars().get("request_id"):
        headers[REQUEST_ID] = request_id  # an error that was not foreseen is answered outside of all middleware
    if isinstance(problem, MethodNotAllowedError):
        headers["Allow"] = ", ".join(sorted(_methods(request)))
    return answer(problem, headers)


def _methods(request: Request) -> set[str]:
    """What the path takes, by all of its routes; Starlette would name the methods of the first one only."""
    known = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"}
    routes = request.app.routes
    return {
        method
        for method in known
        if any(route.matches({**request.scope, "method": method})[0] is Match.FULL for route in routes)
    }


def translated(error: Exception) -> RegistryError:
    """The error in the registry's own words; InternalError for what is not foreseen, which its finder has to log."""
    match error:
        case RegistryError():
            return error
        case RequestValidationError():
            return _of_validation(error)
        case HTTPException():
            return _of_http(error)
    problem = next((problem for kinds, problem in _DATABASE if isinstance(error, kinds)), InternalError)
    illness = illness_of(error) if problem is DatabaseAwayError else None
    return problem() if illness is None else DatabaseIllError(illness)


def _of_validation(error: RequestValidationError) -> RegistryError:
    """What pydantic found; its `input` and `ctx` stay here."""
    faults = error.errors()
    if any(fault["type"] == "json_invalid" for fault in faults):
        return MalformedBodyError()
    return InvalidRequestError(
        [
            InvalidField(
                field=".".join(map(str, fault["loc"][1:])) or "body",
                detail=str(fault["msg"]).removeprefix("Value error, "),
            )
            for fault in faults
        ]
    )


def _of_http(error: HTTPException) -> RegistryError:
    """What FastAPI and Starlette refuse by themselves: 404 and 405 of routing, 400 of a body that is no text."""
    kinds: dict[int, RegistryError] = {
        400: MalformedBodyError(),
        404: UnknownPathError(),
        405: MethodNotAllowedError(),
        408: BodyTooSlowError(BODY_S),
        413: BodyTooLargeError(BODY_BYTES),
    }
    problem = kinds.get(error.status_code)
    if problem is None:
        problem = RefusedError(error.detail)
        problem.status = error.status_code
    return problem


class BodyLimit:
    """Refuses a body that is too large or too slow with a problem, before reading it or while reading it.

    Not `FastAPI(max_body_size=...)`: with a `Content-Length` above the limit that one lets a route that reads no body
    do its work first, and then overwrites every answer, also a problem, with a plain text.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve the request, or refuse it."""
        length = Headers(scope=scope).get("content-length", "") if scope["type"] == "http" else ""
        if length.isdigit() and int(length) > BODY_BYTES:
            await answer(BodyTooLargeError(BODY_BYTES))(scope, receive, send)
        else:
            body = _Body(receive, send)
            await self._app(scope, body.receive, body.send)


class _Body:
    """What of one request's body was read; raises HTTPException, since FastAPI lets no other out of its reading."""

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send
        self._read_bytes = 0
        self._is_whole = False
        self._is_answered = False
        self._deadline: float | None = None

    async def receive(self) -> Message:
        """The next part; when the body is read, only that the caller has gone."""
        if self._is_whole:
            return await self._receive()
        if self._deadline is None:
            self._deadline = asyncio.get_running_loop().time() + BODY_S
        try:
            async with asyncio.timeout_at(self._deadline):
                message = await self._receive()
        except TimeoutError as error:
            if self._is_answered:
                return {"type": "http.disconnect"}
            raise HTTPException(408, headers={"connection": "close"}) from error
        self._is_whole = not message.get("more_body", False)
        self._read_bytes += len(message.get("body", b""))
        if self._read_bytes > BODY_BYTES:
            raise HTTPException(413)
        return message

    async def send(self, message: Message) -> None:
        """A part of the answer."""
        self._is_answered = True
        await self._send(message)
