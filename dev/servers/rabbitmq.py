"""A private RabbitMQ node, run from the system's `rabbitmq-server`, beside whatever other nodes the machine has.

Everything a node usually shares is its own: name, Erlang cookie, port mapper (epmd), configuration, plugins, data. What
lies in the data directory:

    credentials.json   node name, user and password, mode 0600; made once and kept
    home/              HOME of the node, with its Erlang cookie
    etc/               the configuration, and certificate and key for TLS, written at each start
    mnesia/            the node's data
    rabbitmq.log, epmd.log
    initialised        there once the node has been up: until then its data count for nothing
    lock               held while a stack uses this directory
"""

import os
import shutil
import socket
from base64 import b64encode
from contextlib import suppress
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from signal import Signals
from types import TracebackType
from typing import Final, Self
from urllib.parse import quote

from dev.servers.certificate import ServerCertificate
from dev.servers.errors import DevError
from dev.servers.leftovers import end_leftovers
from dev.servers.lock import DirectoryLock
from dev.servers.ports import LOOPBACK, free_port, require_free
from dev.servers.process import ManagedProcess, run_quietly
from dev.servers.proctable import Process, processes, wait_for
from dev.servers.rabbitmq_config import Credentials, Ports, clean_environment, file_variables, write_files
from dev.servers.rabbitmq_program import find_epmd, find_scripts

_NAME: Final = "RabbitMQ"
_MARK: Final = "PULLSYNC_RABBITMQ_DIR"  # in the environment of the node and of all that it starts
_READY_WITHIN_S: Final = 120.0
_STOP_WITHIN_S: Final = 30.0
_PROBE_TIMEOUT_S: Final = 5.0

_AMQP_GREETING: Final = b"AMQP\x00\x00\x09\x01"
_CONNECTION_START: Final = b"\x00\x0a\x00\x0a"  # class 10, method 10
_FRAME_HEADER_BYTES: Final = 7

# Two cores are shared with everything else: schedulers sleep instead of spinning. The ones for files are the exception:
# a start asks for some 50,000 files that aren't there, one after another, and took 5.2 s with `none`, 2.9 s with
# `very_short`, which costs nothing once it is up. `start_epmd false`: the node must use the port mapper we gave it.
_ERLANG_ARGUMENTS: Final = (
    "-kernel inet_dist_use_interface {127,0,0,1} -start_epmd false +sbwt none +sbwtdcpu none +sbwtdio very_short"
)

# At its stop, the management plugin asks a process that has ended before, and waits 5 s for the answer (seen in 3.10).
# Without its handler the node stops within 2 s.
_DETACH_MANAGEMENT: Final = "gen_event:delete_handler(rabbit_event, rabbit_mgmt_db_handler, stop)."


class RabbitMQNode:
    """One RabbitMQ node on 127.0.0.1 with a data directory of its own, which is made at the first start and kept.

    It can be started, stopped and killed again and again, on the same ports. It runs as whoever runs us.

    Args:
        data_dir: belongs to this node alone; made when missing.
        amqp_port: where to listen for AMQP; any free one unless told.
        management_port: where to listen for the management UI and API; any free one unless told.
        prometheus_port: where to serve metrics; any free one unless told.
        epmd_port: where a port mapper runs that the nodes of a cluster share; one of its own unless told.
        join: the name of a node, whose cluster an empty node becomes a part of at its first start.
        certificate: with it the node speaks TLS, too, on other ports.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        amqp_port: int | None = None,
        management_port: int | None = None,
        prometheus_port: int | None = None,
        epmd_port: int | None = None,
        join: str | None = None,
        certificate: ServerCertificate | None = None,
    ) -> None:
        self.data_dir = data_dir.resolve()
        self.log_path = self.data_dir / "rabbitmq.log"
        self.ports = Ports(
            amqp=free_port() if amqp_port is None else amqp_port,
            management=free_port() if management_port is None else management_port,
            prometheus=free_port() if prometheus_port is None else prometheus_port,
            distribution=free_port(),
            epmd=free_port() if epmd_port is None else epmd_port,
            amqps=None if certificate is None else free_port(),
            management_tls=None if certificate is None else free_port(),
        )
        self._certificate = certificate
        self._shares_epmd = epmd_port is not None
        self._join = join
        self._lock = DirectoryLock(self.data_dir, _NAME)
        self._credentials: Credentials | None = None
        self._scripts: Path | None = None
        self._epmd: ManagedProcess | None = None
        self._node: ManagedProcess | None = None

    @property
    def url(self) -> str:
        """The AMQP URL of the node's own user, with the default virtual host; known once the node was started."""
        return f"amqp://{quote(self.user)}:{quote(self.password)}@{LOOPBACK}:{self.ports.amqp}/"

    @property
    def amqps_url(self) -> str:
        """The same by TLS, to the name `localhost`; known once a node with a certificate was started."""
        return f"amqps://{quote(self.user)}:{quote(self.password)}@localhost:{self.ports.amqps}/"

    @property
    def management_url(self) -> str:
        """Where the management UI and API are, without credentials."""
        return f"http://{LOOPBACK}:{self.ports.management}"

    @property
    def management_tls_url(self) -> str:
        """The same by TLS, at the name `localhost`; of a node with a certificate."""
        return f"https://localhost:{self.ports.management_tls}"

    @property
    def metrics_url(self) -> str:
        """Where Prometheus finds the node's metrics."""
        return f"http://{LOOPBACK}:{self.ports.prometheus}/metrics"

    @property
    def user(self) -> str:
        """The node's only user, an administrator; known once the node was started."""
        return self._known().user

    @property
    def password(self) -> str:
        """That user's password; known once the node was started."""
        return self._known().password

    @property
    def pid(self) -> int:
        """The Erlang machine's number.

        Raises:
            DevError: it was never started.
        """
        if self._node is None:
            message = f"{_NAME} was not started"
            raise DevError(message)
        return self._node.pid

    def alive(self) -> bool:
        """Whether the node runs."""
        return self._node is not None and self._node.alive()

    def start(self) -> None:
        """Starts the node and returns when AMQP and management answer; nothing happens when it runs.

        A node that an earlier run left behind on the same data is stopped first.

        Raises:
            DevError: no rabbitmq-server is installed, the data is in use by another run, a port is taken, or the node
                did not come up; the detail is the end of its log.
        """
        if self.alive():
            return
        self._scripts = find_scripts()
        self.kill()  # what is left of one that ended by itself
        self._lock.acquire()
        try:
            end_leftovers(self._remains, Signals.SIGTERM, _NAME, self.data_dir)
            self._prepare()
            self._launch()
        except BaseException:
            self.kill()
            raise

    def stop(self) -> None:
        """Shuts down in order, by force when that takes too long; no process is left. May be repeated."""
        if self._node is not None and self.alive():
            with suppress(DevError):  # it only makes the stop shorter
                self.rabbitmqctl("eval", _DETACH_MANAGEMENT, deadline_s=_PROBE_TIMEOUT_S)
            self._node.stop(Signals.SIGTERM, _STOP_WITHIN_S)
        self._end_rest()

    def kill(self) -> None:
        """Ends the node and all that belongs to it with SIGKILL, as a crash would; `start` recovers."""
        if self._node is not None:
            self._node.kill()
        self._end_rest()

    def use_certificate(self, certificate: ServerCertificate) -> None:
        """From the next connection on, a node that was made with a certificate has this one.

        Raises:
            DevError: the node does not run.
        """
        self._certificate = certificate
        certificate.write(self.data_dir / "etc")
        self.rabbitmqctl("eval", "ssl:clear_pem_cache().")

    def rabbitmqctl(self, *args: str, deadline_s: float = 60.0) -> str:
        """Runs `rabbitmqctl` against this node and returns what it wrote.

        Raises:
            DevError: the node does not run, or the command failed; the detail is what it wrote.
        """
        if self._scripts is None or not self.alive():
            message = f"rabbitmqctl {' '.join(args)}: {_NAME} does not run"
            raise DevError(message)
        command = [str(self._scripts / "rabbitmqctl"), "--silent", *args]
        environment = self._environment() | {"RABBITMQ_CTL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}"}
        failure = f"rabbitmqctl {' '.join(args)} failed"
        return run_quietly(command, env=environment, failure=failure, deadline_s=deadline_s)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def _known(self) -> Credentials:
        if self._credentials is None:
            message = f"{_NAME}'s user is known once it was started"
            raise DevError(message)
        return self._credentials

    def _prepare(self) -> None:
        """Makes what a start needs in the data directory.

        Raises:
            DevError: it belongs to someone else.
        """
        try:
            self._write_files()
        except PermissionError as error:
            message = f"{self.data_dir} holds another user's files: be that user, or remove it"
            raise DevError(message) from error

    def _write_files(self) -> None:
        initialised = self.data_dir / "initialised"
        if not initialised.exists():  # killed within its first start, it may lack its user for ever
            shutil.rmtree(self.data_dir / "mnesia", ignore_errors=True)
        self._credentials = write_files(self.data_dir, self.ports, join=self._join, certificate=self._certificate)

    def _launch(self) -> None:
        self._require_ports()
        self._epmd = None if self._shares_epmd else self._start_epmd()
        self._node = ManagedProcess(
            _NAME,
            [str((self._scripts or Path()) / "rabbitmq-server")],
            env=self._environment() | self._server_environment(),
            cwd=self.data_dir,
            log_path=self.log_path,
            stop_deadline_s=_STOP_WITHIN_S,
        )
        self._node.start()
        self._node.wait_until(self._ready, _READY_WITHIN_S)
        (self.data_dir / "initialised").touch()

    def _require_ports(self) -> None:
        require_free(self.ports.amqp, "RabbitMQ", "RABBITMQ_PORT")
        require_free(self.ports.management, "RabbitMQ management", "RABBITMQ_MANAGEMENT_PORT")
        require_free(self.ports.prometheus, "RabbitMQ metrics", "RABBITMQ_PROMETHEUS_PORT")

    def _start_epmd(self) -> ManagedProcess:
        """The node's own port mapper, in the foreground, so that it ends with us; the usual one would outlive us."""
        epmd = ManagedProcess(
            "epmd",
            [find_epmd(), "-port", str(self.ports.epmd), "-address", LOOPBACK],
            env=self._environment() | {_MARK: str(self.data_dir)},
            cwd=self.data_dir,
            log_path=self.data_dir / "epmd.log",
        )
        epmd.start()
        epmd.wait_until(lambda: _accepts(self.ports.epmd), _PROBE_TIMEOUT_S)
        return epmd

    def _end_rest(self) -> None:
        """The port mapper goes last: a node that misses it starts another one."""
        if not self._lock.held:
            return  # what runs on this data is not ours
        if self._epmd is not None:
            self._epmd.kill()
        for process in self._remains():
            process.signal(Signals.SIGKILL)
        wait_for(lambda: not self._remains(), _PROBE_TIMEOUT_S)
        self._lock.release()

    def _remains(self) -> list[Process]:
        return node_processes(self.data_dir)

    def _environment(self) -> dict[str, str]:
        """Common to the node and to its tools: ours without what would lead them to another node."""
        return clean_environment(os.environ) | {
            "HOME": str(self.data_dir / "home"),
            "LANG": "C.UTF-8",
            "ERL_EPMD_PORT": str(self.ports.epmd),
            "ERL_EPMD_ADDRESS": LOOPBACK,
            "RABBITMQ_NODENAME": self._known().node,
            "RABBITMQ_CONF_ENV_FILE": "/dev/null",
        }

    def _server_environment(self) -> dict[str, str]:
        return file_variables(self.data_dir) | {
            _MARK: str(self.data_dir),
            "RABBITMQ_DIST_PORT": str(self.ports.distribution),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": _ERLANG_ARGUMENTS,
            "RUNNING_UNDER_SYSTEMD": "true",  # the script then becomes the Erlang machine instead of its parent
        }

    def _ready(self) -> bool:
        return self._management_answers() and greets(self.ports.amqp)

    def _management_answers(self) -> bool:
        known = self._known()
        token = b64encode(f"{known.user}:{known.password}".encode()).decode()
        connection = HTTPConnection(LOOPBACK, self.ports.management, timeout=_PROBE_TIMEOUT_S)
        try:
            connection.request("GET", "/api/overview", headers={"Authorization": f"Basic {token}"})
            return connection.getresponse().status == 200  # noqa: PLR2004 - HTTP's OK
        except (OSError, HTTPException):
            return False
        finally:
            connection.close()


def node_processes(data_dir: Path) -> list[Process]:
    """The processes of the node that runs on `data_dir`, its Erlang machine first.

    Told by the mark that we put into their environment, which no other process has; it also finds the helpers of a
    node that was killed, which a number in a file would not.
    """
    mark = str(data_dir)
    found = [process for process in processes() if process.environment().get(_MARK) == mark]
    return sorted(found, key=lambda process: not Path(process.executable()).name.startswith("beam"))


def greets(port: int) -> bool:
    """Whether an AMQP 0-9-1 server answers: it sends `Connection.Start` to who greets it."""
    try:
        with socket.create_connection((LOOPBACK, port), timeout=_PROBE_TIMEOUT_S) as connection:
            connection.sendall(_AMQP_GREETING)
            answer = b""
            wanted = _FRAME_HEADER_BYTES + len(_CONNECTION_START)
            while len(answer) < wanted and (more := connection.recv(wanted - len(answer))):
                answer += more
    except OSError:
        return False
    return answer.startswith(b"\x01") and answer.endswith(_CONNECTION_START)


def _accepts(port: int) -> bool:
    try:
        socket.create_connection((LOOPBACK, port), timeout=_PROBE_TIMEOUT_S).close()
    except OSError:
        return False
    return True
