"""What is done to a container. Each gives the moment from which on a recovery counts."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Mapping
from typing import Final

from tests.compose.project import CommandError, Project, until

_APART_S: Final = 20.0
_MINUTE_S: Final = 60.0
_PAUSED_S: Final = {"client": 20.0}
"""It is away longer than a pull may take, and more does not matter."""


def restart(project: Project, service: str) -> float:
    """As an operator does."""
    begun = time.monotonic()
    project.compose("restart", service)
    return begun


def kill(project: Project, service: str) -> float:
    """Its process, as a crash does; the engine starts it again, while what `docker kill` ends stays down."""
    restarts = project.inspect(service, "{{.RestartCount}}")
    begun = time.monotonic()
    os.kill(int(project.inspect(service, "{{.State.Pid}}")), signal.SIGKILL)
    until(lambda: project.inspect(service, "{{.RestartCount}}") != restarts, f"the engine starts {service} again")
    return begun


def stop_and_start(project: Project, service: str) -> float:
    """It counts from the start."""
    project.compose("stop", service)
    begun = time.monotonic()
    project.compose("start", service)
    return begun


def pause(project: Project, service: str) -> float:
    """Longer than heartbeats and time limits are; it counts from the end."""
    until(lambda: _is_frozen(project, service), f"{service} is paused")
    time.sleep(_PAUSED_S.get(service, _MINUTE_S))
    project.compose("unpause", service)
    return time.monotonic()


def _is_frozen(project: Project, service: str) -> bool:
    """Older engines can't freeze a container in which a process begins just then, such as its health check."""
    try:
        project.compose("pause", service)
    except CommandError as error:
        if "unable to freeze" in str(error):
            return False
        raise
    return True


def disconnect(project: Project, service: str) -> float:
    """From the network, in which it has its name again afterwards; it counts from the end."""
    network, container = f"{project.name}_default", project.container(service)
    project.run(["docker", "network", "disconnect", network, container])
    time.sleep(_APART_S)
    project.run(["docker", "network", "connect", f"--alias={service}", network, container])
    return time.monotonic()


FAULTS: Final[Mapping[str, Callable[[Project, str], float]]] = {
    "restart": restart,
    "kill -9": kill,
    "stop and start": stop_and_start,
    "pause": pause,
    "no network": disconnect,
}
