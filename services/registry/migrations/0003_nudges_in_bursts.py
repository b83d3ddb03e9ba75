"""Some nudges of a client may come at once before they are spaced."""

from alembic import op

revision = "0003"
down_revision = "0002"

# The theoretical arrival time of the generic cell rate algorithm: as if each nudge so far took a whole spacing.
CLIENTS = "ALTER TABLE registry.clients ADD COLUMN nudges_spaced_until timestamptz"


def upgrade() -> None:
    """Add what is remembered of a client's nudges."""
    op.execute(CLIENTS)
