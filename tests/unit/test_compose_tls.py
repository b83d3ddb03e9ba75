"""What `docker-compose.tls.yml` and the files that it mounts promise, as far as it can be told without an engine."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from dev.certificates import names_of
from dev.first_secrets import OWNERS, SecretFolder
from dev.servers import postgres, rabbitmq_config
from tests.unit.test_compose import MONITORS, OURS, ROOT, Service, substituted, variables_of

INTERPOLATION: Final = re.compile(r"\$\{(?P<name>\w+):-(?P<default>[^}]+)\}")
SERVERS: Final = ("postgres", "rabbitmq", "front")


class Reset(str):
    """What `!reset` stands before: the value of the other file is dropped."""

    __slots__ = ()


class Loader(yaml.SafeLoader):
    """Knows the tags of docker compose."""


Loader.add_constructor("!reset", lambda _loader, _node: Reset("dropped"))


@pytest.fixture(scope="module")
def text() -> str:
    """The file."""
    return (ROOT / "docker-compose.tls.yml").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def over(text: str) -> dict[str, Service]:
    """What it says of each service."""
    found = yaml.load(text, Loader)["services"]  # noqa: S506 - a safe loader, with one tag more
    assert set(found) == {*OURS, *SERVERS, *MONITORS}
    return dict(found)


@pytest.fixture(scope="module")
def base() -> dict[str, Service]:
    """What it is put on top of."""
    return dict(yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))["services"])


@pytest.fixture(scope="module")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `make secrets` makes."""
    folder = SecretFolder(tmp_path_factory.mktemp("made") / "secrets")
    folder.complete([])
    return folder.root


@pytest.fixture(scope="module")
def caddyfile() -> str:
    """The front's configuration, without comments."""
    lines = (ROOT / "deploy" / "front" / "Caddyfile").read_text(encoding="utf-8").splitlines()
    return "\n".join(line for line in lines if not line.strip().startswith("#"))


def mounts(service: Service) -> list[Any]:
    """What the file adds to its volumes."""
    return list(service.get("volumes", []))


@pytest.mark.parametrize("name", [*OURS, *SERVERS, *MONITORS])
def test_each_service_sees_its_own_secrets_and_no_others(over: dict[str, Service], secrets: Path, name: str) -> None:
    """Read-only, from a folder that `make secrets` makes, which Docker must not make instead."""
    (mount,) = [mount for mount in mounts(over[name]) if isinstance(mount, dict)]
    assert mount["source"] == f"./secrets/{name}"
    assert (mount["type"], mount["target"], mount["read_only"]) == ("bind", "/run/secrets", True)
    assert mount["bind"]["create_host_path"] is False
    assert (secrets / name).is_dir()


@pytest.mark.parametrize("name", [*OURS, *SERVERS, *MONITORS])
def test_each_container_runs_as_the_owner_of_its_secrets(over: dict[str, Service], name: str) -> None:
    """Else it could not read them; as the image has it, when root made them."""
    owner = OWNERS[name]
    user = MONITORS.get(name, f"{owner}:{owner}")
    assert over[name]["user"] == f"${{SECRETS_OWNER:-{user}}}"
    assert user.partition(":")[0] == str(owner)


def test_other_mounted_files_exist(over: dict[str, Service]) -> None:
    """Docker would make an empty folder for one that is missing."""
    paths = [mount.split(":")[0] for service in over.values() for mount in mounts(service) if isinstance(mount, str)]
    assert len(paths) == 2
    assert [path for path in paths if not (ROOT / path).is_file()] == []


@pytest.mark.parametrize("name", OURS)
def test_what_it_changes_are_settings(over: dict[str, Service], name: str) -> None:
    """A misspelt variable would be ignored in silence."""
    changed = set(over[name]["environment"])
    assert changed <= variables_of(name)
    assert ("TLS_CA_FILE" in changed) == (name in OURS)


@pytest.mark.parametrize("name", OURS)
def test_nothing_secret_is_in_the_environment(over: dict[str, Service], secrets: Path, name: str) -> None:
    """What may hold a password is a file, and the variable is no URL, so that it is nothing without the file."""
    urls = {"DATABASE_URL", "RABBITMQ_URL"} & variables_of(name)
    for url in urls:
        assert (secrets / name / url).is_file()
        assert over[name]["environment"][url] == f"is a file in secrets/{name}"
    assert over[name]["environment"]["TLS_CA_FILE"] == "/run/secrets/ca.crt"
    assert (secrets / name / "ca.crt").is_file()


@pytest.mark.parametrize("name", ["registry", "puller", "ingest"])
def test_clients_are_not_called_where_our_servers_are(over: dict[str, Service], name: str) -> None:
    """Whoever registers one says where it is; so the sample client there starts only when it is asked for."""
    assert substituted(over[name]["environment"]["PULL_SYNC_NETWORKS"]) == "public"
    assert over["client"]["profiles"] == ["sample"]
    assert [service for service in over if "client" in over[service].get("depends_on", {})] == []


def test_passwords_of_the_servers_are_files(base: dict[str, Service], over: dict[str, Service], secrets: Path) -> None:
    """Those of the environment are empty, as PostgreSQL's image takes one of both; each `..._FILE` leads to one."""
    passwords = {variable for variable in base["postgres"]["environment"] if variable.endswith("_PASSWORD")}
    assert passwords <= set(over["postgres"]["environment"])
    for name in ("postgres", "rabbitmq"):
        for variable, value in over[name]["environment"].items():
            if variable.endswith("_FILE"):
                assert value == f"/run/secrets/{variable.removesuffix('_FILE')}"
                assert (secrets / name / variable.removesuffix("_FILE")).is_file()
            else:
                assert value == ""
                assert (secrets / name / variable).is_file()
    files = {path.name for path in (secrets / "rabbitmq").glob("*_PASSWORD")}
    assert {f"{name}_FILE" for name in files} == set(over["rabbitmq"]["environment"])


def test_only_the_front_is_reached_from_elsewhere(over: dict[str, Service]) -> None:
    """By HTTPS; the registry's own port is not published any more."""
    assert over["front"]["ports"] == ["${FRONT_PORT:-8443}:8443"]
    assert isinstance(over["registry"]["ports"], Reset)
    assert [name for name, service in over.items() if "ports" in service] == ["front", "registry"]


def test_the_front_has_few_rights(over: dict[str, Service]) -> None:
    """As our own services: no writable file system, and no capability but the one without which it does not start."""
    front = over["front"]
    assert (front["read_only"], front["cap_drop"], front["cap_add"]) == (True, ["ALL"], ["NET_BIND_SERVICE"])
    assert front["security_opt"] == ["no-new-privileges:true"]
    assert front["restart"] == "unless-stopped"
    # Writable by anybody; the image's own folders for the front's data belong to root.
    assert {front["tmpfs"], *(front["environment"][f"XDG_{each}_HOME"] for each in ("CONFIG", "DATA"))} == {"/tmp"}  # noqa: S108
    assert {"test", "interval", "timeout", "retries", "start_period"} <= set(front["healthcheck"])


def test_whoever_calls_the_registry_does_so_by_the_front(over: dict[str, Service], secrets: Path) -> None:
    """By a name that its certificate has, and after it is healthy."""
    for name in ("puller", "client"):
        assert over[name]["environment"]["BACKEND_URL"] == "https://front:8443"
        assert over[name]["depends_on"] == {"front": {"condition": "service_healthy"}}
    assert over["front"]["depends_on"] == {"registry": {"condition": "service_healthy"}}
    for name in SERVERS:
        from cryptography.x509 import load_pem_x509_certificate  # noqa: PLC0415 - for one test

        assert name in names_of(load_pem_x509_certificate((secrets / name / "server.crt").read_bytes()))


def test_postgres_is_as_it_was_and_speaks_tls(base: dict[str, Service], over: dict[str, Service]) -> None:
    """The command stands in both files, since one replaces the other; what is added is as in the tests' own server."""
    command, before = over["postgres"]["command"], base["postgres"]["command"]
    assert command[: len(before)] == before
    added = dict(option.removeprefix("-c").split("=") for option in command[len(before) :])
    files = {"ssl_cert_file": "server.crt", "ssl_key_file": "server.key"}
    assert added == {
        **postgres.TLS,
        **{name: f"/run/secrets/{file}" for name, file in files.items()},
        "hba_file": "/etc/pullsync/pg_hba.conf",
    }
    assert any(mount.startswith("./deploy/postgres:/etc/pullsync:") for mount in base["postgres"]["volumes"])


def test_postgres_takes_nobody_without_tls() -> None:
    """But for who is in its container; and from elsewhere only by a password."""
    lines = (ROOT / "deploy" / "postgres" / "pg_hba.conf").read_text(encoding="utf-8").splitlines()
    rules = [line.split() for line in lines if not line.startswith("#")]
    remote = [rule for rule in rules if rule[0] != "local" and rule[3] not in ("127.0.0.1/32", "::1/128")]
    assert remote == [["hostssl", "all", "all", "all", "scram-sha-256"]]


def test_rabbitmq_speaks_tls_only(over: dict[str, Service]) -> None:
    """As the private node of the tests does; without it there is management alone, for this machine."""
    lines = (ROOT / "deploy" / "rabbitmq" / "tls.conf").read_text(encoding="utf-8").splitlines()
    found = dict(line.split(" = ") for line in lines if not line.startswith("#"))
    assert found == {
        **rabbitmq_config.TLS,
        "listeners.tcp": "none",
        "listeners.ssl.default": "5671",
        "ssl_options.certfile": "/run/secrets/server.crt",
        "ssl_options.keyfile": "/run/secrets/server.key",
        "management.tcp.port": "15672",
        "management.ssl.port": "15671",
        "management.ssl.certfile": "/run/secrets/server.crt",
        "management.ssl.keyfile": "/run/secrets/server.key",
    }
    assert "./deploy/rabbitmq/tls.conf:/etc/rabbitmq/conf.d/30-tls.conf:ro,z" in mounts(over["rabbitmq"])


def test_the_front_passes_streams_on_and_sets_headers(caddyfile: str) -> None:
    """Nothing is buffered, and no answer is too long; each site does the same."""
    assert "reverse_proxy registry:8000 {\n\t\tflush_interval -1" in caddyfile
    assert not re.search(r"\b(write|encode)\b", caddyfile)
    for header in (
        'Strict-Transport-Security "max-age=',
        'X-Content-Type-Options "nosniff"',
        'X-Frame-Options "DENY"',
        "?Content-Security-Policy \"frame-ancestors 'none'\"",
        'Referrer-Policy "no-referrer"',
        "-Server",
    ):
        assert header in caddyfile
    sites = re.findall(r"^(\S*:\d+) \{\n(.*?)^\}", caddyfile, re.MULTILINE | re.DOTALL)
    assert [site for site, _ in sites] == ["front:8443", ":8443", "http://:8080"]
    assert all("\timport registry\n" in body and "protocols tls1.2 tls1.3" in body for _, body in sites[:2])


def test_the_front_finds_its_certificate(caddyfile: str, over: dict[str, Service], secrets: Path) -> None:
    """Whichever FRONT_CERTIFICATE names; by default that of the private CA."""
    assert substituted(over["front"]["environment"]["FRONT_CERTIFICATE"]) == "server"
    used = set(re.findall(r"tls (\S+) (\S+)", caddyfile))
    name = "/run/secrets/{$FRONT_CERTIFICATE:server}"
    assert used == {("/run/secrets/server.crt", "/run/secrets/server.key"), (f"{name}.crt", f"{name}.key")}
    assert {path.name for path in (secrets / "front").iterdir()} == {"server.crt", "server.key"}


def test_the_front_is_asked_for_its_health_where_it_answers(caddyfile: str, over: dict[str, Service]) -> None:
    """Within its container only."""
    assert over["front"]["healthcheck"]["test"][-1] == "http://127.0.0.1:8080/"
    assert "http://:8080 {\n\tbind 127.0.0.1\n" in caddyfile


def test_no_env_file_is_needed(text: str) -> None:
    """Each variable has a default."""
    found = list(INTERPOLATION.finditer(text))
    assert found
    assert text.count("${") == len(found)


@pytest.mark.parametrize("file", [True, False])
def test_the_roles_get_the_passwords_of_the_files(file: bool, tmp_path: Path) -> None:  # noqa: FBT001 - pytest's
    """They win over the environment, which is empty then; without files it is as before."""
    names = ("REGISTRY_DATABASE_PASSWORD", "INGEST_DATABASE_PASSWORD", "MONITORING_DATABASE_PASSWORD")
    psql = tmp_path / "psql"
    psql.write_text(f"#!/bin/sh\ncat >/dev/null\necho {' '.join(f'${name}' for name in names)}\n")
    psql.chmod(0o755)
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    for name in names if file else ():
        (secrets / name).write_text(f"file-{name}\n")
    env = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "SECRETS_DIR": str(secrets)}
    env |= {name: "" if file else f"env-{name}" for name in names}
    script = ROOT / "deploy" / "postgres" / "init.sh"
    done = subprocess.run(["bash", str(script)], env=env, capture_output=True, text=True, check=True)  # noqa: S603, S607 - ours
    assert done.stdout.split() == [f"{'file' if file else 'env'}-{name}" for name in names]


def test_the_roles_get_no_empty_password(tmp_path: Path) -> None:
    """With neither, nothing is done."""
    env = {"PATH": os.environ["PATH"], "SECRETS_DIR": str(tmp_path), "REGISTRY_DATABASE_PASSWORD": ""}
    script = ROOT / "deploy" / "postgres" / "init.sh"
    done = subprocess.run(["bash", str(script)], env=env, capture_output=True, text=True, check=False)  # noqa: S603, S607 - ours
    assert done.returncode != 0
    assert "REGISTRY_DATABASE_PASSWORD" in done.stderr
