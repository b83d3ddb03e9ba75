"""Each registration has a generation, of which its client's pull token is made."""

from alembic import op

revision = "0004"
down_revision = "0003"

# The moment, in microseconds: a user who is removed and registers again gets another one.
CLIENTS = """
ALTER TABLE registry.clients ADD COLUMN token_generation bigint NOT NULL
    DEFAULT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint
"""


def upgrade() -> None:
    """Clients that are registered already get one, too."""
    op.execute(CLIENTS)
