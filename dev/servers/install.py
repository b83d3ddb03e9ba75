"""Installs packages of the system where they are missing, without a system service coming of it.

They are what the project can't bring along (RabbitMQ, Prometheus with promtool, Chromium to test web pages), so this is
the only place that changes the machine.
"""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from dev.servers.chromium_program import find_chromium
from dev.servers.errors import DevError
from dev.servers.prometheus_program import find_prometheus
from dev.servers.rabbitmq_program import find_scripts

# Debian's packages start their services at once unless this file says no (101), and enable them in any case.
_POLICY: Final = Path("/usr/sbin/policy-rc.d")
_MARK: Final = "temporary, by PullSync"

# $1 the policy, $2 the mark, $3 the package. Puts the policy back that was there, after a failure too, and disables
# what it newly enabled; Erlang's port mapper comes with units of its own. Killed on its way it leaves its own policy,
# which says what it found: the next run ends what that one began, whatever it installs itself.
_APT: Final = """
set -u
policy=$1
mark=$2
package=$3
saved=$policy.before-pullsync
units='rabbitmq-server.service epmd.service epmd.socket prometheus.service'

enabled() {
    command -v systemctl >/dev/null || return 1
    systemctl --quiet is-enabled "$1" 2>/dev/null
}
restore() {
    rm -f "$policy"
    if [ -e "$saved" ] || [ -L "$saved" ]; then mv "$saved" "$policy"; fi
}

before=
unfinished=
if grep -qs "$mark" "$policy"; then
    unfinished=yes
    before=$(sed -n 's/^# enabled before://p' "$policy")
else
    for unit in $units; do if enabled "$unit"; then before="$before $unit "; fi; done
    if [ -e "$policy" ] || [ -L "$policy" ]; then mv "$policy" "$saved"; fi
fi
trap restore EXIT
trap 'exit 130' HUP INT TERM
printf '#!/bin/sh\\n# %s\\n# enabled before:%s\\nexit 101\\n' "$mark" "$before" >"$policy"
chmod 755 "$policy"

export DEBIAN_FRONTEND=noninteractive
if [ -n "$unfinished" ]; then dpkg --configure -a; fi
apt-get update || echo 'going on with the lists that are there'
apt-get install --yes --no-install-recommends ${unfinished:+--fix-broken} \\
    -o DPkg::Lock::Timeout=120 "$package" || exit 1
for unit in $units; do
    case $before in *" $unit "*) continue ;; esac
    if enabled "$unit"; then systemctl disable "$unit"; fi
done
"""


@dataclass(frozen=True)
class Machine:
    """What matters about a machine: its package manager (None when it has none we know), and who we are on it."""

    manager: str | None
    root: bool
    sudo: bool


@dataclass(frozen=True)
class Package:
    """What is installed."""

    title: str
    """How people call it."""
    names: Mapping[str, str]
    """By package manager."""
    website: str
    """What to do where there is none of these."""
    find: Callable[[], Path]
    """Where it is; raises DevError when it is missing."""


RABBITMQ: Final = Package(
    "RabbitMQ",
    {
        "apt-get": "rabbitmq-server",
        "dnf": "rabbitmq-server",
        "zypper": "rabbitmq-server",
        "apk": "rabbitmq-server",
        "pacman": "rabbitmq",
        "brew": "rabbitmq",
    },
    "install rabbitmq-server (https://www.rabbitmq.com/docs/download)",
    find_scripts,
)
PROMETHEUS: Final = Package(
    "Prometheus, with its promtool,",
    {
        "apt-get": "prometheus",
        "dnf": "golang-github-prometheus",
        "zypper": "golang-github-prometheus-prometheus",
        "apk": "prometheus",
        "pacman": "prometheus",
        "brew": "prometheus",
    },
    "put prometheus and promtool on PATH (https://prometheus.io/download)",
    find_prometheus,
)
CHROMIUM: Final = Package(
    "Chromium",
    dict.fromkeys(("apt-get", "dnf", "zypper", "apk", "pacman", "brew"), "chromium"),
    "install it, and have it on PATH (https://www.chromium.org/getting-involved/download-chromium)",
    find_chromium,
)

# What to run as root, before the package's name. None but Debian's enables or starts a service by itself.
_COMMANDS: Final[Mapping[str, Sequence[str]]] = {
    "apt-get": ("/bin/sh", "-c", _APT, "sh", str(_POLICY), _MARK),
    "dnf": ("dnf", "install", "--assumeyes", "--setopt=install_weak_deps=False"),
    "zypper": ("zypper", "--non-interactive", "install", "--no-recommends"),
    "apk": ("apk", "add", "--no-interactive"),
    "pacman": ("pacman", "--sync", "--refresh", "--noconfirm", "--needed"),
}
# What to tell people to run, likewise.
_BY_HAND: Final[Mapping[str, str]] = {
    "apt-get": "apt-get install",
    "dnf": "dnf install",
    "zypper": "zypper install",
    "apk": "apk add",
    "pacman": "pacman -S",
    "brew": "brew install",
}


def ensure_rabbitmq_server(log_path: Path | None = None) -> Path:
    """The folder of RabbitMQ's scripts, after installing it when it is missing and this user may; see `ensure`.

    Raises:
        DevError: it is missing and can't be installed.
    """
    return ensure(RABBITMQ, log_path)


def ensure_prometheus(log_path: Path | None = None) -> Path:
    """The folder of `prometheus` and `promtool`, after installing them when missing and this user may; see `ensure`.

    Raises:
        DevError: they are missing and can't be installed.
    """
    return ensure(PROMETHEUS, log_path)


def ensure_chromium(log_path: Path | None = None) -> Path:
    """The program `chromium`, after installing it when it is missing and this user may; see `ensure`.

    Raises:
        DevError: it is missing and can't be installed.
    """
    return ensure(CHROMIUM, log_path)


def ensure(package: Package, log_path: Path | None = None) -> Path:
    """Where the package is, after installing it when it is missing and this user may.

    No service is running or enabled afterwards that was not before. May be repeated.

    Args:
        package: which.
        log_path: where the package manager's output goes; a temporary file unless told.

    Raises:
        DevError: it is missing and can't be installed; the message says what to install, the detail is the end of the
            package manager's output.
    """
    found = _installed(package)
    if found is not None and not _unfinished():
        return found
    machine = this_machine()
    command = install_command(machine, package)
    if command is None:
        if found is not None:
            return found
        raise DevError(advice(machine, package))
    log = log_path or Path(tempfile.mkdtemp(prefix="pullsync-install-")) / "install.log"
    print(f"Installing {command[-1]} with {machine.manager}, which is missing (log: {log})", flush=True)
    if _run(command, log) != 0:
        message = f"installing {command[-1]} failed: {advice(machine, package)}"
        raise DevError(message, detail="\n".join(log.read_text(errors="replace").splitlines()[-25:]))
    return package.find()


def _installed(package: Package) -> Path | None:
    try:
        return package.find()
    except DevError:
        return None


def _unfinished() -> bool:
    """Whether an earlier installation was killed on its way."""
    return _POLICY.is_file() and _MARK in _POLICY.read_text(errors="replace")


def install_command(machine: Machine, package: Package) -> list[str] | None:
    """The command that installs it on `machine`; None where we can't, or may not without asking."""
    command = _COMMANDS.get(machine.manager or "")
    if command is None or machine.manager is None:
        return None
    whole = [*command, package.names[machine.manager]]
    if machine.root:
        return whole
    return ["sudo", "-n", *whole] if machine.sudo else None


def advice(machine: Machine, package: Package) -> str:
    """One line that says what to install."""
    by_hand = _BY_HAND.get(machine.manager or "")
    if by_hand is None or machine.manager is None:
        return f"{package.title} is missing: {package.website}"
    prefix = "" if machine.root or machine.manager == "brew" else "sudo "
    return f"{package.title} is missing: {prefix}{by_hand} {package.names[machine.manager]}"


def this_machine() -> Machine:
    """Looks at the machine that we run on."""
    manager = next((name for name in _BY_HAND if shutil.which(name)), None)
    root = os.geteuid() == 0
    return Machine(manager, root=root, sudo=not root and _may_sudo())


def _may_sudo() -> bool:
    """Whether sudo works without asking for a password."""
    if shutil.which("sudo") is None:
        return False
    tried = subprocess.run(["sudo", "-n", "true"], stdin=subprocess.DEVNULL, capture_output=True, check=False)
    return tried.returncode == 0


def _run(command: Sequence[str], log_path: Path) -> int:
    """Runs it to its end, whatever happens to us: interrupted, it still has to put things back."""
    log_path.parent.mkdir(parents=True, exist_ok=True)
    with log_path.open("ab") as log:
        child = subprocess.Popen(command, cwd="/", stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)
        try:
            return child.wait()
        except BaseException:
            child.terminate()
            child.wait()
            raise
