"""When a client was first told its tokens: after that it has to show one."""

from alembic import op

revision = "0005"
down_revision = "0004"

CLIENTS = "ALTER TABLE registry.clients ADD COLUMN tokens_told_at timestamptz"


def upgrade() -> None:
    """A client that is registered already may be told them once more."""
    op.execute(CLIENTS)
