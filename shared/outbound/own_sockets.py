"""What a service itself may lack to call anybody: descriptors, ports, memory, threads. No client is to blame for it."""

from __future__ import annotations

import errno
import re
import resource
import socket
import time
from collections.abc import Callable
from typing import Final

import structlog

from shared.errors import OwnLackError, causes

LASTS_S: Final = 5.0
"""For how long a service is taken to lack something after it did: then it tries again."""
_RESERVED: Final = 256
"""Descriptors for all but the calls: servers, callers of its health, files."""

_LESS: Final = "or lower how many are called at once (PULL_SYNC_CONCURRENCY of a puller)"
_REMEDIES: Final = {
    errno.EMFILE: f"raise the limit of open files (ulimit -n; nofile of a container, LimitNOFILE of a unit), {_LESS}",
    errno.ENFILE: f"raise the machine's limit of open files (sysctl fs.file-max), {_LESS}",
    errno.EADDRNOTAVAIL: f"widen the machine's range of local ports (sysctl net.ipv4.ip_local_port_range), {_LESS}",
    errno.ENOMEM: f"give it more memory and threads (ulimit -u; pids of a container), {_LESS}",
    errno.ENOBUFS: f"give the machine more memory for sockets (sysctl net.ipv4.tcp_mem), {_LESS}",
}
_LOOK_UPS: Final = (socket.EAI_MEMORY, socket.EAI_SYSTEM)
_ERRNO: Final = re.compile(r"\[Errno (\d+)\]")

log = structlog.get_logger()


class OwnSockets:
    """Whether this process can open connections; it logs when it can't, once, and when it can again."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._last: float | None = None
        self.on_lack: Callable[[], None] = lambda: None
        """Called for each call that came to nothing."""

    async def suffice(self) -> bool:
        """Whether no call lacked anything of ours within the last seconds."""
        return self._last is None or self._clock() - self._last >= LASTS_S

    def lacking(self, error: OSError) -> OwnLackError:
        """Note that a call came to nothing by this error; what to raise for it."""
        self.on_lack()
        if self._last is None:
            remedy = _REMEDIES.get(error.errno or 0, _REMEDIES[errno.ENOMEM])
            log.error("own_sockets_lacking", problem=error.strerror or str(error), remedy=remedy, retrying=True)
        self._last = self._clock()
        return OwnLackError(f"no connection could be opened here: {error.strerror or error}")

    def called(self) -> None:
        """A call went out."""
        if self._last is not None and self._clock() - self._last >= LASTS_S:
            self._last = None
            log.info("own_sockets_suffice")


def own_lack(error: BaseException) -> OSError | None:
    """What this machine lacked, if that is behind an error of the HTTP stack."""
    return next((each for each in causes(error) if isinstance(each, OSError) and _is_lack(each)), None)


def _is_lack(error: OSError) -> bool:
    if isinstance(error, socket.gaierror):
        return error.errno in _LOOK_UPS
    if error.errno is None:  # one for several addresses, each of which failed in its own way
        return any(_lacks(int(number)) for number in _ERRNO.findall(str(error)))
    return _lacks(error.errno)


def _lacks(number: int) -> bool:
    return number in _REMEDIES and (number != errno.EADDRNOTAVAIL or not _has_local_port())


def _has_local_port() -> bool:
    """Else it is the address that can't be had, such as an IPv6 one where there is no IPv6: the client's fault."""
    try:
        with socket.socket() as probe:
            probe.bind(("", 0))
    except OSError:
        return False
    return True


def room_for(wanted: int) -> int:
    """How many of the calls that are wanted at once the limit of open files has room for; a warning if not for all."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    room = wanted if limit == resource.RLIM_INFINITY else limit - min(_RESERVED, limit // 2)
    if room < wanted:
        log.warning("fewer_calls_at_once", wanted=wanted, calls=room, open_files=limit, remedy=_REMEDIES[errno.EMFILE])
    return max(1, min(wanted, room))
