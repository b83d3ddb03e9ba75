"""`make secrets`: a first set of secrets, as files, with a private CA and the certificates of the servers.

Each service has a folder of its own in `secrets/`, with no more than it needs; what has the name of a setting is that
setting. Whatever is there stays as it is, so this can be repeated: it makes what is missing, and says what is wrong
with the rest. No value is ever shown.
"""

from __future__ import annotations

import argparse
import os
import secrets
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509

from dev.certificates import Authority, has_signed, names_of
from dev.servers.private_file import write_private

FOLDER: Final = Path(__file__).parents[1] / "secrets"
OWNERS: Final = {
    "registry": 10_001,
    "puller": 10_001,
    "ingest": 10_001,
    "client": 10_001,
    "front": 10_001,
    "postgres": 999,
    "rabbitmq": 999,
    "prometheus": 65_534,
    "postgres-exporter": 65_534,
    "grafana": 472,
}
"""As whom the containers run, by the images and docker-compose.tls.yml, so that root gives them what it makes."""
_TOKEN_BYTES: Final = 32
_ANEW: Final = "remove it, and run `make secrets` again"
_RENEW_BEFORE: Final = timedelta(days=30)


def _token() -> str:
    return secrets.token_urlsafe(_TOKEN_BYTES)


def _operator_tokens() -> str:
    return "\n".join(f"{scope}:{_token()}" for scope in ("read", "operate", "admin"))


_VALUES: Final[dict[str, tuple[Callable[[], str], tuple[str, ...]]]] = {
    "OPERATOR_TOKENS": (_operator_tokens, ("registry",)),
    "REGISTRATION_TOKENS": (_token, ("registry",)),
    "SERVICE_TOKENS": (_token, ("registry", "puller")),
    "PULL_TOKEN_KEYS": (_token, ("registry", "puller", "ingest")),
    "POSTGRES_PASSWORD": (_token, ("postgres",)),
    "REGISTRY_DATABASE_PASSWORD": (_token, ("postgres",)),
    "INGEST_DATABASE_PASSWORD": (_token, ("postgres",)),
    "MONITORING_DATABASE_PASSWORD": (_token, ("postgres", "postgres-exporter")),
    "REGISTRY_RABBITMQ_PASSWORD": (_token, ("rabbitmq",)),
    "PULLER_RABBITMQ_PASSWORD": (_token, ("rabbitmq",)),
    "INGEST_RABBITMQ_PASSWORD": (_token, ("rabbitmq",)),
    "MONITORING_RABBITMQ_PASSWORD": (_token, ("rabbitmq",)),
    "CLIENT_METRICS_TOKENS": (_token, ("client",)),
    "GRAFANA_PASSWORD": (_token, ("grafana",)),
}
"""How each value is made, and in whose folders it is."""

_POSTGRES: Final = "postgresql://pullsync_{}:{}@postgres:5432/pullsync?sslmode=verify-full"
_RABBITMQ: Final = "amqps://pullsync_{}:{}@rabbitmq:5671/"
_MANAGEMENT: Final = "https://pullsync_monitoring:{1}@rabbitmq:15671/"
_TAKEN: Final = {
    "registry/DATABASE_URL": (_POSTGRES, "postgres/REGISTRY_DATABASE_PASSWORD"),
    "ingest/DATABASE_URL": (_POSTGRES, "postgres/INGEST_DATABASE_PASSWORD"),
    "registry/RABBITMQ_URL": (_RABBITMQ, "rabbitmq/REGISTRY_RABBITMQ_PASSWORD"),
    "puller/RABBITMQ_URL": (_RABBITMQ, "rabbitmq/PULLER_RABBITMQ_PASSWORD"),
    "ingest/RABBITMQ_URL": (_RABBITMQ, "rabbitmq/INGEST_RABBITMQ_PASSWORD"),
    "registry/RABBITMQ_MANAGEMENT_URL": (_MANAGEMENT, "rabbitmq/MONITORING_RABBITMQ_PASSWORD"),
    "client/CLIENT_REGISTRATION_TOKEN": ("{1}", "registry/REGISTRATION_TOKENS"),
    "prometheus/CLIENT_METRICS_TOKEN": ("{1}", "client/CLIENT_METRICS_TOKENS"),
}
"""How a value is made of another one: its form, in which 0 is the service and 1 the first line of the other file."""

_CA: Final = "ca/ca.crt"
_CA_KEY: Final = "ca/ca.key"
_TRUSTING: Final = ("registry", "puller", "ingest", "client", "postgres-exporter")
_LOCAL: Final = ("localhost", "127.0.0.1", "::1")


class SecretFolder:
    """Makes what is missing in a folder, and keeps account of it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.made: list[Path] = []
        self.kept: list[Path] = []
        self.problems: list[str] = []

    def complete(self, hosts: Sequence[str]) -> None:
        """Make all that is missing; `hosts` are names by which others reach the front."""
        self.root.mkdir(mode=0o700, exist_ok=True)
        for name, (make, readers) in _VALUES.items():
            self._share(name, make, readers)
        for name, (form, other) in _TAKEN.items():
            self._take(name, form, other)
        self._keep_metrics_token()
        self._keep_authority()
        for reader in _TRUSTING:
            self._keep(f"{reader}/ca.crt", lambda: f"{self._read(_CA)}\n")
            if self._read(_CA) not in self._read(f"{reader}/ca.crt"):
                self.problems.append(f"{self.root / reader / 'ca.crt'} lacks the CA in {self.root / _CA}: {_ANEW}")
        for server in ("postgres", "rabbitmq"):
            self._certify(server, (server, *_LOCAL))
        self._certify("front", (*hosts, "front", *_LOCAL))

    def _share(self, name: str, make: Callable[[], str], readers: Sequence[str]) -> None:
        """The same value in the folder of each reader: one that is there already, else a new one."""
        paths = [f"{reader}/{name}" for reader in readers]
        found = {self._read(path) for path in paths if (self.root / path).exists()}
        if len(found) > 1:
            self.problems.append(f"{name} differs between {' and '.join(readers)}: copy the right one to the others")
            return
        value = found.pop() if found else make()
        for path in paths:
            self._keep(path, lambda: f"{value}\n")

    def _take(self, name: str, form: str, other: str) -> None:
        """A value that is made of another one, or one that is there and has it in it."""
        values = self._read(other).split()
        if not values:
            self.problems.append(f"{self.root / other} is empty: {_ANEW}")
            return
        self._keep(name, lambda: form.format(name.partition("/")[0], values[0]) + "\n")
        if not any(value in self._read(name) for value in values):
            path, source = self.root / name, self.root / other
            self.problems.append(f"{path} does not have what is in {source}: {_ANEW}")

    def _keep_metrics_token(self) -> None:
        """What Prometheus shows the registry: an operator's token that lets look, and no more."""
        name, operators = "prometheus/METRICS_TOKEN", "registry/OPERATOR_TOKENS"
        lines = self._read(operators).replace(",", "\n").split()
        tokens = [line.removeprefix("read:") for line in lines if line.startswith("read:")]
        if not tokens:
            told = f"{self.root / operators} has no line read:<token>, which Prometheus needs"
            self.problems.append(f"{told}: add one, and run `make secrets` again")
            return
        self._keep(name, lambda: f"{tokens[0]}\n")
        if self._read(name) not in tokens:
            self.problems.append(f"{self.root / name} is no token of {self.root / operators} with `read:`: {_ANEW}")

    def _keep_authority(self) -> None:
        """The CA, made when there is none. Its key may be elsewhere, as long as nothing is to be signed."""
        if (self.root / _CA).exists():
            self.kept += [self.root / name for name in (_CA, _CA_KEY) if (self.root / name).exists()]
            return
        made = Authority.new("PullSync's private CA")
        self._write(_CA_KEY, made.key_pem)
        self._write(_CA, made.certificate_pem)

    def _certify(self, server: str, names: Sequence[str]) -> None:
        """A certificate for the server, when it has none; the key is written first, so half a pair is made anew."""
        path = self.root / server / "server.crt"
        if path.exists():
            self.kept += [path, path.with_name("server.key")]
            self._check(path, names)
            return
        try:
            authority = Authority.from_pem(self._read(_CA), self._read(_CA_KEY))
        except (OSError, ValueError) as error:
            told = f"{path} can't be made, since the CA in {self.root / 'ca'} can't be used ({error})"
            self.problems.append(f"{told}: put ca.crt and ca.key back, or remove all of ca/, ca.crt and server.crt")
            return
        issued = authority.issue(names)
        self._write(f"{server}/server.key", issued.key)
        self._write(f"{server}/server.crt", issued.certificate)

    def _check(self, path: Path, names: Sequence[str]) -> None:
        try:
            authority = x509.load_pem_x509_certificate(self._read(_CA).encode())
            found = x509.load_pem_x509_certificate(path.read_bytes())
            missing = sorted(set(names) - names_of(found))
        except (ValueError, x509.ExtensionNotFound):
            self.problems.append(f"{path}, or {self.root / _CA}, is no certificate as PEM: {_ANEW}")
            return
        if not has_signed(authority, found):
            self.problems.append(f"{path} is not signed by the CA in {self.root / 'ca'}: {_ANEW}")
        if found.not_valid_after_utc < datetime.now(UTC) + _RENEW_BEFORE:
            self.problems.append(f"{path} is valid until {found.not_valid_after_utc:%Y-%m-%d}: {_ANEW}")
        if missing:
            self.problems.append(f"{path} is not for {', '.join(missing)}: {_ANEW}")

    def _keep(self, name: str, make: Callable[[], str]) -> None:
        if (self.root / name).exists():
            self.kept.append(self.root / name)
        else:
            self._write(name, make())

    def _read(self, name: str) -> str:
        return (self.root / name).read_text(encoding="utf-8").strip()

    def _write(self, name: str, text: str) -> None:
        path = self.root / name
        path.parent.mkdir(mode=0o700, exist_ok=True)
        write_private(path, text)
        owner = OWNERS.get(path.parent.name)
        if os.geteuid() == 0 and owner is not None:
            os.chown(path.parent, owner, owner)
            os.chown(path, owner, owner)
        self.made.append(path)


def main() -> int:
    """Run the command line; gives the exit status."""
    parser = argparse.ArgumentParser(prog="dev.first_secrets", description=__doc__)
    parser.add_argument("hosts", nargs="*", help="names by which others reach the front")
    parser.add_argument("--folder", type=Path, default=FOLDER)
    arguments = parser.parse_args()
    folder = SecretFolder(arguments.folder)
    try:
        folder.complete(arguments.hosts)
    except OSError as error:
        print(f"error: {error.filename}: {error.strerror}", file=sys.stderr)
        return 1
    for path in folder.made:
        print(f"made {_shown(path)}")
    print(f"{len(folder.made)} files made, {len(folder.kept)} kept as they were")
    for problem in folder.problems:
        print(f"error: {problem}", file=sys.stderr)
    if folder.problems:
        return 1
    print(_next(arguments.folder))
    return 0


def _next(folder: Path) -> str:
    """What to do with them."""
    lines = ["COMPOSE_FILE=docker-compose.yml:docker-compose.tls.yml"]
    if os.geteuid() != 0:
        lines.append(f"SECRETS_OWNER={os.geteuid()}:{os.getegid()}")
    settings = "\n".join(f"  {line}" for line in lines)
    return (
        f"\nTo start with them, put this into .env, then run `docker compose up --build`:\n{settings}\n"
        f"Whoever connects trusts {_shown(folder / _CA)}; keep {_shown(folder / _CA_KEY)} elsewhere."
    )


def _shown(path: Path) -> str:
    return os.path.relpath(path)


if __name__ == "__main__":
    sys.exit(main())
