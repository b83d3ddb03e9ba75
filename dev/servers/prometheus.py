"""A private Prometheus, run from the system's `prometheus`, for the local stack and the tests.

What lies in its data directory:

prometheus.yml   what it is told to ask, written at each start
data/            what it has collected
prometheus.log   what it said
lock             held while a stack uses this directory
"""

import os
from http.client import HTTPException
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from dev.local_http import open_local
from dev.servers.lock import DirectoryLock
from dev.servers.ports import LOOPBACK, free_port, require_free
from dev.servers.process import ManagedProcess
from dev.servers.prometheus_program import find_prometheus

_NAME: Final = "Prometheus"
_READY_WITHIN_S: Final = 60.0  # it reads again what it had collected
_STOP_WITHIN_S: Final = 20.0
_PROBE_TIMEOUT_S: Final = 2.0
_RETENTION: Final = "2d"


class PrometheusServer:
    """One Prometheus on 127.0.0.1 with a data directory of its own, which is made at the first start and kept.

    Args:
        data_dir: belongs to this server alone; made when missing.
        configuration: the text of its `prometheus.yml`.
        port: where to listen; any free one unless told.
    """

    def __init__(self, data_dir: Path, *, configuration: str, port: int | None = None) -> None:
        self.data_dir = data_dir.resolve()
        self.port = free_port() if port is None else port
        self.log_path = self.data_dir / "prometheus.log"
        self._configuration = configuration
        self._lock = DirectoryLock(self.data_dir, _NAME)
        self._process: ManagedProcess | None = None

    @property
    def url(self) -> str:
        """Where its pages and its API are."""
        return f"http://{LOOPBACK}:{self.port}"

    def start(self) -> None:
        """Starts it, and returns when it answers; nothing happens when it runs.

        Raises:
            DevError: it is not installed, its data or its port are in use, or it did not come up; the detail is the end
                of its log.
        """
        if self._process is not None and self._process.alive():
            return
        program = find_prometheus() / "prometheus"
        self._lock.acquire()
        try:
            require_free(self.port, _NAME, "PROMETHEUS_PORT")
            self._launch(program)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Shuts it down, by force when that takes too long. May be repeated."""
        if self._process is not None:
            self._process.stop()
        self._lock.release()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def _launch(self, program: Path) -> None:
        configuration = self.data_dir / "prometheus.yml"
        configuration.write_text(self._configuration, encoding="utf-8")
        self._process = ManagedProcess(
            _NAME,
            [
                str(program),
                f"--config.file={configuration}",
                f"--storage.tsdb.path={self.data_dir / 'data'}",
                f"--storage.tsdb.retention.time={_RETENTION}",
                f"--web.listen-address={LOOPBACK}:{self.port}",
            ],
            env={"PATH": os.environ.get("PATH", os.defpath)},
            cwd=self.data_dir,
            log_path=self.log_path,
            stop_deadline_s=_STOP_WITHIN_S,
        )
        self._process.start()
        self._process.wait_until(self._ready, _READY_WITHIN_S)

    def _ready(self) -> bool:
        try:
            open_local(f"{self.url}/-/ready", timeout_s=_PROBE_TIMEOUT_S).close()
        except (OSError, HTTPException):
            return False
        return True
