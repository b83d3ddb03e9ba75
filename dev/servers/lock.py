"""One stack at a time uses a data directory."""

import fcntl
import os
from pathlib import Path

from dev.servers.account import give_to_owner_of
from dev.servers.errors import DevError


class DirectoryLock:
    """A lock on a directory that ends with its holder, however that ends: what is left behind never locks it.

    Args:
        directory: what to lock; made when missing, for its owner alone.
        name: the server whose data it holds, for messages.
    """

    def __init__(self, directory: Path, name: str) -> None:
        self._directory = directory
        self._name = name
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Takes it; nothing happens when it is held already.

        Raises:
            DevError: another process holds it, or this user may not write there.
        """
        if self._descriptor is not None:
            return
        descriptor = self._open()
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.read(descriptor, 32).decode(errors="replace").strip() or "?"
            os.close(descriptor)
            message = f"{self._name} in {self._directory} is in use by process {holder}: stop that one first"
            raise DevError(message) from error
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())
        self._descriptor = descriptor

    @property
    def held(self) -> bool:
        """Whether this object holds it."""
        return self._descriptor is not None

    def release(self) -> None:
        """Lets go; may be repeated."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _open(self) -> int:
        try:
            self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            descriptor = os.open(self._directory / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        except PermissionError as error:
            message = f"{self._directory} belongs to another user: be that user, or remove it"
            raise DevError(message) from error
        give_to_owner_of(self._directory, descriptor)
        return descriptor
