"""A project of docker compose on a real engine: a folder with what it reads of a checkout, and ports of its own."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Self
from uuid import uuid4

from dev.servers.ports import free_port
from dev.stack import CHECKOUT

PORTS: Final = ("REGISTRY_PORT", "CLIENT_PORT", "CLIENT_2_PORT", "RABBITMQ_MANAGEMENT_PORT", "FRONT_PORT")
_READ: Final = (
    *("docker-compose.yml", "docker-compose.tls.yml", "docker-compose.pitr.yml", "Dockerfile", ".dockerignore"),
    *("requirements.txt", "services", "shared", "cli", "dev", "deploy"),
)
_MAKE: Final = f"""#!/bin/sh
# `make secrets HOSTS=...`, by the Python that is here, where `make` would install one first.
[ "$1" = secrets ] && exec {sys.executable} -m dev.first_secrets ${{2#HOSTS=}}
"""
_POLL_S: Final = 0.25
_USUAL_S: Final = 300.0


class CommandError(AssertionError):
    """A command failed; what it said is in the text."""


def until(condition: Callable[[], bool], what: str, *, deadline_s: float = 240.0) -> None:
    """Return as soon as `condition` holds.

    Raises:
        AssertionError: it did not hold in time; it names `what` was waited for.
    """
    end = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < end, f"not within {deadline_s:g} s: {what}"
        time.sleep(_POLL_S)


def put_checkout(source: Path, folder: Path) -> None:
    """What docker compose reads of a version, in place of another one, as `git pull` does; as this engine needs it."""
    for name in _READ:
        for path in (folder / name, *(folder / name).rglob("*")):
            if path.is_file():
                path.unlink()  # while folders that are mounted stay
        if (source / name).is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(source / name, folder / name, dirs_exist_ok=True, ignore=ignored)
        elif (source / name).exists():
            shutil.copy2(source / name, folder / name)
    compose = folder / "docker-compose.yml"
    limit = min(65_536, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
    text = compose.read_text(encoding="utf-8").replace(": 65536\n", f": {limit}\n")
    # Where containers reach no registry of packages, the machine does.
    compose.write_text(text.replace("build: .\n", "build: {context: ., network: host}\n"), encoding="utf-8")


class Project:
    """`docker compose` in a folder. What it made is removed at the end."""

    def __init__(self, name: str, folder: Path, *, source: Path = CHECKOUT, **env: str) -> None:
        self.name = f"pullsync-test-{name}-{uuid4().hex[:6]}"
        self.folder = folder
        put_checkout(source, folder)
        make = folder / "bin" / "make"
        make.parent.mkdir()
        make.write_text(_MAKE, encoding="utf-8")
        make.chmod(0o755)
        self.ports = {variable: free_port() for variable in PORTS}
        mine = {name: value for name, value in os.environ.items() if not name.startswith("COMPOSE_")}
        self.env = {
            **mine,
            **{variable: str(port) for variable, port in self.ports.items()},
            "COMPOSE_PROJECT_NAME": self.name,
            "PATH": f"{make.parent}:{os.environ['PATH']}",
            "PULL_SYNC_INTERVAL": "5",
            **env,
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if error is not None:
            error.add_note(self.compose("ps", "--all") + self.compose("logs", "--no-color", "--tail=10"))
        self.compose("--profile=*", "down", "--volumes", "--remove-orphans", "--timeout=1")

    def compose(self, *words: str) -> str:
        """Run `docker compose` with these words; what it prints."""
        return self.run(["docker", "compose", *words])

    def script(self, text: str) -> str:
        """Run a shell script; what it prints."""
        return self.run(["bash", "-euo", "pipefail", "-c", text])

    def run(self, words: list[str]) -> str:
        """Run a program here; what it prints.

        Raises:
            CommandError: it failed.
        """
        done = subprocess.run(  # noqa: S603 - ours, or out of our documents
            words,
            cwd=self.folder,
            env=self.env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=_USUAL_S,
        )
        if done.returncode != 0:
            message = f"{' '.join(words)}\nended with status {done.returncode}: {done.stdout}{done.stderr}"
            raise CommandError(message)
        return done.stdout

    @contextmanager
    def foreground(self, command: str) -> Iterator[None]:
        """Run a command that stays, until Ctrl-C at the end; it must stop by itself then."""
        words = ["bash", "-c", f"exec {command}"]
        with (self.folder / "foreground.log").open("wb") as log:
            process = subprocess.Popen(  # noqa: S603 - out of our documents
                words, cwd=self.folder, env=self.env, stdout=log, stderr=log, start_new_session=True
            )
            try:
                yield
                assert process.poll() is None, f"{command} ended by itself"
            finally:
                os.killpg(process.pid, signal.SIGINT)
                process.wait(timeout=_USUAL_S)

    def container(self, service: str) -> str:
        """The name of a service's first container."""
        return f"{self.name}-{service}-1"

    def inspect(self, service: str, form: str) -> str:
        """What the engine knows of it, as a Go template."""
        return self.run(["docker", "inspect", f"--format={form}", self.container(service)]).strip()

    def states(self) -> list[str]:
        """Name and state of each container."""
        label = f"label=com.docker.compose.project={self.name}"
        return self.run(["docker", "ps", "--all", f"--filter={label}", "--format={{.Names}}: {{.Status}}"]).splitlines()

    def is_well(self) -> bool:
        """Whether all that there is runs and says that it is healthy."""
        states = self.states()
        return bool(states) and all("Up" in state and "(healthy)" in state for state in states)

    def comes_up(self) -> None:
        """Wait until all is well."""
        until(self.is_well, f"all containers of {self.name} are healthy")

    def rows(self, statement: str) -> list[str]:
        """What PostgreSQL answers, a line each, as its superuser."""
        psql = ["docker", "exec", self.container("postgres"), "psql", "-U", "postgres", "-d", "pullsync", "-Atc"]
        return self.run([*psql, statement]).splitlines()

    def doctor(self) -> list[dict[str, str]]:
        """What `pullsync doctor` finds that is not well; it ends with status 1 when that is a problem."""
        said = self.script("docker compose exec -T registry pullsync doctor --json || [ $? -eq 1 ]")
        findings = json.loads(said)["findings"]
        return [finding for finding in findings if finding["state"] != "ok"]
