"""Ports on 127.0.0.1 for the private servers."""

import random
import socket
from pathlib import Path
from typing import Final

from dev.servers.errors import DevError

LOOPBACK: Final = "127.0.0.1"

# Ports that someone may expect a particular server on, free or not: web and development servers, PostgreSQL, epmd,
# AMQP, RabbitMQ's management, Prometheus, distribution and command-line tools.
STANDARD_PORTS: Final = frozenset(
    {3000, 4369, 5000, 5432, 5433, 5671, 5672, 6379, 8000, 8080, 8443, 9090, 9100, 15671, 15672, 15691, 15692, 25672}
    | set(range(35672, 35683))
)
_LOWEST: Final = 10_000
_FALLBACK_EPHEMERAL: Final = 32_768
_TRIES: Final = 200

_handed_out: set[int] = set()


def free_port() -> int:
    """A port that nobody listens on at 127.0.0.1, never a standard one, never the same twice within this process.

    It lies below the range from which the kernel takes the ports of outgoing connections: a server that is stopped and
    started again on its port would otherwise find, now and then, that a client's connection has taken it.

    Raises:
        DevError: no port is free.
    """
    for port in _candidates():
        if port not in _handed_out and port not in STANDARD_PORTS and _can_listen(port, LOOPBACK):
            _handed_out.add(port)
            return port
    message = f"no free port on {LOOPBACK}"
    raise DevError(message)


def require_free(port: int, name: str, variable: str, *, host: str = LOOPBACK) -> None:
    """Passes when `port` can be listened on at `host`; may be repeated.

    Args:
        port: the port that someone wants.
        name: who wants it, for the message.
        variable: the environment variable that chooses another one, for the message.
        host: the address to listen on.

    Raises:
        DevError: the port is in use, or may not be used by this user.
    """
    if not _can_listen(port, host):
        message = f"port {port} ({name}) is in use; choose another: {variable}={port + 10} make up"
        raise DevError(message)


def _candidates() -> list[int]:
    """Ports to try, in random order; after them what the kernel proposes."""
    below = range(_LOWEST, max(_first_ephemeral_port(), _LOWEST + 1))
    drawn = random.sample(below, min(_TRIES, len(below)))
    return [*drawn, *(_kernel_proposal() for _ in range(10))]


def _first_ephemeral_port() -> int:
    try:
        return int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return _FALLBACK_EPHEMERAL


def _kernel_proposal() -> int:
    with socket.socket() as listener:
        listener.bind((LOOPBACK, 0))
        return int(listener.getsockname()[1])


def _can_listen(port: int, host: str) -> bool:
    """Tries it, as servers do: with SO_REUSEADDR, which passes over the remains of closed connections."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
            listener.listen()
        except OSError:
            return False
    return True
