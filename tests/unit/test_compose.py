"""What `docker-compose.yml`, `.env.example` and `.dockerignore` promise, as far as it can be told without an engine."""

from __future__ import annotations

import json
import re
from fnmatch import fnmatch
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from cli.settings import CliSettings
from dev.definitions import DEFINITIONS, users
from dev.servers.postgres import TUNED
from shared.secret_files import VARIABLE
from shared.settings import ServiceSettings

ROOT: Final = Path(__file__).resolve().parents[2]
OURS: Final = ("registry", "puller", "ingest", "client")
THEIRS: Final = ("postgres", "rabbitmq")
MONITORS: Final = {"prometheus": "65534:65534", "grafana": "472:0", "postgres-exporter": "65534:65534"}
"""With the profile `monitoring` only, and as whom each runs."""

Service = dict[str, Any]

_INTERPOLATION = re.compile(r"\$\{(?P<name>\w+)(?::-(?P<default>[^}]*))?\}")
_SETTING = re.compile(r"^(?P<comment># )?(?P<name>[A-Z][A-Z_]+)=(?P<value>.*)$", re.MULTILINE)


@pytest.fixture(scope="module")
def compose_text() -> str:
    """The compose file."""
    return (ROOT / "docker-compose.yml").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def services(compose_text: str) -> dict[str, Service]:
    """Its services by name, anchors resolved, variables not."""
    found = yaml.safe_load(compose_text)["services"]
    assert set(found) == {*OURS, *THEIRS, *MONITORS}
    return dict(found)


@pytest.fixture(scope="module")
def example() -> dict[str, str | None]:
    """Each variable of `.env.example` with its value; None for one that is only mentioned."""
    text = (ROOT / ".env.example").read_text(encoding="utf-8")
    names = [match["name"] for match in _SETTING.finditer(text)]
    assert len(names) == len(set(names))
    return {match["name"]: None if match["comment"] else match["value"] for match in _SETTING.finditer(text)}


def settings_of(service: str) -> type[ServiceSettings]:
    """The service's settings class, imported only where it is needed."""
    found: type[ServiceSettings] = getattr(import_module(f"services.{service}.settings"), f"{service.title()}Settings")
    assert issubclass(found, ServiceSettings)
    return found


def variables_of(service: str) -> set[str]:
    """The environment variables that the service reads."""
    return {name.upper() for name in settings_of(service).model_fields}


def substituted(value: object) -> str:
    """A value as docker compose hands it over when nothing is set."""
    return _INTERPOLATION.sub(lambda match: match["default"] or "", str(value))


def ignored(path: str) -> bool:
    """Whether Docker leaves the path out of the build context: the last pattern that matches it or a parent decides."""
    parents = [path, *(str(parent) for parent in Path(path).parents)]
    result = False
    for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines():
        pattern = line.strip().removeprefix("!")
        if pattern and not pattern.startswith("#") and any(_matches(parent, pattern) for parent in parents):
            result = not line.startswith("!")
    return result


def _matches(path: str, pattern: str) -> bool:
    """By Docker's rules: anchored at the root, and a star stays within one folder, but for a leading `**/`."""
    parts = path.split("/")
    if pattern.startswith("**/"):
        return fnmatch(parts[-1], pattern.removeprefix("**/"))
    wanted = pattern.split("/")
    return path != "." and len(parts) == len(wanted) and all(map(fnmatch, parts, wanted))


def test_ports_are_published_to_this_machine_only(services: dict[str, Service]) -> None:
    """Nobody else reaches a service, unless the user decides so."""
    published = {name: service["ports"] for name, service in services.items() if "ports" in service}
    assert published == {
        "registry": ["127.0.0.1:${REGISTRY_PORT:-8000}:8000"],
        "client": ["127.0.0.1:${CLIENT_PORT:-3001}:3001"],
        "rabbitmq": ["127.0.0.1:${RABBITMQ_MANAGEMENT_PORT:-15672}:15672"],
        "prometheus": ["127.0.0.1:${PROMETHEUS_PORT:-9090}:9090"],
        "grafana": ["127.0.0.1:${GRAFANA_PORT:-3000}:3000"],
    }
    assert all("network_mode" not in service for service in services.values())


@pytest.mark.parametrize("name", ["puller", "ingest"])
def test_workers_can_be_scaled(services: dict[str, Service], name: str) -> None:
    """Nothing about a worker exists only once: no published port, no fixed name."""
    assert not {"ports", "container_name", "hostname"} & set(services[name])


@pytest.mark.parametrize("name", [*OURS, *THEIRS, *MONITORS])
def test_each_service_is_watched_and_restarted(services: dict[str, Service], name: str) -> None:
    """Health check, restart policy, and time to stop."""
    service = services[name]
    assert {"test", "interval", "timeout", "retries", "start_period"} <= set(service["healthcheck"])
    assert service["restart"] == "unless-stopped"
    assert int(service["stop_grace_period"].removesuffix("s")) >= 20


def test_dependencies_exist_and_are_waited_for(services: dict[str, Service]) -> None:
    """Each waits until what it needs is healthy, and there is no circle."""
    waits = {name: dict(service.get("depends_on", {})) for name, service in services.items()}
    for needed in waits.values():
        assert set(needed) <= set(services)
        assert all(how == {"condition": "service_healthy"} for how in needed.values())
    started: set[str] = set()
    while ready := {name for name in waits if name not in started and set(waits[name]) <= started}:
        started |= ready
    assert started == set(services)


def test_named_volumes_exist_and_keep_what_must_stay(compose_text: str, services: dict[str, Service]) -> None:
    """All data, those of PostgreSQL at its image's new place, outlive the containers."""
    mounts = [mount for service in services.values() for mount in service.get("volumes", [])]
    named = {mount.split(":")[0]: mount.split(":")[1] for mount in mounts if not mount.startswith(".")}
    assert named == {
        "client-data": "/data",
        "postgres-data": "/var/lib/postgresql",
        "rabbitmq-data": "/var/lib/rabbitmq",
        "prometheus-data": "/prometheus",
        "grafana-data": "/var/lib/grafana",
    }
    assert set(yaml.safe_load(compose_text)["volumes"]) == set(named)
    assert services["rabbitmq"]["hostname"] == "rabbitmq"  # the node's data is found by it


def test_mounted_files_exist(services: dict[str, Service]) -> None:
    """Docker would make an empty folder for one that is missing."""
    mounts = [mount for service in services.values() for mount in service.get("volumes", [])]
    paths = [mount.split(":")[0] for mount in mounts if mount.startswith(".")]
    assert paths
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_postgres_is_tuned_as_the_local_one(services: dict[str, Service]) -> None:
    """What is measured and tested here is what runs there."""
    program, *options = services["postgres"]["command"]
    assert program == "postgres"
    assert dict(option.removeprefix("-c").split("=") for option in options) == TUNED


def test_the_roles_that_postgres_is_told_to_make_are_there() -> None:
    """The script reads them from the mounted folder, and is executable, so that the image runs it by itself."""
    script = ROOT / "deploy" / "postgres" / "init.sh"
    assert script.stat().st_mode & 0o111
    included = re.findall(r"/etc/pullsync/(\w+\.sql)", script.read_text(encoding="utf-8"))
    assert included == ["roles.sql"]
    assert (script.parent / included[0]).is_file()


def test_no_env_file_is_needed(compose_text: str) -> None:
    """Each variable has a default, if only an empty one."""
    found = list(_INTERPOLATION.finditer(compose_text))
    assert found
    assert [match["name"] for match in found if match["default"] is None] == []
    assert compose_text.count("${") == len(found)


@pytest.mark.parametrize("name", OURS)
def test_the_environment_has_every_setting_and_no_other(services: dict[str, Service], name: str) -> None:
    """A misspelt variable would be ignored in silence; one left out could not be changed."""
    assert set(services[name]["environment"]) == variables_of(name)


@pytest.mark.parametrize("name", OURS)
def test_the_environment_is_valid(
    services: dict[str, Service], name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The settings class takes what compose hands over, and keeps its own defaults but for addresses and paths."""
    monkeypatch.chdir(tmp_path)  # there is no .env
    for variable, value in services[name]["environment"].items():
        monkeypatch.setenv(variable, substituted(value))
    settings, fields = settings_of(name)(), settings_of(name).model_fields
    changed = {field for field in fields if getattr(settings, field) != fields[field].default}
    management = {"rabbitmq_management_url", "rabbitmq_management_link"}
    servers = {"database_url", "rabbitmq_url", "rabbitmq_declare", "backend_url"} | management
    addresses = servers | {f"{name}_host", "registry_anonymous", "registry_hosts"}
    paths = {"client_url", "client_database", "client_import_file"} if name == "client" else set()
    pages = {"client_cors_origins"} & set(fields)  # a sample, to be tried with the original's app
    assert changed == (addresses & set(fields)) | paths | pages


@pytest.mark.parametrize("name", OURS)
def test_the_health_check_asks_the_port_that_the_service_listens_on(services: dict[str, Service], name: str) -> None:
    """And it is a program that Python can read."""
    *_, program = services[name]["healthcheck"]["test"]
    compile(program, "healthcheck", "exec")
    port = services[name]["environment"][f"{name.upper()}_PORT"]
    assert f'HTTPConnection("127.0.0.1", {port}, ' in program


@pytest.mark.parametrize("name", OURS)
def test_each_service_is_the_one_image(services: dict[str, Service], name: str) -> None:
    """Built from the one Dockerfile, chosen by its command."""
    service = services[name]
    assert service["build"] == "."
    assert service["command"] == ["python", "-m", f"services.{name}"]


@pytest.mark.parametrize("name", [*OURS, *THEIRS, *MONITORS])
def test_no_container_has_more_rights_than_it_needs(services: dict[str, Service], name: str) -> None:
    """No capabilities, no way to more of them, no writable file system, and nobody is root."""
    service = services[name]
    assert service["read_only"]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not {"privileged", "cap_add", "pid", "ipc"} & set(service)
    # Our own image says so itself, see below.
    assert service.get("user") == (None if name in OURS else MONITORS.get(name, name))
    assert service["logging"]["options"] == {"max-size": "10m", "max-file": "3"}


def test_each_service_has_a_role_of_its_own(services: dict[str, Service]) -> None:
    """Neither registry nor ingest connects as the other, or as the superuser; the others have no database."""
    urls = {name: services[name]["environment"].get("DATABASE_URL", "") for name in OURS}
    assert urls["registry"].startswith("postgresql://pullsync_registry:${REGISTRY_DATABASE_PASSWORD:-")
    assert urls["ingest"].startswith("postgresql://pullsync_ingest:${INGEST_DATABASE_PASSWORD:-")
    assert not urls["puller"] + urls["client"]


def test_each_service_has_a_user_of_its_own(services: dict[str, Service]) -> None:
    """In RabbitMQ, one who stands in its definitions and so may not declare; the client has none."""
    known = set(users())
    for name in ("registry", "puller", "ingest"):
        environment = services[name]["environment"]
        assert environment["RABBITMQ_URL"].startswith(f"amqp://pullsync_{name}:${{{name.upper()}_RABBITMQ_PASSWORD:-")
        assert environment["RABBITMQ_DECLARE"] == "false"
        assert f"pullsync_{name}" in known
    assert "RABBITMQ_URL" not in services["client"]["environment"]


def test_rabbitmq_gets_the_password_of_each_user(services: dict[str, Service]) -> None:
    """Those that the definitions ask for, the same as the services have, and no administrator's."""
    asked = {user["password_hash"] for user in json.loads(DEFINITIONS.read_text(encoding="utf-8"))["users"]}
    environment = services["rabbitmq"]["environment"]
    assert environment == {name: f"${{{name}:-pullsync}}" for name in asked}
    for name in ("registry", "puller", "ingest"):
        assert environment[f"{name.upper()}_RABBITMQ_PASSWORD"] in services[name]["environment"]["RABBITMQ_URL"]


def test_memory_is_mounted_where_the_image_has_a_folder(services: dict[str, Service]) -> None:
    """Engines with runc below 1.1.8 lose the mode of any other one when the container starts a second time."""
    everywhere, more = {"/tmp"}, {"postgres": {"/var/run/postgresql"}, "rabbitmq": {"/var/log/rabbitmq"}}  # noqa: S108
    for name, service in services.items():
        mounted = service.get("tmpfs", [])
        folders = {mount.split(":")[0] for mount in ([mounted] if isinstance(mounted, str) else mounted)}
        assert folders <= everywhere | more.get(name, set()), name


def test_rabbitmq_reads_the_definitions_that_its_start_writes(services: dict[str, Service]) -> None:
    """To memory, readable by nobody else; then the image's own entry goes on."""
    service = services["rabbitmq"]
    shell, options, script = service["entrypoint"]
    assert (shell, options) == ("bash", "-euc")
    mask, fill, start = [part.strip() for part in script.split(";")]
    source, written = fill.removeprefix("bash ").split(" > ")
    assert (mask, start) == ("umask 077", "exec docker-entrypoint.sh rabbitmq-server")
    assert "./deploy/rabbitmq:/etc/pullsync:ro,z" in service["volumes"]
    assert source == f"/etc/pullsync/{DEFINITIONS.with_name('definitions.sh').name}"
    assert written.rpartition("/")[0] in service["tmpfs"]
    configuration = (ROOT / "deploy" / "rabbitmq" / "pullsync.conf").read_text(encoding="utf-8")
    assert f"load_definitions = {written}\n" in configuration


def test_the_example_names_every_variable_and_no_other(compose_text: str, example: dict[str, str | None]) -> None:
    """Those of the services and of `pullsync`, those of docker compose, and which files these read."""
    over = (ROOT / "docker-compose.tls.yml").read_text(encoding="utf-8")
    composes_own = {"COMPOSE_FILE", "COMPOSE_PROFILES"}
    known = {match["name"] for match in _INTERPOLATION.finditer(compose_text + over)} | composes_own | {VARIABLE}
    of_the_cli = {name.upper() for name in CliSettings.model_fields}
    assert set(example) == known.union(of_the_cli, *(variables_of(name) for name in OURS))
    for match in _INTERPOLATION.finditer(over):
        assert example[match["name"]] in (None, match["default"])


def test_the_example_changes_nothing(
    compose_text: str, example: dict[str, str | None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Copied as it is, it gives docker compose and every service the same as no `.env` at all."""
    differing = {"PULL_SYNC_NETWORKS", "CLIENT_CORS_ORIGINS"}  # between the compose files, or from the service's own
    for match in _INTERPOLATION.finditer(compose_text):
        shown = None if match["name"] in differing else match["default"]
        assert (match["name"], example[match["name"]]) == (match["name"], shown)
    monkeypatch.chdir(tmp_path)
    for name in OURS:
        for variable in variables_of(name):
            monkeypatch.delenv(variable, raising=False)
        defaults = settings_of(name)()
        (tmp_path / ".env").write_bytes((ROOT / ".env.example").read_bytes())
        assert settings_of(name)() == defaults
        (tmp_path / ".env").unlink()


def test_the_example_shows_the_default_database_urls() -> None:
    """They differ between services, so they stand in a comment, which must be true as well."""
    text = (ROOT / ".env.example").read_text(encoding="utf-8")
    for name in ("registry", "ingest"):
        url = settings_of(name).model_fields["database_url"].default
        assert re.search(rf"^# +{name}: +{re.escape(url)}$", text, re.MULTILINE)


@pytest.mark.parametrize(
    "path",
    [
        ".git/HEAD",
        ".venv/bin/python",
        ".local/password",
        ".env",
        "services/.env",
        "secrets/registry/OPERATOR_TOKENS",
        "tests/x",
    ],
)
def test_the_build_context_leaves_out(path: str) -> None:
    """Neither secrets nor what an image has no use for is sent to the engine."""
    assert ignored(path)
    assert not ignored("services/client/__main__.py")


def test_the_build_context_has_what_the_dockerfile_copies() -> None:
    """And nothing is copied that it leaves out."""
    lines = (ROOT / "Dockerfile").read_text(encoding="utf-8").splitlines()
    copied = [line.split()[1] for line in lines if line.startswith("COPY ") and "--from" not in line]
    assert copied == ["requirements.txt", "shared", "services", "cli"]
    assert [path for path in copied if ignored(path) or not (ROOT / path).exists()] == []


def test_the_image_runs_as_an_ordinary_user() -> None:
    """By number, so that an orchestrator can check it; and from a slim image in both stages."""
    lines = (ROOT / "Dockerfile").read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if line.startswith("USER ")] == ["USER 10001:10001"]
    bases = [line.split()[1] for line in lines if line.startswith("FROM ")]
    assert bases == ["python:3.13-slim"] * 2
