"""What happens to a stack from its start to its end. Several run at once, since most of it is waiting."""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path
from typing import Final

from dev.stack import CHECKOUT
from tests.compose import backup
from tests.compose.captures import Captures
from tests.compose.documents import steps
from tests.compose.faults import FAULTS
from tests.compose.project import Project, put_checkout, until
from tests.unit.test_compose import OURS, THEIRS
from tests.upgrade.previous import unpack

_TWO: Final = "two-clients.yml"
CHANGES: Final = (
    "A token of operators",
    "The token of pullers",
    "The key of the clients' tokens",
    "A password of PostgreSQL",
    "A password of RabbitMQ",
    "A server's certificate",
    "The CA",
)
"""Chapters of docs/deploy.md."""


OF_THE_LAST_MINUTES: Final = frozenset({"clients", "pulls"})
"""What the doctor tells of them stays, where a puller was there before its client."""


def all_is_well(project: Project) -> None:
    """As the doctor has it, but for what was while containers started."""
    found = [finding for finding in project.doctor() if finding["check"] not in OF_THE_LAST_MINUTES]
    assert found == [], found


def no_problem(project: Project) -> None:
    """The doctor may warn."""
    found = [finding for finding in project.doctor() if finding["state"] == "problem"]
    assert found == [], found


def client_of(project: Project) -> dict[str, str]:
    """The client of docker-compose.yml."""
    return {"user_1": f"http://127.0.0.1:{project.ports['CLIENT_PORT']}"}


def clients_of(project: Project) -> dict[str, str]:
    """That and the other one."""
    return {**client_of(project), "user_2": f"http://127.0.0.1:{project.ports['CLIENT_2_PORT']}"}


def faults(name: str, folder: Path, *services: str) -> None:
    """Each fault happens to each of these services, one after the other, while two clients capture."""
    with Project(name, folder, COMPOSE_FILE=f"docker-compose.yml:{_TWO}") as project:
        shutil.copy(Path(__file__).with_name(_TWO), folder)
        with Captures(project=project, clients=clients_of(project)) as captures:
            project.compose("up", "--detach", "--build")
            captures.flow_again("nothing: up from nothing")
            for service in services:
                for fault, harm in FAULTS.items():
                    captures.flow_again(f"{service}: {fault}", harm(project, service))
            captures.none_is_lost()


def faults_of_postgres_and_client(folder: Path) -> None:
    """The database, and a device."""
    faults("data", folder, "postgres", "client")


def faults_of_rabbitmq_and_puller(folder: Path) -> None:
    """The broker, and who fills it."""
    faults("broker", folder, "rabbitmq", "puller")


def faults_of_registry_and_ingest(folder: Path) -> None:
    """Who gives leases, and who stores."""
    faults("services", folder, "registry", "ingest")


def readme_and_backup(folder: Path) -> None:
    """What README.md says of Docker, then backup, restore, and restore to a moment by docs/backup.md, on one stack."""
    with Project("readme", folder) as project, Captures(project=project, clients=client_of(project)) as captures:
        as_readme_says(project, captures)
        backup.and_restore(project, captures)
        backup.and_restore_to_a_moment(project, captures)
        captures.none_is_lost()


def as_readme_says(project: Project, captures: Captures) -> None:
    """Each command; images of those that monitor are not to be had everywhere, so these are only read."""
    plain, more, monitoring = [
        line.partition("#")[0].strip() for line in steps("README.md", "With Docker")[0].splitlines()
    ]
    with project.foreground(plain):
        captures.flow_again(plain)
        all_is_well(project)
        project.compose("exec", "rabbitmq", "rabbitmqctl", "status")
        project.compose("exec", "registry", "pullsync", "status")
    with project.foreground(more):
        until(lambda: len(project.states()) == len(OURS) + len(THEIRS) + 3, "there are two pullers and one ingest more")
        captures.flow_again(more)
    project.script(monitoring.replace("up --build", "config --quiet"))
    project.compose("down")
    captures.flow_again_after("down and up", lambda: project.compose("up", "--detach"))


def tls(folder: Path) -> None:
    """TLS and secrets by README.md and docs/deploy.md; then everything that can be changed is changed."""
    with Project("tls", folder, COMPOSE_PROFILES="sample", PULL_SYNC_NETWORKS="public,private") as project:
        secrets, start = steps("README.md", "With Docker")[1].splitlines()
        project.script(secrets)
        with project.foreground(start):
            project.comes_up()
        project.env["COMPOSE_FILE"] = "docker-compose.yml:docker-compose.tls.yml"
        with Captures(project=project, clients=client_of(project)) as captures:
            captures.flow_again_after("up with TLS", lambda: project.compose("up", "--detach"))
            all_is_well(project)
            _, ask = steps("docs/deploy.md", "In three steps")
            project.script(ask.replace(":8443", f":{project.ports['FRONT_PORT']}"))
            for heading in CHANGES:
                for script in steps("docs/deploy.md", heading):
                    captures.flow_again_after(heading.lower(), partial(project.script, script))
            for fault in ("restart", "kill -9"):
                captures.flow_again(f"front: {fault}", FAULTS[fault](project, "front"))
            no_problem(project)
            captures.none_is_lost()


def upgrade(folder: Path) -> None:
    """From the version before, by docs/upgrade.md, while captures are made."""
    previous = folder / "previous"
    previous.mkdir()
    unpack(previous)
    here = folder / "checkout"
    here.mkdir()
    with (
        Project("upgrade", here, source=previous) as project,
        Captures(project=project, clients=client_of(project)) as captures,
    ):
        captures.flow_again_after("up of the version before", lambda: project.compose("up", "--detach", "--build"))
        pull, *commands = [line.strip() for line in steps("docs/upgrade.md", "The order")[0].splitlines()]
        assert pull == "git pull"
        put_checkout(CHECKOUT, here)
        [role] = steps("docs/upgrade.md", "From commits before the role `pullsync_captures_reader` could log in")
        for command in commands:
            captures.flow_again_after(f"upgrade: {command}", partial(project.script, command))
            if command.endswith("ingest"):
                project.script(role)
        no_problem(project)
        captures.none_is_lost()
