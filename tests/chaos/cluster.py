"""Several private RabbitMQ nodes on this machine as one cluster, of which any may be killed and started again.

They share users, the Erlang cookie and a port mapper; all else is each node's own. A client reaches them by way of
something that passes connections on to a node that is up.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Final

from dev.servers.errors import DevError
from dev.servers.ports import LOOPBACK, free_port
from dev.servers.process import ManagedProcess
from dev.servers.rabbitmq import RabbitMQNode
from dev.servers.rabbitmq_config import Credentials, clean_environment, give_identity
from dev.servers.rabbitmq_program import find_epmd

_USER: Final = "pullsync"
_COMMAND_S: Final = 60.0
_SYNC_WITHIN_S: Final = 120.0
_EPMD_WITHIN_S: Final = 10.0
_POLL_S: Final = 0.5


class Cluster:
    """A cluster of so many nodes, which is formed at the first `start`, before anybody declares a queue.

    Here it is used as a `RabbitMQNode` is. Its methods return when all is done, and are called from a thread.
    """

    def __init__(self, folder: Path, count: int) -> None:
        """The nodes' data are in `folder`, which belongs to the cluster alone."""
        self.user = _USER
        self.password = secrets.token_urlsafe(24)
        self._epmd_port = free_port()
        self._epmd = _port_mapper(self._epmd_port, folder / "epmd.log")
        self.nodes: list[RabbitMQNode] = []
        cookie = secrets.token_hex(20)
        first = None
        for number in range(1, count + 1):
            name = f"pullsync-{number}-{secrets.token_hex(4)}@localhost"
            give_identity(folder / str(number), Credentials(name, self.user, self.password), cookie)
            self.nodes.append(RabbitMQNode(folder / str(number), epmd_port=self._epmd_port, join=first))
            first = first or name
        self._formed = False

    @property
    def url(self) -> str:
        """The AMQP URL of the first node, up or not."""
        return self.nodes[0].url

    @property
    def management_url(self) -> str:
        """The management API of a node that is up."""
        return self._up().management_url

    def start(self) -> None:
        """Form the cluster; later on, start the nodes that are down.

        Raises:
            DevError: a node does not start, or does not join.
        """
        self._epmd.start()
        self._epmd.wait_until(lambda: _listens(self._epmd_port), _EPMD_WITHIN_S)
        if not self._formed:
            self.nodes[0].start()  # whose cluster the others join
        with ThreadPoolExecutor() as threads:  # later on, each waits for those that were stopped after it
            list(threads.map(RabbitMQNode.start, self.nodes))
        self._formed = True

    def stop(self) -> None:
        """Shut all nodes down in order."""
        for node in self.nodes:
            node.stop()
        self._epmd.kill()

    def kill(self) -> None:
        """End all nodes at once, as a crash would."""
        for node in self.nodes:
            node.kill()
        self._epmd.kill()

    def rabbitmqctl(self, *args: str, deadline_s: float = _COMMAND_S) -> str:
        """Run `rabbitmqctl` against a node that is up; what it wrote.

        Raises:
            DevError: none is up, or the command failed.
        """
        return self._up().rabbitmqctl(*args, deadline_s=deadline_s)

    def replicas(self) -> Mapping[str, int]:
        """How many nodes each quorum queue has, up or not, by its name."""
        return {name: len(members) for name, (members, _) in self._queues().items()}

    def wait_in_sync(self) -> None:
        """Wait until every queue has all of its replicas running, so that any node may be killed.

        Raises:
            DevError: some have not, in time.
        """

        def all_online() -> bool:
            queues = self._queues()
            return bool(queues) and all(set(members) == set(online) for members, online in queues.values())

        _wait(all_online, "every replica of every queue runs")

    def _queues(self) -> Mapping[str, tuple[Sequence[str], Sequence[str]]]:
        """The nodes that each queue belongs to, and those of them on which it runs."""
        text = self.rabbitmqctl("list_queues", "--formatter=json", "name", "members", "online")
        return {queue["name"]: (queue["members"], queue["online"]) for queue in json.loads(text)}

    def _up(self) -> RabbitMQNode:
        for node in self.nodes:
            if node.alive():
                return node
        message = "no node of the cluster is up"
        raise DevError(message)


def _port_mapper(port: int, log_path: Path) -> ManagedProcess:
    """Erlang's, for all nodes, so that it outlives each."""
    return ManagedProcess(
        "epmd",
        [find_epmd(), "-port", str(port), "-address", LOOPBACK],
        env=clean_environment(os.environ),
        cwd=Path("/"),
        log_path=log_path,
    )


def _listens(port: int) -> bool:
    """Whether something listens there."""
    with suppress(OSError):
        socket.create_connection((LOOPBACK, port), timeout=1).close()
        return True
    return False


def _wait(condition: Callable[[], bool], what: str) -> None:
    """Wait until it holds; a command that fails while a node comes up counts as not yet."""
    end = time.monotonic() + _SYNC_WITHIN_S
    while time.monotonic() < end:
        with suppress(DevError):
            if condition():
                return
        time.sleep(_POLL_S)
    message = f"not within {_SYNC_WITHIN_S:g} s: {what}"
    raise DevError(message)
