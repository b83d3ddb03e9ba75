"""What Prometheus is told to ask is what docker compose runs, with tokens that stand on no command line."""

from __future__ import annotations

import os
import re
import stat
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from dev import monitoring
from dev.first_secrets import SecretFolder
from dev.servers import rabbitmq_config
from dev.servers.ports import STANDARD_PORTS
from tests.promtool import promtool
from tests.unit.test_compose import MONITORS, OURS, ROOT, THEIRS, Service

FOLDER: Final = ROOT / "deploy" / "monitoring"
CONFIGURATION: Final[dict[str, Any]] = yaml.safe_load((FOLDER / "prometheus.yml").read_text(encoding="utf-8"))
JOBS: Final[dict[str, dict[str, Any]]] = {job["job_name"]: job for job in CONFIGURATION["scrape_configs"]}
TOKENS: Final = {"METRICS_TOKEN": "registry-token", "CLIENT_METRICS_TOKEN": "client-token"}
MEMORY: Final = "/tmp"  # noqa: S108 - a tmpfs of the container's own


@pytest.fixture(scope="module")
def base() -> dict[str, Service]:
    """The services of docker-compose.yml."""
    return dict(yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))["services"])


@pytest.fixture(scope="module")
def over() -> dict[str, Service]:
    """What docker-compose.tls.yml says of those that monitor."""
    text = (ROOT / "docker-compose.tls.yml").read_text(encoding="utf-8").replace("!reset", "")
    return dict(yaml.safe_load(text)["services"])


def test_prometheus_takes_the_configuration(tmp_path: Path) -> None:
    """As promtool has it, with the files that it names."""
    for name in TOKENS.values():
        (tmp_path / name).touch()
    text = (
        (FOLDER / "prometheus.yml")
        .read_text(encoding="utf-8")
        .replace("credentials_file: /tmp", f"credentials_file: {tmp_path}")
    )
    (tmp_path / "prometheus.yml").write_text(text, encoding="utf-8")
    (tmp_path / "alerts.yml").write_bytes((FOLDER / "alerts.yml").read_bytes())
    (tmp_path / "alertmanagers").mkdir()
    (tmp_path / "alertmanagers" / "mine.yml").write_text('- targets: ["alertmanager.example.org:9093"]\n')
    promtool("check", "config", tmp_path / "prometheus.yml")


def test_nobody_monitors_unless_asked_to(base: dict[str, Service]) -> None:
    """They have the profile, and nobody else has any; none waits for what it is to watch."""
    assert {name for name, service in base.items() if service.get("profiles")} == set(MONITORS)
    for name in MONITORS:
        assert base[name]["profiles"] == ["monitoring"]
        assert "depends_on" not in base[name]


def test_their_images_have_versions(base: dict[str, Service]) -> None:
    """At least a minor one, since there is none that moves with the major version only."""
    for name in MONITORS:
        assert re.search(r":v?\d+\.\d+", base[name]["image"]), name


@pytest.mark.parametrize("name", OURS)
def test_every_replica_of_a_service_is_asked(base: dict[str, Service], name: str) -> None:
    """By its name in DNS, at the port that it listens on."""
    [discovery] = JOBS[name]["dns_sd_configs"]
    assert (discovery["names"], discovery["type"]) == ([name], "A")
    assert str(discovery["port"]) == base[name]["environment"][f"{name.upper()}_PORT"]


def test_the_servers_are_asked(base: dict[str, Service]) -> None:
    """RabbitMQ by its plugin, which is turned on; PostgreSQL by the exporter; both by services that there are."""
    targets = {name: job["static_configs"][0]["targets"] for name, job in JOBS.items() if "static_configs" in job}
    assert targets == {
        "rabbitmq": ["rabbitmq:15692"],
        "rabbitmq-queues": ["rabbitmq:15692"],
        "postgres": ["postgres-exporter:9187"],
        "prometheus": ["localhost:9090"],
    }
    assert set(JOBS) == {*OURS, *targets}
    assert {"rabbitmq", "postgres-exporter"} <= set(base)


def test_rabbitmq_has_the_plugins_of_the_private_node(base: dict[str, Service], tmp_path: Path) -> None:
    """What is tested here is what runs there."""
    ports = rabbitmq_config.Ports(amqp=1, management=2, prometheus=3, distribution=4, epmd=5)
    rabbitmq_config.write_files(tmp_path, ports)
    plugins = ROOT / "deploy" / "rabbitmq" / "enabled_plugins"
    assert plugins.read_text() == (tmp_path / "etc" / "enabled_plugins").read_text()
    assert "rabbitmq_prometheus" in plugins.read_text()
    assert "./deploy/rabbitmq/enabled_plugins:/etc/rabbitmq/enabled_plugins:ro,z" in base["rabbitmq"]["volumes"]


def test_prometheus_shows_tokens_where_they_are_asked_for() -> None:
    """Each its own, from the file that its entry point writes."""
    shown = {name: job["authorization"]["credentials_file"] for name, job in JOBS.items() if "authorization" in job}
    assert shown == {name: f"{MEMORY}/{name}-token" for name in ("registry", "client")}


def started(tmp_path: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """The entry point with a Prometheus that only tells what it was given."""
    for name in ("bin", "tokens", "secrets"):
        (tmp_path / name).mkdir(exist_ok=True)
    program = tmp_path / "bin" / "prometheus"
    program.write_text('#!/bin/sh\necho "$@"\nenv\n')
    program.chmod(0o755)
    env = {
        "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}",
        "TOKENS_DIR": str(tmp_path / "tokens"),
        "SECRETS_DIR": str(tmp_path / "secrets"),
        **environment,
    }
    script = ["sh", str(FOLDER / "prometheus.sh"), "--config.file=x"]
    return subprocess.run(script, env=env, capture_output=True, text=True, check=True)  # noqa: S603 - ours


@pytest.mark.parametrize("variable", TOKENS)
def test_a_token_goes_into_a_file_and_nowhere_else(variable: str, tmp_path: Path) -> None:
    """That nobody else can read; Prometheus itself is told neither by an argument nor by its environment."""
    done = started(tmp_path, **{variable: "secret-of-ours"})
    path = tmp_path / "tokens" / TOKENS[variable]
    assert path.read_text() == "secret-of-ours"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert done.stdout.startswith("--config.file=x\n")
    assert "secret-of-ours" not in done.stdout + done.stderr


def test_without_tokens_the_files_are_empty(tmp_path: Path) -> None:
    """They must be there: Prometheus asks nobody whose token it can't read. An open registry takes an empty one."""
    started(tmp_path)
    assert [(tmp_path / "tokens" / name).read_text() for name in TOKENS.values()] == ["", ""]


@pytest.mark.parametrize("variable", TOKENS)
def test_a_secret_file_wins(variable: str, tmp_path: Path) -> None:
    """As it does for the services."""
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / variable).write_text("from a file\n")
    started(tmp_path, **{variable: "from the environment"})
    assert (tmp_path / "tokens" / TOKENS[variable]).read_text() == "from a file\n"


def test_tokens_stay_in_memory(base: dict[str, Service]) -> None:
    """The entry point is the script that is mounted, and writes to a file system that is none on a disk."""
    service = base["prometheus"]
    assert service["entrypoint"] == ["sh", "/etc/prometheus/prometheus.sh"]
    assert "./deploy/monitoring:/etc/prometheus:ro,z" in service["volumes"]
    assert service["tmpfs"] == MEMORY
    assert f"TOKENS_DIR:-{MEMORY}}}" in (FOLDER / "prometheus.sh").read_text(encoding="utf-8")
    assert not any("TOKEN" in argument for argument in service["command"])
    assert {name for name in service["environment"] if "TOKEN" in name} == set(TOKENS)


def test_with_tls_their_secrets_are_files(over: dict[str, Service], tmp_path: Path) -> None:
    """Which `make secrets` makes; the variables are empty."""
    made = SecretFolder(tmp_path / "secrets")
    made.complete([])
    for name in MONITORS:
        for variable, value in over[name]["environment"].items():
            secret = re.search(r"TOKEN|PASS", variable)
            if value.startswith("/run/secrets/"):
                assert (made.root / name / value.removeprefix("/run/secrets/")).is_file()
            elif secret:
                assert value == ""
    assert (made.root / "prometheus" / "METRICS_TOKEN").is_file()
    assert (made.root / "prometheus" / "CLIENT_METRICS_TOKEN").is_file()
    assert over["grafana"]["environment"]["GF_SECURITY_ADMIN_PASSWORD__FILE"] == "/run/secrets/GRAFANA_PASSWORD"


def test_the_exporter_has_the_role_that_may_only_monitor(base: dict[str, Service], over: dict[str, Service]) -> None:
    """With the password that the role gets; by TLS, where there is TLS, and with a server that it has verified."""
    environment = base["postgres-exporter"]["environment"]
    assert environment["DATA_SOURCE_USER"] == "pullsync_monitoring"
    assert environment["DATA_SOURCE_PASS"] == base["postgres"]["environment"]["MONITORING_DATABASE_PASSWORD"]
    by_tls = over["postgres-exporter"]["environment"]
    assert by_tls["DATA_SOURCE_URI"].endswith("?sslmode=verify-full&sslrootcert=/run/secrets/ca.crt")
    assert by_tls["DATA_SOURCE_PASS_FILE"] == "/run/secrets/MONITORING_DATABASE_PASSWORD"
    assert set(THEIRS) <= set(base)


def test_the_local_prometheus_has_the_same_rules_and_jobs(tmp_path: Path) -> None:
    """Other addresses, no tokens, and nobody who would be sent an alert."""
    text = monitoring.configuration({"registry": ["127.0.0.1:1"], "rabbitmq-queues": ["127.0.0.1:2"]})
    (tmp_path / "prometheus.yml").write_text(text, encoding="utf-8")
    promtool("check", "config", tmp_path / "prometheus.yml")
    found = yaml.safe_load(text)
    assert found["rule_files"] == [str(FOLDER / "alerts.yml")]
    assert "alerting" not in found
    registry, queues = found["scrape_configs"]
    assert registry == {"job_name": "registry", "static_configs": [{"targets": ["127.0.0.1:1"]}]}
    assert queues == {**JOBS["rabbitmq-queues"], "static_configs": [{"targets": ["127.0.0.1:2"]}]}


def test_a_local_prometheus_may_show_tokens(tmp_path: Path) -> None:
    """From the files of the same names, in another folder; only to those who get one at all."""
    text = monitoring.configuration({"registry": ["127.0.0.1:1"], "puller": ["127.0.0.1:2"]}, tokens=tmp_path)
    registry, puller = yaml.safe_load(text)["scrape_configs"]
    assert registry["authorization"] == {"credentials_file": str(tmp_path / "registry-token")}
    assert "authorization" not in puller


def test_a_job_that_there_is_not_is_refused() -> None:
    """Else a misspelt one would be asked by nobody."""
    with pytest.raises(KeyError):
        monitoring.configuration({"ingests": []})


def test_standard_ports_are_not_taken_by_chance(base: dict[str, Service]) -> None:
    """The private servers leave alone what docker compose publishes here."""
    published = [int(mount.rpartition(":")[2]) for name in MONITORS for mount in base[name].get("ports", [])]
    assert set(published) <= STANDARD_PORTS
