"""Where RabbitMQ's and Erlang's programs are."""

import os
import shutil
from pathlib import Path

from dev.servers.errors import DevError


def find_scripts() -> Path:
    """The folder of RabbitMQ's own scripts.

    What a distribution puts on PATH is often a wrapper that insists on root or on the user `rabbitmq`.

    Raises:
        DevError: none is installed.
    """
    for folder in script_folders():
        script = folder / "rabbitmq-server"
        if script.is_file() and os.access(script, os.X_OK) and (folder / "rabbitmq-env").is_file():
            return folder
    message = "RabbitMQ is missing: apt-get install rabbitmq-server (or dnf, pacman, brew, ...: rabbitmq-server)"
    raise DevError(message)


def script_folders() -> list[Path]:
    """Where RabbitMQ's own scripts may be, the likeliest first."""
    home = os.environ.get("RABBITMQ_HOME")
    known = [Path(home) / "sbin"] if home else []
    known += [Path("/usr/lib/rabbitmq/bin"), *sorted(Path("/usr/lib/rabbitmq/lib").glob("rabbitmq_server-*/sbin"))]
    known += [Path(f"{root}/sbin") for root in ("/opt/rabbitmq", "/usr/local/lib/rabbitmq", "/usr/lib/rabbitmq")]
    known += [Path(f"{root}/opt/rabbitmq/sbin") for root in ("/opt/homebrew", "/usr/local")]
    on_path = shutil.which("rabbitmq-server")
    return [*known, Path(on_path).resolve().parent] if on_path else known


def find_epmd() -> str:
    """Erlang's port mapper.

    Raises:
        DevError: there is none.
    """
    found = shutil.which("epmd")
    for root in ("/usr/lib/erlang", "/usr/lib64/erlang", "/usr/local/lib/erlang", "/opt/erlang/lib/erlang"):
        candidates = sorted(Path(root).glob("erts-*/bin/epmd"))
        found = found or (str(candidates[-1]) if candidates else None)
    if found is None:
        message = "Erlang's epmd is missing: apt-get install erlang-base"
        raise DevError(message)
    return found
