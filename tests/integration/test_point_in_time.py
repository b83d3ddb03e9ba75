"""A restore to a moment, by what docs/backup.md tells: from a base backup and the log that was kept since."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import asyncpg
import pytest

from dev.backup import SCRIPTS, environment_for
from dev.database import Database, create_database
from dev.servers.account import server_account
from dev.servers.postgres import PostgresServer, find_binaries
from services.ingest import app as ingest
from services.registry import app as registry
from shared.postgres.migrations import migrate
from tests.servers import PASSWORD
from tests.waiting import eventually

CLIENT: Final = """INSERT INTO registry.clients (user_id, client_url, client_type, capabilities)
VALUES ($1, 'http://127.0.0.1:1', '', '{}')"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Archived:
    """A server that keeps its log, and where."""

    server: PostgresServer
    database: Database
    archive: Path

    @property
    def cluster(self) -> Path:
        """The data of the server."""
        return self.server.data_dir / "cluster"

    def run(self, *argv: str) -> subprocess.CompletedProcess[str]:
        """A program of PostgreSQL or a script, as the server's user."""
        environment = environment_for(self.database.admin_url, os.environ) | {"PGDATA": str(self.cluster)}
        environment["PATH"] = f"{find_binaries()}:{environment['PATH']}"
        account = server_account(self.server.data_dir, self.archive)
        return subprocess.run(  # noqa: S603 - the commands are in this file
            account.command(["/usr/bin/env", *argv], self.archive),
            env=environment,
            cwd="/",
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )

    def restore(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """The operator's script."""
        return self.run("sh", str(SCRIPTS / "restore_to_time.sh"), *arguments)

    async def keep_all_so_far(self) -> None:
        """Wait until what was written so far is in the archive."""
        async with connected(self.database.admin_url) as connection:
            name = str(await connection.fetchval("SELECT pg_walfile_name(pg_switch_wal())"))

            async def is_kept() -> bool:
                return (self.archive / name).exists()

            await eventually(is_kept)

    def restart(self) -> None:
        """Stop and start."""
        self.server.stop()
        self.server.start()


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection."""
    connection = await asyncpg.connect(url)
    try:
        yield connection
    finally:
        await connection.close()


@pytest.fixture
async def archived(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Archived]:
    """As docs/backup.md tells to turn it on; with a base backup `base`."""
    folder = tmp_path_factory.mktemp("point")
    archive = folder / "archive"
    with PostgresServer(folder / "postgres") as server:
        archive.mkdir(mode=0o700)
        server_account(server.data_dir, server.data_dir / "cluster").own(archive)
        database = await create_database(server.url, "pullsync", password=PASSWORD)
        await migrate(database.registry_url, schema=registry.SCHEMA, history=registry.MIGRATIONS)
        await migrate(database.ingest_url, schema=ingest.SCHEMA, history=ingest.MIGRATIONS)
        made = Archived(server=server, database=database, archive=archive)
        variables = (f"--set=archive={archive}", f"--set=scripts={SCRIPTS}")
        succeed(made.run("psql", *variables, f"--file={SCRIPTS / 'archiving.sql'}"))
        made.restart()
        succeed(made.run("pg_basebackup", f"--pgdata={archive / 'base'}", "--checkpoint=fast", "--wal-method=stream"))
        yield made


def succeed(done: subprocess.CompletedProcess[str]) -> None:
    """It did."""
    assert done.returncode == 0, done.stdout


async def users(database: Database) -> list[str]:
    """Of the clients that there are; once the server has done with replaying."""
    async with connected(database.admin_url) as connection:

        async def takes_writes() -> bool:
            return await connection.fetchval("SELECT pg_is_in_recovery()") is False

        await eventually(takes_writes)
        return [row[0] for row in await connection.fetch("SELECT user_id FROM registry.clients ORDER BY 1")]


async def written(archived: Archived, *user_ids: str) -> str:
    """A client for each, and then the moment, by the server's clock."""
    async with connected(archived.database.registry_url) as connection:
        for user_id in user_ids:
            await connection.execute(CLIENT, user_id)
        return str(await connection.fetchval("SELECT clock_timestamp()::text"))


async def test_what_there_was_at_a_moment_is_there_again(archived: Archived) -> None:
    """All that was committed before, nothing of what came after; the server goes on from there, and archives."""
    moment = await written(archived, "before")
    await written(archived, "after")
    async with connected(archived.database.admin_url) as connection:
        await connection.execute("DROP SCHEMA captures CASCADE; DELETE FROM registry.clients WHERE user_id = 'before'")
    await archived.keep_all_so_far()
    archived.server.stop()
    assert "nothing is overwritten" in archived.restore(str(archived.archive / "base"), moment).stdout

    archived.cluster.rename(archived.cluster.with_name("cluster.before"))
    succeed(archived.restore(str(archived.archive / "base"), moment))
    archived.server.start()
    assert await users(archived.database) == ["before"]
    async with connected(archived.database.ingest_url) as connection:
        assert await connection.fetchval("SELECT count(*) FROM captures.events") == 0
    await written(archived, "new")
    await archived.keep_all_so_far()
    assert [path.name for path in archived.archive.glob("00000002.history")] == ["00000002.history"]


async def test_without_a_moment_all_that_was_kept_is_there_again(archived: Archived) -> None:
    """As after the loss of the machine."""
    await written(archived, "first", "second")
    await archived.keep_all_so_far()
    archived.server.kill()
    archived.cluster.rename(archived.cluster.with_name("cluster.before"))
    succeed(archived.restore(str(archived.archive / "base")))
    await asyncio.to_thread(archived.server.start)
    assert await users(archived.database) == ["first", "second"]


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ((), "say which base backup"),
        (("nowhere",), "nowhere is no base backup"),
        (("base", "'; DROP"), "is no moment"),
        (("damaged",), "damaged is damaged"),
    ],
)
async def test_what_can_not_be_restored_says_so(archived: Archived, arguments: Sequence[str], problem: str) -> None:
    """And leaves nothing behind."""
    archived.server.stop()
    archived.cluster.rename(archived.cluster.with_name("cluster.before"))
    succeed(archived.run("cp", "-R", str(archived.archive / "base"), str(archived.archive / "damaged")))
    (archived.archive / "damaged" / "PG_VERSION").write_text("17\n")
    base, *moment = arguments or [""]
    done = archived.restore(*([str(archived.archive / base), *moment] if base else []))
    assert done.returncode == 1
    assert problem in done.stdout
    assert list(archived.cluster.parent.glob("cluster*")) == [archived.cluster.with_name("cluster.before")]


def test_a_segment_is_never_overwritten(tmp_path: Path) -> None:
    """The same one again is well; another one under its name is refused, and so is a full disk."""
    archive, segment = tmp_path / "archive", tmp_path / "segment"
    archive.mkdir()

    def keep(content: bytes, *limit: str) -> int:
        segment.write_bytes(content)
        argv = [*limit, "sh", str(SCRIPTS / "archive_wal.sh"), str(archive), str(segment), "0001"]
        done = subprocess.run(argv, capture_output=True, check=False)  # noqa: S603 - a script of ours
        return done.returncode

    full = ("sh", "-c", 'ulimit -f 8; exec "$@"', "sh")
    assert keep(b"x" * 100_000, *full) != 0
    assert not (archive / "0001").exists()
    assert keep(b"x" * 100_000) == 0
    assert keep(b"x" * 100_000) == 0
    assert keep(b"y" * 100_000) == 1
    assert (archive / "0001").read_bytes() == b"x" * 100_000
    assert [path.name for path in archive.iterdir()] == ["0001"]
