"""Deciding how to install RabbitMQ; the package managers themselves are not run."""

import pytest

from dev.servers.install import Machine, advice, install_command


def test_root_runs_the_package_manager() -> None:
    """Root needs no sudo."""
    command = install_command(Machine("dnf", root=True, sudo=False))
    assert command is not None
    assert command[:2] == ["dnf", "install"]


def test_others_use_sudo_where_it_asks_nothing() -> None:
    """A user with sudo without password installs by it, and never waits for a password."""
    command = install_command(Machine("pacman", root=False, sudo=True))
    assert command is not None
    assert command[:3] == ["sudo", "-n", "pacman"]


@pytest.mark.parametrize(
    "machine",
    [
        Machine("apt-get", root=False, sudo=False),
        Machine("brew", root=False, sudo=True),
        Machine(None, root=True, sudo=False),
    ],
)
def test_nothing_is_installed_without_the_right_or_the_means(machine: Machine) -> None:
    """Without root, or with a package manager that we don't drive, people are told instead."""
    assert install_command(machine) is None
    assert "\n" not in advice(machine)


def test_the_advice_can_be_typed() -> None:
    """It holds the command, with sudo for who is not root."""
    assert advice(Machine("apt-get", root=True, sudo=False)).endswith(": apt-get install rabbitmq-server")
    assert advice(Machine("apt-get", root=False, sudo=False)).endswith(": sudo apt-get install rabbitmq-server")
    assert advice(Machine("brew", root=False, sudo=False)).endswith(": brew install rabbitmq")
    assert "https://" in advice(Machine(None, root=True, sudo=False))


def test_debian_starts_no_service() -> None:
    """Its script forbids services to start, asks nothing, takes no recommended package, and puts the policy back."""
    command = install_command(Machine("apt-get", root=True, sudo=False))
    assert command is not None
    script = command[2]
    for part in ("exit 101", "trap restore EXIT", "DEBIAN_FRONTEND=noninteractive", "--no-install-recommends"):
        assert part in script
    assert script.index("apt-get update") < script.index("apt-get install") < script.index("systemctl disable")
