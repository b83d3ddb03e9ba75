"""Serves a service's ASGI app until it is told to stop, with one clear line when it can't start."""

from __future__ import annotations

import asyncio
import errno
import resource
import signal
import socket
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any, Final, NoReturn, Protocol

import structlog
import uvicorn
import uvloop
from starlette.types import ASGIApp, Receive, Scope, Send

from shared.errors import StartupError

_STOP_WITHIN_S: Final = 5
_BACKLOG: Final = 2048

log = structlog.get_logger()


class App(Protocol):
    """What Starlette and FastAPI have in common."""

    @property
    def router(self) -> Any:
        """Whose lifespan is entered."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""


def run(build: Callable[[], App], *, host: str, port: int, variable: str) -> NoReturn:
    """Listen, build the app, serve it until SIGTERM or SIGINT, and exit: 0, or 1 when it can't start.

    `variable` is the setting of the port, named when the port is taken. The socket listens before the lifespan begins.
    """
    for stop in (signal.SIGTERM, signal.SIGINT):
        signal.signal(stop, _leave)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    try:
        with _listen(host, port, variable) as listener:
            uvloop.run(_serve(build, listener))
    except StartupError as error:
        log.error("cannot_start", reason=str(error))
        sys.exit(1)
    sys.exit(0)


async def _serve(build: Callable[[], App], listener: socket.socket) -> None:
    """The lifespan is entered here and not by uvicorn, which would log a trace when it fails."""
    app = build()
    config = uvicorn.Config(
        QuietEnd(app),
        lifespan="off",
        log_config=None,
        access_log=False,
        ws="none",
        timeout_graceful_shutdown=_STOP_WITHIN_S,
    )
    async with app.router.lifespan_context(app):
        address, port = listener.getsockname()[:2]
        log.info("listening", host=address, port=port)
        await uvicorn.Server(config).serve(sockets=[listener])


class QuietEnd:
    """Lets a request that is cancelled end as if it were done: at a stop, the server would log a trace for each."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve the request. Only a stop cancels it, after the time for requests under way is over."""
        try:
            await self._app(scope, receive, send)
        except asyncio.CancelledError:
            return


def _listen(host: str, port: int, variable: str) -> socket.socket:
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address[:2], family=family, backlog=_BACKLOG)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            reason = f"port {port} of {host} is in use by another program; stop that, or set another {variable}"
        else:
            reason = f"cannot listen on {host} port {port}: {error.strerror}; see {variable}"
        raise StartupError(reason) from error


def _leave(_signal: int, _frame: FrameType | None) -> NoReturn:
    """Before uvicorn serves, this ends the process; uvicorn then stops gracefully, and raises the signal again."""
    raise SystemExit(0)
