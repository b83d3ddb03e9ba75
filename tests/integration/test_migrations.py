"""Migrations wait for Postgres, and end only when it refuses them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import asyncpg
import pytest
from sqlalchemy.exc import DBAPIError

from shared.errors import StartupError
from shared.postgres import migrations
from shared.postgres.migrations import migrate

if TYPE_CHECKING:
    from dev.database import Database

REVISION = """
from pathlib import Path

from alembic import op

revision = "0001"
down_revision = None


def upgrade():
    tried = Path(__file__).with_name("tried")
    if tried.exists():
        op.execute("CREATE TABLE strange.done ()")
    else:
        tried.touch()
        op.execute({statement!r})
"""


async def is_done(database: Database) -> bool:
    """Whether the migration made its table."""
    connection = await asyncpg.connect(database.admin_url)
    try:
        return await connection.fetchval("SELECT to_regclass('strange.done')") is not None
    finally:
        await connection.close()


async def test_a_connection_lost_in_the_middle_is_tried_again(database: Database, tmp_path: Path) -> None:
    """As when Postgres restarts just then."""
    (tmp_path / "0001.py").write_text(REVISION.format(statement="SELECT pg_terminate_backend(pg_backend_pid())"))
    await migrate(database.admin_url, schema="strange", history=tmp_path)
    assert await is_done(database)


async def test_a_statement_that_is_refused_ends_the_start(database: Database, tmp_path: Path) -> None:
    """Waiting does not help, and nothing was changed."""
    (tmp_path / "0001.py").write_text(REVISION.format(statement="SELECT nonsense"))
    with pytest.raises(StartupError, match="nonsense"):
        await migrate(database.admin_url, schema="strange", history=tmp_path)
    assert not await is_done(database)


@pytest.mark.parametrize(
    ("error", "away"),
    [
        (asyncpg.InternalClientError("cannot switch to state 12"), True),
        (asyncpg.CannotConnectNowError("starting"), True),
        (asyncpg.TooManyConnectionsError("sorry"), True),
        (asyncpg.ReadOnlySQLTransactionError("a standby"), True),
        (asyncpg.PostgresIOError("a disk"), True),
        (asyncpg.UndefinedColumnError("no"), False),
        (asyncpg.InvalidPasswordError("no"), False),
    ],
)
def test_what_may_pass(error: Exception, *, away: bool) -> None:
    """Drivers tell of a lost connection by errors of their own, too."""
    assert migrations._is_away(DBAPIError("SELECT 1", None, error)) is away  # noqa: SLF001 - errors that can't be made at will
