"""Brings one service's schema up to date, once, however many replicas start together. Alembic keeps the history.

A service of the version before goes on with a newer schema: while replicas are replaced one after the other, and to go
back (docs/upgrade.md). A revision that takes away what such a service needs has `bearable_by = "0007"`: the first
revision whose services do without. What the schema can be borne by stands as a comment on Alembic's own table, for
services that know the newer revisions by no other way.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Final, Literal

import asyncpg
import structlog
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from shared import tls
from shared.errors import StartupError
from shared.patience import first_line, patiently

log = structlog.get_logger()


_READ_ONLY: Final = asyncpg.ReadOnlySQLTransactionError.sqlstate
_ANY: Final = "0000"
"""Before every revision."""

Standing = Literal["current", "behind", "ahead", "none"]


class History:
    """What a folder of Alembic revisions says, without a database."""

    def __init__(self, folder: Path) -> None:
        self._revisions = [script.revision for script in ScriptDirectory.from_config(_config(folder)).walk_revisions()]

    @property
    def head(self) -> str:
        """The revision that this code expects."""
        return self._revisions[0]

    def standing(self, revision: str | None) -> Standing:
        """How a schema at `revision` is to it; a revision that it does not know is that of a newer version."""
        if revision is None:
            return "none"
        if revision == self.head:
            return "current"
        return "behind" if revision in self._revisions else "ahead"


async def migrate(database_url: str, *, schema: str, history: Path, ca_file: Path | None = None) -> None:
    """Apply what is missing of `history`, a folder of Alembic revisions, in one transaction.

    A schema that is newer than `history` is left as it is, if services of this version can work with it. Replicas that
    start together wait for the first by an advisory lock. While Postgres is away it keeps trying, and while its
    certificate is refused, of which `shared.tls` tells more.

    Raises:
        StartupError: a statement is refused, `ca_file` can't be used, or the schema is too new; nothing was changed.
    """
    try:
        connect = partial(asyncpg.connect, database_url, ssl=tls.for_postgres(database_url, ca_file))
        await patiently(partial(_migrate_once, connect, schema, history), may_pass=_is_away)
    except (OSError, DBAPIError) as error:
        message = f"the schema {schema} can't be brought up to date: {first_line(error)}; see DATABASE_URL"
        raise StartupError(message) from error


def _is_away(error: Exception) -> bool:
    """Whether waiting can help: no connection, a server that is starting (57P03), has no slot left (53300) or is ill.

    A connection that is lost in the middle may be told as an error of the driver's own, which has no SQLSTATE.
    """
    if not isinstance(error, DBAPIError):
        return isinstance(error, OSError)
    state = getattr(error.orig, "sqlstate", None)
    return state is None or state == _READ_ONLY or state[:2] in {"08", "53", "57", "58", "XX"}


async def _migrate_once(connect: Callable[[], Awaitable[asyncpg.Connection]], schema: str, history: Path) -> None:
    # asyncpg reads the URL itself, so that it means the same here as in the service's own pool.
    engine = create_async_engine("postgresql+asyncpg://", async_creator=connect, poolclass=NullPool)
    try:
        async with engine.begin() as connection:
            await connection.run_sync(_upgrade, schema, history)
    finally:
        await engine.dispose()


def _upgrade(connection: Connection, schema: str, history: Path) -> None:
    connection.execute(
        text("SELECT pg_advisory_xact_lock(hashtextextended('pullsync migrations ' || :s, 0))"), {"s": schema}
    )
    exists = text("SELECT 1 FROM pg_namespace WHERE nspname = :s")
    if connection.execute(exists, {"s": schema}).first() is None:
        connection.execute(text(f'CREATE SCHEMA "{schema}"'))
    config = _config(history)
    config.attributes.update(connection=connection, schema=schema)
    revisions = {each.revision: each.module for each in ScriptDirectory.from_config(config).walk_revisions()}
    context = MigrationContext.configure(connection, opts={"version_table_schema": schema})
    found, head = context.get_current_revision(), max(revisions, default="")
    if found is not None and found not in revisions:
        _require_bearable(connection, schema, found=found, ours=head)
    elif found != head:
        command.upgrade(config, "head")
        oldest = max((getattr(module, "bearable_by", "") for module in revisions.values()), default="") or _ANY
        connection.execute(text(f'COMMENT ON TABLE "{schema}".alembic_version IS $$bearable by {int(oldest):04}$$'))


def _require_bearable(connection: Connection, schema: str, *, found: str, ours: str) -> None:
    """Return when services of the revision `ours` can work with the newer one that was found.

    Raises:
        StartupError: they can't.
    """
    comment = text("SELECT obj_description(to_regclass(:table), 'pg_class')")
    said = connection.execute(comment, {"table": f'"{schema}".alembic_version'}).scalar()
    oldest = re.fullmatch(r"bearable by (\d{4})", said or "")
    if oldest is None or ours < oldest[1]:
        message = (
            f"the schema {schema} is at revision {found}, and this version, of revision {ours}, can't work with it: "
            "start the newer version again, or restore a backup of before the upgrade (docs/upgrade.md)"
        )
        raise StartupError(message)
    log.warning("schema_is_newer", schema=schema, revision=found, ours=ours, meaning="this is the version before")


def _config(history: Path) -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("alembic")))
    config.set_main_option("version_locations", str(history))
    config.set_main_option("path_separator", "os")
    return config
