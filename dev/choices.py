"""What the environment chooses for `make up`: how many clients, which ports, whether Prometheus. Starts nothing."""

from __future__ import annotations

import os
from typing import Final

from dev.servers.errors import DevError
from dev.servers.ports import free_port, require_free

_HIGHEST_PORT: Final = 65_535


class Choices:
    """What the environment chooses; checked before anything is started."""

    def __init__(self) -> None:
        """From the environment.

        Raises:
            DevError: a value is no number, or a port is in use or chosen twice.
        """
        self.clients = _number("CLIENTS", 1)
        self.monitoring = _number("MONITORING", 0) > 0
        self.registry_port = _port("REGISTRY_PORT", 8000, "registry")
        self.management_port = _port("RABBITMQ_MANAGEMENT_PORT", 15672, "RabbitMQ management UI")
        first = _port("CLIENT_PORT", 3001, "client-1") if self.clients else 0
        self.client_ports = [first]
        for number in range(2, self.clients + 1):
            port = first + number - 1 if os.environ.get("CLIENT_PORT") != "0" else free_port()
            self.client_ports.append(_usable(port, f"client-{number}", "CLIENT_PORT"))
        self._require_distinct()

    def _require_distinct(self) -> None:
        owners = {self.management_port: "RABBITMQ_MANAGEMENT_PORT"}
        clients = dict.fromkeys(self.client_ports[: self.clients], "CLIENT_PORT")
        for port, variable in ((self.registry_port, "REGISTRY_PORT"), *clients.items()):
            if port in owners:
                message = f"port {port} is wanted twice, by {owners[port]} and {variable}: change one of them"
                raise DevError(message)
            owners[port] = variable

    @property
    def client_names(self) -> list[str]:
        """The sample clients."""
        return [f"client-{number}" for number in range(1, self.clients + 1)]


def _number(variable: str, default: int) -> int:
    text = os.environ.get(variable) or str(default)
    if not text.isascii() or not text.isdigit():
        message = f"{variable} must be a whole number, not {text!r}"
        raise DevError(message)
    return int(text)


def _port(variable: str, default: int, name: str) -> int:
    """The port that the environment chooses; 0 for any free one."""
    return _usable(_number(variable, default) or free_port(), name, variable)


def _usable(port: int, name: str, variable: str) -> int:
    if port > _HIGHEST_PORT:
        message = f"{variable} leads to {port} for {name}, and ports end at {_HIGHEST_PORT}"
        raise DevError(message)
    require_free(port, name, variable)
    return port
