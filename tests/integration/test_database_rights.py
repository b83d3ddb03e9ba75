"""Attacks with a service's role in PostgreSQL: what a hijacked service, or SQL that was smuggled into it, can't do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final
from urllib.parse import urlsplit
from uuid import uuid4

import asyncpg
import pytest

from dev.database import INGEST_ROLE, READER_ROLE, REGISTRY_ROLE, Database, create_database, with_database
from services.ingest import app as ingest
from services.registry import app as registry
from services.registry.captures import Captures
from services.registry.settings import RegistrySettings
from shared.postgres.database import make_pool
from shared.postgres.migrations import migrate
from shared.postgres.sql import load_queries
from tests.servers import PASSWORD, Servers

PUBLISHED: Final = {
    "published_events",
    "published_holders",
    "published_holdings",
    "published_quarantine",
    "published_ranking",
    "published_totals",
}
"""What ingest lets the registry see; see `services/registry/queries/captures.sql`."""

_TROJAN: Final = """
    CREATE FUNCTION captures.trojan() RETURNS bigint LANGUAGE plpgsql AS $$ BEGIN
        RAISE EXCEPTION '% clients', (SELECT count(*) FROM registry.clients);
    END $$;
    CREATE OR REPLACE VIEW captures.published_totals AS
    SELECT events, holdings, quarantined, updated_at, captures.trojan() AS ranked FROM captures.totals;
"""

_RELATIONS: Final = """
    SELECT relname, array_agg(attname ORDER BY attnum) AS columns, bool_or(relkind = 'v') AS is_view
    FROM pg_class JOIN pg_attribute ON attrelid = pg_class.oid
    WHERE relnamespace = $1::text::regnamespace AND relkind IN ('r', 'p', 'v') AND attnum > 0 AND NOT attisdropped
    GROUP BY relname
"""

both = pytest.mark.parametrize("service", ["registry", "ingest"])
each = pytest.mark.parametrize("service", ["registry", "ingest", "reader"])


@pytest.fixture(scope="module")
def made(servers: Servers) -> Iterator[Database]:
    """A database as it is made, and migrated by each role; clones of the template lack the rights on a database."""
    name = f"pullsync_test_{uuid4().hex}"
    yield asyncio.run(_made(servers.postgres_url, name))
    asyncio.run(_execute(servers.postgres_url, f'DROP DATABASE "{name}" WITH (FORCE)'))


async def _made(server_url: str, name: str) -> Database:
    database = await create_database(server_url, name, password=PASSWORD)
    await migrate(database.registry_url, schema=registry.SCHEMA, history=registry.MIGRATIONS)
    await migrate(database.ingest_url, schema=ingest.SCHEMA, history=ingest.MIGRATIONS)
    return database


async def _execute(url: str, statement: str) -> None:
    async with connected(url) as connection:
        await connection.execute(statement)


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection with that role."""
    connection = await asyncpg.connect(url)
    try:
        yield connection
    finally:
        await connection.close()


def url_of(database: Database, service: str) -> str:
    """Where a service's role connects."""
    return {"registry": database.registry_url, "ingest": database.ingest_url, "reader": reader_url(database)}[service]


def reader_url(database: Database) -> str:
    """Where the registry connects to read captures."""
    return RegistrySettings(database_url=database.registry_url).reading_captures


async def assert_denied(url: str, *statements: str) -> None:
    """Each is refused for want of a right, and for nothing else."""
    async with connected(url) as connection:
        for statement in statements:
            try:
                await connection.execute(statement)
            except asyncpg.InsufficientPrivilegeError:
                continue
            pytest.fail(f"allowed: {statement}")


async def relations(database: Database, schema: str) -> dict[str, list[str]]:
    """The tables and views of a schema, with their columns."""
    async with connected(database.admin_url) as connection:
        found = {row["relname"]: list(row["columns"]) for row in await connection.fetch(_RELATIONS, schema)}
    assert len(found) > 5
    return found


def writes(relation: str, column: str) -> tuple[str, ...]:
    """All ways to change what is in a table."""
    return (
        f"INSERT INTO {relation} DEFAULT VALUES",
        f"UPDATE {relation} SET {column} = DEFAULT",
        f"DELETE FROM {relation}",
    )


async def test_the_registry_can_not_read_captures_beyond_what_ingest_publishes(made: Database) -> None:
    """Every view that is published for it can be read, by a login of its own, and no table."""
    found = await relations(made, "captures")
    async with connected(reader_url(made)) as connection:
        for view in PUBLISHED:
            await connection.fetch(f"SELECT * FROM captures.{view}")
    await assert_denied(reader_url(made), *(f"TABLE captures.{name}" for name in found if name not in PUBLISHED))
    await assert_denied(made.registry_url, *(f"TABLE captures.{name}" for name in found))
    assert set(found) > PUBLISHED


async def test_a_view_that_ingest_publishes_does_nothing_to_the_registry(servers: Servers) -> None:
    """A hijacked ingest can put a function into a view, which runs with the rights of whoever reads it."""
    name = f"pullsync_test_{uuid4().hex}"
    database = await _made(servers.postgres_url, name)
    try:
        await _execute(database.ingest_url, _TROJAN)
        pool = make_pool(reader_url(database), service="registry", max_size=1)
        async with pool:
            captures = Captures(pool=pool, queries=load_queries("services.registry"), is_registered=_nobody)
            with pytest.raises(asyncpg.InsufficientPrivilegeError, match="schema registry"):
                await captures.totals()
        # It would have been run, had the registry read by its own role: the attack is one.
        await _execute(database.ingest_url, "GRANT SELECT ON captures.published_totals TO pullsync_registry")
        await _execute(database.ingest_url, "GRANT USAGE ON SCHEMA captures TO pullsync_registry")
        with pytest.raises(asyncpg.RaiseError, match="0 clients"):
            await _execute(database.registry_url, "TABLE captures.published_totals")
    finally:
        await _execute(servers.postgres_url, f'DROP DATABASE "{name}" WITH (FORCE)')


async def _nobody(_user_id: str) -> bool:
    return False


async def test_the_registry_can_not_write_captures(made: Database) -> None:
    """Neither a table nor by way of a view, most of which PostgreSQL could write through."""
    async with connected(reader_url(made)) as connection:
        for name in await relations(made, "captures"):
            held = await connection.fetchval(
                "SELECT has_table_privilege($1, 'INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER')"
                " OR has_any_column_privilege($1, 'INSERT, UPDATE, REFERENCES')",
                f"captures.{name}",
            )
            assert held is False, name
    await assert_denied(
        reader_url(made),
        *writes("captures.events", "user_id"),
        *writes("captures.events_0", "user_id"),
        *writes("captures.holdings", "user_id"),
        *writes("captures.ranking", "pokemon_id"),
        *writes("captures.quarantine", "user_id"),
        *writes("captures.published_holders", "user_id"),
        *writes("captures.published_quarantine", "user_id"),
        "TRUNCATE captures.events",
        "TRUNCATE captures.ranking, captures.totals",
    )


async def test_whoever_reads_captures_can_not_read_the_registry(made: Database) -> None:
    """Nor write it; the login has no more than what ingest publishes."""
    for name, columns in (await relations(made, "registry")).items():
        await assert_denied(reader_url(made), f"TABLE registry.{name}", *writes(f"registry.{name}", columns[0]))


async def test_ingest_can_not_read_the_registry(made: Database) -> None:
    """No client, no address, no run: not even the schema is open to it."""
    found = await relations(made, "registry")
    await assert_denied(
        made.ingest_url,
        *(f"TABLE registry.{name}" for name in found),
        "SELECT registry.next_slot('ash', 30, now())",
        "SELECT 'registry.clients'::regclass",
    )


async def test_ingest_can_not_write_the_registry(made: Database) -> None:
    """So it can't make a client due, or change where it is called."""
    found = await relations(made, "registry")
    for name, columns in found.items():
        await assert_denied(made.ingest_url, *writes(f"registry.{name}", columns[0]), f"TRUNCATE registry.{name}")


@each
async def test_nothing_can_be_created_outside_of_the_own_schema(service: str, made: Database) -> None:
    """Not in the other's schema nor in the one that everybody searches, no new schema or extension, no large object."""
    other = {"registry": "captures", "ingest": "registry", "reader": "captures"}[service]
    await assert_denied(
        url_of(made, service),
        f"CREATE TABLE {other}.mine ()",
        f"CREATE VIEW {other}.mine AS SELECT 1",
        f"CREATE FUNCTION {other}.mine() RETURNS integer LANGUAGE sql AS 'SELECT 1'",
        "CREATE TABLE public.mine ()",
        "CREATE SCHEMA mine",
        "CREATE EXTENSION hstore SCHEMA public",
        f"DROP SCHEMA {other} CASCADE",
        f"ALTER SCHEMA {other} RENAME TO mine",
        "SELECT lo_create(0)",
        "SELECT lo_creat(-1)",
        "SELECT lo_from_bytea(0, 'mine')",
    )


async def test_the_registry_can_not_make_temporary_tables(made: Database) -> None:
    """It needs none, and they would fill the disk of all; ingest stores by way of one."""
    for url in (made.registry_url, reader_url(made)):
        await assert_denied(url, "CREATE TEMPORARY TABLE mine ()")
    await _execute(made.ingest_url, "CREATE TEMPORARY TABLE mine ()")


@each
async def test_a_role_can_not_become_another(service: str, made: Database) -> None:
    """Neither the other service's, nor the superuser, nor more than it is."""
    role = {"registry": REGISTRY_ROLE, "ingest": INGEST_ROLE, "reader": READER_ROLE}[service]
    other = INGEST_ROLE if service == "registry" else REGISTRY_ROLE
    await assert_denied(
        url_of(made, service),
        f"SET ROLE {other}",
        "SET ROLE postgres",
        f"SET SESSION AUTHORIZATION {other}",
        f"ALTER ROLE {role} SUPERUSER",
        f"ALTER ROLE {other} PASSWORD 'mine'",
        f"GRANT {other} TO {role}",
        "CREATE ROLE mine",
        "CREATE DATABASE mine",
    )


@each
async def test_no_other_database_of_the_server_is_open(service: str, made: Database) -> None:
    """Those that every server has; it is ours alone."""
    for name in ("postgres", "template1"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="permission denied for database"):
            await asyncpg.connect(with_database(url_of(made, service), name))


@each
async def test_a_service_leaves_connections_for_the_others(service: str, made: Database) -> None:
    """However many it opens: PostgreSQL has 200 in all."""
    async with connected(made.admin_url) as admin:
        role = urlsplit(url_of(made, service)).username
        limit = await admin.fetchval("SELECT rolconnlimit FROM pg_roles WHERE rolname = $1", role)
    assert 0 < 2 * limit < 200


@both
async def test_the_machine_is_out_of_reach(service: str, made: Database) -> None:
    """No program is run, no file read or written, no setting of the server changed, nobody's connection ended."""
    await assert_denied(
        url_of(made, service),
        "COPY (SELECT 1) TO PROGRAM 'true'",
        "COPY (SELECT 1) TO '/tmp/mine'",
        "SELECT pg_read_file('PG_VERSION')",
        "SELECT pg_ls_dir('.')",
        "ALTER SYSTEM SET archive_command = 'true'",
        "SELECT pg_reload_conf()",
        "SELECT rolpassword FROM pg_authid",
    )
    async with connected(made.admin_url) as admin:
        pid = admin.get_server_pid()
        await assert_denied(url_of(made, service), f"SELECT pg_terminate_backend({pid})")


async def test_who_monitors_sees_statistics_and_no_row(made: Database) -> None:
    """Sizes, connections of everybody, settings and the log's files; no table or view of a service."""
    async with connected(made.monitoring_url) as connection, connected(made.registry_url) as other:
        for statement in (
            "SELECT pg_database_size(current_database())",
            "SELECT count(*) FROM pg_ls_waldir()",
            "SELECT setting FROM pg_settings WHERE name = 'data_directory'",
            "SELECT count(*) FROM pg_stat_archiver, pg_stat_database HAVING count(*) > 0",
        ):
            assert await connection.fetchval(statement)
        await other.execute("SELECT 'of the registry'")
        query = "SELECT query FROM pg_stat_activity WHERE pid = $1"
        assert await connection.fetchval(query, other.get_server_pid()) == "SELECT 'of the registry'"
    for schema in ("registry", "captures"):
        names = await relations(made, schema)
        await assert_denied(made.monitoring_url, *(f"TABLE {schema}.{name}" for name in names))


async def test_who_monitors_changes_nothing(made: Database) -> None:
    """Neither data nor the server, by which this role would be more than a reader."""
    await assert_denied(
        made.monitoring_url,
        *writes("captures.events", "user_id"),
        *writes("registry.clients", "user_id"),
        "CREATE TEMPORARY TABLE mine ()",
        "CREATE TABLE public.mine ()",
        "CREATE SCHEMA mine",
        f"SET ROLE {REGISTRY_ROLE}",
        "SET ROLE postgres",
        "GRANT pg_write_all_data TO CURRENT_USER",
        "COPY (SELECT 1) TO PROGRAM 'true'",
        "SELECT pg_read_file('PG_VERSION')",
        "ALTER SYSTEM SET archive_command = 'true'",
        "SELECT pg_reload_conf()",
        "SELECT rolpassword FROM pg_authid",
        "SELECT pg_switch_wal()",
    )
    async with connected(made.registry_url) as served:
        await assert_denied(made.monitoring_url, f"SELECT pg_terminate_backend({served.get_server_pid()})")


async def test_who_monitors_does_not_use_up_the_connections(made: Database) -> None:
    """A few at once, and then no more."""
    async with AsyncExitStack() as held:
        for _ in range(5):
            await held.enter_async_context(connected(made.monitoring_url))
        with pytest.raises(asyncpg.TooManyConnectionsError, match="pullsync_monitoring"):
            await asyncpg.connect(made.monitoring_url)


async def test_a_stranger_can_not_even_connect(made: Database) -> None:
    """What everybody may by default, nobody may here."""
    stranger = f"stranger_{uuid4().hex}"
    parts = urlsplit(made.registry_url)
    url = parts._replace(netloc=f"{stranger}:x@{parts.netloc.rpartition('@')[2]}").geturl()
    await _execute(made.admin_url, f"CREATE ROLE {stranger} LOGIN PASSWORD 'x'")
    try:
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="permission denied for database"):
            await asyncpg.connect(url)  # so the password is right
    finally:
        await _execute(made.admin_url, f"DROP ROLE {stranger}")


async def test_what_an_older_database_granted_is_taken_back(servers: Servers) -> None:
    """The roles' script may be repeated, over a database that the services have filled."""
    name = f"pullsync_test_{uuid4().hex}"
    database = await _made(servers.postgres_url, name)
    try:
        await _execute(
            database.admin_url,
            f'GRANT CREATE, TEMPORARY ON DATABASE "{name}" TO PUBLIC, {REGISTRY_ROLE}, {INGEST_ROLE};'
            " GRANT ALL ON SCHEMA public TO PUBLIC",
        )
        await _execute(database.registry_url, "CREATE SCHEMA before")
        await create_database(servers.postgres_url, name, password=PASSWORD)
        for url in (database.registry_url, database.ingest_url):
            await assert_denied(url, "CREATE SCHEMA mine", "CREATE TABLE public.mine ()")
        await _execute(database.registry_url, "INSERT INTO registry.scheduler (sync_interval_s) VALUES (30)")
    finally:
        await _execute(with_database(servers.postgres_url, "postgres"), f'DROP DATABASE "{name}" WITH (FORCE)')
