"""The files and the environment of a private RabbitMQ node."""

import json
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from dev.servers.certificate import ServerCertificate
from dev.servers.ports import LOOPBACK
from dev.servers.private_file import write_private

_USER: Final = "pullsync"
TLS: Final = {
    "ssl_options.versions.1": "tlsv1.3",
    "ssl_options.versions.2": "tlsv1.2",
    "ssl_options.verify": "verify_none",
    "ssl_options.fail_if_no_peer_cert": "false",
}
"""As in deploy/rabbitmq/tls.conf. Users are known by their passwords, and not by certificates."""


@dataclass(frozen=True)
class Credentials:
    """What stays with the data: a node finds its data by its name."""

    node: str
    user: str
    password: str


@dataclass(frozen=True)
class Ports:
    """Where the node and its port mapper listen, all on 127.0.0.1."""

    amqp: int
    management: int
    prometheus: int
    distribution: int
    epmd: int
    amqps: int | None = None
    management_tls: int | None = None
    """These two are None for a node without TLS."""


def write_files(
    data_dir: Path, ports: Ports, *, join: str | None = None, certificate: ServerCertificate | None = None
) -> Credentials:
    """Makes in `data_dir` what a start needs: credentials and cookie are kept, the configuration is written anew."""
    credentials = keep_credentials(data_dir / "credentials.json")
    _keep_cookie(data_dir / "home")
    etc = data_dir / "etc"
    etc.mkdir(exist_ok=True)
    lines = configuration(credentials, ports, join=join)
    if certificate is not None:
        lines += _tls(ports, *certificate.write(etc))
    write_private(etc / "rabbitmq.conf", lines)
    write_private(etc / "advanced.config", "[].\n")
    write_private(etc / "enabled_plugins", "[rabbitmq_management,rabbitmq_prometheus].\n")
    return credentials


def file_variables(data_dir: Path) -> dict[str, str]:
    """What leads the node to its own files and to none of the system's."""
    etc = data_dir / "etc"
    return {
        "RABBITMQ_CONFIG_FILE": str(etc / "rabbitmq.conf"),
        "RABBITMQ_CONFIG_FILES": str(etc / "conf.d"),
        "RABBITMQ_ADVANCED_CONFIG_FILE": str(etc / "advanced.config"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(etc / "enabled_plugins"),
        "RABBITMQ_MNESIA_BASE": str(data_dir / "mnesia"),
        "RABBITMQ_LOG_BASE": str(data_dir),
        "RABBITMQ_LOGS": "-",
        "RABBITMQ_PID_FILE": str(data_dir / "rabbitmq.pid"),
    }


def configuration(credentials: Credentials, ports: Ports, *, join: str | None = None) -> str:
    """The node's rabbitmq.conf; `join` names a node whose cluster it joins when it has no data yet."""
    lines = {
        "listeners.tcp.local": f"{LOOPBACK}:{ports.amqp}",
        "management.tcp.ip": LOOPBACK,
        "management.tcp.port": str(ports.management),
        "prometheus.tcp.ip": LOOPBACK,
        "prometheus.tcp.port": str(ports.prometheus),
        "default_user": credentials.user,
        "default_pass": credentials.password,
        "disk_free_limit.absolute": "50MB",
        "raft.wal_max_size_bytes": str(64 * 1024 * 1024),
    }
    if join is not None:
        lines["cluster_formation.peer_discovery_backend"] = "classic_config"
        lines |= {
            f"cluster_formation.classic_config.nodes.{n}": node for n, node in enumerate((join, credentials.node))
        }
    return _text(lines)


def _tls(ports: Ports, certificate: Path, key: Path) -> str:
    listener = f"{LOOPBACK}:{ports.amqps}"
    files = {"ssl_options.certfile": str(certificate), "ssl_options.keyfile": str(key)}
    management = {
        "management.ssl.ip": LOOPBACK,
        "management.ssl.port": str(ports.management_tls),
        "management.ssl.certfile": str(certificate),
        "management.ssl.keyfile": str(key),
    }
    return _text({"listeners.ssl.local": listener, **files, **TLS, **management})


def _text(lines: Mapping[str, str]) -> str:
    return "".join(f"{name} = {value}\n" for name, value in lines.items())


def keep_credentials(path: Path) -> Credentials:
    """Those in the file, which is made with new ones when there is none."""
    if path.exists():
        return Credentials(**json.loads(path.read_text()))
    new = Credentials(f"pullsync-{secrets.token_hex(4)}@localhost", _USER, secrets.token_urlsafe(24))
    write_private(path, json.dumps(asdict(new), indent=2) + "\n")
    return new


def give_identity(data_dir: Path, credentials: Credentials, cookie: str) -> None:
    """Before its first start, makes a node a certain one: the nodes of a cluster share users and the Erlang cookie."""
    home = data_dir / "home"
    home.mkdir(parents=True, exist_ok=True)
    write_private(home / ".erlang.cookie", cookie, mode=0o400)
    write_private(data_dir / "credentials.json", json.dumps(asdict(credentials), indent=2) + "\n")


def clean_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """`environment` without what steers Erlang or RabbitMQ."""
    steering = ("RABBITMQ_", "ERL_", "ERLANG_", "XDG_", "LC_", "NOTIFY_SOCKET", "PULLSYNC_RABBITMQ_")
    return {name: value for name, value in environment.items() if not name.startswith(steering)}


def _keep_cookie(home: Path) -> None:
    """Erlang insists that nobody else can read it."""
    home.mkdir(exist_ok=True)
    cookie = home / ".erlang.cookie"
    if not cookie.exists():
        write_private(cookie, secrets.token_hex(20), mode=0o400)
