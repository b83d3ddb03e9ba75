"""`python -m services.client`: read the settings, listen, serve until told to stop."""

from __future__ import annotations

import asyncio
import errno
import signal
import socket
import sys
from typing import TYPE_CHECKING, Final, NoReturn

import structlog
import uvicorn

from services.client.app import build_app
from services.client.errors import ClientError, StartupError
from services.client.settings import ClientSettings
from shared.logs import configure_logging
from shared.settings import load_settings

if TYPE_CHECKING:
    from types import FrameType

_STOP_WITHIN_S: Final = 5
_BACKLOG: Final = 2048

log = structlog.get_logger()


def main() -> int:
    """Run until SIGTERM or SIGINT; gives the exit status: 0, or 1 when the client can't start (2: bad settings)."""
    settings = load_settings(ClientSettings)
    configure_logging("client", settings.log_level)
    for stop in (signal.SIGTERM, signal.SIGINT):
        signal.signal(stop, _leave)
    try:
        with listen(settings.client_host, settings.client_port) as listener:
            asyncio.run(serve(settings, listener))
    except ClientError as error:
        log.error("cannot_start", reason=str(error))
        return 1
    return 0


async def serve(settings: ClientSettings, listener: socket.socket) -> None:
    """Serve on a socket that listens already: a registry that calls back at once is heard as soon as we serve.

    The lifespan is entered here and not by uvicorn, which would log a trace when it fails.
    """
    app = build_app(settings)
    config = uvicorn.Config(
        app, lifespan="off", log_config=None, access_log=False, ws="none", timeout_graceful_shutdown=_STOP_WITHIN_S
    )
    async with app.router.lifespan_context(app):
        log.info("listening", host=settings.client_host, port=settings.client_port, user_id=settings.client_user_id)
        await uvicorn.Server(config).serve(sockets=[listener])


def listen(host: str, port: int) -> socket.socket:
    """A socket that takes connections.

    Raises:
        StartupError: the port is taken, or the host is not ours.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address[:2], family=family, backlog=_BACKLOG)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            reason = f"port {port} of {host} is in use by another program; stop that, or set another CLIENT_PORT"
        else:
            reason = f"cannot listen on {host} port {port}: {error.strerror}; see CLIENT_HOST and CLIENT_PORT"
        raise StartupError(reason) from error


def _leave(_signal: int, _frame: FrameType | None) -> NoReturn:
    """Before uvicorn serves this ends the process; uvicorn then stops gracefully, and raises the signal again."""
    raise SystemExit(0)


if __name__ == "__main__":
    sys.exit(main())
