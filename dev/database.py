"""A database with the services' roles, on any PostgreSQL server whose superuser we are."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import quote, unquote, urlsplit, urlunsplit

import asyncpg

ROLES: Final = Path(__file__).parents[1] / "deploy" / "postgres" / "roles.sql"
REGISTRY_ROLE: Final = "pullsync_registry"
INGEST_ROLE: Final = "pullsync_ingest"
READER_ROLE: Final = "pullsync_captures_reader"
MONITORING_ROLE: Final = "pullsync_monitoring"


@dataclass(frozen=True, slots=True, kw_only=True)
class Database:
    """One database, as the superuser, as each service, and as whoever monitors sees it."""

    admin_url: str
    registry_url: str
    ingest_url: str

    @property
    def monitoring_url(self) -> str:
        """As whoever monitors; all roles have one password here."""
        return _as_role(self.registry_url, MONITORING_ROLE, unquote(urlsplit(self.registry_url).password or ""))

    @classmethod
    def on(cls, server_url: str, name: str, *, password: str) -> Database:
        """The database `name` on the server of `server_url`; all roles have that password."""
        return cls(
            admin_url=with_database(server_url, name),
            registry_url=_as_role(with_database(server_url, name), REGISTRY_ROLE, password),
            ingest_url=_as_role(with_database(server_url, name), INGEST_ROLE, password),
        )


async def create_database(server_url: str, name: str, *, password: str) -> Database:
    """Make the database when it is missing, and its roles with that password. It may be repeated.

    The server is ours alone: the databases that it came with are for the superuser.
    """
    connection = await asyncpg.connect(server_url)
    try:
        if not await connection.fetchval("SELECT true FROM pg_database WHERE datname = $1", name):
            await connection.execute(f'CREATE DATABASE "{name}"')
        await connection.execute("REVOKE ALL ON DATABASE postgres, template1 FROM PUBLIC")
    finally:
        await connection.close()
    database = Database.on(server_url, name, password=password)
    connection = await asyncpg.connect(database.admin_url)
    try:
        await connection.execute(ROLES.read_text(encoding="utf-8"))
        for role in (REGISTRY_ROLE, INGEST_ROLE, READER_ROLE, MONITORING_ROLE):
            statement = await connection.fetchval(
                "SELECT format('ALTER ROLE %I PASSWORD %L', $1::text, $2::text)", role, password
            )
            await connection.execute(statement)
    finally:
        await connection.close()
    return database


def with_database(url: str, name: str) -> str:
    """The same server, another database."""
    return urlunsplit(urlsplit(url)._replace(path=f"/{quote(name)}"))


def _as_role(url: str, role: str, password: str) -> str:
    parts = urlsplit(url)
    address = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"{role}:{quote(password)}@{address}"))
