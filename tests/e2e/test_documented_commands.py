"""Every command in README.md and docs/ is run, or checked as far as it can be without what it needs.

Those that talk to a running system are run, in the order of their document, against one that was just started. Those of
Docker are read as Docker would: no engine is needed to see that a file, a service or an option is not there.
"""

from __future__ import annotations

import asyncio
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from dev.first_secrets import OWNERS
from tests.documented_commands import ROOT, Command, documented_commands
from tests.e2e.test_operators import Operator
from tests.e2e.world import API, World, start_clients

COMMANDS: Final = documented_commands()
RUN: Final = ("curl", "pullsync")
"""Programs that are run against a system that was just started."""
ENDS_WITHIN_S: Final = 60
REFUSED: Final = {
    "nudge/user_1": {429},  # one that comes right after another
    "register-client": {403},  # sync-all may still be at work
    "/cancel": {409},  # the run has ended already
}
"""What else than success an answer may be, by a part of the command."""


def by_document(*programs: str) -> dict[str, list[Command]]:
    """The commands of these programs, by where they stand."""
    found: dict[str, list[Command]] = {}
    for command in COMMANDS:
        if command.program in programs and not asks_elsewhere(command):
            found.setdefault(command.place, []).append(command)
    return found


def asks_elsewhere(command: Command) -> bool:
    """Whether it asks what is not on this machine: the front or Prometheus of docker compose, a reader's own host."""
    return any(host in command.text for host in ("localhost:8443", "localhost:9090", "example.org"))


LIVE: Final = by_document(*RUN)


def test_there_are_commands() -> None:
    """Else nothing would be checked."""
    assert len(COMMANDS) > 50
    assert len(LIVE["README.md"]) > 30


@pytest.mark.parametrize("document", LIVE)
@pytest.mark.timeout(600)
async def test_what_asks_a_running_system_gets_an_answer(document: str, world: World) -> None:
    """As a reader would type it, from top to bottom."""
    assert shutil.which("curl"), "curl is missing: apt-get install curl"
    [client] = await start_clients(world, 1)
    operator = Operator(world)
    await operator.pulled("user_1")
    capture_id = await world.capture(client)
    run = await operator.ask("POST", f"{API}/sync-all-background")
    urls = {
        "http://localhost:8000": world.stack.url("registry"),
        "http://localhost:3001": world.stack.url(client),
        "RUN_ID": run["run_id"],
        "CAPTURE_ID": capture_id,
    }
    for command in LIVE[document]:
        status, told = await execute(command, urls)
        allowed = {0, *(code for part, codes in REFUSED.items() if part in command.text for code in codes)}
        assert status in allowed, f"{command.text}\n{told}"


async def execute(command: Command, places: Mapping[str, str]) -> tuple[int, str]:
    """Run it against other addresses; 0 when all went well, else HTTP's status or the program's, and what it said."""
    words = [replaced(word, places) for word in command.words]
    if command.program == "curl":
        words[1:1] = ["--silent", "--show-error", "--fail-with-body", "--max-time", str(ENDS_WITHIN_S)]
        words += ["--write-out", "\n%{http_code}"]
    else:
        words[:1] = [sys.executable, "-m", "cli"]
    environment = {"PULLSYNC_URL": places["http://localhost:8000"], "PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT)}
    done = await asyncio.to_thread(
        subprocess.run,
        words,
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=2 * ENDS_WITHIN_S,
    )
    code = done.stdout.rpartition("\n")[2]
    status = int(code) if command.program == "curl" and done.returncode == 22 and code.isdigit() else done.returncode
    return status, done.stdout + done.stderr


def replaced(word: str, places: Mapping[str, str]) -> str:
    """With the addresses of the system that was started."""
    for place, real in places.items():
        word = word.replace(place, real)
    return word


def make_targets() -> set[str]:
    """Those of the Makefile."""
    return set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))


def compose_services() -> set[str]:
    """Those of all compose files."""
    texts = [path.read_text(encoding="utf-8") for path in ROOT.glob("docker-compose*.yml")]
    plain = [re.sub(r"!(reset|override)\b", "", text) for text in texts]  # what compose alone knows
    return {name for text in plain for name in yaml.safe_load(text)["services"]}


def check_make(words: Sequence[str]) -> None:
    """The target is there, and the variables are read."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    read = makefile + "".join(path.read_text(encoding="utf-8") for path in (ROOT / "dev").rglob("*.py"))
    for word in words[1:]:
        name, is_variable, _ = word.partition("=")
        assert name in (read if is_variable else make_targets()), word


TAKES_VALUE: Final = ("-f", "--file", "--scale", "--since", "--profile", "--tail", "--entrypoint", "--env-file")
SUBCOMMANDS: Final = (
    "up",
    "down",
    "restart",
    "logs",
    "exec",
    "run",
    "ps",
    "stop",
    "start",
    "build",
    "pull",
    "config",
    "scale",
)
OF_DOCKER: Final = (
    "run",
    "volume",
    "build",
    "stack",
    "swarm",
    "stats",
    "system",
    "image",
    "builder",
    "inspect",
    "push",
)


def check_docker(words: Sequence[str]) -> None:
    """Of `docker compose`: a subcommand that exists, files that are there, services that have that name."""
    if words[1] != "compose":
        assert words[1] in OF_DOCKER, words
        return
    rest = list(words[2:])
    subcommand = None
    while rest:
        word = rest.pop(0)
        if word in TAKES_VALUE:
            value = rest.pop(0)
            assert word not in {"-f", "--file"} or (ROOT / value).is_file(), value
            assert word != "--scale" or value.partition("=")[0] in compose_services(), value
        elif word.startswith("-"):
            continue
        elif subcommand is None:
            assert word in SUBCOMMANDS, word
            subcommand = word
        else:
            name = word.partition("=")[0] if subcommand == "scale" else word
            assert name in compose_services(), f"no such service: {word}"
            if subcommand in {"exec", "run"}:
                return  # what comes then is run in the container


def check_python(words: Sequence[str]) -> None:
    """A module of ours, or a program that Python can be asked for."""
    if words[1] == "-m":
        assert (ROOT / words[2].replace(".", "/")).with_suffix(".py").is_file() or (
            ROOT / words[2].replace(".", "/") / "__main__.py"
        ).is_file(), words[2]


def check_path(words: Sequence[str]) -> None:
    """A script of ours is there."""
    paths = [word for word in words if word.startswith(("deploy/", "dev/", "./deploy/", "./dev/"))]
    assert paths
    for path in paths:
        assert (ROOT / path).exists(), path


def check_kubectl(words: Sequence[str]) -> None:
    """Manifests and Deployments are there, and Secrets are made of folders that `make secrets` makes."""
    assert {"apply", "create", "kustomize", "logs", "rollout"} & set(words), words
    for word in words:
        if word.startswith("deploy/"):
            assert (ROOT / word / "kustomization.yaml").is_file(), word
        elif word.startswith("deployment/"):
            assert (
                (ROOT / "deploy/kubernetes/base" / word.removeprefix("deployment/")).with_suffix(".yaml").is_file()
            ), word
        elif word.startswith("--from-file="):
            assert word.removeprefix("--from-file=secrets/") in OWNERS, word


def check_nothing(_words: Sequence[str]) -> None:
    """A program of the system, as everybody knows it."""


CHECKS: Final[Mapping[str, Callable[[Sequence[str]], Any]]] = {
    "make": check_make,
    "docker": check_docker,
    "kubectl": check_kubectl,
    "python": check_python,
    "python3": check_nothing,  # tests/upgrade/test_client_database.py runs it
    "sh": check_path,
    "bash": check_path,
    "curl": check_nothing,
    "git": check_nothing,
    "cd": check_nothing,
    "export": check_nothing,
    "grep": check_nothing,
    "mkdir": check_nothing,
    "openssl": check_nothing,
    "rm": check_nothing,
    "sed": check_nothing,
    "tee": check_nothing,
    "sudo": check_nothing,
    "echo": check_nothing,
    "date": check_nothing,
    "timedatectl": check_nothing,
    "df": check_nothing,
}
OTHERS: Final = [command for command in COMMANDS if command.program not in RUN or asks_elsewhere(command)]


@pytest.mark.parametrize("command", OTHERS, ids=[f"{each.place}: {each.text[:60]}" for each in OTHERS])
def test_what_needs_more_than_this_machine_names_what_is_there(command: Command) -> None:
    """Each program has its check, so that a new one can't go unseen."""
    assert command.program in CHECKS, f"{command.place}: no check for {command.program}: {command.text}"
    CHECKS[command.program](command.words)


def test_the_documents_are_linked() -> None:
    """Each from the index or from README.md, and no link between them leads nowhere."""
    documents = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    linked: set[Path] = set()
    for path in documents:
        for target in re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", path.read_text(encoding="utf-8")):
            found = (path.parent / target).resolve()
            assert found.exists(), f"{path.name} leads to {target}, which is not there"
            linked.add(found)
    left = {path for path in documents if "adr" not in path.parts} - linked - {ROOT / "README.md"}
    assert left == set(), f"no document leads to {left}"
