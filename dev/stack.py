"""The project's services as processes, on servers that somebody else started; for `make up` and for the tests."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from http.client import HTTPException
from pathlib import Path
from typing import Any, Final, Self

from dev.local_http import open_local
from dev.servers.ports import LOOPBACK, free_port
from dev.servers.process import ManagedProcess

CHECKOUT: Final = Path(__file__).parents[1]
READY_WITHIN_S: Final = 45.0
_HTTP_TIMEOUT_S: Final = 2.0
# All that our processes get of the environment: a developer's own CLIENT_DATABASE or HTTP_PROXY must not reach them, in
# tests least of all.
_INHERITED: Final = ("PATH", "HOME", "TMPDIR", "TZ", "LANG", "LC_ALL")
_READY_PATHS: Final = {"client": "/api/client/health"}


class Stack:
    """Processes by name: `registry`, `puller-1`, `puller-2`, `ingest-1`, `client-1`, ...

    The word before the number says which service it is. A port is a free one unless given, and stays the same when the
    process is started again. As a context manager it stops whatever runs, clients first, the registry last.
    """

    def __init__(
        self,
        *,
        folder: Path,
        registry_url: str,
        ingest_url: str,
        rabbitmq_urls: Mapping[str, str],
        env: Mapping[str, str] | None = None,
        ports: Mapping[str, int] | None = None,
        programs: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        """On these servers; `env` goes to every process, `ports` says what is not free to choose.

        `rabbitmq_urls` are those of registry, puller and ingest, whose users may not declare: RabbitMQ has the queues.
        `programs` are Python's arguments for the services that are not run as `-m services.<service>`.
        """
        self.folder = folder
        self._env = dict(env or {})
        self._database_urls = {"registry": registry_url, "ingest": ingest_url}
        self._rabbitmq_urls = dict(rabbitmq_urls)
        self._ports = dict(ports or {})
        self._programs = dict(programs or {})
        self._processes: dict[str, ManagedProcess] = {}
        self._wanted: set[str] = set()
        self._own_env: dict[str, dict[str, str]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop_all()

    def url(self, name: str) -> str:
        """Where the process answers HTTP."""
        return f"http://{LOOPBACK}:{self._port(name)}"

    def configure(self, name: str, **env: str) -> None:
        """What only this process, which was not started yet, gets from its environment."""
        self._own_env[name] = env

    def pid(self, name: str) -> int:
        """The number of a process that was started."""
        return self._processes[name].pid

    def returncode(self, name: str) -> int | None:
        """How a process that was started ended, as subprocess has it; None while it runs."""
        return self._processes[name].returncode

    def start(self, name: str, *, wait: bool = True) -> None:
        """Start the process, and wait until it is ready.

        Raises:
            DevError: it ended, or was not ready in time; the detail is the end of its log.
        """
        process = self._processes.get(name) or self._make(name)
        self._processes[name] = process
        process.start()
        self._wanted.add(name)
        if wait:
            self.wait_ready(name)

    def start_together(self, *names: str) -> None:
        """Start these at once, and wait until each is ready. Raises as `start` does."""
        for name in names:
            self.start(name, wait=False)
        for name in names:
            self.wait_ready(name)

    def wait_ready(self, name: str) -> None:
        """Wait until a started process is ready. Raises as `start` does."""
        path = _READY_PATHS.get(_service(name), "/health/ready")
        self._processes[name].wait_until(lambda: _answers(f"{self.url(name)}{path}"), READY_WITHIN_S)

    def stop(self, name: str) -> None:
        """Ask the process to end, and wait for that."""
        self._wanted.discard(name)
        self._processes[name].stop()

    def kill(self, name: str) -> None:
        """End the process as a crash would."""
        self._wanted.discard(name)
        self._processes[name].kill()

    def stop_all(self) -> None:
        """Stop whatever runs, in the reverse order of their start."""
        self._wanted.clear()
        for process in reversed(self._processes.values()):
            process.stop()

    def kill_all(self) -> None:
        """End whatever runs as a crash would, at once."""
        self._wanted.clear()
        for process in reversed(self._processes.values()):
            process.kill()

    def dead(self) -> list[ManagedProcess]:
        """Processes that ended by themselves, with whatever status; not those that were stopped or killed here."""
        return [self._processes[name] for name in sorted(self._wanted) if not self._processes[name].alive()]

    def log_tail(self, name: str) -> str:
        """The last lines of a process that was started."""
        return self._processes[name].log_tail()

    def log_tails(self) -> str:
        """The last lines of each process, for a report."""
        return "\n\n".join(f"--- {name}\n{process.log_tail()}" for name, process in self._processes.items())

    def write_import_file(self, client: str, content: Mapping[str, Any]) -> None:
        """A `client-sync-data.json`, as the original client kept it, to be found by that client's first start."""
        path = self._folder(client) / "client-sync-data.json"
        path.write_text(json.dumps(content), encoding="utf-8")

    def _port(self, name: str) -> int:
        if name not in self._ports:
            self._ports[name] = free_port()
        return self._ports[name]

    def _folder(self, name: str) -> Path:
        path = self.folder / name
        path.mkdir(parents=True, exist_ok=True)
        return path

    def _make(self, name: str) -> ManagedProcess:
        service = _service(name)
        return ManagedProcess(
            name,
            [sys.executable, *self._programs.get(service, ("-m", f"services.{service}"))],
            env=self._environment(name, service),
            cwd=self._folder(name),  # and not the checkout, where a developer's .env may lie
            log_path=self.folder / "logs" / f"{name}.log",
        )

    def _environment(self, name: str, service: str) -> dict[str, str]:
        env = {
            **inherited_environment(),
            "BACKEND_URL": self.url("registry"),
            f"{service.upper()}_HOST": LOOPBACK,
            f"{service.upper()}_PORT": str(self._port(name)),
            **self._env,
            **self._own_env.get(name, {}),
        }
        if service in self._database_urls:
            env["DATABASE_URL"] = self._database_urls[service]
        if service in self._rabbitmq_urls:
            env |= {"RABBITMQ_URL": self._rabbitmq_urls[service], "RABBITMQ_DECLARE": "false"}
        if service == "client":
            env["CLIENT_URL"] = self.url(name)
            env["CLIENT_USER_ID"] = f"user_{name.removeprefix('client-')}"
        return env


def inherited_environment() -> dict[str, str]:
    """What a process of ours gets of this one's environment, with the checkout to import from."""
    return {name: os.environ[name] for name in _INHERITED if name in os.environ} | {"PYTHONPATH": str(CHECKOUT)}


def _service(name: str) -> str:
    return name.partition("-")[0]


def _answers(url: str) -> bool:
    try:
        open_local(url, timeout_s=_HTTP_TIMEOUT_S).close()
    except (OSError, HTTPException):
        return False
    return True
