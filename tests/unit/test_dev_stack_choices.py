"""What the environment chooses for `make up`: each mistake is a line that names its variable."""

from __future__ import annotations

import re

import pytest

from dev.choices import Choices
from dev.servers.errors import DevError
from dev.servers.ports import free_port

VARIABLES = ("CLIENTS", "REGISTRY_PORT", "CLIENT_PORT", "RABBITMQ_MANAGEMENT_PORT")


@pytest.fixture(autouse=True)
def _any_port(monkeypatch: pytest.MonkeyPatch) -> None:
    """One client, all ports free ones."""
    for name in VARIABLES:
        monkeypatch.setenv(name, "0" if name.endswith("_PORT") else "1")


def test_0_means_any_free_port(monkeypatch: pytest.MonkeyPatch) -> None:
    """For each client another one."""
    monkeypatch.setenv("CLIENTS", "3")
    choices = Choices()
    assert choices.client_names == ["client-1", "client-2", "client-3"]
    assert len({choices.registry_port, choices.management_port, *choices.client_ports}) == 5


def test_no_clients(monkeypatch: pytest.MonkeyPatch) -> None:
    """Then their port is of no interest."""
    monkeypatch.setenv("CLIENTS", "0")
    monkeypatch.setenv("CLIENT_PORT", "70000")
    assert Choices().client_names == []


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"CLIENTS": "many"}, "CLIENTS must be a whole number, not 'many'"),
        ({"REGISTRY_PORT": "-1"}, "REGISTRY_PORT must be a whole number, not '-1'"),
        ({"REGISTRY_PORT": "65536"}, "REGISTRY_PORT leads to 65536"),
        ({"CLIENT_PORT": "65535", "CLIENTS": "2"}, "CLIENT_PORT leads to 65536 for client-2"),
    ],
)
def test_a_mistake_names_its_variable(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], words: str) -> None:
    """And what was found."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(DevError, match=re.escape(words)):
        Choices()


def test_one_port_for_two_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the second to start finds it taken."""
    port = str(free_port())
    monkeypatch.setenv("REGISTRY_PORT", port)
    monkeypatch.setenv("CLIENT_PORT", port)
    with pytest.raises(DevError, match=f"port {port} is wanted twice, by REGISTRY_PORT and CLIENT_PORT"):
        Choices()
