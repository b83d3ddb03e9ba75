"""Everything that the registry refuses, and the one place that turns it into an HTTP answer.

Each answer has a `detail`: one sentence that says what is wrong and what to do.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

import asyncpg
import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shared.database import TRANSIENT

BODY_BYTES: Final = 1024 * 1024
_TOO_LARGE: Final = f"The body is larger than {BODY_BYTES} bytes."

log = structlog.get_logger()

Answer = Callable[[Request, Exception], Awaitable[JSONResponse]]


class RegistryError(Exception):
    """Base of the registry's errors; its text is fit for a caller."""

    status = 500


class RefusedError(RegistryError):
    """The request can't be served as it is; sending it again does not help."""

    status = 400


class UnknownClientError(RegistryError):
    """No such client is registered."""

    status = 404

    def __init__(self, user_id: str) -> None:
        """For the client of `user_id`."""
        super().__init__(f"No client is registered for user {user_id!r}.")


class UnknownRunError(RegistryError):
    """No such sync run is kept."""

    status = 404


class UnavailableError(RegistryError):
    """Something behind the registry is away; the same request may succeed later."""

    status = 503


class BodyLimit:
    """Refuses a body that is too large with a sentence, before reading it or while reading it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve the request, or refuse it."""
        length = Headers(scope=scope).get("content-length", "") if scope["type"] == "http" else ""
        if length.isdigit() and int(length) > BODY_BYTES:
            answer = JSONResponse({"detail": _TOO_LARGE}, status_code=413)
            await answer(scope, receive, send)
        else:
            await self._app(scope, _counted(receive), send)


def _counted(receive: Receive) -> Receive:
    read = 0

    async def count() -> Message:
        nonlocal read
        message = await receive()
        read += len(message.get("body", b""))
        if read > BODY_BYTES:
            raise HTTPException(413, _TOO_LARGE)
        return message

    return count


def install_error_handlers(app: FastAPI) -> None:
    """Answer every error of this service, of validation and of the database with one sentence."""

    async def refused(_request: Request, error: Exception) -> JSONResponse:
        status = error.status if isinstance(error, RegistryError) else 500
        return JSONResponse({"detail": str(error)}, status_code=status)

    async def invalid(_request: Request, error: Exception) -> JSONResponse:
        problems = error.errors() if isinstance(error, RequestValidationError) else ()
        status = 400 if any(problem["type"] == "json_invalid" for problem in problems) else 422
        return JSONResponse({"detail": "; ".join(_sentence(problem) for problem in problems)}, status_code=status)

    async def schema_missing(_request: Request, _error: Exception) -> JSONResponse:
        text = "The captures are not set up yet: is ingest running? It creates its tables when it starts."
        return JSONResponse({"detail": text}, status_code=503)

    async def database_away(request: Request, error: Exception) -> JSONResponse:
        log.warning("database_away", path=request.url.path, problem=str(error) or type(error).__name__)
        return JSONResponse({"detail": "The database is not available; try again soon."}, status_code=503)

    async def failed(_request: Request, _error: Exception) -> JSONResponse:
        # Starlette logs it with its trace after this answer.
        return JSONResponse({"detail": "Something went wrong here, and was logged."}, status_code=500)

    app.add_exception_handler(Exception, failed)
    app.add_exception_handler(RegistryError, refused)
    app.add_exception_handler(RequestValidationError, invalid)
    for missing in (asyncpg.UndefinedTableError, asyncpg.InvalidSchemaNameError):
        app.add_exception_handler(missing, schema_missing)
    for away in TRANSIENT:
        app.add_exception_handler(away, database_away)


def _sentence(problem: dict[str, object]) -> str:
    """`interval: Input should be a valid integer`; the foreign input itself is not repeated."""
    location = problem["loc"]
    if problem["type"] == "json_invalid":
        return "The body is not valid JSON."
    parts = [str(part) for part in location[1:]] if isinstance(location, tuple) else []
    return f"{'.'.join(parts) or 'body'}: {problem['msg']}"
