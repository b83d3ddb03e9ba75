"""Who the PostgreSQL server runs as: whoever runs us, but never root, which it refuses."""

import os
import pwd
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from dev.servers.errors import DevError

_UNPRIVILEGED: Final = "nobody"

# A process that is not root may not walk through a folder like /root (0700), under which the checkout may lie. This
# capability lets it; a container's root has it by default. Without `no_setuid_fixup` the kernel would let it open files
# but have access(2) say that it can't, and PostgreSQL asks access(2) before it runs its own programs.
_OVERRIDE: Final = (
    "--inh-caps=+dac_override",
    "--ambient-caps=+dac_override",
    "--securebits=+no_setuid_fixup",
)


@dataclass(frozen=True)
class Account:
    """An account to run a server as; `drop` is False when we run as that account already."""

    uid: int
    gid: int
    drop: bool

    def own(self, path: Path) -> None:
        """Gives `path` to the account."""
        if self.drop:
            os.chown(path, self.uid, self.gid)

    def command(self, argv: Sequence[str], data: Path) -> list[str]:
        """`argv` as the account runs it, able to reach its program and `data` wherever they lie.

        Raises:
            DevError: we are root and can't become someone else.
        """
        if not self.drop:
            return list(argv)
        prefix = self._prefix()
        if not _reaches(prefix, argv[0], data):
            prefix = [*prefix, *_OVERRIDE]
        return [*prefix, "--no-new-privs", "--", *argv]

    def _prefix(self) -> list[str]:
        setpriv = shutil.which("setpriv")
        if setpriv is None:
            message = "PostgreSQL does not run as root, and setpriv is missing: install util-linux, or be another user"
            raise DevError(message)
        return [setpriv, f"--reuid={self.uid}", f"--regid={self.gid}", "--clear-groups"]


def server_account(data_dir: Path, cluster: Path) -> Account:
    """The account for `data_dir`, which is made when missing.

    Root takes the owner of an existing `cluster`, so that who started it as themselves before can do so again, else an
    account without rights.

    Raises:
        DevError: the data belongs to someone else.
    """
    data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    owner = cluster if cluster.exists() else data_dir
    found = owner.stat()
    if os.geteuid() != 0:
        if found.st_uid != os.geteuid():
            message = f"{owner} belongs to user {found.st_uid}: be that user, or remove it"
            raise DevError(message)
        return Account(os.geteuid(), os.getegid(), drop=False)
    if found.st_uid != 0:
        return Account(found.st_uid, found.st_gid, drop=True)
    nobody = pwd.getpwnam(_UNPRIVILEGED)
    account = Account(nobody.pw_uid, nobody.pw_gid, drop=True)
    account.own(data_dir)
    return account


def give_to_owner_of(folder: Path, descriptor: int) -> None:
    """Lets the owner of `folder` use a file that root has opened in it; for others than root nothing happens."""
    if os.geteuid() == 0:
        owner = folder.stat()
        os.fchown(descriptor, owner.st_uid, owner.st_gid)


def _reaches(prefix: Sequence[str], program: str, data: Path) -> bool:
    """Whether the account may run `program` and enter `data` without further rights."""
    test = 'cd "$1" && exec "$2" --version'
    tried = subprocess.run(
        [*prefix, "--", "/bin/sh", "-c", test, "sh", str(data), program],
        cwd="/",
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )
    return tried.returncode == 0
