"""The private servers: beside others, again on the same data, after a crash, after the death of their stack."""

import asyncio
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from http.client import HTTPConnection
from pathlib import Path
from signal import Signals
from urllib.parse import urlsplit

import aio_pika
import asyncpg
import pytest

from dev.servers.errors import DevError
from dev.servers.install import ensure_rabbitmq_server
from dev.servers.ports import LOOPBACK, free_port
from dev.servers.postgres import PostgresServer
from dev.servers.proctable import Process, family, look_up, processes, wait_for
from dev.servers.rabbitmq import RabbitMQNode, node_processes

_STANDARD_PORTS = (4369, 5432, 5672, 15672, 25672)
_QUEUE = "kept"


@pytest.fixture(scope="module", autouse=True)
def _rabbitmq() -> None:
    """A machine without RabbitMQ gets it, or the test fails and says what to install."""
    ensure_rabbitmq_server()


@pytest.fixture
def _others() -> Iterator[None]:
    """Someone listens on each standard port; who was there before the test will do as well."""
    with ExitStack() as stack:
        for port in _STANDARD_PORTS:
            listener = stack.enter_context(socket.socket())
            try:
                listener.bind(("", port))
                listener.listen()
            except OSError:
                continue
        yield


@contextmanager
def _nothing_left(data_dir: Path) -> Iterator[None]:
    """Afterwards no process has anything to do with `data_dir`, and we have no new child.

    The servers of all tests are our children, too: what they start and end meanwhile is theirs.
    """
    children = _our_children()
    yield
    left = [process for process in processes() if _is_about(process, data_dir)]
    assert left == []
    assert _our_children() <= children


def _our_children() -> set[int]:
    return {process.pid for process in family(os.getpid()) if process.parent == os.getpid()}


def _is_about(process: Process, data_dir: Path) -> bool:
    """By its folder, its environment or its command line."""
    mentions = [process.working_directory(), *process.command_line(), *process.environment().values()]
    return process.pid != os.getpid() and any(str(data_dir) in mention for mention in mentions)


def _sql(server: PostgresServer, *statements: str) -> object:
    """Runs `statements`; the value of the last one."""

    async def run() -> object:
        connection = await asyncpg.connect(server.url, timeout=10)
        try:
            for statement in statements[:-1]:
                await connection.execute(statement)
            value: object = await connection.fetchval(statements[-1])
        finally:
            await connection.close()
        return value

    return asyncio.run(run())


def _publish(node: RabbitMQNode, text: str) -> None:
    """One confirmed, persistent message to a durable quorum queue."""

    async def run() -> None:
        async with await aio_pika.connect(node.url, timeout=10) as connection:
            channel = await connection.channel()
            arguments: dict[str, object] = {"x-queue-type": "quorum"}
            await channel.declare_queue(_QUEUE, durable=True, arguments=arguments)  # type: ignore[arg-type] # narrower than AMQP
            message = aio_pika.Message(text.encode(), delivery_mode=aio_pika.DeliveryMode.PERSISTENT)
            await channel.default_exchange.publish(message, routing_key=_QUEUE)

    asyncio.run(run())


def _take(node: RabbitMQNode) -> str:
    """The next message, waiting for the queue to have elected its leader."""

    async def run() -> str:
        async with await aio_pika.connect(node.url, timeout=10) as connection:
            channel = await connection.channel()
            queue = await channel.get_queue(_QUEUE)
            message = await queue.get(timeout=20)
            await message.ack()
            return message.body.decode()

    return asyncio.run(run())


def _listening(numbers: set[int]) -> set[str]:
    """The local addresses, as the kernel writes them, on which the processes of these numbers listen."""
    inodes = {
        link.readlink().name.removeprefix("socket:[").removesuffix("]")
        for number in numbers
        for link in Path(f"/proc/{number}/fd").iterdir()
        if link.is_symlink()
    }
    rows = [
        line.split() for table in ("tcp", "tcp6") for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]
    ]
    return {row[1].split(":")[0] for row in rows if row[3] == "0A" and row[9] in inodes}


_LOOPBACKS = {"0100007F", "00000000000000000000000001000000"}


@pytest.mark.usefixtures("_others")
def test_postgres_beside_another_keeps_its_data(tmp_path: Path) -> None:
    """Stopped and started again, killed and started again, it has its data, its password and its port."""
    data_dir = tmp_path / "postgres"
    with _nothing_left(data_dir), PostgresServer(data_dir, durable=False) as server:
        url = server.url
        assert urlsplit(url).port not in _STANDARD_PORTS
        assert _sql(server, "CREATE TABLE kept (n int)", "INSERT INTO kept VALUES (1)", "SELECT 1") == 1
        assert _sql(server, "SELECT current_setting('listen_addresses')") == LOOPBACK
        assert _sql(server, "SELECT current_setting('unix_socket_directories')") == ""

        server.stop()
        server.start()
        assert server.url == url
        assert _sql(server, "INSERT INTO kept VALUES (2)", "SELECT count(*) FROM kept") == 2

        before = server.pid
        server.kill()
        assert not server.alive()
        server.start()
        assert server.pid != before
        assert _sql(server, "SELECT count(*) FROM kept") == 2


def test_postgres_is_set_up_as_the_services_need_it(tmp_path: Path) -> None:
    """Durable unless told otherwise, 200 connections, UTF-8, and the same order of texts on every machine."""
    with PostgresServer(tmp_path / "postgres") as server:
        assert _sql(server, "SELECT current_setting('fsync')") == "on"
        assert _sql(server, "SELECT current_setting('max_connections')") == "200"
        assert _sql(server, "SELECT current_setting('server_encoding')") == "UTF8"
        assert _sql(server, "SELECT 'Z' < 'a' AND upper('é') = 'É'") is True
        assert (tmp_path / "postgres" / "password").stat().st_mode & 0o077 == 0
        with pytest.raises(asyncpg.InvalidPasswordError):
            asyncio.run(asyncpg.connect(f"postgresql://postgres:wrong@{LOOPBACK}:{server.port}/postgres"))


def test_an_interrupted_first_start_of_postgres_is_repaired(tmp_path: Path) -> None:
    """What initdb had begun is thrown away."""
    data_dir = tmp_path / "postgres"
    (data_dir / "cluster.new" / "base").mkdir(parents=True)
    (data_dir / "password").touch()
    with PostgresServer(data_dir, durable=False) as server:
        assert _sql(server, "SELECT 1") == 1


def test_postgres_starts_over_a_stale_pid_file(tmp_path: Path) -> None:
    """After a crash of the machine the number in postmaster.pid may belong to anyone, here to this test."""
    data_dir = tmp_path / "postgres"
    with PostgresServer(data_dir, durable=False) as server:
        pid_file = data_dir / "cluster" / "postmaster.pid"
        text = pid_file.read_text()
        server.kill()
        pid_file.write_text(text.replace(str(server.pid), str(os.getpid()), 1))
        server.start()
        assert _sql(server, "SELECT 1") == 1


def test_a_port_that_is_taken_is_refused(tmp_path: Path) -> None:
    """In one line, and nothing is left running."""
    with socket.socket() as listener:
        listener.bind((LOOPBACK, 0))
        listener.listen()
        port = listener.getsockname()[1]
        with _nothing_left(tmp_path), pytest.raises(DevError, match=f"port {port} .* is in use"):
            PostgresServer(tmp_path / "postgres", port=port, durable=False).start()
        with _nothing_left(tmp_path), pytest.raises(DevError, match=f"port {port} .* is in use"):
            RabbitMQNode(tmp_path / "rabbitmq", management_port=port).start()


@pytest.mark.usefixtures("_others")
def test_rabbitmq_beside_another_keeps_its_data(tmp_path: Path) -> None:
    """Stopped and started again, killed and started again, it has its messages, its user and its ports."""
    data_dir = tmp_path / "rabbit mq"  # RabbitMQ's own scripts are careless about spaces
    with _nothing_left(data_dir), RabbitMQNode(data_dir) as node:
        url = node.url
        _publish(node, "first")
        _publish(node, "second")
        assert _listening({process.pid for process in node_processes(node.data_dir)}) <= _LOOPBACKS

        node.stop()
        node.start()
        assert node.url == url
        assert _take(node) == "first"

        node.kill()
        assert not node.alive()
        node.start()
        assert _take(node) == "second"


def test_rabbitmq_can_be_looked_into(tmp_path: Path) -> None:
    """Management, metrics and the command line work, and the default user is not there."""
    with RabbitMQNode(tmp_path / "rabbitmq", management_port=free_port()) as node:
        assert node.rabbitmqctl("list_users").split() == [node.user, "[administrator]"]
        with pytest.raises(DevError, match="rabbitmqctl no_such_command failed"):
            node.rabbitmqctl("no_such_command")
        assert "rabbitmq_build_info" in _get(node.metrics_url)
        assert "RabbitMQ" in _get(node.management_url + "/")
    with pytest.raises(DevError, match="does not run"):
        node.rabbitmqctl("list_users")


def _get(url: str) -> str:
    parts = urlsplit(url)
    assert parts.hostname is not None
    with closing(HTTPConnection(parts.hostname, parts.port, timeout=10)) as connection:
        connection.request("GET", parts.path)
        return connection.getresponse().read().decode()


def test_an_interrupted_first_start_of_rabbitmq_is_repaired(tmp_path: Path) -> None:
    """A node killed within its first start may lack its user; its data count for nothing."""
    node = RabbitMQNode(tmp_path / "rabbitmq")
    with node:
        node.rabbitmqctl("delete_user", node.user)
        node.kill()
        (node.data_dir / "initialised").unlink()
        node.start()
        assert node.user in node.rabbitmqctl("list_users")


# Starts both servers, says what it started, and sleeps until it is killed.
_STACK = """
import sys, time
from pathlib import Path
from dev.servers.postgres import PostgresServer
from dev.servers.rabbitmq import RabbitMQNode
folder = Path(sys.argv[1])
postgres, rabbitmq = PostgresServer(folder / "postgres", durable=False), RabbitMQNode(folder / "rabbitmq")
postgres.start()
rabbitmq.start()
print(postgres.pid, rabbitmq.pid, flush=True)
time.sleep(300)
"""


@contextmanager
def _stack(folder: Path) -> Iterator[tuple[subprocess.Popen[str], list[Process]]]:
    """A stack in a process of its own, and the two servers that it started."""
    argv = [sys.executable, "-c", _STACK, str(folder)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as stack:  # noqa: S603 - this very Python
        try:
            assert stack.stdout is not None
            found = [look_up(int(number)) for number in stack.stdout.readline().split()]
            yield stack, [server for server in found if server is not None]
        finally:
            stack.kill()


def test_servers_end_with_a_killed_stack(tmp_path: Path) -> None:
    """SIGKILL of who started them ends them too, in order and within seconds."""
    with _stack(tmp_path) as (stack, servers):
        assert len(servers) == 2
        stack.kill()
        stack.wait()
        assert wait_for(lambda: not any(_is_about(process, tmp_path) for process in processes()), 30)
    assert "database system is shut down" in (tmp_path / "postgres" / "postgres.log").read_text()


def test_what_a_killed_stack_left_is_taken_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Servers that survived the stack and its guards are stopped, and the next start finds their data."""
    with _stack(tmp_path) as (stack, servers):
        numbers = {server.pid for server in servers}
        _kill_guards(stack.pid)
        stack.kill()
        stack.wait()
    assert all(server.exists() for server in servers)
    with (
        _killed_at_the_end(servers),
        _nothing_left(tmp_path),
        PostgresServer(tmp_path / "postgres", durable=False) as postgres,
        RabbitMQNode(tmp_path / "rabbitmq") as rabbitmq,
    ):
        assert not any(server.exists() for server in servers)
        assert _sql(postgres, "SELECT 1") == 1
        assert rabbitmq.user in rabbitmq.rabbitmqctl("list_users")
    said = capsys.readouterr().out
    assert all(f"(process {number})" in said for number in numbers)


@contextmanager
def _killed_at_the_end(servers: list[Process]) -> Iterator[None]:
    """A failure leaves nothing running on the machine."""
    try:
        yield
    finally:
        for server in servers:
            for member in family(server.pid) if server.exists() else []:
                member.signal(Signals.SIGKILL)


def _kill_guards(stack: int) -> None:
    for process in family(stack):
        if "pullsync-guard" in process.command_line():
            process.signal(Signals.SIGKILL)


def test_a_running_stack_is_not_disturbed(tmp_path: Path) -> None:
    """A second one on the same data is refused and leaves the servers of the first alone."""
    with _stack(tmp_path) as (stack, servers):
        for server in (PostgresServer(tmp_path / "postgres"), RabbitMQNode(tmp_path / "rabbitmq")):
            with pytest.raises(DevError, match=f"in use by process {stack.pid}"):
                server.start()
            server.stop()
        assert all(server.exists() for server in servers)
        stack.kill()
        stack.wait()
        assert wait_for(lambda: not any(_is_about(process, tmp_path) for process in processes()), 30)


def test_a_start_takes_seconds(tmp_path: Path) -> None:
    """The local stack is up before one gives up waiting; generous, for a machine that does other things too."""
    for server, limit_s in ((PostgresServer(tmp_path / "postgres"), 20), (RabbitMQNode(tmp_path / "rabbitmq"), 60)):
        begin = time.monotonic()
        with server:
            assert time.monotonic() - begin < limit_s
