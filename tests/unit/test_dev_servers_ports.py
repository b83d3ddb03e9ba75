"""Ports for the private servers."""

import socket

import pytest

from dev.servers.errors import DevError
from dev.servers.ports import LOOPBACK, STANDARD_PORTS, free_port, require_free


def test_ports_differ_and_are_not_standard() -> None:
    """Fifty ports are fifty different ones, and none that someone expects a known server on."""
    ports = {free_port() for _ in range(50)}
    assert len(ports) == 50
    assert not ports & STANDARD_PORTS
    assert {4369, 5432, 5672, 15672, 25672} <= STANDARD_PORTS


def test_a_free_port_can_be_listened_on() -> None:
    """Whoever is handed a port can use it."""
    require_free(free_port(), "registry", "REGISTRY_PORT")


def test_a_port_in_use_is_refused_with_one_line() -> None:
    """The message names the port, its purpose and how to choose another."""
    with socket.socket() as listener:
        listener.bind((LOOPBACK, 0))
        listener.listen()
        port = listener.getsockname()[1]
        with pytest.raises(DevError) as caught:
            require_free(port, "registry", "REGISTRY_PORT")
    assert str(caught.value) == (f"port {port} (registry) is in use; choose another: REGISTRY_PORT={port + 10} make up")


def test_a_port_is_free_again_after_its_connections() -> None:
    """What remains of closed connections (TIME_WAIT) does not make a port look used."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((LOOPBACK, 0))
        listener.listen()
        port = listener.getsockname()[1]
        with socket.create_connection((LOOPBACK, port)):
            listener.accept()[0].close()  # who closes first keeps the remains
    require_free(port, "registry", "REGISTRY_PORT")
