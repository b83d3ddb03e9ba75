"""Deciding how to install RabbitMQ, Prometheus and Chromium; the package managers themselves are not run."""

from __future__ import annotations

from pathlib import Path

import pytest

from dev.servers.chromium_program import find_chromium
from dev.servers.errors import DevError
from dev.servers.install import CHROMIUM, PROMETHEUS, RABBITMQ, Machine, Package, advice, ensure, install_command
from dev.servers.prometheus_program import find_prometheus

each_package = pytest.mark.parametrize("package", [RABBITMQ, PROMETHEUS, CHROMIUM])


def test_root_runs_the_package_manager() -> None:
    """Root needs no sudo."""
    command = install_command(Machine("dnf", root=True, sudo=False), RABBITMQ)
    assert command is not None
    assert command[:2] == ["dnf", "install"]
    assert command[-1] == "rabbitmq-server"


def test_others_use_sudo_where_it_asks_nothing() -> None:
    """A user with sudo without password installs by it, and never waits for a password."""
    command = install_command(Machine("pacman", root=False, sudo=True), PROMETHEUS)
    assert command is not None
    assert command[:3] == ["sudo", "-n", "pacman"]
    assert command[-1] == "prometheus"


@each_package
@pytest.mark.parametrize(
    "machine",
    [
        Machine("apt-get", root=False, sudo=False),
        Machine("brew", root=False, sudo=True),
        Machine(None, root=True, sudo=False),
    ],
)
def test_nothing_is_installed_without_the_right_or_the_means(machine: Machine, package: Package) -> None:
    """Without root, or with a package manager that we don't drive, people are told instead."""
    assert install_command(machine, package) is None
    assert "\n" not in advice(machine, package)


def test_the_advice_can_be_typed() -> None:
    """It holds the command, with sudo for who is not root."""
    root, user = Machine("apt-get", root=True, sudo=False), Machine("apt-get", root=False, sudo=False)
    assert advice(root, RABBITMQ) == "RabbitMQ is missing: apt-get install rabbitmq-server"
    assert advice(user, RABBITMQ).endswith(": sudo apt-get install rabbitmq-server")
    assert advice(user, PROMETHEUS).endswith(": sudo apt-get install prometheus")
    assert advice(Machine("brew", root=False, sudo=False), RABBITMQ).endswith(": brew install rabbitmq")


@each_package
def test_the_advice_leads_somewhere_without_a_package_manager(package: Package) -> None:
    """To where it is had from."""
    assert "https://" in advice(Machine(None, root=True, sudo=False), package)


@pytest.mark.parametrize("package", [RABBITMQ, PROMETHEUS])
def test_debian_starts_no_service(package: Package) -> None:
    """Its script forbids services to start, asks nothing, takes no recommended package, and puts the policy back."""
    command = install_command(Machine("apt-get", root=True, sudo=False), package)
    assert command is not None
    script = command[2]
    for part in ("exit 101", "trap restore EXIT", "DEBIAN_FRONTEND=noninteractive", "--no-install-recommends"):
        assert part in script
    assert script.index("apt-get update") < script.index("apt-get install") < script.index("systemctl disable")
    [units] = [line for line in script.splitlines() if line.startswith("units=")]
    assert f"{command[-1]}.service" in units


def test_what_is_missing_and_can_not_be_installed_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says what to install."""
    monkeypatch.setattr("dev.servers.install.this_machine", lambda: Machine("apt-get", root=False, sudo=False))
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(DevError, match=r"Prometheus, .* is missing: sudo apt-get install prometheus"):
        ensure(PROMETHEUS)


def test_chromium_is_whichever_there_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Distributions call it differently, and Chrome is as good."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DevError, match="apt-get install chromium"):
        find_chromium()
    for name in ("google-chrome", "chromium"):
        (tmp_path / name).touch(mode=0o755)
        assert find_chromium() == tmp_path / name


def test_prometheus_is_both_its_programs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """In one folder; one of them alone is of no use."""
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "promtool").touch(mode=0o755)
    with pytest.raises(DevError, match="apt-get install prometheus"):
        find_prometheus()
    (tmp_path / "prometheus").touch(mode=0o755)
    assert find_prometheus() == tmp_path
