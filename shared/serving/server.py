"""Serves a service's ASGI app until it is told to stop, with one clear line when it can't start."""

from __future__ import annotations

import asyncio
import errno
import gc
import os
import resource
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import partial
from types import FrameType
from typing import Any, Final, NoReturn, Protocol

import structlog
import uvicorn
import uvloop
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shared.errors import StartupError
from shared.observing.tracing import stop_tracing
from shared.serving.bounded_http import bounded_http

_STOP_WITHIN_S: Final = 3
"""For requests under way. What else a service waits for when it stops fits into 15 s with it."""
_END_WITHIN_S: Final = 11.0
"""From the last request to the end of the process. What is in hand by then goes back, as after a crash."""
_BACKLOG: Final = 2048
_CONNECTIONS: Final = 256
"""For services that few call: orchestrators, the app beside a client, a puller."""
_CONNECTIONS_PER_ADDRESS: Final = 192
_GC_AFTER: Final = 50_000
"""Objects made until cycles are looked for: a batch is thousands of objects, and none of ours is in a cycle."""
_HEADERS: Final = [("x-content-type-options", "nosniff")]
"""Of every answer, also where it is not the app's: no browser guesses what it is from what clients wrote in it."""

log = structlog.get_logger()


class App(Protocol):
    """What Starlette and FastAPI have in common."""

    @property
    def router(self) -> Any:
        """Whose lifespan is entered."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""


def run(
    build: Callable[[], App],
    *,
    host: str,
    port: int,
    variable: str,
    connections: int = _CONNECTIONS,
    connections_per_address: int = _CONNECTIONS_PER_ADDRESS,
    proxies: Sequence[str] = (),
) -> NoReturn:
    """Listen, build the app, serve it until SIGTERM or SIGINT, and exit: 0, or 1 when it can't start.

    `variable` is the setting of the port, named when the port is taken. The app is served from before its lifespan on,
    which takes as long as a server is away; what it answers meanwhile is in `shared.serving.starting`.
    `connections` is how many there may be at once, `connections_per_address` how many of them from one address; what is
    bounded besides is in `shared.serving.bounded_http`. Only of `proxies`, addresses or networks, it is believed for
    whom they call (`X-Forwarded-For`, `X-Forwarded-Proto`), and these may have all connections.
    """
    _on_signals(_leave)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    try:
        with _listen(host, port, variable) as listener:
            http = bounded_http(
                connections=connections, connections_per_address=connections_per_address, proxies=proxies
            )
            with suppress(asyncio.CancelledError):  # it was told to end while it started
                uvloop.run(_serve(build, listener, http, proxies))
    except StartupError as error:
        log.error("cannot_start", reason=str(error))
        sys.exit(1)
    finally:
        stop_tracing()
    sys.exit(0)


async def _serve(
    build: Callable[[], App], listener: socket.socket, http: type[asyncio.Protocol], proxies: Sequence[str]
) -> None:
    """The lifespan is entered here and not by uvicorn, which serves nothing before, and logs a trace when it fails."""
    app = build()
    gc.freeze()  # what is there now stays
    gc.set_threshold(_GC_AFTER)
    quiet = QuietEnd(app)
    config = uvicorn.Config(
        quiet,
        http=http,
        lifespan="off",
        log_config=None,
        access_log=False,
        ws="none",
        headers=_HEADERS,
        server_header=False,
        proxy_headers=bool(proxies),
        forwarded_allow_ips=list(proxies),
        timeout_graceful_shutdown=_STOP_WITHIN_S,
    )
    server = _Server(config, quiet)
    _on_signals(_end_of_start())
    serving = asyncio.create_task(server.serve(sockets=[listener]), name="server")
    async with app.router.lifespan_context(app):
        address, port = listener.getsockname()[:2]
        log.info("listening", host=address, port=port)
        _on_signals(_leave)
        with server.stopping_in_order():
            try:
                await serving
            finally:
                _end_soon()


def _end_soon() -> None:
    """End the process even if tasks of a library refuse to: all that is ours has its own bound, below this one."""
    watchdog = threading.Timer(_END_WITHIN_S, os._exit, (0,))
    watchdog.daemon = True
    watchdog.start()


class QuietEnd:
    """Lets a request that is cancelled end as if it were done: at a stop, the server would log a trace for each.

    Only a stop cancels: event streams, which end never, at once; others after their time is over.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._streams: set[asyncio.Task[Any]] = set()

    def end_streams(self) -> None:
        """Cut every event stream off; whoever reads one connects again, and misses nothing."""
        for task in self._streams:
            task.cancel()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve the request."""
        task, sent = asyncio.current_task(), _Sent(send)
        try:
            await self._app(scope, receive, partial(self._watched, sent, task))
        except asyncio.CancelledError:
            await sent.end()
        finally:
            if task is not None:
                self._streams.discard(task)

    async def _watched(self, sent: _Sent, task: asyncio.Task[Any] | None, message: Message) -> None:
        if task is not None and message["type"] == "http.response.start" and _is_stream(message):
            self._streams.add(task)
        await sent(message)


class _Sent:
    """What was sent of an answer."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._open = False

    async def __call__(self, message: Message) -> None:
        await self._send(message)
        self._open = message["type"] == "http.response.start" or bool(message.get("more_body"))

    async def end(self) -> None:
        """End a body that has begun, so that it is complete as HTTP has it."""
        if self._open:
            await self({"type": "http.response.body", "body": b"", "more_body": False})


def _is_stream(start: Message) -> bool:
    return Headers(raw=start["headers"]).get("content-type", "").startswith("text/event-stream")


class _Server(uvicorn.Server):
    """Leaves signals to the start while that goes on; does not wait for event streams when it stops."""

    def __init__(self, config: uvicorn.Config, quiet: QuietEnd) -> None:
        super().__init__(config)
        self._quiet = quiet

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Called by uvicorn when it begins to serve, which is while the service starts."""
        yield

    def stopping_in_order(self) -> AbstractContextManager[None]:
        """From now on a signal has the server stop, which raises it again when this is left."""
        return super().capture_signals()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Called by uvicorn when it was told to stop."""
        self._quiet.end_streams()
        await super().shutdown(sockets)


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


def _on_signals(handler: Callable[[int, FrameType | None], None]) -> None:
    for stop in (signal.SIGTERM, signal.SIGINT):
        signal.signal(stop, handler)


def _end_of_start() -> Callable[[int, FrameType | None], None]:
    """What ends the start that the current task makes; raised wherever it may be, SystemExit could end in a request."""
    loop, start = asyncio.get_running_loop(), asyncio.current_task()

    def end(_signal: int, _frame: FrameType | None) -> None:
        _end_soon()
        if start is not None:
            loop.call_soon_threadsafe(start.cancel)

    return end


def _leave(_signal: int, _frame: FrameType | None) -> NoReturn:
    """Before the start, this ends the process; after it uvicorn stops gracefully, and raises the signal again."""
    _end_soon()
    raise SystemExit(0)
