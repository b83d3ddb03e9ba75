"""Alembic's entry point, the same for every service's history: `shared.postgres.migrations` calls it, not a person."""

from __future__ import annotations

from alembic import context

# The caller owns the connection and its transaction; see `shared.postgres.migrations`.
context.configure(
    connection=context.config.attributes["connection"],
    version_table_schema=context.config.attributes["schema"],
    transaction_per_migration=False,
)
context.run_migrations()
